from cloudnet.errors import BadInput, CloudnetError, MissingTool


def test_bad_input_names_the_field_in_front_of_the_message():
    error = BadInput("expected an integer", path="spec.blockSize")

    assert str(error) == "spec.blockSize: expected an integer"
    assert error.path == "spec.blockSize"


def test_bad_input_without_a_field_is_the_message_alone():
    assert str(BadInput("nothing to do")) == "nothing to do"


def test_nothing_is_retried_unless_its_class_says_so():
    assert not CloudnetError("x").retry
    assert not BadInput("x").retry
    assert not MissingTool("x").retry
