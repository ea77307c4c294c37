from __future__ import annotations

import pytest

from cloudnet.cni.journal import Journal, Release
from cloudnet.errors import BadInput

RELEASE = Release("cali1", "net.c1", "n1-cni-c1-eth0", "default", "net", "c1", "eth0", args={"a": "b"}, path=("/x",))


def test_what_is_noted_survives_the_agent(tmp_path):
    Journal(tmp_path).add(RELEASE)

    assert Journal(tmp_path).find("net.c1") == RELEASE
    assert Journal(tmp_path).all() == (RELEASE,)


def test_what_is_done_is_forgotten_for_good(tmp_path):
    journal = Journal(tmp_path)
    journal.add(RELEASE)

    journal.done("net.c1")
    journal.done("net.c1")

    assert journal.find("net.c1") is None
    assert not Journal(tmp_path).all()


def test_a_note_that_was_cut_short_is_none_and_cleared_away(tmp_path):
    Journal(tmp_path).add(RELEASE)
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(file.read_bytes()[:10])

    assert not Journal(tmp_path).all()
    assert not list(tmp_path.iterdir())


def test_a_note_that_was_never_finished_is_cleared_away(tmp_path):
    (tmp_path / "abc.new").write_bytes(b"{")

    assert not Journal(tmp_path).all()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_used_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(BadInput, match="cni_state: cannot use"):
        Journal(tmp_path / "file" / "journal")
