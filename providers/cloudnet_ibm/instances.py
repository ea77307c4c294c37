"""Find the machines of nodes, in bulk: one list tells addresses, subnets and state, another which may forward."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from cloudnet.clock import Clock
from cloudnet.model.addresses import InstanceId, InterfaceId, NodeName, SubnetId
from cloudnet.model.resources import Node
from cloudnet.provider.api import Instance
from cloudnet_ibm.answers import Machine
from cloudnet_ibm.client import Client

RUNNING = frozenset({"pending", "starting", "running", "restarting"})
_INSTANCE = re.compile(r"[0-9a-z]{4}_[0-9a-f]{8}-[0-9a-f-]{27}")  # 0717_1e09281b-f177-46fb-baf1-bc152b2e391a


@dataclass(frozen=True, slots=True)
class Nic:
    """An interface of a machine. ``old``: from before virtual network interfaces, changed by way of the instance."""

    id: InterfaceId
    instance: InstanceId
    address: str
    subnet: SubnetId
    old: bool = False


class Machines:
    """The VPC's instances. Only that an interface may forward is remembered, for ``keep`` seconds."""

    def __init__(self, client: Client, clock: Clock, *, mtu: int, keep: float) -> None:
        self._client = client
        self._clock = clock
        self._mtu = mtu
        self._keep = keep
        self._forwarding: dict[InterfaceId, float] = {}
        self._old: dict[InterfaceId, InstanceId] = {}

    def find(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        """Return ``{node name: its machine}``; nodes whose machine is gone are left out."""
        wanted = tuple(nodes)
        if not wanted:
            return {}
        pairs = tuple(matched(wanted, self._client.instances()))
        self._old = {**self._old, **{nic.id: nic.instance for _, _, nic in pairs if nic.old}}
        forwarding = self._which_forward([nic for _, _, nic in pairs])
        return {
            node.name: self._instance(machine, nic, forwarding=nic.id in forwarding) for node, machine, nic in pairs
        }

    def allow_spoofing(self, instance: Instance) -> None:
        """Allow it, whichever kind the interface is."""
        if instance.interface in self._old:
            self._client.allow_spoofing_of_old(instance.id, instance.interface)
        else:
            self._client.allow_spoofing(instance.interface)
        self._forwarding[instance.interface] = self._clock.now() + self._keep

    def _which_forward(self, nics: list[Nic]) -> frozenset[InterfaceId]:
        now = self._clock.now()
        known = {i for i, until in self._forwarding.items() if until > now}
        missing = [nic for nic in nics if nic.id not in known]
        seen = set(self._look(missing)) if missing else set()
        self._forwarding = {i: self._forwarding[i] for i in known} | dict.fromkeys(seen, now + self._keep)
        return frozenset(known | seen)

    def _look(self, nics: list[Nic]) -> Iterator[InterfaceId]:
        """Yield those that forward: one list for all virtual interfaces, a call for each instance without such."""
        if not all(nic.old for nic in nics):
            wanted = {nic.id for nic in nics}
            for interface in self._client.virtual_network_interfaces():
                if interface.allow_ip_spoofing and interface.id in wanted:
                    yield InterfaceId(interface.id)
        for nic in nics:
            if nic.old:
                found = self._client.network_interfaces(nic.instance)
                yield from (nic.id for i in found if i.id == nic.id and i.allow_ip_spoofing)

    def _instance(self, machine: Machine, nic: Nic, *, forwarding: bool) -> Instance:
        return Instance(
            id=InstanceId(machine.id),
            interface=nic.id,
            subnet=nic.subnet,
            zone=machine.zone.name,
            addresses=(ip_address(nic.address),) if nic.address else (),
            running=machine.status in RUNNING,
            forwarding=forwarding,
            mtu=self._mtu,
        )


def matched(nodes: Iterable[Node], machines: Iterable[Machine]) -> Iterator[tuple[Node, Machine, Nic]]:
    """Yield each node with its machine and the interface that carries its address, the first one when none does."""
    of = [(machine, nics(machine)) for machine in machines]
    by_id = {machine.id: (machine, found) for machine, found in of}
    by_address = {nic.address: (machine, found) for machine, found in of for nic in found if nic.address}
    for node in nodes:
        own = [str(a.ip) for a in sorted(node.addresses, key=lambda a: a.version)]
        name = instance_id(node)
        pair = by_id.get(name) if name else next((by_address[a] for a in own if a in by_address), None)
        if pair is not None and pair[1]:
            machine, found = pair
            yield node, machine, next((nic for a in own for nic in found if nic.address == a), found[0])


def instance_id(node: Node) -> str:
    """Return the id that ends the node's provider id, '' when that names no VPC instance (IKS names its workers)."""
    last = node.provider_id.rpartition("/")[2]
    return last if _INSTANCE.fullmatch(last) else ""


def nics(machine: Machine) -> list[Nic]:
    """Return the machine's interfaces: virtual ones where it has attachments, else those of the old kind."""
    instance = InstanceId(machine.id)
    if machine.network_attachments:
        return [
            Nic(InterfaceId(a.virtual_network_interface.id), instance, a.primary_ip.address, SubnetId(a.subnet.id))
            for a in machine.network_attachments
        ]
    return [
        Nic(InterfaceId(i.id), instance, i.primary_ip.address, SubnetId(i.subnet.id), old=True)
        for i in machine.network_interfaces
    ]
