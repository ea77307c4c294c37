from __future__ import annotations

import json
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from cloudnet.cni import release
from cloudnet.kernel.api import KernelError
from cloudnet.testing.cni import POD, CniNode

PROGRAM = """#!/bin/sh
cat > "$0.$CNI_COMMAND.in"
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS $CNI_ARGS" >> "$0.calls"
cat "$0.$CNI_COMMAND.out" 2>/dev/null
exit "$(cat "$0.$CNI_COMMAND.status" 2>/dev/null || echo 0)"
"""

LEASE = {
    "cniVersion": "1.1.0",
    "ips": [{"address": "10.244.1.7/24", "gateway": "10.244.1.1"}],
    "routes": [{"dst": "10.244.0.0/16"}],
    "dns": {"nameservers": ["10.96.0.10"]},
}
CALL = f"c1 eth0 /run/netns/x {POD}"


class Plugin:
    """A program called host-local, and what was asked of it."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.program = folder / "host-local"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.answers("ADD", json.dumps(LEASE))

    def answers(self, command, text, status=0):
        (self.folder / f"host-local.{command}.out").write_text(text)
        (self.folder / f"host-local.{command}.status").write_text(str(status))

    @property
    def calls(self):
        file = self.folder / "host-local.calls"
        return file.read_text().splitlines() if file.exists() else []

    def input(self, command):
        return json.loads((self.folder / f"host-local.{command}.in").read_text())


@pytest.fixture
def plugin(tmp_path):
    return Plugin(tmp_path / "bin")


@pytest.fixture
def node(tmp_path):
    with ExitStack() as stack:
        yield CniNode(tmp_path / "journal", stack)


@pytest.fixture
def ask(node, plugin):
    """Return a way to ask for a pod of the plugin's."""
    namespace = node.namespace()

    def make(command, ipam=None, **keys):
        wanted = {"type": "host-local", **(ipam or {})}
        return node.ask(command, namespace, args=POD, path=f"/nonexistent:{plugin.folder}", ipam=wanted, **keys)

    return make


def test_the_pod_gets_what_the_plugin_says(node, plugin, ask):
    code, answer = ask("ADD", {"subnet": "10.244.1.0/24"})

    assert code == 0
    assert answer["ips"] == [{"address": "10.244.1.7/32", "interface": 1}]
    assert answer["routes"] == [{"dst": "10.244.0.0/16"}]
    assert answer["dns"] == {"nameservers": ["10.96.0.10"]}
    (endpoint,) = node.endpoints().values()
    assert endpoint.networks == (ip_network("10.244.1.7/32"),)
    assert plugin.calls == [f"ADD {CALL}"]
    assert plugin.input("ADD")["ipam"] == {"type": "host-local", "subnet": "10.244.1.0/24"}


def test_a_delete_gives_the_address_back_to_the_plugin(node, plugin, ask):
    ask("ADD")

    code, _ = ask("DEL")

    assert code == 0
    assert plugin.calls == [f"ADD {CALL}", f"DEL {CALL}"]
    assert node.is_empty()


def test_a_pod_added_again_is_first_taken_back_from_the_plugin(node, plugin, ask):
    ask("ADD")

    code, _ = ask("ADD")

    assert code == 0
    assert [call.split()[0] for call in plugin.calls] == ["ADD", "DEL", "ADD"]
    assert len(node.endpoints()) == len(node.pods.wired) == 1


def test_the_nodes_range_stands_where_the_plugin_wants_it(node, plugin, ask):
    node.cluster.cidrs = (ip_network("10.244.9.0/24"), ip_network("fd00:9::/64"))

    ask("ADD", {"ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "usePodCidrIPv6"}]]})

    assert plugin.input("ADD")["ipam"]["ranges"] == [[{"subnet": "10.244.9.0/24"}], [{"subnet": "fd00:9::/64"}]]


def test_a_node_without_a_range_can_add_nothing_and_delete_everything(node, plugin, ask):
    refused, answer = ask("ADD", {"subnet": "usePodCidr"})
    deleted, _ = ask("DEL", {"subnet": "usePodCidr"})

    assert (refused, deleted) == (7, 0)
    assert "the node has no IPv4 pod CIDR" in answer["msg"]
    assert plugin.input("DEL")["ipam"]["subnet"] == "0.0.0.0/0"
    assert [call.split()[0] for call in plugin.calls] == ["DEL"]
    assert node.is_empty()


@pytest.mark.parametrize(
    ("output", "code", "reason"),
    [
        ('{"code": 7, "msg": "no subnet"}', 105, "no subnet"),
        ('{"code": 11, "msg": "full"}', 11, "full"),
        ("", 105, "exit status 3"),
        ("nonsense", 105, "exit status 3"),
    ],
)
def test_a_plugin_that_fails_is_named_with_its_reason(plugin, ask, output, code, reason):
    plugin.answers("ADD", output, 3)

    found, answer = ask("ADD")

    assert found == code
    assert answer["msg"] == f"IPAM plugin 'host-local' failed at ADD: {reason}"


@pytest.mark.parametrize(
    "output",
    [
        "",
        "[]",
        "{}",
        '{"ips": {}}',
        '{"ips": []}',
        '{"ips": [{}]}',
        '{"ips": [7]}',
        '{"ips": [{"address": "x"}]}',
        '{"ips": [{"address": "10.0.0.1/24"}], "routes": [{}]}',
    ],
)
def test_a_result_that_cannot_be_used_is_given_back_to_the_plugin(node, plugin, ask, output):
    plugin.answers("ADD", output)

    code, answer = ask("ADD")

    assert code == 105
    assert "IPAM plugin 'host-local' answered with no usable result" in answer["msg"]
    assert [call.split()[0] for call in plugin.calls] == ["ADD", "DEL"]
    assert node.is_empty()


def test_a_file_that_cannot_be_run_is_named(node, plugin, ask):
    plugin.program.chmod(0o644)

    code, answer = ask("ADD")

    assert code == 105
    assert f"cannot run the IPAM plugin '{plugin.program}'" in answer["msg"]
    assert node.is_empty()


def test_what_fails_after_the_plugin_is_given_back_to_it(node, plugin, ask):
    node.gate.problem = ValueError("a defect")

    code, _ = ask("ADD")

    assert code == 100
    assert [call.split()[0] for call in plugin.calls] == ["ADD", "DEL"]
    assert node.is_empty()


def test_a_check_asks_the_plugin_too(plugin, ask):
    _, result = ask("ADD")
    well, _ = ask("CHECK", prevResult=result)
    plugin.answers("CHECK", '{"code": 100, "msg": "no lease"}', 1)

    code, answer = ask("CHECK", prevResult=result)

    assert (well, code) == (0, 105)
    assert answer["msg"] == "IPAM plugin 'host-local' failed at CHECK: no lease"


def test_a_plugin_is_asked_later_when_the_store_was_away(node, plugin, ask):
    ask("ADD")
    node.data.outage = "asleep"
    code, _ = ask("DEL")
    node.data.outage = ""

    release.finish_all(node.site)

    assert code == 0
    assert plugin.calls[-1] == f"DEL {CALL}"
    assert node.is_empty()


def test_a_plugin_is_asked_later_when_the_store_went_away_during_an_add(node, plugin, ask):
    def fall_silent(_):
        node.data.outage = "asleep"
        raise KernelError("no")

    node.pods.refuse = fall_silent
    code, _ = ask("ADD")
    node.data.outage = ""

    release.finish_all(node.site)

    assert code == 5
    assert [call.split()[0] for call in plugin.calls] == ["ADD", "DEL"]
    assert node.is_empty()
