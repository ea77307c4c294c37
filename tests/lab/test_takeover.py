"""Nodes are taken over and given back under traffic: old pods and new ones talk, and no packet is lost."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest

from cloudnet.kernel import netns
from cloudnet.lab.traffic import Flow, Traffic
from cloudnet.model.resources import IPAMBlock, IPAMConfiguration, IPPool, IPReservation
from cloudnet.store.api import change
from cloudnet.testing import takeover
from cloudnet.testing.takeover import both_ways, eventually, open_all

pytestmark = pytest.mark.lab

POOL = ("--pool", str(takeover.RANGE))
STEADY = 0.5  # seconds of traffic after the last change


def name(letter):
    return f"{letter}{os.getpid() % 100000}"


def succeeds(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unharmed(traffic, begin, but=None):
    time.sleep(STEADY)
    sample = traffic.measure(begin, traffic.mark())
    bad = [
        (str(flow.flow), flow.lost) for flow in sample.flows if flow.flow != but and (flow.lost or not flow.intact)
    ]
    assert not bad
    assert sample.sent > 100


def phases(node):
    return [step["phase"] for step in json.loads(succeeds(node.takeover("plan", *POOL, "-o", "json")))["steps"]]


def routes_of(lab):
    """Return the cloud's routes to pods: {(table, destination): instance}."""
    tables = lab.cloud.call("describe_route_tables")["RouteTables"]
    found = {(t["RouteTableId"], r["DestinationCidrBlock"]): r.get("InstanceId") for t in tables for r in t["Routes"]}
    return {key: instance for key, instance in found.items() if instance}


def test_a_node_of_kubenet_is_taken_over_and_given_back_under_traffic():
    with (
        takeover.served_by(name("k"), "10-containerd-net.conflist", takeover.kubenet) as (n1, n2),
        Traffic() as traffic,
    ):
        old, neighbour, far = n1.attach("old"), n1.attach("near"), n2.attach("far")
        before, given = n1.host("cbr0"), n1.books("kubenet")
        n1.start_agent()
        begin = traffic.mark()
        open_all(traffic, [*both_ways(old, far), *both_ways(old, neighbour)])

        planned = phases(n1)
        unchanged = n1.host("cbr0"), n1.books("kubenet"), stored(n1.lab, IPAMConfiguration)
        succeeds(n1.takeover("run", *POOL))
        done, repeated = phases(n1), n1.takeover("run", *POOL)
        new = n1.attach("new")
        open_all(traffic, [*both_ways(new, far), *both_ways(new, old)])
        unharmed(traffic, begin)
        n1.detach("near")

        kept = n1.takeover("rollback")
        again = n1.attach("again")
        open_all(traffic, [*both_ways(again, new), *both_ways(again, far)])
        unharmed(traffic, begin)

        assert set(planned) == {""}
        assert unchanged == (before, given, [])
        assert set(done) == {"done"}
        assert "nothing to do" in succeeds(repeated)
        assert kept.returncode == 7
        assert "1 pod of ours" in kept.stdout
        n1.detach("new")
        n1.detach("again")
        n1.stop_agent()
        succeeds(n1.takeover("rollback"))

        assert n1.host("cbr0") == before
        assert n1.books("kubenet") == {a: c for a, c in given.items() if c != neighbour.attachment.container_id}


def test_a_cluster_of_kubenet_goes_native_by_the_routes_that_it_has_and_back():
    with takeover.served_by(name("c"), "10-containerd-net.conflist", takeover.kubenet) as nodes, Traffic() as traffic:
        lab, (n1, n2) = nodes[0].lab, nodes
        old, far = n1.attach("old"), n2.attach("far")
        before = routes_of(lab)
        lab.start_controller()
        begin = traffic.mark()
        open_all(traffic, both_ways(old, far))

        for node in nodes:
            node.start_agent()
            succeeds(node.takeover("run", *POOL))
        new = [node.attach("new") for node in nodes]
        passing = [*both_ways(*new), *both_ways(new[0], far)]
        open_all(traffic, passing)
        for node, other in ((n1, n2), (n2, n1)):
            eventually(lambda n=node, o=other: path(lab, n, o) == "native", lambda: "no native path")
        unharmed(traffic, begin)
        for node in nodes:
            node.takeover("rollback")
        unharmed(traffic, begin)
        for flow in passing:
            traffic.close(flow)
        begin = traffic.mark()
        for node in nodes:
            node.detach("new")
            node.stop_agent()
            succeeds(node.takeover("rollback"))
        open_all(traffic, both_ways(n1.attach("again"), far))
        unharmed(traffic, begin)

        assert routes_of(lab) == before
        assert not [item for kind in (IPAMBlock, IPPool, IPReservation) for item in stored(lab, kind)]


def test_nodes_of_flannel_are_taken_over_one_by_one_and_go_on_without_it_or_back_to_it():
    served = takeover.served_by(name("f"), "10-flannel.conflist", takeover.flannel, routed=False)
    with served as nodes, Traffic() as traffic:
        takeover.flanneld(nodes)
        n1, n2 = nodes
        old, far = n1.attach("old"), n2.attach("far")
        before = [node.host("cni0", "flannel.1") for node in nodes]
        begin = traffic.mark()
        open_all(traffic, both_ways(old, far))

        n1.start_agent()
        succeeds(n1.takeover("run", *POOL))
        open_all(traffic, [*both_ways(n1.attach("new"), far), *both_ways(n1.pods["new"], old)])
        n2.start_agent()
        succeeds(n2.takeover("run", *POOL))
        open_all(traffic, both_ways(n2.attach("new"), n1.pods["new"]))
        unharmed(traffic, begin)

        for node in nodes:
            node.takeover("rollback")
        open_all(traffic, both_ways(n1.attach("again"), n2.attach("again")))
        unharmed(traffic, begin)
        assert [{**node.host("cni0", "flannel.1"), "settings": ()} for node in nodes] == [
            {**one, "settings": ()} for one in before
        ]

        for node in nodes:
            succeeds(node.takeover("run", *POOL))
        for node in nodes:
            eventually(lambda node=node: "vxlan.calico" in node.run("ip route"), lambda: "no ground")
        for line in ("ip route flush dev flannel.1 proto boot", "ip link delete flannel.1"):
            for node in nodes:  # each node must have left before the first stops receiving
                node.run(line)
        unharmed(traffic, begin)


def test_what_flannel_left_goes_node_by_node_with_its_last_pods_and_no_packet_is_lost():
    served = takeover.served_by(name("e"), "10-flannel.conflist", takeover.flannel, routed=False)
    with served as nodes, Traffic() as traffic:
        takeover.flanneld(nodes)
        n1, n2 = nodes
        olds = both_ways(n1.attach("old"), n2.attach("far"))
        begin = traffic.mark()
        open_all(traffic, olds)
        for node in nodes:
            node.start_agent()
            succeeds(node.takeover("run", *POOL))
        open_all(traffic, both_ways(*(node.attach("new") for node in nodes)))
        for node in nodes:
            eventually(lambda node=node: "vxlan.calico" in node.run("ip route"), lambda: "no ground")

        early = n1.takeover("finish")
        refused = n1.takeover("rollback")
        unharmed(traffic, begin)
        for flow in olds:
            traffic.close(flow)
        begin = traffic.mark()
        for node, old in ((n1, "old"), (n2, "far")):  # the link itself: sockets of the traffic hold the namespace
            netns.execute(node.pods[old].namespace, ["ip", "link", "delete", "eth0"])
            node.detach(old)
        masquerade(n1.lab)
        second = n2.takeover("finish")
        first = n1.takeover("finish")
        unharmed(traffic, begin)

        assert (early.returncode, refused.returncode) == (7, 1)
        assert "1 pod from before the takeover runs here" in early.stdout
        assert "set natOutgoing of pool 'takeover' first" in early.stdout
        assert "node 'n2' may send by it" in early.stdout
        assert "there is no way back" in refused.stderr
        succeeds(second)
        succeeds(first)
        for node in nodes:
            left = node.run("ip -br link") + node.run("ip route") + node.run("iptables-save")
            assert [word for word in ("flannel.1", "cni0", "FLANNEL") if word in left] == []
            assert [file.name for file in node.conf.iterdir()] == ["10-cloudnet.conflist"]
            assert "nothing to do" in succeeds(node.takeover("finish"))
        assert not stored(n1.lab, IPReservation)


def masquerade(lab):
    store = lab.store()
    try:
        change(store, IPPool, "takeover", lambda seen: replace(seen, nat_outgoing=True))
    finally:
        store.close()


@pytest.mark.parametrize(
    ("file", "plugin", "prefix"),
    [("10-aws.conflist", "aws-cni", "eni"), ("10-azure.conflist", "azure-vnet", "azv")],
    ids=["vpc-cni", "azure-cni"],
)
def test_a_node_of_the_clouds_own_plugin_is_taken_over_and_given_back_under_traffic(file, plugin, prefix):
    configure = takeover.of_the_cloud(plugin, "cloud")
    every = {"CLOUDNET_EVERY_ROUTE_IN_EVERY_TABLE": "true"}
    served = takeover.served_by(name(prefix[0]), file, configure, ranges=False, settings=every)
    with served as (n1, n2), Traffic() as traffic:
        old, near, far = (takeover.attach_natively(n, p, prefix) for n, p in ((n1, "old"), (n1, "near"), (n2, "far")))
        before = n1.host()
        begin = traffic.mark()
        open_all(traffic, [*both_ways(old, far), *both_ways(old, near)])
        early = n1.takeover("run", *POOL)
        n1.lab.start_controller()
        n1.start_agent()

        succeeds(n1.takeover("run", *POOL))
        new = n1.attach("new")
        passing = [*both_ways(new, far), *both_ways(new, old)]
        open_all(traffic, passing)
        unharmed(traffic, begin)
        kept = n1.takeover("rollback")
        unharmed(traffic, begin)
        after = n1.host()
        for flow in passing:
            traffic.close(flow)
        begin = traffic.mark()
        netns.execute(new.namespace, ["ip", "link", "delete", "eth0"])  # all that the predecessor's DEL would do
        n1.stop_agent()
        succeeds(n1.takeover("rollback"))
        unharmed(traffic, begin)

        assert early.returncode == 7
        assert kept.returncode == 7
        assert after == before
        assert not [item for kind in (IPAMBlock, IPPool) for item in stored(n1.lab, kind)]


@pytest.mark.parametrize("metric", [0, 1024])
def test_a_node_of_calico_is_taken_over_and_given_back_under_traffic(metric):
    with takeover.served_by_calico(name("l"), metric=metric) as (n1, n2), Traffic() as traffic:
        old, far = n1.pods["p1"], n2.pods["p1"]
        before = n1.host()["configurations"]
        begin = traffic.mark()
        open_all(traffic, both_ways(old, far))
        barred = Flow("udp", n2.pods["p2"].endpoint, old.endpoint)
        traffic.open(barred)

        n1.start_agent()
        succeeds(n1.takeover("run"))
        open_all(traffic, [*both_ways(n1.attach("new"), far), *both_ways(n1.pods["new"], old)])
        unharmed(traffic, begin, but=barred)
        taken = n1.run("iptables-save"), n1.run("nft list tables")
        ways = n1.run(f"ip route show {n2.block}").splitlines()
        waits = n1.takeover("rollback")
        n1.stop_agent()
        still = n1.takeover("rollback")
        takeover.felix_chains(n1, n2.pods["p2"].address)
        succeeds(n1.takeover("rollback"))
        unharmed(traffic, begin, but=barred)

        assert not traffic.arrived(barred)
        assert "cali-" not in taken[0]
        assert "inet cloudnet" in taken[1]
        assert ["proto 67" in way for way in ways] == [True, False]
        assert (waits.returncode, still.returncode) == (7, 7)
        assert "until calico-node has written its own" in still.stdout
        assert "inet cloudnet" not in n1.run("nft list tables")
        assert n1.host()["configurations"] == before


def stored(lab, kind):
    store = lab.store()
    try:
        return [item.value for item in store.list(kind).items]
    finally:
        store.close()


def path(lab, node, other):
    return next((p.kind.value for p in lab.paths(node.name) if p.block == other.block), "none")
