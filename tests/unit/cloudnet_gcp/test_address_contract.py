"""Google keeps the contract of native addresses: alias ranges, over the real SDK."""

from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.gcp.state import fingerprint
from cloudnet.testing.addresses import AddressContract


class AddressWorld:
    """The world of conftest.py, with both nodes in one subnet, as the contract of addresses has it."""

    def __init__(self, world):
        self.world = world
        self.clock = world.clock
        self.nodes = [world.nodes[0], world.add_node(1, name="vm-b", number=2)]

    @property
    def provider(self):
        return self.world.provider

    def truth(self, interface):
        nic = self.nic(interface)
        return frozenset(ip_network(a["ipCidrRange"]) for a in nic.get("aliasIpRanges", [])) if nic else frozenset()

    def exists(self, interface):
        return self.nic(interface) is not None

    def nic(self, interface):
        name = interface.split("/")[-2] if "/" in interface else ""
        found = [m for _, m in self.world.google.project.of("instances") if m["name"] == name]
        return found[0]["networkInterfaces"][0] if found else None

    def fragment(self, _subnet):
        self.take([f"{prefix[1]}/32" for prefix in ip_network("10.201.0.0/24").subnets(new_prefix=28)])

    def fill(self, _subnet):
        self.take(["10.201.0.0/24"])

    def take(self, cidrs):
        """Let a machine of somebody else have alias ranges."""
        self.world.add_node(1, name="theirs", number=9)
        nic = self.nic("here-a/theirs/nic0")
        nic["aliasIpRanges"] = [{"ipCidrRange": c, "subnetworkRangeName": "pods"} for c in cidrs]
        nic["fingerprint"] = fingerprint(nic)

    def fail(self, call, fault, *, times=None, skip=0):
        self.world.fail(call, fault, times=times, skip=skip)

    def calls(self, *names):
        return self.world.calls(*names)


class TestGcp(AddressContract):
    @pytest.fixture
    def world(self, make_world):
        return AddressWorld(make_world(pod_range="pods"))
