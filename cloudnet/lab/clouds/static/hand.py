"""The lab's hand on its plain network: plugs machines in and pulls them out, by way of the control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from cloudnet.lab.clouds.api import Launched, Socket
from cloudnet.lab.errors import LabError
from cloudnet.lab.spec import POOL, SubnetPlan
from cloudnet.lab.state import CloudRecord

NO_API = frozenset({"quota", "permission", "throttle", "foreign-route", "delete-route", "api-down"})
"""Faults of an API, and of tables that people write to."""


@dataclass(frozen=True, slots=True)
class Static(Socket):
    """One lab's network. A machine's instance is its name."""

    lab: str = "lab"

    @property
    def route_writes(self) -> frozenset[str]:
        return frozenset()

    def make_network(self, subnets: Sequence[SubnetPlan]) -> CloudRecord:
        self.ask("network", subnets={s.name: str(s.cidr) for s in subnets})
        self.sync()
        return CloudRecord("plain", {s.name: s.name for s in subnets}, {s.name: f"static/{s.name}" for s in subnets})

    def attach_outside(self, cloud: CloudRecord, subnet: str) -> None:  # noqa: ARG002 - other clouds need it
        self.ask("outside", subnet=subnet)

    def launch(self, name: str, subnet: str, address: IPv4Address) -> Launched:
        made = self.ask("launch", name=name, subnet=subnet, address=str(address))
        return Launched(name, f"{name}/{address}", made["mac"])

    def stop(self, instance: str) -> None:
        self.ask("power", name=instance, on=False)
        self.sync()

    def start(self, instance: str) -> None:
        self.ask("power", name=instance, on=True)
        self.sync()

    def terminate(self, instance: str) -> None:
        self.ask("terminate", name=instance)
        self.sync()

    def provider_id(self, instance: str, zone: str) -> str:  # noqa: ARG002 - a plain machine has none
        return ""

    def provider_config(self, cloud: CloudRecord, *, mtu: int) -> Mapping[str, object]:  # noqa: ARG002 - the same
        return {"mtu": mtu, "routed": [{"prefix": str(POOL)}]}

    def delete_route(self, table: str, block: IPv4Network) -> None:
        raise LabError(f"nobody can delete {block} in {table}: the routers of a plain network have no API")

    def claim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        raise LabError(f"nobody can claim {block} in {cloud.vpc}: the routers of a plain network have no API")

    def unclaim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        """Nothing was ever claimed."""
