from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from cloudnet.errors import BadInput
from cloudnet.model.addresses import NodeName
from cloudnet.takeover import journal
from cloudnet.takeover.journal import Busy, Journal, Phase
from cloudnet.takeover.plan import Job

JOB = Job(
    NodeName("n1"),
    "kubenet",
    "kubenet",
    ip_network("10.244.1.0/24"),
    "cbr0",
    (ip_address("10.244.1.1"),),
    ip_network("10.244.0.0/16"),
    ("portmap",),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "takeover.jsonl"


def test_a_journal_is_read_as_it_was_written(path):
    written = Journal(path)
    written.open(JOB)
    written.begin("cni", {"aside": "05-kubenet.conflist"})
    written.note("cni", Phase.DONE)

    read = Journal(path)

    assert read.job == JOB
    assert read.steps == written.steps
    assert (read.steps["cni"].phase, read.steps["cni"].before) == (Phase.DONE, {"aside": "05-kubenet.conflist"})


def test_a_line_that_a_kill_left_torn_was_never_written_and_the_next_one_stands_on_its_own(path):
    Journal(path).open(JOB)
    with path.open("ab") as file:
        file.write(b'{"step": "cni", "is": "do')

    torn = Journal(path)
    torn.begin("guard", {})

    assert list(Journal(path).steps) == ["guard"]


def test_a_line_that_makes_no_sense_is_not_guessed_at(path):
    path.parent.mkdir()
    path.write_text("nonsense\n")

    with pytest.raises(BadInput, match="line 1 is no JSON"):
        Journal(path)


def test_one_takeover_works_at_a_time(path):
    with journal.held(path), pytest.raises(Busy), journal.held(path):
        raise AssertionError


def test_a_node_that_is_as_it_was_has_no_journal(path):
    one = Journal(path)
    one.open(JOB)

    one.close()

    assert not Journal(path).is_begun
