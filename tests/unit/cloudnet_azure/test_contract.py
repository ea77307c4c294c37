"""The Azure plugin keeps the provider contract, on a simulated Azure through the real SDK."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudnet.lab.clouds.trouble import Fault as SimulatedFault
from cloudnet.lab.clouds.trouble import Trouble
from cloudnet.model.resources import NextHop
from cloudnet.provider.memory import Fault
from cloudnet.testing.provider import ProviderContract
from cloudnet_azure import ids

WRITES = ("Routes_CreateOrUpdate", "RouteTables_CreateOrUpdate")
CALLS = {
    "describe_tables": ("RouteTables_List", "RouteTables_Get"),
    "describe_instances": ("NetworkInterfaces_List", "NetworkInterfaces_ListVirtualMachineScaleSetNetworkInterfaces"),
    "modify_interface": ("NetworkInterfaces_CreateOrUpdate", "VirtualMachineScaleSetVMs_Update"),
    "delete_route": ("Routes_Delete",),
    "create_route": WRITES,
    "replace_route": WRITES,
}
TROUBLES = {
    Fault.THROTTLE: Trouble.THROTTLE,
    Fault.PERMISSION: Trouble.PERMISSION,
    Fault.QUOTA: Trouble.QUOTA,
    Fault.UNAVAILABLE: Trouble.UNAVAILABLE,
    Fault.TIMEOUT: Trouble.TIMEOUT,
}


class AzureWorld:
    """Three machines in three subnets; the first write of a route is a create, a further one a replace."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.clock = cloud.clock
        self.nodes = []
        for k in (1, 2, 3):
            cloud.add_table(f"rt-{k}", (f"s{k}", f"10.0.{k}.0/24"))
            self.nodes.append(cloud.add_machine(f"n{k}", f"s{k}", f"10.0.{k}.11/24", f"fd00:{k}::11/64"))
        self.nodes[2] = replace(self.nodes[2], provider_id="")
        self.provider = cloud.provider(scale_sets=())

    def truth(self, table):
        interfaces = {
            c["properties"]["privateIPAddress"]: ids.interface(machine.interface)
            for machine in self.cloud.arm.state.machines.values()
            for c in self.cloud.arm.state.find(machine.interface).written["properties"]["ipConfigurations"]
        }
        return {
            prefix: NextHop(interface=interfaces.get(where))
            for prefix, (_, where) in self.cloud.routes(table).items()
        }

    def put_foreign(self, table, destination):
        self.cloud.add_route(table, "theirs", str(destination), kind="VirtualNetworkGateway")

    def put_route(self, table, destination, next_hop):
        self.cloud.add_route(table, "by-hand", str(destination), address=str(next_hop.address))

    def fail(self, call, fault, *, times=None, skip=0):
        for name in CALLS[call]:
            self.cloud.simulator.faults.add(SimulatedFault(name, TROUBLES[fault], times=times, skip=skip))

    def calls(self, *names):
        return sum(self.count(name) for name in names) if names else len(self.cloud.simulator.log)

    def count(self, name):
        log, written, found = self.cloud.simulator.log, set(), 0
        for call in log:
            again = call.path in written
            if call.name in WRITES and call.status < 300:
                written.add(call.path)
            found += call.name in CALLS[name] and (call.name not in WRITES or again == (name == "replace_route"))
        return found


class TestAzure(ProviderContract):
    @pytest.fixture
    def world(self, cloud):
        return AzureWorld(cloud)
