"""The controller's loop of native addresses on alias ranges: taken on demand, given back, a pool when out."""

from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from cloudnet.addresses.plan import Settings
from cloudnet.controller.simulate import Simulation
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.errors import IpamError
from cloudnet.lab.clouds.gcp.state import fingerprint
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.resources import Cause, EncapMode, IPPool, Metadata
from cloudnet.policy.selectors import Matches
from cloudnet.store.memory import MemoryStore

POOL = ip_network("10.65.0.0/16")
QUICK = Settings(warm=4, pod_limit=40, idle=20.0, quarantine=10.0, leak=60.0)


class Cluster:
    """``n1`` with native addresses from 10.201.0.0/24, and a pool for when there are none."""

    def __init__(self, world):
        self.world, self.store = world, MemoryStore()
        self.store.create(IPPool(Metadata("overlay"), POOL, vxlan_mode=EncapMode.ALWAYS))
        self.store.create(world.nodes[0])
        wall = world.clock.wall
        self.ipam = Allocator(self.store, now=lambda: datetime.fromtimestamp(wall(), UTC), matches=Matches())
        self.sim = Simulation(self.store, world.provider, world.clock, native=QUICK)
        self.sim.run(10)

    def start(self, *pods):
        """Start pods; return how many got a native address, the others having one of the pool."""
        return sum(self.begin(pod) for pod in pods)

    def begin(self, pod):
        node = NodeName("n1")
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

    @property
    def record(self):
        return self.store.get(CloudAddresses, "n1").value

    @property
    def aliases(self):
        path = "projects/lab/zones/here-a/instances/vm-1"
        nic = self.world.google.project.resources[path]["networkInterfaces"][0]
        return [a["ipCidrRange"] for a in nic.get("aliasIpRanges", [])]


@pytest.fixture
def world(make_world):
    return make_world(pod_range="pods")


def test_a_warm_node_has_one_alias_range(world):
    cluster = Cluster(world)

    assert cluster.aliases == ["10.201.0.0/28"]
    assert [str(p.cidr) for p in cluster.record.prefixes] == ["10.201.0.0/28"]
    assert cluster.start("p1", "p2") == 2


def test_more_pods_bring_more_ranges_and_fewer_give_them_back(world):
    cluster = Cluster(world)
    first = [f"a{k}" for k in range(13)]
    cluster.start(*first)
    cluster.sim.run(10)
    assert len(cluster.aliases) == 2
    assert cluster.start("b1", "b2", "b3", "b4") == 4

    cluster.stop(*first, "b1", "b2", "b3", "b4")
    cluster.sim.run(300)

    assert len(cluster.aliases) == 1


def test_a_range_without_room_gives_pods_of_the_pool_and_says_why(world):
    world.add_node(1, name="theirs", number=9)
    nic = world.google.project.resources["projects/lab/zones/here-a/instances/theirs"]["networkInterfaces"][0]
    nic["aliasIpRanges"] = [{"ipCidrRange": "10.201.0.0/24", "subnetworkRangeName": "pods"}]
    nic["fingerprint"] = fingerprint(nic)

    cluster = Cluster(world)

    assert cluster.aliases == []
    assert cluster.record.cause is Cause.EXHAUSTED
    assert "here/s1" in cluster.record.detail
    assert cluster.start("p1") == 0


def test_an_idle_hour_with_native_addresses_costs_twelve_calls_at_most(world):
    cluster = Cluster(world)
    cluster.sim.run(600)
    before = world.google.simulator.counts.total()

    cluster.sim.run(3600)

    assert world.google.simulator.counts.total() - before <= 12
