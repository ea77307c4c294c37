"""The lab's hand on its IBM Cloud: makes the VPC and its machines, by way of the cloud's control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from cloudnet.lab.clouds.api import ENDPOINT, KEY, Launched, Socket
from cloudnet.lab.clouds.ibm.contract import PREFIX, ROUTE_WRITES
from cloudnet.lab.spec import VPC, SubnetPlan
from cloudnet.lab.state import CloudRecord

_OUTSIDER_HOST = 9  # below the nodes' own; there is no machine, and packets led there vanish


@dataclass(frozen=True, slots=True)
class Ibm(Socket):
    """One lab's VPC."""

    lab: str = "lab"

    @property
    def route_writes(self) -> frozenset[str]:
        return ROUTE_WRITES

    def make_network(self, subnets: Sequence[SubnetPlan]) -> CloudRecord:
        wanted = [{"name": s.name, "zone": s.zone, "cidr": str(s.cidr)} for s in subnets]
        answer = self.ask("network", subnets=wanted)
        self.sync()
        made = answer["made"]
        ids, tables = ({name: one[what] for name, one in made.items()} for what in ("subnet", "table"))
        return CloudRecord(answer["vpc"], ids, tables)

    def attach_outside(self, cloud: CloudRecord, subnet: str) -> None:
        self.ask("outside", subnet=cloud.subnets[subnet])

    def launch(self, name: str, subnet: str, address: IPv4Address) -> Launched:
        made = self.ask("launch", name=name, subnet=subnet, address=str(address))
        return Launched(made["instance"], made["interface"], made["mac"])

    def stop(self, instance: str) -> None:
        self.ask("status", instance=instance, status="stopped")
        self.sync()

    def start(self, instance: str) -> None:
        self.ask("status", instance=instance, status="running")
        self.sync()

    def terminate(self, instance: str) -> None:
        self.ask("terminate", instance=instance)
        self.sync()

    def provider_id(self, instance: str, zone: str) -> str:  # noqa: ARG002 - other clouds have it in there
        return f"ibm://lab///{self.lab}/{instance}"

    def provider_config(self, cloud: CloudRecord, *, mtu: int) -> Mapping[str, object]:
        return {
            "region": "eu-de",
            "vpc_id": cloud.vpc,
            "cluster": self.lab,
            "endpoint_url": ENDPOINT + PREFIX,
            "token": KEY,
            "mtu": mtu,
            "deadline": 3.0,  # a person who watches does not wait for the last try
        }

    def delete_route(self, table: str, block: IPv4Network) -> None:
        self.ask("delete-route", table=table, block=str(block))

    def claim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        elsewhere = VPC.network_address + 256 + _OUTSIDER_HOST
        for table in cloud.tables.values():
            self.ask("claim", table=table, block=str(block), address=str(elsewhere))

    def unclaim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        for table in cloud.tables.values():
            self.ask("unclaim", table=table, block=str(block))
