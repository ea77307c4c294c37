"""Azure keeps the contract of native addresses: ip-configurations, over the real SDK."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.azure.allotment import block, configurations
from cloudnet.lab.clouds.trouble import Fault as SimulatedFault
from cloudnet.lab.clouds.trouble import Trouble
from cloudnet.provider.memory import Fault
from cloudnet.testing.addresses import AddressContract
from cloudnet_azure import ids

SUBNET = ip_network("10.0.1.0/24")
CALLS = {
    "describe_interfaces": "NetworkInterfaces_List",
    "assign_addresses": "NetworkInterfaces_CreateOrUpdate",
    "release_addresses": "NetworkInterfaces_CreateOrUpdate",
}
TROUBLES = {
    Fault.THROTTLE: Trouble.THROTTLE,
    Fault.PERMISSION: Trouble.PERMISSION,
    Fault.UNAVAILABLE: Trouble.UNAVAILABLE,
    Fault.TIMEOUT: Trouble.TIMEOUT,
}


class AddressWorld:
    """Two machines in one subnet; everything else there belongs to somebody else."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.clock = cloud.clock
        cloud.add_table("rt-1", ("s1", str(SUBNET)))
        self.nodes = [cloud.add_machine(f"n{k}", "s1", f"10.0.1.1{k}/24") for k in (1, 2)]
        self.provider = cloud.provider(scale_sets=())

    def truth(self, interface):
        found = self.resource(interface)
        held = [block(c["properties"]) for c in configurations(found)[1:]] if found else []
        return frozenset(held)

    def exists(self, interface):
        return self.resource(interface) is not None

    def resource(self, interface):
        return next(
            (r for r in self.cloud.arm.state.of("networkInterfaces") if ids.interface(r.id) == interface), None
        )

    def fragment(self, _subnet):
        self.take(prefix[7] for prefix in SUBNET.subnets(new_prefix=28))

    def fill(self, _subnet):
        self.take(a for a in list(SUBNET.hosts())[3:] if str(a) not in {"10.0.1.11", "10.0.1.12"})

    def take(self, addresses):
        """Let an interface of somebody else have addresses."""
        self.cloud.add_interface("theirs", "s1", *map(str, addresses))

    def fail(self, call, fault, *, times=None, skip=0):
        self.cloud.simulator.faults.add(SimulatedFault(CALLS[call], TROUBLES[fault], times=times, skip=skip))

    def calls(self, *names):
        return self.cloud.count(*(CALLS[name] for name in names))


class TestAzure(AddressContract):
    @pytest.fixture
    def world(self, cloud):
        return AddressWorld(cloud)
