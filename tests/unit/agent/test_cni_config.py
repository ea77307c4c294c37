"""The runtime's configuration is there when the agent can add pods, and not before."""

from __future__ import annotations

import pytest

from cloudnet.agent.cni_config import ConfigKeeper, keeping_config
from cloudnet.cni import conflist
from cloudnet.cni.install import Place
from cloudnet.config import AgentConfig

LIST = conflist.write(conflist.Options())


class Host:
    """A host where the program and the agent's copy of the configuration have been put."""

    def __init__(self, folder):
        self.source = folder / "staged" / "10-cloudnet.conflist"
        self.source.parent.mkdir()
        self.source.write_bytes(LIST)
        self.place = Place(folder / "bin", folder / "net.d")
        self.file = self.place.configuration_file
        self.why_not = "the ground is not laid"
        self.keeper = ConfigKeeper(self.source, self.place, lambda: self.why_not)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_nothing_is_there_before_the_agent_can_add_pods(host):
    soon = host.keeper.look()
    before = host.file.exists()
    host.why_not = ""
    later = host.keeper.look()

    assert (before, host.file.read_bytes()) == (False, LIST)
    assert soon < later


def test_an_agent_that_can_add_none_for_a_while_leaves_it(host):
    host.why_not = ""
    host.keeper.look()
    host.why_not = "the store is locked"

    host.keeper.look()

    assert host.file.read_bytes() == LIST


def test_it_is_put_back_when_somebody_takes_or_changes_it(host):
    host.why_not = ""
    host.keeper.look()
    host.file.unlink()
    host.keeper.look()
    taken = host.file.read_bytes()
    host.file.write_text("{}")

    host.keeper.look()

    assert taken == host.file.read_bytes() == LIST


@pytest.mark.parametrize("bad", [None, b"{", b'{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "other"}]}'])
def test_what_cannot_be_put_there_is_said_once_and_tried_again(host, caplog, bad):
    host.why_not = ""
    if bad is None:
        host.source.unlink()
    else:
        host.source.write_bytes(bad)

    waits = [host.keeper.look(), host.keeper.look()]
    said = [r.getMessage() for r in caplog.records]
    host.source.write_bytes(LIST)
    host.keeper.look()

    assert len(said) == 1
    assert "cannot be put in place" in said[0]
    assert max(waits) < 10
    assert host.file.read_bytes() == LIST


def test_a_list_that_the_runtime_would_take_instead_is_pointed_out_once(host, caplog):
    host.why_not = ""
    host.file.parent.mkdir()
    (host.file.parent / "05-other.conflist").write_text("{}")

    host.keeper.look()
    host.keeper.look()

    assert [("05-other.conflist" in r.getMessage()) for r in caplog.records if r.levelname == "WARNING"] == [True]


def test_an_agent_that_was_not_asked_writes_nothing(tmp_path):
    target = tmp_path / "net.d" / "10-cloudnet.conflist"

    with keeping_config(AgentConfig("n1", cni_config_to=str(target)), str):
        pass

    assert not target.parent.exists()
