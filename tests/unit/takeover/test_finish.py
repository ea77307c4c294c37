"""What the predecessor left goes when nobody needs it any more, part by part, and the way back with the first."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.cni.install import OURS, Place
from cloudnet.config import AgentConfig
from cloudnet.kernel.api import Link, Put, Route
from cloudnet.kernel.memory import MemoryKernel
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, IPPool, IPReservation, Metadata, Node
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import NotFound, change
from cloudnet.store.memory import MemoryStore
from cloudnet.takeover import act, finish, plan, run
from cloudnet.takeover.act import Stopped
from cloudnet.takeover.facts import LABEL
from cloudnet.takeover.finish import LEFT
from cloudnet.takeover.hands import Hands
from cloudnet.takeover.journal import Journal, Phase
from cloudnet.takeover.leavings import LeavingsMemory
from cloudnet.takeover.plan import Job

NODE, OTHER = NodeName("n1"), NodeName("n2")
BLOCKS = {NODE: ip_network("10.244.1.0/24"), OTHER: ip_network("10.244.2.0/24")}
POOL = ip_network("10.244.0.0/16")
GONE = ip_network("10.244.9.0/24")  # of a node that is no more


class NoCalico:
    def runs(self):
        return False

    def has_nftables(self):
        return False


class Finishing:
    """Node ``n1`` of two, taken over from ``kind``; ``n2`` has been taken too where it ``is_ours``."""

    def __init__(self, folder, kind, *, network="cbr0", bridge="cni0", plugin="flannel", is_ours=True):
        self.place, self.networks = Place(folder / "bin", folder / "net.d"), folder / "networks"
        self.store, self.kernel = (
            MemoryStore(),
            MemoryKernel([Link("eth0", 2, 1500, up=True), Link("cni0", 3, 1500, up=True)]),
        )
        self.leavings = LeavingsMemory()
        self.journal = Journal(folder / "takeover.jsonl")
        self.place.configurations.mkdir()
        old = {"cniVersion": "0.3.1", "name": network, "plugins": [{"type": plugin}]}
        for name in (f"10-first.conflist{act.ASIDE}", "20-old.conflist"):
            (self.place.configurations / name).write_text(json.dumps(old))
        (self.place.configurations / "10-cloudnet.conflist").write_text(
            json.dumps({**old, "plugins": [{"type": "cloudnet"}]})
        )
        for node, block in BLOCKS.items():
            self.store.create(Node(Metadata(node), (ip_interface("10.0.0.11/24"),), pod_cidrs=(block,)))
            if node == NODE or is_ours:
                self.store.create(BlockAffinity(Metadata(f"{node}-block", labels={LABEL: kind}), node, block))
        self.store.create(IPPool(Metadata(act.POOL), POOL, block_size=24))
        block = BLOCKS[NODE] if bridge else None
        self.journal.open(Job(NODE, kind, network, block, bridge, pool=POOL if bridge else None))
        for step in plan.steps(self.journal.job):
            self.journal.begin(step.name, {"aside": "10-first.conflist"} if step.name == "cni" else {})
            self.journal.note(step.name, Phase.DONE)
        if bridge:
            (self.networks / network).mkdir(parents=True)
            self.store.create(IPReservation(Metadata(f"takeover-{NODE}"), (BLOCKS[NODE],)))

    def hands(self):
        return Hands(
            config=AgentConfig(NODE),
            store=self.store,
            kernel=self.kernel,
            place=self.place,
            executable=OURS,
            matches=Matches(),
            agent=lambda: (True, ""),
            clock=ManualClock(),
            remains=NoCalico(),
            leavings=self.leavings,
            networks=self.networks,
        )

    def finish(self):
        """Return why each part stays: {part: why, empty when it went}."""
        return {done.step: done.why for done in finish.finish(self.hands(), self.journal)}

    def lay(self, *blocks):
        assert not self.kernel.apply([Put(Route(block, "eth0")) for block in blocks])

    def label(self, node):
        change(self.store, BlockAffinity, f"{node}-block", finish._has_left)

    def remove_bridge(self):
        if "cni0" in self.leavings.removed:
            self.kernel.remove_link("cni0")


@pytest.fixture
def flannel(tmp_path):
    made = Finishing(tmp_path, "flannel")
    made.leavings.flannel = {BLOCKS[OTHER]: "to n2", GONE: "to nobody"}
    made.leavings.bridges = {"cni0": ["veth1", "veth2"]}
    made.leavings.chains = True
    return made


def test_whatever_is_needed_stays_and_says_for_what(flannel):
    why = flannel.finish()

    assert why["routes"].startswith("there is no route of ours to 10.244.2.0/24 yet")
    assert why["masquerading"].endswith("set natOutgoing of pool 'takeover' first")
    assert why["bridge"] == "2 pods from before the takeover run here"
    assert why["reservation"] == "bridge 'cni0' has one of them"
    assert why["tunnel"] == "node 'n2' may send by it: `takeover finish` there, then here again"
    assert "files" not in why


def test_while_all_stays_the_way_back_is_open(flannel):
    flannel.finish()

    assert finish.FINISH not in flannel.journal.steps


def test_a_node_stops_sending_by_the_tunnel_before_others_do_and_tells_them(flannel):
    flannel.lay(BLOCKS[OTHER])

    why = flannel.finish()

    assert why["routes"] == ""
    assert flannel.leavings.flannel == {}
    assert flannel.store.get(BlockAffinity, "n1-block").value.meta.labels == {LABEL: "flannel", LEFT: "yes"}
    assert why["tunnel"]
    assert flannel.leavings.removed == []


def test_what_has_begun_to_go_cannot_be_rolled_back(flannel):
    flannel.lay(BLOCKS[OTHER])
    flannel.finish()

    with pytest.raises(Stopped, match="there is no way back"):
        list(run.back(flannel.hands(), flannel.journal))


def test_a_node_that_is_not_taken_keeps_the_tunnel_and_the_way_to_it(tmp_path):
    made = Finishing(tmp_path, "flannel", is_ours=False)
    made.leavings.flannel = {BLOCKS[OTHER]: "to n2"}

    why = made.finish()

    assert made.leavings.flannel
    assert why["tunnel"].startswith("node 'n2' may send by it")


def test_when_nobody_needs_anything_all_of_it_goes_and_nothing_is_noted_any_more(flannel):
    flannel.lay(BLOCKS[OTHER])
    flannel.label(OTHER)
    flannel.leavings.bridges = {"cni0": ()}
    change(flannel.store, IPPool, act.POOL, lambda seen: replace(seen, nat_outgoing=True))

    flannel.finish()
    flannel.remove_bridge()
    why = flannel.finish()

    assert set(why.values()) == {""}
    assert flannel.leavings.removed[:2] == ["cni0", "flannel.1"]
    assert not flannel.leavings.chains
    assert [file.name for file in flannel.place.configurations.iterdir()] == ["10-cloudnet.conflist"]
    assert not (flannel.networks / "cbr0").exists()
    with pytest.raises(NotFound):
        flannel.store.get(IPReservation, f"takeover-{NODE}")
    assert not flannel.journal.path.exists()
    assert flannel.finish() == {}


def test_one_that_was_killed_between_two_parts_goes_on(flannel):
    flannel.lay(BLOCKS[OTHER])
    flannel.label(OTHER)
    flannel.leavings.bridges = {"cni0": ()}
    killed = finish.finish(flannel.hands(), flannel.journal)
    next(killed)
    killed.close()
    flannel.kernel.remove_link("cni0")
    flannel.leavings.chains = False

    why = flannel.finish()

    assert set(why.values()) == {""}
    assert not flannel.journal.path.exists()


def test_calicos_lowered_routes_go_where_ours_are(tmp_path):
    made = Finishing(tmp_path, "calico", network="k8s-pod-network", bridge="", plugin="calico")
    made.leavings.calico = {BLOCKS[OTHER]: "to n2", GONE: "to nobody"}

    before = made.finish()
    made.lay(BLOCKS[OTHER])
    after = made.finish()

    assert before["routes"].startswith("there is no route of ours to 10.244.2.0/24")
    assert after == {"routes": "", "files": ""}
    assert made.leavings.calico == {}


@pytest.mark.parametrize(
    ("kind", "plugin", "link"), [("vpc-cni", "aws-cni", "eni1"), ("azure-cni", "azure-vnet", "azv1")]
)
def test_of_a_clouds_own_plugin_files_go_with_the_last_old_pod(tmp_path, kind, plugin, link):
    made = Finishing(tmp_path, kind, network="cloud", bridge="", plugin=plugin)
    made.kernel.add_link(Link(link, 9, 1500, up=True))

    before = made.finish()
    made.kernel.remove_link(link)
    after = made.finish()

    assert before == {"pods": "1 pod from before the takeover runs here"}
    assert after == {"pods": "", "files": ""}


def test_a_node_that_is_half_taken_is_not_finished(tmp_path):
    made = Finishing(tmp_path, "kubenet", network="kubenet", plugin="bridge")
    made.journal.note("agent", Phase.UNDONE)

    with pytest.raises(Stopped, match="step 'agent' is not done"):
        made.finish()

    assert made.leavings.removed == []


def test_a_node_that_was_never_taken_has_nothing_to_finish(tmp_path):
    made = Finishing(tmp_path, "kubenet", network="kubenet", plugin="bridge")
    made.journal.close()

    assert made.finish() == {}
