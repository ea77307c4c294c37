"""The record of one node's native addresses, brought up to what the cloud shows and the plan decides. Pure.

What the cloud delivers and nobody recorded is recorded: an answer was lost. What was recorded and the cloud delivers
no longer is leaving at once: pods that have it keep it, no further one gets it. Nothing is forgotten while a block of
it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from cloudnet.addresses import plan
from cloudnet.addresses.plan import Member, Settings, Shortage
from cloudnet.model.addresses import InterfaceId, Network, NodeName, order
from cloudnet.model.cloud_addresses import CloudAddresses, CloudInterface, CloudPrefix, PrefixState
from cloudnet.model.resources import Cause, Metadata
from cloudnet.provider.api import NetworkInterface


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What was decided of prefixes since the last record: to leave, to stay after all, and which are gone."""

    leaving: Collection[Network] = ()
    staying: Collection[Network] = ()
    gone: Collection[Network] = ()


def updated(
    old: CloudAddresses | None,
    node: NodeName,
    member: Member,
    settings: Settings,
    *,
    verdicts: Verdicts,
    shortage: Shortage | None,
    wall: float,
) -> CloudAddresses:
    """Return the record as it should stand now; equal to ``old`` when nothing changed."""
    before = old or CloudAddresses(Metadata(node))
    return replace(
        before,
        interfaces=_interfaces(before.interfaces, member.interfaces, member.instance.interface),
        prefixes=_prefixes(before.prefixes, member.interfaces, verdicts, wall),
        capacity={of: n for of in settings.families if (n := plan.capacity(member, of))},
        cause=shortage.cause if shortage else Cause.NONE,
        detail=shortage.detail if shortage else "",
    )


def leaving(old: CloudAddresses, gone: Collection[Network], *, wall: float) -> CloudAddresses:
    """Return the record of a node that is no more: everything leaves."""
    kept = (p for p in old.prefixes if p.cidr not in gone)
    return replace(old, prefixes=tuple(_turned(p, PrefixState.LEAVING, wall) for p in kept))


def _interfaces(
    before: Iterable[CloudInterface], attached: Iterable[NetworkInterface], own: InterfaceId
) -> tuple[CloudInterface, ...]:
    numbers = {i.id: i.number for i in before}
    found: list[CloudInterface] = []
    for interface in sorted(attached, key=lambda i: (i.id != own, i.id)):
        taken = {numbers[i.id] for i in attached if i.id in numbers} | {i.number for i in found}
        free = next(n for n in range(1, len(taken) + 2) if n not in taken)
        number = 0 if interface.id == own else numbers.get(interface.id) or free
        found.append(CloudInterface(interface.id, number, interface.mac, interface.subnet, interface.addresses))
    return tuple(found)


def _prefixes(
    before: Iterable[CloudPrefix], attached: Iterable[NetworkInterface], verdicts: Verdicts, wall: float
) -> tuple[CloudPrefix, ...]:
    shown = {c: i.id for i in attached for c in i.cidrs}
    known = {p.cidr: p for p in before if p.cidr not in verdicts.gone}
    kept = [_standing(p, shown, verdicts, wall) for p in known.values()]
    new = [CloudPrefix(c, i, PrefixState.HELD, wall) for c, i in shown.items() if c not in known]
    fresh = [p for p in new if p.cidr not in verdicts.gone]
    return tuple(sorted((*kept, *fresh), key=lambda p: order(p.cidr)))


def _standing(
    prefix: CloudPrefix, shown: Mapping[Network, InterfaceId], verdicts: Verdicts, wall: float
) -> CloudPrefix:
    if prefix.cidr not in shown or prefix.cidr in verdicts.leaving:
        return _turned(prefix, PrefixState.LEAVING, wall)
    moved = prefix if prefix.interface == shown[prefix.cidr] else replace(prefix, interface=shown[prefix.cidr])
    return _turned(moved, PrefixState.HELD, wall) if prefix.cidr in verdicts.staying else moved


def _turned(prefix: CloudPrefix, state: PrefixState, wall: float) -> CloudPrefix:
    return prefix if prefix.state is state else replace(prefix, state=state, since=wall)
