"""Somebody else in the lab's Google project: his machines have alias ranges that nodes would like to have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

from cloudnet.lab.clouds.gcp.hand import POD_RANGE, Google
from cloudnet.lab.clouds.gcp.state import last

SQUATTER, ROBBER = "squatter", "robber"  # what the names of his machines begin with
_ALIASES = 100  # of one machine
_FIRST_HOST = 3  # of his machines: below the nodes' and the outsider's
_PIECE = 28


@dataclass(frozen=True, slots=True)
class GoogleTenant:
    """Has machines of his own, which nobody ever hears of."""

    hand: Google

    @property
    def address_writes(self) -> frozenset[str]:
        return frozenset({"compute.instances.updateNetworkInterface"})

    def fragment(self, subnet: str) -> None:
        pieces = [
            p for free in self._free(subnet) if free.prefixlen <= _PIECE for p in free.subnets(new_prefix=_PIECE)
        ]
        self._squat(subnet, [IPv4Network(piece[7]) for piece in pieces])

    def fill(self, subnet: str) -> None:
        self._squat(subnet, list(self._free(subnet)))

    def leave(self, subnet: str) -> None:
        for machine in self._machines():
            if machine["name"].startswith(SQUATTER) and _subnet(machine) == last(subnet):
                self.hand.api("DELETE", _path(machine))

    def rob(self, interface: str, prefix: IPv4Network) -> None:
        machine = self._owner(interface)
        self._set(machine, [a for a in _aliases(machine) if a["ipCidrRange"] != str(prefix)])
        robber = self._launch(f"{ROBBER}-{str(prefix[0]).replace('.', '-')}", _of(machine), 0)
        self._set(robber, [_alias(prefix)])

    def restore(self, interface: str, prefix: IPv4Network) -> None:
        name = f"{ROBBER}-{str(prefix[0]).replace('.', '-')}"
        for robber in [m for m in self._machines() if m["name"] == name]:
            self.hand.api("DELETE", _path(robber))
            machine = self._owner(interface)
            self._set(machine, [*_aliases(machine), _alias(prefix)])

    def _squat(self, subnet: str, wanted: list[IPv4Network]) -> None:
        for number, first in enumerate(range(0, len(wanted), _ALIASES), start=1):
            machine = self._launch(f"{SQUATTER}{number}-{last(subnet)}", subnet, number)
            self._set(machine, [_alias(cidr) for cidr in wanted[first : first + _ALIASES]])

    def _launch(self, name: str, subnet: str, number: int) -> Any:  # a machine as JSON
        zone, _, of = subnet.partition("/")
        region = zone.rpartition("-")[0]
        cidr = IPv4Network(self.hand.api("GET", f"regions/{region}/subnetworks/{of}")["ipCidrRange"])
        launched = self.hand.launch(name, subnet, cidr[_FIRST_HOST + number])
        return self._owner(launched.interface)

    def _free(self, subnet: str) -> Iterator[IPv4Network]:
        """Yield what of a subnet's range for pods nobody has, in the largest pieces."""
        zone, _, of = subnet.partition("/")
        shown = self.hand.api("GET", f"regions/{zone.rpartition('-')[0]}/subnetworks/{of}")
        (cidr,) = (r["ipCidrRange"] for r in shown["secondaryIpRanges"] if r["rangeName"] == POD_RANGE)
        held = [IPv4Network(a["ipCidrRange"]) for m in self._machines() if _subnet(m) == of for a in _aliases(m)]
        return _without(IPv4Network(cidr), held)

    def _machines(self) -> list[Any]:
        scopes = self.hand.api("GET", "aggregated/instances").get("items", {}).values()
        return [machine for scope in scopes for machine in scope.get("instances", [])]

    def _owner(self, interface: str) -> Any:
        zone, name = interface.split("/")[:2]
        return self.hand.api("GET", f"zones/{zone}/instances/{name}")

    def _set(self, machine: Any, aliases: list[Any]) -> None:
        nic = machine["networkInterfaces"][0]
        body = {"fingerprint": nic["fingerprint"], "aliasIpRanges": aliases}
        self.hand.api("PATCH", f"{_path(machine)}/updateNetworkInterface?networkInterface=nic0", body)


def _without(whole: IPv4Network, held: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Yield what is left of a range, in the largest pieces."""
    left = [whole]
    for each in held:
        left = [p for n in left for p in (n.address_exclude(each) if each.subnet_of(n) else [n])]
    return collapse_addresses(left)


def _alias(cidr: IPv4Network) -> dict[str, str]:
    return {"ipCidrRange": str(cidr), "subnetworkRangeName": POD_RANGE}


def _aliases(machine: Any) -> list[Any]:
    return list(machine["networkInterfaces"][0].get("aliasIpRanges", []))


def _subnet(machine: Any) -> str:
    return last(machine["networkInterfaces"][0]["subnetwork"])


def _of(machine: Any) -> str:
    """Return the subnet of a machine as ``ZONE/SUBNET``."""
    return f"{last(machine['zone'])}/{_subnet(machine)}"


def _path(machine: Any) -> str:
    return f"zones/{last(machine['zone'])}/instances/{machine['name']}"
