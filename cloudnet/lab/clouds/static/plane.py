"""The process that is a lab's plain network: a switch for each subnet, and routers that know every node's pods.

There is no API. The routers learn by themselves, as by BGP: whoever is switched on has the /24 of pod addresses that
the lab's plan gives it, and packets for it are sent there from every subnet.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from cloudnet.lab import control, spec
from cloudnet.lab.clouds import process
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.listener import MakeServer
from cloudnet.lab.fabric import FabricRoute, FabricState, FabricSubnet, Gateway, Port

FIRST_TABLE = 1001  # kernel tables of the cloud's namespace, one a subnet


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine on a switch."""

    subnet: str
    address: IPv4Address
    on: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    """The network: ``{subnet: prefix}``, ``{machine: where it is}``; ``outside``: the subnet next to the way out."""

    subnets: Mapping[str, IPv4Network]
    machines: Mapping[str, Machine]
    outside: str = ""


def mac(address: IPv4Address) -> str:
    return "02:00:" + ":".join(f"{octet:02x}" for octet in address.packed)


def pods(address: IPv4Address) -> IPv4Network:
    """Return the pod addresses of the machine with that address: the lab's first four blocks of it."""
    number = (int(address) & 0xFF) - spec.FIRST_HOST
    return IPv4Network((spec.POOL.network_address + 256 * number, 24))


def fabric_state(site: Site, conditions: Conditions) -> FabricState:
    """Return what the network does now. Pure."""
    ports = {
        name: Port(
            spec.port_name(name), spec.bridge_name(m.subnet), mac(m.address), (m.address,), check=False, up=m.on
        )
        for name, m in site.machines.items()
    }
    numbers = {name: number for number, name in enumerate(site.subnets, start=FIRST_TABLE)}
    gateways = tuple(
        Gateway(spec.OUTSIDE_DEVICE, spec.OUTSIDE_HOST.ip, numbers[name]) for name in [site.outside] if name
    )
    learned = tuple(FabricRoute(pods(m.address), ports[name]) for name, m in site.machines.items() if m.on)
    out = tuple(FabricRoute(spec.OUTSIDE_HOST.network, gateway) for gateway in gateways)
    neighbours = tuple((cidr, spec.bridge_name(name)) for name, cidr in site.subnets.items())
    subnets = tuple(
        FabricSubnet(spec.bridge_name(name), numbers[name], neighbours, learned + out) for name in site.subnets
    )
    return FabricState(subnets, tuple(ports.values()), conditions.silent, gateways)


class StaticPlane:
    """The network and what people do to it. ``account`` and ``outsider`` are nobody: there is nothing to call."""

    def __init__(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self._site = Site({}, {})
        self._lock = threading.Lock()
        self._changed: Callable[[], None] = lambda: None

    @property
    def account(self) -> MakeServer | None:
        return None

    @property
    def outsider(self) -> MakeServer | None:
        return None

    @property
    def verbs(self) -> Mapping[str, process.Verb]:
        return {
            "network": self._network,
            "launch": self._launch,
            "power": self._power,
            "terminate": self._terminate,
            "outside": self._outside,
        }

    def watch(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def fabric_state(self) -> FabricState | None:
        with self._lock:
            return fabric_state(self._site, self.conditions) if self._site.subnets else None

    def calls(self) -> Mapping[str, int]:
        return {}

    def _change(self, change: Callable[[Site], Site]) -> None:
        with self._lock:
            self._site = change(self._site)
        self._changed()

    def _network(self, message: control.Message) -> control.Message:
        subnets = {name: IPv4Network(cidr) for name, cidr in message["subnets"].items()}
        self._change(lambda site: replace(site, subnets=subnets))
        return {}

    def _launch(self, message: control.Message) -> control.Message:
        machine = Machine(message["subnet"], IPv4Address(message["address"]))
        self._change(lambda site: replace(site, machines={**site.machines, message["name"]: machine}))
        return {"mac": mac(machine.address)}

    def _power(self, message: control.Message) -> control.Message:
        name, on = message["name"], bool(message["on"])

        def switched(site: Site) -> Site:
            return replace(site, machines={**site.machines, name: replace(site.machines[name], on=on)})

        self._change(switched)
        return {}

    def _terminate(self, message: control.Message) -> control.Message:
        def gone(site: Site) -> Site:
            return replace(site, machines={n: m for n, m in site.machines.items() if n != message["name"]})

        self._change(gone)
        return {}

    def _outside(self, message: control.Message) -> control.Message:
        self._change(lambda site: replace(site, outside=message["subnet"]))
        return {}


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM."""
    parsed = process.parser("a plain network for a lab; started by cloudnet lab up").parse_args(arguments)
    return process.serve(StaticPlane(process.conditions(parsed)), parsed)


if __name__ == "__main__":
    sys.exit(main())
