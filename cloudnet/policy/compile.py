"""The compiler: what changes of endpoints, policies and sets mean for the nftables table. It touches no kernel.

It keeps what the table should be, and what it is as far as anybody said so, in four trackers: chains, sets, counters
and elements. A change builds again those units (``chains.py``) that depend on it, and nothing else; what comes out
as before is no change. The result depends on the state alone, never on the order in which it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cloudnet.delta import DeltaTracker
from cloudnet.model.addresses import Network
from cloudnet.policy import hooks, members
from cloudnet.policy.chains import Built, PolicyUnit, ProfileUnit, StageUnit, Unit, Written, build, chain_of, write
from cloudnet.policy.members import Spans
from cloudnet.policy.merging import Merged
from cloudnet.policy.options import Options
from cloudnet.policy.roles import Plan, Role, plan
from cloudnet.policy.rules import (
    ANY_INTERFACE,
    Change,
    Direction,
    EndpointChanged,
    EndpointGone,
    EndpointId,
    NodesChanged,
    Policy,
    PolicyChanged,
    PolicyGone,
    PolicyKey,
    PortMember,
    Profile,
    ProfileChanged,
    ProfileGone,
    SetChanged,
    SetGone,
    SetId,
    State,
    TierPolicies,
)
from cloudnet.policy.sequence import LARGEST
from cloudnet.policy.setparts import SetParts
from cloudnet.policy.table import Chain, Counter, Elements, Part, Set

# {way: role and direction of the plan that an interface's endpoint has there}
_POD_WAYS: Final = {"pods-in": (Role.POD, Direction.INGRESS), "pods-out": (Role.POD, Direction.EGRESS)}
_HOST_WAYS: Final = {
    "host-in": (Role.HOST, Direction.INGRESS),
    "host-out": (Role.HOST, Direction.EGRESS),
    "forward-in": (Role.FORWARD, Direction.INGRESS),
    "forward-out": (Role.FORWARD, Direction.EGRESS),
    "untracked-in": (Role.UNTRACKED, Direction.INGRESS),
    "untracked-out": (Role.UNTRACKED, Direction.EGRESS),
    "pre-dnat-in": (Role.PRE_DNAT, Direction.INGRESS),
}


class Compiler:
    """The table of one node, kept up to date by changes. ``known`` things are read by ``chains.build``."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.policies: dict[PolicyKey, Policy] = {}
        self.profiles: dict[str, Profile] = {}
        self.chains: DeltaTracker[str, Chain] = DeltaTracker()
        self.sets: DeltaTracker[str, Set] = DeltaTracker()
        self.counters: DeltaTracker[str, Counter] = DeltaTracker()
        self.elements: DeltaTracker[tuple[str, str], str] = DeltaTracker()
        self._members: dict[SetId, SetParts] = {}
        self._endpoints: dict[EndpointId, EndpointChanged] = {}
        self._at: dict[str, set[EndpointId]] = {}  # {interface: endpoints}; more than one is a mistake of somebody
        self._ways: dict[str, dict[str, Plan]] = {}  # {interface: {way: plan}}
        self._sources: dict[str, tuple[tuple[str, str], ...]] = {}  # {interface: elements of the sets of sources}
        self._plans: dict[tuple[Role, Direction, tuple[TierPolicies, ...], tuple[str, ...]], Plan] = {}
        self._built: dict[Unit, Built] = {}
        self._memories: dict[Unit, dict[str, Merged]] = {}
        self._written: dict[tuple[PolicyKey, Direction], Written] = {}
        self._leads_here: dict[Unit, set[Unit | str]] = {}  # units and interfaces that need it
        self._stages_with: dict[PolicyKey, set[StageUnit]] = {}
        self._dependents: dict[SetId, set[Unit]] = {}
        self._contents: dict[SetId, set[Unit]] = {}
        self._lookups: dict[SetId, set[Unit]] = {}  # sets that nobody looks anything up in are not in the table
        self._owners: dict[str, set[Unit | None]] = {}  # {name of an object: who brings it}
        self._dirty_units: dict[Unit, None] = {}
        self._dirty_interfaces: dict[str, None] = {}
        self._fixed = Part()
        self._lay_ground()

    # --- what units are built from (chains.Known) --------------------------------------------------------------

    def shape(self, name: SetId) -> frozenset[str]:
        return self._members[name].shape if name in self._members else frozenset()

    def size(self, name: SetId) -> int:
        return self._members[name].size if name in self._members else 0

    def memory(self, unit: Unit) -> dict[str, Merged]:
        return self._memories.setdefault(unit, {})

    def written(self, key: PolicyKey, direction: Direction) -> Written:
        known, policy = self._written.get((key, direction)), self.policies[key]
        if known is None or known.policy is not policy:
            known = self._written[key, direction] = write(policy, direction, self.options)
        return known

    def spans(self, name: SetId) -> Spans:
        return self._members[name].spans() if name in self._members else members.spans(())

    # --- changes ---------------------------------------------------------------------------------------------

    def take(self, changes: Iterable[Change]) -> None:
        """Take changes in; then the trackers say what is left to do in the kernel."""
        for change in changes:
            self._take(change)
        self._settle()

    def _take(self, change: Change) -> None:
        match change:
            case EndpointChanged():
                self._put_endpoint(change)
            case EndpointGone(gone):
                self._drop_endpoint(gone)
            case PolicyChanged(policy):
                self._put_policy(policy)
            case PolicyGone(key):
                self._drop_policy(key)
            case ProfileChanged(profile):
                self.profiles[profile.name] = profile
                self._touch_profile(profile.name)
            case ProfileGone(name):
                self.profiles.pop(name, None)
                self._touch_profile(name)
            case SetChanged():
                self._change_set(change)
            case SetGone(name):
                self._drop_set(name)
            case NodesChanged():
                self._change_nodes(change)

    def _change_nodes(self, change: NodesChanged) -> None:
        for address in change.removed:
            self.elements.drop(hooks.node(address))
        for address in change.added:
            self.elements.want(hooks.node(address), "")

    def _put_endpoint(self, changed: EndpointChanged) -> None:
        self._drop_endpoint(changed.endpoint.id)
        self._endpoints[changed.endpoint.id] = changed
        self._at.setdefault(changed.endpoint.interface, set()).add(changed.endpoint.id)
        self._dirty_interfaces[changed.endpoint.interface] = None

    def _drop_endpoint(self, gone: EndpointId) -> None:
        known = self._endpoints.pop(gone, None)
        if known is not None:
            interface = known.endpoint.interface
            self._at[interface].discard(gone)
            if not self._at[interface]:
                del self._at[interface]
            self._dirty_interfaces[interface] = None

    def _put_policy(self, policy: Policy) -> None:
        before = self.policies.get(policy.key)
        self.policies[policy.key] = policy
        if before is None or _manner(before) != _manner(policy):
            self._replan(policy.key)
        self._touch_policy(policy.key)

    def _drop_policy(self, key: PolicyKey) -> None:
        for direction in Direction:
            self._written.pop((key, direction), None)
        if self.policies.pop(key, None) is not None:
            self._replan(key)

    def _replan(self, key: PolicyKey) -> None:
        """Plan again for the endpoints that the policy selects: it takes part in another way than before."""
        self._plans.clear()
        for entry in self._endpoints.values():
            if any(key in tier.policies for tier in entry.tiers):
                self._dirty_interfaces[entry.endpoint.interface] = None

    def _touch_policy(self, key: PolicyKey) -> None:
        units: list[Unit] = [PolicyUnit(key, direction) for direction in Direction]
        for unit in (*units, *self._stages_with.get(key, ())):
            if unit in self._built:
                self._dirty_units[unit] = None

    def _touch_profile(self, name: str) -> None:
        for direction in Direction:
            if ProfileUnit(name, direction) in self._built:
                self._dirty_units[ProfileUnit(name, direction)] = None

    # --- sets ------------------------------------------------------------------------------------------------

    def _change_set(self, change: SetChanged) -> None:
        parts = self._members.setdefault(change.id, SetParts(change.id, of_ports=change.of_ports))
        before, was_large = parts.shape, parts.size > LARGEST
        gone, come = parts.change(change.added, change.removed)
        if change.id in self._lookups:
            for element in gone:
                self.elements.drop(element)
            for element in come:
                self.elements.want(element, "")
            self._declare(parts, before, parts.shape)
        if before != parts.shape or was_large != (parts.size > LARGEST):
            self._dirty_units |= dict.fromkeys(self._dependents.get(change.id, ()))
        self._dirty_units |= dict.fromkeys(self._contents.get(change.id, ()))

    def _drop_set(self, name: SetId) -> None:
        parts = self._members.get(name)
        if parts is not None:
            if name in self._lookups:
                self._hide(parts)
            del self._members[name]
            self._dirty_units |= dict.fromkeys((*self._dependents.get(name, ()), *self._contents.get(name, ())))

    def _show(self, parts: SetParts) -> None:
        """Put a set into the table: somebody looks something up in it."""
        self._declare(parts, frozenset(), parts.shape)
        for element in parts.elements():
            self.elements.want(element, "")

    def _hide(self, parts: SetParts) -> None:
        for element in parts.elements():
            self.elements.drop(element)
        self._declare(parts, parts.shape, frozenset())

    def _declare(self, parts: SetParts, before: frozenset[str], after: frozenset[str]) -> None:
        for part in before - after:
            self.sets.drop(members.name_of(parts.id, part))
        for part in after - before:
            one = members.declare(parts.id, part, of_ports=parts.of_ports)
            self.sets.want(one.name, one)

    # --- interfaces --------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Build what must be built again, then what is led to for the first time; forget what nothing leads to."""
        if self._dirty_interfaces:
            for interface in self._dirty_interfaces:
                self._settle_interface(interface)
            self._dirty_interfaces.clear()
            self._lay_ground()
        while self._dirty_units:
            unit = next(iter(self._dirty_units))
            del self._dirty_units[unit]
            if unit in self._built:
                self._build(unit)

    def _settle_interface(self, interface: str) -> None:
        chosen = self._endpoints[min(self._at[interface])] if interface in self._at else None
        before = self._ways.pop(interface, {})
        after: dict[str, Plan] = {}
        if chosen is not None:
            ways = _HOST_WAYS if chosen.endpoint.is_host else _POD_WAYS
            planned = {way: self._plan(role, direction, chosen) for way, (role, direction) in ways.items()}
            after = {way: of for way, of in planned.items() if _matters(of, interface)}
            self._ways[interface] = after
        for to in set(after.values()) - set(before.values()):
            self._lead(interface, to)
        if interface != ANY_INTERFACE:
            for way in before.keys() - after.keys():
                self.elements.drop((way, f'"{interface}"'))
            for way, to in after.items():
                self.elements.want((way, f'"{interface}"'), f"goto {chain_of(to)}")
        self._settle_sources(interface, chosen)
        for to in set(before.values()) - set(after.values()):
            self._unlead(interface, to)

    def _plan(self, role: Role, direction: Direction, of: EndpointChanged) -> Plan:
        key = (role, direction, of.tiers, of.endpoint.profiles)
        if key not in self._plans:
            self._plans[key] = plan(role, direction, of, self.policies)
        return self._plans[key]

    def _settle_sources(self, interface: str, chosen: EndpointChanged | None) -> None:
        after: tuple[tuple[str, str], ...] = ()
        if chosen is not None and not chosen.endpoint.is_host:
            after = tuple(_sources(interface, (*chosen.endpoint.addresses, *chosen.endpoint.allowed_sources)))
        for element in set(self._sources.pop(interface, ())) - set(after):
            self.elements.drop(element)
        for element in after:
            self.elements.want(element, "")
        if after:
            self._sources[interface] = after

    def _lay_ground(self) -> None:
        """Put what does not depend on any policy; it does on whether there are host endpoints, and one on ``*``."""
        everywhere = {way: chain_of(to) for way, to in self._ways.get(ANY_INTERFACE, {}).items()}
        has_hosts = any(entry.endpoint.is_host for entry in self._endpoints.values())
        part = hooks.fixed(self.options, has_hosts=has_hosts, everywhere=everywhere)
        if part.chains != self._fixed.chains or not self._owners:
            self._replace(None, self._fixed, part)
            self._fixed = part

    # --- units -----------------------------------------------------------------------------------------------

    def _lead(self, leader: Unit | str, to: Unit) -> None:
        self._leads_here.setdefault(to, set()).add(leader)
        if to not in self._built:
            self._build(to)

    def _unlead(self, leader: Unit | str, to: Unit) -> None:
        leaders = self._leads_here.get(to, set())
        leaders.discard(leader)
        if not leaders:
            self._leads_here.pop(to, None)
            self._forget(to)

    def _build(self, unit: Unit) -> None:
        before = self._built.get(unit, Built(Part()))
        after = build(unit, self)
        self._built[unit] = after
        for needed in after.needs - before.needs:
            self._lead(unit, needed)
        self._replace(unit, before.part, after.part)
        self._depend(unit, before, after)
        for needed in before.needs - after.needs:
            self._unlead(unit, needed)

    def _forget(self, unit: Unit) -> None:
        before = self._built.pop(unit, None)
        self._memories.pop(unit, None)
        if before is None:
            return
        self._dirty_units.pop(unit, None)
        self._replace(unit, before.part, Part())
        self._depend(unit, before, None)
        for needed in before.needs:
            self._unlead(unit, needed)

    def _depend(self, unit: Unit, before: Built, after: Built | None) -> None:
        now = after or Built(Part())
        _reindex(self._dependents, unit, before.shapes, now.shapes)
        _reindex(self._contents, unit, before.contents, now.contents)
        _reindex(self._lookups, unit, before.lookups, now.lookups)
        for name in now.lookups - before.lookups:
            if len(self._lookups[name]) == 1 and name in self._members:
                self._show(self._members[name])
        for name in before.lookups - now.lookups:
            if name not in self._lookups and name in self._members:
                self._hide(self._members[name])
        if isinstance(unit, StageUnit):
            keys = frozenset(unit.stage.policies)
            _reindex(self._stages_with, unit, frozenset() if after else keys, keys if after else frozenset())

    def _replace(self, owner: Unit | None, before: Part, after: Part) -> None:
        """Replace what an owner brings; what others bring too stays, and what is equal is not touched."""
        for tracker, was, now in (
            (self.chains, before.chains, after.chains),
            (self.sets, before.sets, after.sets),
            (self.counters, before.counters, after.counters),
        ):
            stood = {one.name: one for one in was}
            gone = stood.keys() - {one.name for one in now}
            for one in now:
                if stood.get(one.name) is one:
                    continue
                self._owners.setdefault(one.name, set()).add(owner)
                tracker.want(one.name, one)  # type: ignore[arg-type]  # each tracker with values of its own kind
            for name in gone:
                if self._disown(name, owner):
                    tracker.drop(name)
        for name in before.elements.keys() | after.elements.keys():
            if name in after.elements or name not in self._owners:
                self._change_elements(name, before.elements.get(name, {}), after.elements.get(name, {}))

    def _disown(self, name: str, owner: Unit | None) -> bool:
        owners = self._owners.get(name, set())
        owners.discard(owner)
        if owners:
            return False
        self._owners.pop(name, None)
        return True

    def _change_elements(self, name: str, before: Elements, after: Elements) -> None:
        for key in before.keys() - after.keys():
            self.elements.drop((name, key))
        for key, verdict in after.items():
            if before.get(key) != verdict:
                self.elements.want((name, key), verdict)

    def part(self) -> Part:
        """Return the whole table as it should be."""
        elements: dict[str, dict[str, str]] = {}
        for (name, key), verdict in self.elements.desired.items():
            elements.setdefault(name, {})[key] = verdict
        return Part(
            tuple(self.chains.desired.values()),
            tuple(self.sets.desired.values()),
            tuple(self.counters.desired.values()),
            elements,
        )


def compile_state(state: State, options: Options | None = None) -> Part:
    """Return the table of a state, from cold."""
    compiler = Compiler(options)
    compiler.take(changes_to(state))
    return compiler.part()


def changes_to(state: State) -> Iterator[Change]:
    """Yield the changes that lead from nothing to a state, in the order that ``rules.py`` asks for."""
    for name, networks in state.address_sets.items():
        yield SetChanged(name, of_ports=False, added=networks)
    for name, ports in state.port_sets.items():
        yield SetChanged(name, of_ports=True, added=ports)
    yield from map(PolicyChanged, state.policies.values())
    yield from map(ProfileChanged, state.profiles.values())
    yield NodesChanged(state.nodes)
    yield from state.endpoints.values()


def _manner(policy: Policy) -> tuple[object, ...]:
    """Return what of a policy decides in which plans it is."""
    return policy.types, policy.staged, policy.do_not_track, policy.pre_dnat, policy.apply_on_forward


def _matters(to: Plan, interface: str) -> bool:
    """Tell whether a way must lead there: an untracked or preDNAT plan without policies says nothing."""
    if to.role is Role.UNTRACKED:
        return bool(to.stages) and interface != ANY_INTERFACE
    return bool(to.stages) or to.role is not Role.PRE_DNAT or interface != ANY_INTERFACE


def _sources(interface: str, networks: Iterable[Network]) -> Iterator[tuple[str, str]]:
    for part, chosen in members.divide(networks).items():
        for network in chosen:
            assert not isinstance(network, PortMember)  # noqa: S101 - networks went in
            yield hooks.sources_name(part), f'"{interface}" . {members.element(network)}'


def _reindex(
    index: dict[SetId, set[Unit]] | dict[PolicyKey, set[StageUnit]],
    unit: Unit,
    before: frozenset[SetId] | frozenset[PolicyKey],
    after: frozenset[SetId] | frozenset[PolicyKey],
) -> None:
    for key in after - before:
        index.setdefault(key, set()).add(unit)  # type: ignore[arg-type]  # keys and units go together
    for key in before - after:
        known: Mapping[object, set[Unit]] = index  # type: ignore[assignment]
        units = known[key]
        units.discard(unit)
        if not units:
            del index[key]  # type: ignore[arg-type]
