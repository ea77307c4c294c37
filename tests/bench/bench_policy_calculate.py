"""What it costs to work out what a node enforces: a large cluster from cold, then one change at a time to the list.

Two nodes: one with 250 of the 100,000 pods, as an agent has, and one to which all of them are local, so that every
policy is active and every set filled; nobody runs that, and it is the one that the targets are held against.
"""

from __future__ import annotations

import gc
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network

from cloudnet.policy.calculate import Calculation
from cloudnet.policy.membership import Port
from cloudnet.policy.rules import (
    TCP,
    Action,
    Direction,
    Endpoint,
    EndpointId,
    Peer,
    Policy,
    PolicyKey,
    PortRange,
    Profile,
    Rule,
    Tier,
)
from cloudnet.policy.selectors import parse
from cloudnet.policy.sources import Selected, Source, set_id

ENDPOINTS, POLICIES, NAMESPACES, LOCAL = 100_000, 10_000, 1_000, 250
APPS = POLICIES // NAMESPACES
CHANGES = 5_000
FIRST = int(IPv4Network("10.64.0.0/10").network_address)

Pod = tuple[Endpoint, dict[str, str], tuple[Port, ...]]


def measure() -> list[dict[str, object]]:
    """Return the rows of the benchmark; each node in a process of its own, for its memory."""
    return [row for local in (LOCAL, ENDPOINTS) for row in measured(local)]


def measured(local: int) -> list[dict[str, object]]:
    command = [sys.executable, __file__, str(local)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cold, memory, *changes = map(float, shown.split())
    name = f"{ENDPOINTS} endpoints, {local} of them local, {POLICIES} policies"
    return [
        row(f"{name}: from cold", cold, "s", "< 20", ok=cold < 20),
        row(f"{name}: memory", memory, "MiB", "< 2048", ok=memory < 2048),
        *(
            row(f"{name}: {change}, p99", value, "ms", "< 1", ok=value < 1)
            for change, value in zip(OF_CHANGES, changes, strict=True)
        ),
    ]


def row(name: str, value: float, unit: str, target: str, *, ok: bool) -> dict[str, object]:
    return {"name": name, "value": round(value, 3), "unit": unit, "target": target, "peer": "", "ok": ok}


# --- the cluster ----------------------------------------------------------------------------------------------


def pod(i: int, version: int = 0) -> Pod:
    """Return one of the pods of an app, labelled differently from all others; another address by ``version``."""
    namespace, app = i % NAMESPACES, i // NAMESPACES % APPS
    labels = {
        "app": f"app-{app}",
        "pod-name": f"pod-{i}",
        "pod-template-hash": f"{namespace:x}{app:x}",
        "projectcalico.org/namespace": f"ns-{namespace}",
        "projectcalico.org/orchestrator": "k8s",
    }
    profiles = (f"kns.ns-{namespace}", f"ksa.ns-{namespace}.default")
    address = IPv4Network(FIRST + i + version * 2 * ENDPOINTS)
    endpoint = Endpoint(EndpointId(f"ns-{namespace}/pod-{i}"), f"cali{i:011x}", (address,), profiles)
    return endpoint, labels, (Port("http", TCP, 8080),)


def policy(i: int, port: int = 80) -> tuple[Policy, frozenset[Source]]:
    """Return a policy that selects one app of one namespace, with a peer that no other policy has."""
    namespace, app = i % NAMESPACES, i // NAMESPACES
    of_namespace = f"projectcalico.org/namespace == 'ns-{namespace}'"
    peer = Selected(parse(f"app in {{'app-{app}', 'app-{(app + 1) % APPS}'}} && {of_namespace}").canonical())
    ingress = Rule(
        Action.ALLOW,
        protocol=TCP,
        source=Peer(sets=(set_id(peer),)),
        destination=Peer(ports=(PortRange(port, port),)),
    )
    return (
        Policy(
            PolicyKey("NetworkPolicy", f"ns-{namespace}", f"policy-{app}"),
            "default",
            parse(f"app == 'app-{app}' && {of_namespace}").canonical(),
            frozenset({Direction.INGRESS}),
            1000.0,
            (ingress,),
        ),
        frozenset({peer}),
    )


def namespace(i: int, team: str = "") -> Profile:
    allow = (Rule(Action.ALLOW),)
    return Profile(f"kns.ns-{i}", allow, allow, {"pcns.name": f"ns-{i}", "pcns.team": team or f"team-{i % 7}"})


def cold(local: int) -> tuple[Calculation, float]:
    """Return the calculation, and the seconds from the first value to the list of changes."""
    pods = [pod(i) for i in range(ENDPOINTS)]
    policies = [policy(i) for i in range(POLICIES)]
    profiles = [namespace(i) for i in range(NAMESPACES)]
    before = time.perf_counter()
    calculation = Calculation()
    calculation.put_tier(Tier("default", 1_000_000.0))
    for profile in profiles:
        calculation.put_profile(profile)
    for of, sources in policies:
        calculation.put_policy(of, sources)
    for i, (endpoint, labels, ports) in enumerate(pods):
        calculation.put_endpoint(endpoint, labels, ports, local=is_local(i, local))
    changes = calculation.flush()
    taken = time.perf_counter() - before
    if len(calculation.state().endpoints) != local or len(changes) < local:
        raise AssertionError("the local endpoints are not among the changes")
    return calculation, taken


def is_local(i: int, local: int) -> bool:
    return i * local % ENDPOINTS < local


# --- one change at a time -------------------------------------------------------------------------------------


def add_pods(node: Calculation) -> Iterator[Callable[[], object]]:
    """Local ones: a remote one is less."""
    for i in range(ENDPOINTS, ENDPOINTS + CHANGES):
        endpoint, labels, ports = pod(i)
        yield lambda e=endpoint, la=labels, p=ports: node.put_endpoint(e, la, p, local=True)


def change_labels(node: Calculation) -> Iterator[Callable[[], object]]:
    """Those of the local pods just added, so that other policies select them."""
    chance = random.Random(1)
    for n in range(CHANGES):
        endpoint, labels, ports = pod(ENDPOINTS + chance.randrange(CHANGES))
        labels["app"] = f"app-{n % APPS}"
        yield lambda e=endpoint, la=labels, p=ports: node.put_endpoint(e, la, p, local=True)


def change_addresses(node: Calculation) -> Iterator[Callable[[], object]]:
    for i in range(ENDPOINTS, ENDPOINTS + CHANGES):
        endpoint, labels, ports = pod(i, version=1)
        yield lambda e=endpoint, la=labels, p=ports: node.put_endpoint(e, la, p, local=True)


def change_policies(node: Calculation) -> Iterator[Callable[[], object]]:
    for n in range(CHANGES):
        new, sources = policy(n % POLICIES, port=81 + n // POLICIES)
        yield lambda p=new, s=sources: node.put_policy(p, s)


def change_namespaces(node: Calculation) -> Iterator[Callable[[], object]]:
    for n in range(CHANGES):
        new = namespace(n % NAMESPACES, team=f"team-{n}")
        yield lambda p=new: node.put_profile(p)


OF_CHANGES = {
    "one pod added": add_pods,
    "one label changed": change_labels,
    "one address changed": change_addresses,
    "one policy changed": change_policies,
    "one namespace of 100 pods relabelled": change_namespaces,
}


def p99(node: Calculation, acts: Iterator[Callable[[], object]]) -> float:
    """Return the milliseconds that 99 of 100 changes stay below, up to their list; of the core: nothing waits."""
    taken = []
    for act in acts:
        before = time.process_time()
        act()
        node.flush()
        taken.append(time.process_time() - before)
    return sorted(taken)[len(taken) * 99 // 100] * 1000


def main(local: int) -> None:
    node, taken = cold(local)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gc.collect()
    print(taken, memory, *(p99(node, changes(node)) for changes in OF_CHANGES.values()))  # noqa: T201 - to measure()


if __name__ == "__main__":
    main(int(sys.argv[1]))
