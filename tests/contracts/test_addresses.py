"""Every provider with native addresses keeps the contract: the twin in memory first."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.model.addresses import Family
from cloudnet.model.resources import Metadata, Node
from cloudnet.provider.api import Wanted
from cloudnet.provider.memory import MemoryCloud, MemoryProvider
from cloudnet.provider.memory_addresses import AddressSpace
from cloudnet.testing.addresses import AddressContract, allocator, primary


class MemoryWorld:
    def __init__(self):
        self.clock = ManualClock()
        self.cloud = MemoryCloud(self.clock)
        self.space = AddressSpace(self.clock)
        self.space.add_subnet("subnet-1", "10.0.1.0/24", "fd00:1::/64")
        self.cloud.add_table("rtb-1", subnets=["subnet-1"])
        self.nodes = []
        for k in (1, 2):
            address = ip_interface(f"10.0.1.{k}/24")
            self.space.add_machine(self.cloud.add_instance(f"i-{k}", "subnet-1", [address.ip]))
            self.nodes.append(Node(Metadata(f"n{k}"), (address,), provider_id=f"memory:///z/i-{k}"))
        self.provider = MemoryProvider(self.cloud, self.clock, space=self.space)

    def truth(self, interface):
        seen = self.space.interfaces.get(interface)
        return frozenset(seen.cidrs if seen else ())

    def exists(self, interface):
        return interface in self.space.interfaces

    def fragment(self, subnet):
        self.space.fragment(subnet)

    def fill(self, subnet):
        self.space.take(subnet, *(str(a) for a in ip_network("10.0.1.0/24")))

    def fail(self, call, fault, *, times=None, skip=0):
        self.cloud.fail(call, fault, times=times, skip=skip)

    def calls(self, *names):
        return self.cloud.count(*names)


class TestMemory(AddressContract):
    @pytest.fixture
    def world(self):
        return MemoryWorld()

    def test_a_foreign_address_takes_a_slot_and_is_not_shown(self, world):
        world.space.add_foreign_address("eni-1", "10.0.1.77")

        seen = primary(world, "n1")

        assert seen.cidrs == ()
        assert seen.foreign == {Family.IPV4: 1}

    def test_an_ipv6_prefix_is_a_slash_80(self, world):
        (given,) = allocator(world).assign(primary(world, "n1"), Wanted(Family.IPV6, 80))

        assert given.prefixlen == 80
        assert ip_address("fd00:1::") not in given
