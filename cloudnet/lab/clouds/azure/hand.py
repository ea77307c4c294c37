"""The lab's hand on its Azure: makes the network and its machines, by way of the cloud's control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from cloudnet.lab.clouds.api import ENDPOINT, KEY, Launched, Socket
from cloudnet.lab.clouds.azure.names import GROUP, NETWORK_API, SCALE_SET, SUBSCRIPTION
from cloudnet.lab.spec import OUTSIDE_HOST, POOL, VPC, SubnetPlan
from cloudnet.lab.state import CloudRecord

_NETWORKS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Network"
_OUTSIDER = VPC.network_address + 256 + 9  # the address of somebody else's machine: below the nodes' own
WRITES = frozenset({"Routes_CreateOrUpdate", "Routes_Delete", "RouteTables_CreateOrUpdate"})


@dataclass(frozen=True, slots=True)
class Azure(Socket):
    """One lab's Azure, by its control socket."""

    lab: str

    @property
    def route_writes(self) -> frozenset[str]:
        return WRITES

    def arm(self, method: str, path: str, body: object = None) -> Any:  # a resource as JSON, known by its caller
        """Make one call to Resource Manager, below ``Microsoft.Network`` of the lab's resource group."""
        return self.ask("arm", method=method, path=f"{_NETWORKS}/{path}", version=NETWORK_API, body=body)["body"]

    def make_network(self, subnets: Sequence[SubnetPlan]) -> CloudRecord:
        tables = {subnet.name: f"rt-{subnet.name}" for subnet in subnets}
        for table in tables.values():
            self.arm("PUT", f"routeTables/{table}", {"location": "westeurope"})
        group = self.arm("PUT", "networkSecurityGroups/nodes", security_group())["id"]
        prefixes = [
            {
                "name": subnet.name,
                "properties": {
                    "addressPrefix": str(subnet.cidr),
                    "routeTable": {"id": f"{_NETWORKS}/routeTables/{tables[subnet.name]}"},
                    "networkSecurityGroup": {"id": group},
                },
            }
            for subnet in subnets
        ]
        space = {"addressPrefixes": [str(VPC)]}
        body = {"location": "westeurope", "properties": {"addressSpace": space, "subnets": prefixes}}
        network = self.arm("PUT", f"virtualNetworks/{self.lab}", body)["id"]
        self.ask("network", network=network)
        self.sync()
        return CloudRecord(network, {s.name: f"{network}/subnets/{s.name}" for s in subnets}, tables)

    def attach_outside(self, cloud: CloudRecord, subnet: str) -> None:
        """Attach a virtual network gateway whose end is in ``subnet``, and lead packets for outside there."""
        self.ask("gateway", subnet=cloud.subnets[subnet])
        for table in cloud.tables.values():
            properties = {"addressPrefix": str(OUTSIDE_HOST.network), "nextHopType": "VirtualNetworkGateway"}
            self.arm("PUT", f"routeTables/{table}/routes/outside", {"properties": properties})

    def launch(self, name: str, subnet: str, address: IPv4Address) -> Launched:
        """Start a machine with a fixed address and no IP forwarding; every second one is a scale set's."""
        scale_set = int(address) % 2 == 1
        made = self.ask("launch", name=name, subnet=subnet, address=str(address), scale_set=scale_set)
        return Launched(made["instance"], made["interface"], made["mac"])

    def stop(self, instance: str) -> None:
        self.ask("power", instance=instance, on=False)
        self.sync()

    def start(self, instance: str) -> None:
        self.ask("power", instance=instance, on=True)
        self.sync()

    def terminate(self, instance: str) -> None:
        self.ask("terminate", instance=instance)
        self.sync()

    def provider_id(self, instance: str, zone: str) -> str:  # noqa: ARG002 - Azure's names no zone
        return f"azure://{instance}"

    def provider_config(self, cloud: CloudRecord, *, mtu: int) -> Mapping[str, object]:  # noqa: ARG002 - tables are found by their subnets
        return {
            "subscription_id": SUBSCRIPTION,
            "resource_group": GROUP,
            "cluster": self.lab,
            "endpoint_url": ENDPOINT,
            "access_token": KEY,
            "scale_sets": [SCALE_SET],
            "mtu": mtu,
            "poll_seconds": 0.2,
            "power_seconds": 1.0,  # a machine that somebody stops is seen at the next look
            "read_rate": 100.0,  # after being throttled, the slowest pace is a fraction of these
            "write_rate": 40.0,
            "deadline": 3.0,  # a person who watches does not wait for the last try
        }

    def routes(self, table: str) -> Mapping[str, Mapping[str, Any]]:
        """Return a table's routes as Azure shows them, by destination."""
        found = self.arm("GET", f"routeTables/{table}")["properties"]["routes"]
        return {r["properties"]["addressPrefix"]: r for r in found}

    def delete_route(self, table: str, block: IPv4Network) -> None:
        if found := self.routes(table).get(str(block)):
            self.arm("DELETE", f"routeTables/{table}/routes/{found['name']}")

    def claim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        hop = {"nextHopType": "VirtualAppliance", "nextHopIpAddress": str(_OUTSIDER)}
        for table in cloud.tables.values():
            name = self.routes(table).get(str(block), {}).get("name", "somebody-elses")
            properties = {"addressPrefix": str(block), **hop}
            self.arm("PUT", f"routeTables/{table}/routes/{name}", {"properties": properties})

    def unclaim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        for table in cloud.tables.values():
            found = self.routes(table).get(str(block))
            if found and found["properties"].get("nextHopIpAddress") == str(_OUTSIDER):
                self.arm("DELETE", f"routeTables/{table}/routes/{found['name']}")


def security_group() -> Mapping[str, object]:
    """Return a group that lets nodes and pods in, as the Terraform module's does; the fabric does not look at it."""
    rules = [
        {
            "name": f"cloudnet-{name}",
            "properties": {
                "priority": priority,
                "direction": "Inbound",
                "access": "Allow",
                "protocol": "*",
                "sourcePortRange": "*",
                "destinationPortRange": "*",
                "sourceAddressPrefix": str(source),
                "destinationAddressPrefix": "*",
            },
        }
        for priority, (name, source) in enumerate((("nodes", VPC), ("pods", POOL)), start=200)
    ]
    return {"location": "westeurope", "properties": {"securityRules": rules}}
