"""Policies by the thousand, for measuring: each lets peers of its own in to a port of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from cloudnet.policy.rules import (
    ALLOW_ALL,
    TCP,
    Action,
    Change,
    Direction,
    Endpoint,
    EndpointChanged,
    EndpointId,
    Peer,
    Policy,
    PolicyChanged,
    PolicyKey,
    PortRange,
    ProfileChanged,
    Rule,
    SetChanged,
    SetId,
    Tier,
    arrange,
)

TIERS = {"default": Tier("default", 1_000_000)}
_FIRST_PEER = int(IPv4Address("100.64.0.0"))


def peers(number: int, count: int) -> frozenset[IPv4Network]:
    """Return the peers that the selector of policy ``number`` selects."""
    first = _FIRST_PEER + number * count
    return frozenset(IPv4Network((first + index, 32)) for index in range(count))


def set_of(number: int) -> SetId:
    return SetId(f"s:{number}")


def allow(*, port: int, sets: Sequence[SetId] = (), nets: Sequence[IPv4Network] = ()) -> Rule:
    return Rule(
        Action.ALLOW,
        protocol=TCP,
        source=Peer(nets=tuple(nets), sets=tuple(sets)),
        destination=Peer(ports=(PortRange(port, port),)),
    )


def policy(number: int, *rules: Rule) -> Policy:
    key = PolicyKey("NetworkPolicy", "default", f"p{number:05}")
    return Policy(key, "default", "all()", frozenset({Direction.INGRESS}), float(number), rules)


def by_selector(count: int, members: int = 3) -> tuple[list[Change], list[Policy]]:
    """Return policies of one rule, each with a selector of its own, and the changes that bring them."""
    chosen = [policy(number, allow(port=1000 + number % 60000, sets=[set_of(number)])) for number in range(count)]
    sets = [SetChanged(set_of(number), of_ports=False, added=peers(number, members)) for number in range(count)]
    return [*sets, *map(PolicyChanged, chosen)], chosen


def by_rule(count: int, most: int = 1000) -> tuple[list[Change], list[Policy]]:
    """Return as many rules with nets of their own, a thousand to a policy."""
    rules = [allow(port=1000 + number % 60000, nets=sorted(peers(number, 1))) for number in range(count)]
    chosen = [policy(first, *rules[first : first + most]) for first in range(0, count, most)]
    return list(map(PolicyChanged, chosen)), chosen


def endpoint(interface: str, address: str, policies: Sequence[Policy]) -> EndpointChanged:
    made = Endpoint(EndpointId(interface), interface, (IPv4Network(address),), (ALLOW_ALL.name,))
    return EndpointChanged(made, arrange(policies, TIERS))


def profile() -> Iterator[Change]:
    yield ProfileChanged(ALLOW_ALL)
