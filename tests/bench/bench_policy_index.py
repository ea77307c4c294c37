"""What the label index costs: a large cluster from cold, then one change at a time.

Two clusters: pods alike in tens, as deployments make them, and pods that each have a label of their own, as jobs and
stateful sets make them; there nothing is shared, and that one counts against the targets.
"""

from __future__ import annotations

import gc
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle

from cloudnet.policy.index import LabelIndex
from cloudnet.policy.selectors import parse

ENDPOINTS, SELECTORS, NAMESPACES = 100_000, 10_000, 1_000
CHANGES = 5_000


def measure() -> list[dict[str, object]]:
    """Return the rows of the benchmark, in about a minute; each cluster in a process of its own, for its memory."""
    return [row for kind in ("own", "alike") for row in measured(kind)]


def measured(kind: str) -> list[dict[str, object]]:
    shown = subprocess.run([sys.executable, __file__, kind], capture_output=True, text=True, check=True).stdout
    cold, memory, *changes = map(float, shown.split())
    what = {"own": "each labelled differently", "alike": "alike in tens"}[kind]
    name = f"label index, {ENDPOINTS} endpoints {what}, {SELECTORS} selectors"
    return [
        row(f"{name}: from cold", cold, "s", "< 10", ok=cold < 10),
        row(f"{name}: memory", memory, "MiB", "< 1024", ok=memory < 1024),
        *(
            row(f"{name}: {change}, p99", value, "ms", "< 1", ok=value < 1)
            for change, value in zip(OF_CHANGES, changes, strict=True)
        ),
    ]


def row(name: str, value: float, unit: str, target: str, *, ok: bool) -> dict[str, object]:
    return {"name": name, "value": round(value, 3), "unit": unit, "target": target, "peer": "", "ok": ok}


def labels(i: int, kind: str) -> dict[str, str]:
    namespace, app = i % NAMESPACES, i // (NAMESPACES * 10)
    found = {
        "app": f"app-{app}",
        "pod-template-hash": f"{namespace:x}{app:x}",
        "projectcalico.org/namespace": f"ns-{namespace}",
        "projectcalico.org/orchestrator": "k8s",
        "tier": ("web", "db", "cache")[app % 3],
    }
    return found | {"statefulset.kubernetes.io/pod-name": f"pod-{i}"} if kind == "own" else found


def parents(i: int) -> tuple[str, ...]:
    namespace = i % NAMESPACES
    return f"kns.ns-{namespace}", f"ksa.ns-{namespace}.default"


def selectors() -> Iterator[str]:
    """Yield as many distinct ones as are wanted: most of one app, others of many namespaces."""
    for i in range(SELECTORS):
        namespace, app = i % NAMESPACES, i // NAMESPACES
        scope = f"projectcalico.org/orchestrator == 'k8s' && projectcalico.org/namespace == 'ns-{namespace}'"
        yield (
            f"app == 'app-{app}' && {scope}",
            f"(app in {{'app-{app}', 'app-{app + 1}'}} && tier != 'x') && {scope}",
            f"has(app) && !has(x-{i}) && pcns.team == 'team-{namespace}' && app == 'app-{app}'",
            f"app starts with 'app' && pod-template-hash == '{namespace:x}{app:x}'",
            f"(tier == 'db' || tier == 'web') && pcns.name == 'ns-{namespace}' && app != 'y-{i}'",
        )[i % 5]


def cold(kind: str) -> LabelIndex[int]:
    index: LabelIndex[int] = LabelIndex()
    for text in selectors():
        index.want(parse(text))
    for i in range(ENDPOINTS):
        index.put_item(i, labels(i, kind), parents(i))
    for i in range(NAMESPACES):
        index.put_parent(f"kns.ns-{i}", {"pcns.name": f"ns-{i}", "pcns.team": f"team-{i}"})
    return index


# --- one change at a time -------------------------------------------------------------------------------------


def add_pods(index: LabelIndex[int], kind: str) -> Iterator[Callable[[], object]]:
    for i in range(ENDPOINTS, ENDPOINTS + CHANGES):
        new = labels(i % ENDPOINTS, kind) | {"job": str(i)}
        yield lambda new=new, i=i: index.put_item(i, new, parents(i))


def change_labels(index: LabelIndex[int], kind: str) -> Iterator[Callable[[], object]]:
    chance = random.Random(1)
    for n in range(CHANGES):
        i = chance.randrange(ENDPOINTS)
        new = labels(i, kind) | {"app": f"app-{n % 10}"}
        yield lambda new=new, i=i: index.put_item(i, new, parents(i))


def change_namespaces(index: LabelIndex[int], kind: str) -> Iterator[Callable[[], object]]:
    for n in range(CHANGES):
        i = n % NAMESPACES
        new = {"pcns.name": f"ns-{i}", "pcns.team": f"team-{n}"}
        yield lambda new=new, i=i: index.put_parent(f"kns.ns-{i}", new)


def new_selectors(index: LabelIndex[int], kind: str) -> Iterator[Callable[[], object]]:
    for i, scope in zip(range(CHANGES), cycle(range(NAMESPACES))):
        new = parse(f"projectcalico.org/namespace == 'ns-{scope}' && app == 'app-{i % 10}' && z != '{i}'")
        yield lambda new=new: index.want(new)


OF_CHANGES = {
    "one pod added": add_pods,
    "one label changed": change_labels,
    "one namespace of 100 pods relabelled": change_namespaces,
    "one selector added": new_selectors,
}


def p99(acts: Iterator[Callable[[], object]]) -> float:
    """Return the milliseconds that 99 of 100 acts stay below; of the core, for nothing here waits."""
    taken = []
    for act in acts:
        before = time.process_time()
        act()
        taken.append(time.process_time() - before)
    return sorted(taken)[len(taken) * 99 // 100] * 1000


def main(kind: str) -> None:
    before = time.perf_counter()
    index = cold(kind)
    taken = time.perf_counter() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gc.collect()
    print(taken, memory, *(p99(changes(index, kind)) for changes in OF_CHANGES.values()))  # noqa: T201 - to measure()


if __name__ == "__main__":
    main(sys.argv[1])
