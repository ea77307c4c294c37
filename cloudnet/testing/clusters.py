"""A small cluster under policy, in its evaluation form: what a node has heard of, and how it is told of it.

``cluster_strategies.py`` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cloudnet.model.addresses import Address, Network, NodeName
from cloudnet.policy import rules
from cloudnet.policy.calculate import Calculation
from cloudnet.policy.membership import Loan, Port, Slice
from cloudnet.policy.rules import Endpoint, Policy, Profile, Tier
from cloudnet.policy.sources import Source


@dataclass(frozen=True, slots=True)
class Labelled:
    """An endpoint with what selectors and sets know of it."""

    endpoint: Endpoint
    labels: Mapping[str, str]
    ports: tuple[Port, ...] = ()
    local: bool = True


@dataclass(frozen=True, slots=True)
class NetworkSet:
    name: str
    labels: Mapping[str, str]
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class NamedSlice:
    name: str
    slice: Slice


@dataclass(frozen=True, slots=True)
class SourcedPolicy:
    """A policy with the sources of the sets that its rules name."""

    policy: Policy
    sources: frozenset[Source] = frozenset()


@dataclass(frozen=True, slots=True)
class SourcedProfile:
    """A profile with the sources of the sets that its rules name."""

    profile: Profile
    sources: frozenset[Source] = frozenset()


@dataclass(frozen=True, slots=True)
class ClusterNode:
    name: NodeName
    addresses: frozenset[Address]


Thing: TypeAlias = Labelled | NetworkSet | NamedSlice | SourcedPolicy | SourcedProfile | Tier | ClusterNode


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything that a node has heard of; each name once."""

    things: tuple[Thing, ...]

    def calculation(self) -> Calculation:
        """Return the node's view of it, not flushed."""
        calculation = Calculation()
        for thing in self.things:
            put(calculation, thing)
        return calculation

    def state(self) -> rules.State:
        """Return what the node enforces."""
        calculation = self.calculation()
        calculation.flush()
        return calculation.state()

    @property
    def pods(self) -> tuple[Labelled, ...]:
        return tuple(thing for thing in self.things if isinstance(thing, Labelled) and not thing.endpoint.is_host)


def name_of(thing: Thing) -> tuple[str, object]:
    """Return which thing it is, whatever it is like."""
    match thing:
        case Labelled(endpoint):
            return "endpoint", endpoint.id
        case SourcedPolicy(policy):
            return "policy", policy.key
        case SourcedProfile(profile):
            return "profile", profile.name
        case NetworkSet(name) | NamedSlice(name) | Tier(name) | ClusterNode(name):
            return type(thing).__name__, name


def put(into: Calculation, thing: Thing) -> None:
    """Tell a node of a thing that is new or has changed."""
    match thing:
        case Labelled(endpoint, labels, ports, local):
            into.put_endpoint(endpoint, labels, ports, local=local)
        case NetworkSet(name, labels, networks):
            into.put_network_set(name, labels, networks)
        case NamedSlice(name, slice_):
            into.put_slice(name, slice_)
        case SourcedPolicy(policy, sources):
            into.put_policy(policy, sources)
        case SourcedProfile(profile, sources):
            into.put_profile(profile, sources)
        case Tier():
            into.put_tier(thing)
        case ClusterNode(name, addresses):
            into.put_node(name, addresses)


def remove(from_: Calculation, thing: Thing) -> None:
    """Tell a node that a thing of this name has gone."""
    match thing:
        case Labelled(endpoint):
            from_.remove_endpoint(endpoint.id)
        case NetworkSet(name):
            from_.remove_network_set(name)
        case NamedSlice(name):
            from_.remove_slice(name)
        case SourcedPolicy(policy):
            from_.remove_policy(policy.key)
        case SourcedProfile(profile):
            from_.remove_profile(profile.name)
        case Tier(name):
            from_.remove_tier(name)
        case ClusterNode(name):
            from_.remove_node(name)


def loan(thing: Labelled | NetworkSet) -> Loan:
    """Return what a thing lends to sets that select it."""
    if isinstance(thing, NetworkSet):
        return Loan(thing.networks)
    return Loan(thing.endpoint.addresses, thing.ports)
