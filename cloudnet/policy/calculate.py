"""From everything that the store holds to what this node has to enforce, one change at a time.

```
 endpoints ──────────────┬──► selected: policies' selectors x local endpoints ──► which policies are active
 profiles (labels) ──────┤                                                             │ the sets they name
 network sets, slices ───┴──► membership: all endpoints and sets x active sets  ◄──────┘
                                        │ members
                                        ▼
                        flush(): list of changes, for compile.py
```

Only what a local endpoint needs is active: a policy that selects one, a profile that one names, the sets that these
name. Other sets are not filled, so a node's work grows with its own pods, not with the cluster's policies.

Events only note what may have changed; ``flush`` compares it with what was told before. So the sum of what is told
depends on the final state alone: any order, repetition or batching of events that leads there tells the same in the
end, and what came and went in between is not told. Calico ``felix/calc`` calls this the calculation graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeVar, cast

from cloudnet.model.addresses import Address, Network, NodeName
from cloudnet.policy.index import LabelIndex, Match
from cloudnet.policy.membership import Loan, Membership, Port, Slice
from cloudnet.policy.rules import (
    ALLOW_ALL,
    Change,
    Endpoint,
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
    SetId,
    State,
    Tier,
    arrange,
)
from cloudnet.policy.selectors import Selector, parse
from cloudnet.policy.sources import Source

_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_NETWORK_SET: Final = "network set "  # with a blank: no endpoint is called so


@dataclass(frozen=True, slots=True)
class _Policy:
    policy: Policy
    selector: Selector
    sources: frozenset[Source]


@dataclass(frozen=True, slots=True)
class _Profile:
    profile: Profile
    sources: frozenset[Source]


class Calculation:
    """One node's view of policy. Values go in, ``flush`` tells what has to change."""

    def __init__(self) -> None:
        self._membership: Membership[str] = Membership()
        self._selected: LabelIndex[EndpointId] = LabelIndex()
        self._endpoints: dict[EndpointId, Endpoint] = {}  # local ones
        self._policies: dict[PolicyKey, _Policy] = {}
        self._policies_of: dict[str, dict[PolicyKey, Policy]] = {}  # by their selector's uid
        self._profiles: dict[str, _Profile] = {}
        self._profile_users: dict[str, set[EndpointId]] = {}
        self._tiers: dict[str, Tier] = {}
        self._nodes: dict[NodeName, frozenset[Address]] = {}
        self._told = _Told()
        # What may have changed since the last flush; dicts keep the order, so that two runs tell alike.
        self._touched_endpoints: dict[EndpointId, None] = {}
        self._touched_policies: dict[PolicyKey, None] = {}
        self._touched_profiles: dict[str, None] = {}
        self._touched_nodes = False
        self.put_profile(ALLOW_ALL)

    # --- endpoints and network sets -------------------------------------------------------------------------

    def put_endpoint(
        self, endpoint: Endpoint, labels: Mapping[str, str], ports: tuple[Port, ...] = (), *, local: bool
    ) -> None:
        """Add an endpoint or change anything about it. ``labels`` are its own; profiles give theirs besides."""
        name = endpoint.id
        self._membership.put_item(name, labels, endpoint.profiles, Loan(endpoint.addresses, ports))
        if not local:
            self._forget_local(name)
            return
        before = self._endpoints.get(name)
        self._endpoints[name] = endpoint
        self._touched_endpoints[name] = None
        if before is None or before.profiles != endpoint.profiles:
            self._use_profiles(name, () if before is None else before.profiles, endpoint.profiles)
        self._follow(self._selected.put_item(name, labels, endpoint.profiles))

    def remove_endpoint(self, name: EndpointId) -> None:
        """Forget an endpoint; an unknown one is ignored."""
        self._membership.remove_item(name)
        self._forget_local(name)

    def _forget_local(self, name: EndpointId) -> None:
        before = self._endpoints.pop(name, None)
        if before is not None:
            self._touched_endpoints[name] = None
            self._use_profiles(name, before.profiles, ())
            self._follow(self._selected.remove_item(name))

    def _use_profiles(self, name: EndpointId, old: Iterable[str], new: Iterable[str]) -> None:
        for profile in old:
            users = self._profile_users.get(profile, set())
            users.discard(name)
            if not users:
                self._profile_users.pop(profile, None)
            self._touched_profiles[profile] = None
        for profile in new:
            self._profile_users.setdefault(profile, set()).add(name)
            self._touched_profiles[profile] = None

    def _follow(self, matches: Iterable[Match[EndpointId]]) -> None:
        for selector, endpoint, _ in matches:
            self._touched_endpoints[endpoint] = None
            self._touched_policies.update(dict.fromkeys(self._policies_of[selector]))

    def put_network_set(
        self, name: str, labels: Mapping[str, str], networks: tuple[Network, ...], profiles: tuple[str, ...] = ()
    ) -> None:
        """Add a network set or change it; ``name`` holds its namespace, if it has one.

        It inherits labels of ``profiles``: its namespace's, so that namespace selectors find it, as in Calico.
        """
        self._membership.put_item(_NETWORK_SET + name, labels, profiles, Loan(networks))

    def remove_network_set(self, name: str) -> None:
        """Forget a network set; an unknown one is ignored."""
        self._membership.remove_item(_NETWORK_SET + name)

    def put_slice(self, name: str, new: Slice) -> None:
        """Add an EndpointSlice or change it; ``name`` holds its namespace."""
        self._membership.put_slice(name, new)

    def remove_slice(self, name: str) -> None:
        """Forget an EndpointSlice; an unknown one is ignored."""
        self._membership.remove_slice(name)

    # --- nodes ----------------------------------------------------------------------------------------------

    def put_node(self, name: NodeName, addresses: frozenset[Address]) -> None:
        """Add a node of the cluster, or change its addresses."""
        if self._nodes.get(name) != addresses:
            self._nodes[name] = addresses
            self._touched_nodes = True

    def remove_node(self, name: NodeName) -> None:
        """Forget a node; an unknown one is ignored."""
        if self._nodes.pop(name, None) is not None:
            self._touched_nodes = True

    # --- profiles, tiers, policies --------------------------------------------------------------------------

    def put_profile(self, profile: Profile, sources: frozenset[Source] = frozenset()) -> None:
        """Add a profile or change it; ``sources`` are those of all sets that its rules name."""
        self._follow(self._selected.put_parent(profile.name, profile.labels))
        self._membership.put_parent(profile.name, profile.labels)
        # Its labels have had their effect: they shall not make it look changed.
        self._profiles[profile.name] = _Profile(replace(profile, labels=_NO_LABELS), sources)
        self._touched_profiles[profile.name] = None

    def remove_profile(self, name: str) -> None:
        """Forget a profile; an unknown one is ignored, and the one that is always there becomes as it always is."""
        if name == ALLOW_ALL.name:
            self.put_profile(ALLOW_ALL)
            return
        self._follow(self._selected.remove_parent(name))
        self._membership.remove_parent(name)
        self._profiles.pop(name, None)
        self._touched_profiles[name] = None

    def put_tier(self, tier: Tier) -> None:
        """Add a tier or change it."""
        if self._tiers.get(tier.name) != tier:
            self._tiers[tier.name] = tier
            self._touch_tier(tier.name)

    def remove_tier(self, name: str) -> None:
        """Forget a tier; an unknown one is ignored. Policies may still name it."""
        if self._tiers.pop(name, None) is not None:
            self._touch_tier(name)

    def _touch_tier(self, name: str) -> None:
        for endpoint, told in self._told.endpoints.items():
            if any(each.tier.name == name for each in told.tiers):
                self._touched_endpoints[endpoint] = None

    def put_policy(self, policy: Policy, sources: frozenset[Source] = frozenset()) -> None:
        """Add a policy or change it; ``sources`` are those of all sets that its rules name."""
        key = policy.key
        before = self._policies.get(key)
        alike = before is not None and before.policy.selector == policy.selector
        selector = before.selector if before is not None and alike else parse(policy.selector)
        self._policies[key] = _Policy(policy, selector, sources)
        self._policies_of.setdefault(selector.uid(), {})[key] = policy
        self._touched_policies[key] = None
        if before is None or not alike:
            self._follow(self._selected.want(selector))
            self._touch_selected(selector)
        elif (before.policy.tier, before.policy.order) != (policy.tier, policy.order):
            self._touch_selected(selector)
        if before is not None and not alike:
            self._let_go(key, before, still=selector == before.selector)

    def remove_policy(self, key: PolicyKey) -> None:
        """Forget a policy; an unknown one is ignored."""
        before = self._policies.pop(key, None)
        if before is not None:
            self._touched_policies[key] = None
            self._let_go(key, before, still=False)

    def _let_go(self, key: PolicyKey, before: _Policy, *, still: bool) -> None:
        """Take a policy off its former selector, unless it ``still`` has it."""
        self._touch_selected(before.selector)
        self._follow(self._selected.release(before.selector))
        if not still:
            of_selector = self._policies_of[before.selector.uid()]
            del of_selector[key]
            if not of_selector:
                del self._policies_of[before.selector.uid()]

    def _touch_selected(self, selector: Selector) -> None:
        self._touched_endpoints.update(dict.fromkeys(self._selected.items(selector.uid())))

    # --- what is told ---------------------------------------------------------------------------------------

    def flush(self) -> list[Change]:
        """Return what has changed since the last flush: sets before who names them, and gone after."""
        gone: list[Change] = []
        profiles = self._tell_profiles(gone)
        policies = self._tell_policies(gone)
        endpoints = self._tell_endpoints()
        sets, gone_sets = self._membership.flush()
        return [*self._tell_nodes(), *sets, *profiles, *policies, *endpoints, *gone, *gone_sets]

    def _tell_nodes(self) -> list[Change]:
        if not self._touched_nodes:
            return []
        self._touched_nodes = False
        before, after = self._told.nodes, frozenset().union(*self._nodes.values())
        self._told.nodes = after
        return [] if before == after else [NodesChanged(after - before, before - after)]

    def _tell_policies(self, gone: list[Change]) -> list[Change]:
        changes: list[Change] = []
        for key in self._touched_policies:
            active = self._active_policy(key)
            self._told.hold(self._membership, key, active.sources if active else frozenset())
            if not _remember(self._told.policies, key, active.policy if active else None):
                continue
            if active:
                changes.append(PolicyChanged(active.policy))
            else:
                gone.append(PolicyGone(key))
        self._touched_policies.clear()
        return changes

    def _tell_profiles(self, gone: list[Change]) -> list[Change]:
        changes: list[Change] = []
        for name in self._touched_profiles:
            active = self._profiles.get(name) if name in self._profile_users else None
            self._told.hold(self._membership, name, active.sources if active else frozenset())
            if not _remember(self._told.profiles, name, active.profile if active else None):
                continue
            if active:
                changes.append(ProfileChanged(active.profile))
            else:
                gone.append(ProfileGone(name))
        self._touched_profiles.clear()
        return changes

    def _tell_endpoints(self) -> list[Change]:
        changes: list[Change] = []
        for name in self._touched_endpoints:
            endpoint = self._arranged(name)
            if _remember(self._told.endpoints, name, endpoint):
                changes.append(endpoint or EndpointGone(name))
        self._touched_endpoints.clear()
        return changes

    def _active_policy(self, key: PolicyKey) -> _Policy | None:
        policy = self._policies.get(key)
        if policy is None or next(self._selected.items(policy.selector.uid()), None) is None:
            return None
        return policy

    def _arranged(self, name: EndpointId) -> EndpointChanged | None:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            return None
        selectors = self._selected.selectors(name)
        policies = (policy for selector in selectors for policy in self._policies_of[selector].values())
        return EndpointChanged(endpoint, arrange(policies, self._tiers))

    def state(self) -> State:
        """Return all that has been told, as one value, with the members that sets have now."""
        told = self._told
        names = {name for held in told.held.values() for name in held}
        ports = {name for name in names if self._membership.is_of_ports(name)}
        # The kind of a set's members follows from its source, which the checker cannot know.
        members = {name: self._membership.members(name) for name in names}
        return State(
            dict(told.endpoints),
            dict(told.policies),
            dict(told.profiles),
            {name: cast("frozenset[Network]", members[name]) for name in names - ports},
            {name: cast("frozenset[PortMember]", members[name]) for name in ports},
            told.nodes,
        )


class _Told:
    """What the listener holds after all that it was told, and the sets that are filled for it, by who names them."""

    __slots__ = ("endpoints", "held", "nodes", "policies", "profiles")

    def __init__(self) -> None:
        self.endpoints: dict[EndpointId, EndpointChanged] = {}
        self.policies: dict[PolicyKey, Policy] = {}
        self.profiles: dict[str, Profile] = {}
        self.nodes: frozenset[Address] = frozenset()
        self.held: dict[PolicyKey | str, dict[SetId, Source]] = {}

    def hold(self, membership: Membership[str], user: PolicyKey | str, sources: frozenset[Source]) -> None:
        """Have just these sets filled on behalf of a policy or profile."""
        before = self.held.get(user, {})
        if frozenset(before.values()) == sources:
            return
        self.held[user] = {membership.want(source): source for source in sources}
        for name in before:
            membership.release(name)
        if not sources:
            del self.held[user]


K = TypeVar("K")
V = TypeVar("V")


def _remember(told: dict[K, V], key: K, value: V | None) -> bool:
    """Hold what is told from now on (nothing: it has gone); tell whether that is news."""
    if told.get(key) == value:
        return False
    if value is None:
        del told[key]
    else:
        told[key] = value
    return True
