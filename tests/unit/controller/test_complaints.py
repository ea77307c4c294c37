from cloudnet.controller.actions import Level, Say
from cloudnet.controller.complaints import Complaints


def test_a_trouble_is_told_once_when_it_comes_and_once_when_it_is_over():
    complaints = Complaints()

    complaints.trouble("store", "the store is away")
    complaints.settle("store", "the store is still away")
    first = complaints.take()
    complaints.settle("store", "")
    complaints.fine("store")

    assert first == [Say(Level.WARNING, "the store is away")]
    assert complaints.take() == [Say(Level.INFO, "store: works again")]
    assert complaints.take() == []


def test_what_stands_is_what_was_said_last_and_what_is_forgotten_goes_without_a_word():
    complaints = Complaints()
    complaints.trouble("a", "first")
    complaints.trouble("a", "second")
    complaints.trouble("b", "other")
    complaints.take()

    complaints.forget("b")
    complaints.forget("nobody's")

    assert complaints.standing == {"a": "second"}
    assert complaints.take() == []
