"""How long until the kernel has it: a change of policy on a node with 250 pods and 1,000 policies, a peer more.

Each change is timed from the moment the calculation tells it until nftables has committed it, in one namespace.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Network

import policies

from cloudnet.agent.main import spare_the_collector
from cloudnet.kernel import netns
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.policy.enforce import Enforcer
from cloudnet.policy.rules import Change, PolicyChanged, PortRange, SetChanged

PODS, POLICIES, MEMBERS = 250, 1000, 20
EACH = 40  # policies that select one pod
CHANGES = 300
LARGE = 50_000


def measure() -> list[dict[str, object]]:
    """Return the rows, in about half a minute; with the collector set as the agent sets it."""
    spare_the_collector()
    with netns.temporary(f"cn-bench-policy-{os.getpid()}") as name:
        return netns.run_inside(name, _measure)


def _measure() -> list[dict[str, object]]:
    nft = NftLibrary()
    try:
        return [*node(nft, EACH), *node(nft, POLICIES), *large_set(nft)]
    finally:
        nft.close()


def node(nft: NftLibrary, each: int) -> list[dict[str, object]]:
    """Measure a node whose pods are selected by so many policies each."""
    enforcer, chosen = filled(nft, each)
    which = f"{PODS} pods, {POLICIES:,} policies, {each:,} a pod"
    turns = [chosen[number * 7 % len(chosen)] for number in range(CHANGES)]
    changed = [[PolicyChanged(with_port(one, 2000 + number))] for number, one in enumerate(turns)]
    peers = [
        [SetChanged(policies.set_of(number * 7 % POLICIES), of_ports=False, added=frozenset({peer(number)}))]
        for number in range(CHANGES)
    ]
    pods = [
        [policies.endpoint(f"calinew{number}", f"10.9.{number // 250}.{number % 250 + 1}/32", chosen[:each])]
        for number in range(CHANGES)
    ]
    return [
        row(f"{which}: one policy changed, p99", p99(enforcer, changed), 50),
        row(f"{which}: one peer more, p99", p99(enforcer, peers), 50),
        row(f"{which}: one pod more, p99", p99(enforcer, pods), 50),
    ]


def filled(nft: NftLibrary, each: int) -> tuple[Enforcer, list[policies.Policy]]:
    nft.run("add table inet cloudnet\ndelete table inet cloudnet\n")
    enforcer = Enforcer(nft)
    changes, chosen = policies.by_selector(POLICIES, MEMBERS)
    pods: list[Change] = []
    for number in range(PODS):
        first = number * EACH % POLICIES
        own = [chosen[(first + index) % POLICIES] for index in range(each)]
        pods.append(policies.endpoint(f"cali{number}", f"10.8.{number // 250}.{number % 250 + 1}/32", own))
    enforcer.take([*changes, *policies.profile(), *pods])
    return enforcer, chosen


def large_set(nft: NftLibrary) -> list[dict[str, object]]:
    """Measure one peer more and one less in a set of 50,000."""
    nft.run("add table inet cloudnet\ndelete table inet cloudnet\n")
    enforcer = Enforcer(nft)
    large = policies.set_of(0)
    one = policies.policy(0, policies.allow(port=80, sets=[large]))
    enforcer.take(
        [
            SetChanged(large, of_ports=False, added=policies.peers(0, LARGE)),
            PolicyChanged(one),
            *policies.profile(),
            policies.endpoint("cali0", "10.8.0.1/32", [one]),
        ]
    )
    more = [[SetChanged(large, of_ports=False, added=frozenset({peer(number)}))] for number in range(CHANGES)]
    less = [[SetChanged(large, of_ports=False, removed=frozenset({peer(number)}))] for number in range(CHANGES)]
    return [
        row(f"a peer put into a set of {LARGE:,}, p99", p99(enforcer, more), 10),
        row(f"a peer taken out of a set of {LARGE:,}, p99", p99(enforcer, less), 10),
    ]


def peer(number: int) -> IPv4Network:
    return IPv4Network(f"172.16.{number // 256}.{number % 256}/32")


def with_port(one: policies.Policy, port: int) -> policies.Policy:
    (rule,) = one.ingress
    return replace(
        one, ingress=(replace(rule, destination=replace(rule.destination, ports=(PortRange(port, port),))),)
    )


def p99(enforcer: Enforcer, changes: Iterable[list[Change]]) -> float:
    """Return the 99th percentile in milliseconds."""
    took = sorted(timed(lambda change=change: enforcer.take(change)) for change in changes)
    return took[len(took) * 99 // 100]


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def row(name: str, value: float, most: float) -> dict[str, object]:
    return {"name": name, "value": value, "unit": "ms", "target": f"under {most}", "ok": value < most}
