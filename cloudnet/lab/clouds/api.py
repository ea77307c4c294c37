"""What a lab needs of a cloud: its hand on machines and routes, and a few facts to start it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from cloudnet.lab import control
from cloudnet.lab.manners import Manners
from cloudnet.lab.spec import SubnetPlan
from cloudnet.lab.state import CloudRecord

ENDPOINT = "http://127.0.0.1:5000"  # of the account, in the cloud's namespace
KEY = "CLOUDNETLAB"  # the only credential that a lab's cloud accepts


@dataclass(frozen=True, slots=True)
class Launched:
    """What the cloud gave to a new machine."""

    instance: str
    interface: str
    mac: str


class Cloud(Protocol):
    """One lab's cloud, as an outsider of the account that cloudnet uses.

    Every method raises ``LabError`` with the cloud's own words when it fails.
    """

    @property
    def route_writes(self) -> frozenset[str]:
        """The calls that write routes, as the account's permissions name them."""

    def set(self, **conditions: object) -> None:
        """Change ``Conditions`` of the account."""

    def sync(self) -> None:
        """Make the fabric follow at once."""

    def stats(self) -> dict[str, Any]:
        """Return ``calls``, ``drops`` and ``conditions``: JSON of the control socket."""

    def make_network(self, subnets: Sequence[SubnetPlan]) -> CloudRecord:
        """Make the network with its subnets and route tables, and let the fabric follow it."""

    def attach_outside(self, cloud: CloudRecord, subnet: str) -> None:
        """Lead what is for the host outside out of the cloud, and what comes in to the table of ``subnet``."""

    def launch(self, name: str, subnet: str, address: IPv4Address) -> Launched:
        """Start a machine with a fixed address, in the subnet of that id; it may not forward yet."""

    def stop(self, instance: str) -> None: ...

    def start(self, instance: str) -> None: ...

    def terminate(self, instance: str) -> None: ...

    def provider_id(self, instance: str, zone: str) -> str:
        """Return what Kubernetes would call the machine."""

    def provider_config(self, cloud: CloudRecord, *, mtu: int) -> Mapping[str, object]:
        """Return what the controller's provider is configured with."""

    def delete_route(self, table: str, block: IPv4Network) -> None:
        """Delete a block's route behind cloudnet's back; that there is none is success."""

    def claim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        """Lead a block to somebody else's machine, in every table."""

    def unclaim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        """Take away what ``claim`` made, and nothing else."""


class Tenant(Protocol):
    """Somebody else in a lab's account, who has addresses of the nodes' subnets; where pods can have such.

    Every method raises ``LabError`` with the cloud's own words when it fails.
    """

    @property
    def address_writes(self) -> frozenset[str]:
        """The calls of cloudnet that take and give back addresses, as the account's permissions name them."""

    def fragment(self, subnet: str) -> None:
        """Have an address in every free prefix of a subnet."""

    def fill(self, subnet: str) -> None:
        """Have every address of a subnet that is free."""

    def leave(self, subnet: str) -> None:
        """Give back what ``fragment`` and ``fill`` took."""

    def rob(self, interface: str, prefix: IPv4Network) -> None:
        """Take a prefix away from a node's interface, for himself."""

    def restore(self, interface: str, prefix: IPv4Network) -> None:
        """Give the interface its prefix back."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of cloud that a lab can be.

    ``process`` is the module that runs in the cloud's namespace, ``packages`` what it and the plugin import.
    ``tenant`` makes somebody else in the account from the hand; without it pods get no addresses of the cloud here.
    The rest is as in ``Manners``; where a subnet is not flat, all that passes between
    machines goes by its router, which answers every ARP request.
    """

    name: str
    process: str
    hand: Callable[[Path, str], Cloud]
    packages: tuple[str, ...] = ()
    flat: bool = True
    listed: int = 0
    tells_quota: bool = True
    tells_death: bool = True
    zonal: bool = False
    without: frozenset[str] = frozenset()
    tenant: Callable[[Any], Tenant] | None = None  # of the hand that ``hand`` makes
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @property
    def manners(self) -> Manners:
        return Manners(
            self.flat, self.listed, self.tells_quota, self.tells_death, zonal=self.zonal, without=self.without
        )


@dataclass(frozen=True, slots=True)
class Socket:
    """The part of a hand that is alike on every cloud: questions over the control socket."""

    path: Path

    def ask(self, verb: str, **fields: object) -> dict[str, Any]:  # JSON, known by its caller
        return control.ask(self.path, {"verb": verb, **fields}, timeout=30)

    def set(self, **conditions: object) -> None:
        self.ask("set", conditions=conditions)

    def sync(self) -> None:
        self.ask("sync")

    def stats(self) -> dict[str, Any]:
        return self.ask("stats")
