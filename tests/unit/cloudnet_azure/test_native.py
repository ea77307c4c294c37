"""The controller's loop of native addresses on ip-configurations: blocks, then single addresses, then a pool."""

from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from cloudnet.addresses.plan import Settings
from cloudnet.controller.simulate import Simulation
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.errors import IpamError
from cloudnet.lab.clouds.azure.allotment import block, configurations
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.resources import Cause, EncapMode, IPPool, Metadata
from cloudnet.policy.selectors import Matches
from cloudnet.store.memory import MemoryStore

POOL = ip_network("10.65.0.0/16")
QUICK = Settings(warm=4, pod_limit=40, idle=20.0, quarantine=10.0, leak=60.0)


class Cluster:
    """``n1`` is a machine by itself, ``n2`` one of a scale set, both in 10.0.1.0/26; a pool is there for when …"""

    def __init__(self, cloud, *taken):
        self.cloud, self.store = cloud, MemoryStore()
        cloud.add_table("rt-1", ("s1", "10.0.1.0/26"))
        nodes = [cloud.add_machine(f"n{k}", "s1", f"10.0.1.{3 + k}/26", scale_set=k == 2) for k in (1, 2)]
        if taken:
            cloud.add_interface("theirs", "s1", *taken)
        self.store.create(IPPool(Metadata("overlay"), POOL, vxlan_mode=EncapMode.ALWAYS))
        for node in nodes:
            self.store.create(node)
        wall = cloud.clock.wall
        self.ipam = Allocator(self.store, now=lambda: datetime.fromtimestamp(wall(), UTC), matches=Matches())
        self.sim = Simulation(self.store, cloud.provider(), cloud.clock, native=QUICK)
        self.sim.run(20)

    def start(self, node, *pods):
        """Start pods on a node; return how many got a native address, the others having one of the pool."""
        return sum(self.begin(NodeName(node), pod) for pod in pods)

    def begin(self, node, pod):
        for native in (True, False):
            request = Request(node, f"net.{pod}", {"pod": pod, "namespace": "default", "node": node}, native=native)
            try:
                (given,) = self.ipam.auto_assign(Family.IPV4, 1, request)
            except IpamError:
                continue
            return given.ip not in POOL
        raise AssertionError(f"{pod} has no address at all")

    def stop(self, *pods):
        for pod in pods:
            self.ipam.release_by_handle(f"net.{pod}")

    def record(self, node="n1"):
        return self.store.get(CloudAddresses, node).value

    def held(self, node="n1"):
        """Return what the node's interface holds beside the node's own address."""
        state = self.cloud.arm.state
        machine = next(m for m in state.machines.values() if m.name == node)
        resource = state.find(machine.interface) or state.find(machine.id)
        return [str(block(c["properties"])) for c in configurations(resource)[1:]]


def test_a_warm_machine_has_one_block_and_one_of_a_scale_set_single_addresses(cloud):
    cluster = Cluster(cloud)

    assert cluster.held("n1") == ["10.0.1.16/28"]
    assert {ip_network(c).prefixlen for c in cluster.held("n2")} == {32}
    assert len(cluster.held("n2")) == QUICK.warm
    assert cluster.start("n1", "a1", "a2") == cluster.start("n2", "b1", "b2") == 2


def test_capacity_is_published_for_either_kind_of_machine(cloud):
    cluster = Cluster(cloud)

    assert cluster.record("n1").capacity == cluster.record("n2").capacity == {Family.IPV4: QUICK.pod_limit}


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_more_pods_bring_more_addresses_and_fewer_give_them_back(cloud, node):
    cluster = Cluster(cloud)
    warm = len(cluster.held(node))
    first = [f"a{k}" for k in range(4)]
    cluster.start(node, *first)
    cluster.sim.run(20)
    more = [f"b{k}" for k in range(12 if node == "n1" else 4)]
    assert cluster.start(node, *more) == len(more)
    cluster.sim.run(20)
    assert len(cluster.held(node)) > warm

    cluster.stop(*first, *more)
    cluster.sim.run(300)

    assert len(cluster.held(node)) == warm


def test_a_fragmented_subnet_gives_single_addresses(cloud):
    cluster = Cluster(cloud, *(f"10.0.1.{16 * k + 7}" for k in range(4)))

    assert {ip_network(c).prefixlen for c in cluster.held()} == {32}
    assert cluster.record().cause is Cause.NONE
    assert cluster.start("n1", "a1", "a2") == 2


def test_a_full_subnet_gives_pods_of_the_pool_and_says_why(cloud):
    cluster = Cluster(cloud, *(f"10.0.1.{k}" for k in range(6, 63)))

    assert cluster.held() == cluster.held("n2") == []
    for node in ("n1", "n2"):
        assert cluster.record(node).cause is Cause.EXHAUSTED
        assert "rg/vnet/s1" in cluster.record(node).detail
    assert cluster.start("n1", "a1") == 0


def test_what_a_machine_left_behind_is_collected(cloud):
    names = ("own", "cloudnet-c1-0011aabb-0")
    cluster = Cluster(cloud)
    cloud.add_interface("left", "s1", "10.0.1.50", "10.0.1.51", names=names)

    cluster.sim.run(2 * 3600 + 120)

    left = next(r for r in cloud.arm.state.of("networkInterfaces") if r.name == "left")
    assert [c["name"] for c in configurations(left)] == ["own"]


def test_an_idle_hour_with_native_addresses_costs_nineteen_calls_at_most(cloud):
    cluster = Cluster(cloud)
    cluster.sim.run(600)
    before = cloud.count()

    cluster.sim.run(3600)

    assert cloud.count() - before <= 19
