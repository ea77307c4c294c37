"""What a lab has taken of stores, kernels and processes, and what has become more of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cloudnet.kernel import netns
from cloudnet.lab import spec
from cloudnet.lab.lab import Lab
from cloudnet.model import kinds
from cloudnet.model.resources import IPAMBlock

SPARE = 0.10, 12 << 20  # part and bytes that a program's memory may grow by: caches fill, allocators keep
FEW = 3  # open files and threads that may be under way just now


@dataclass(frozen=True, slots=True)
class Taken:
    """``counts``: {what: number}. ``programs``: {role and pid: (bytes of memory, open files, threads)}."""

    counts: Mapping[str, int] = field(default_factory=dict)
    programs: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)


def taken(lab: Lab) -> Taken:
    return Taken({**_stored(lab), **_of_kernels(lab)}, dict(_of_programs(lab)))


def differences(before: Taken, after: Taken) -> Iterator[str]:
    """Yield what there is more of, or less; of programs only those that lived all the time."""
    for what in sorted(before.counts.keys() | after.counts.keys()):
        old, new = before.counts.get(what, 0), after.counts.get(what, 0)
        if old != new:
            yield f"{what}: {old} after the first rounds, {new} at the end"
    for role in before.programs.keys() & after.programs.keys():
        (memory, files, threads), (more, open_files, more_threads) = before.programs[role], after.programs[role]
        part, fixed = SPARE
        if more > memory * (1 + part) + fixed:
            yield f"{role}: {memory >> 10} KiB of memory after the first rounds, {more >> 10} KiB at the end"
        if open_files > files + FEW or more_threads > threads + FEW:
            yield f"{role}: {files} files and {threads} threads, then {open_files} and {more_threads}"


def _stored(lab: Lab) -> Mapping[str, int]:
    """Count inside the cloud's namespace: a store that is a server is reached nowhere else."""
    return netns.run_inside(spec.cloud_namespace(lab.name), lambda: _counted(lab))


def _counted(lab: Lab) -> Mapping[str, int]:
    with closing(lab.store()) as store:
        found = {kind.name: len(store.list(kind.type).items) for kind in kinds.ALL}
        blocks = (item.value for item in store.list(IPAMBlock).items)
        found["addresses"] = sum(index is not None for block in blocks for index in block.allocations)
    return found


def _of_kernels(lab: Lab) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for node in lab.nodes():
        place = spec.node_namespace(lab.name, node.name)
        for what, command in (
            ("links", "link"),
            ("routes", "route show table all"),
            ("rules", "rule"),
            ("neighbours", "neighbour show nud permanent"),
        ):
            found[f"{what} of {node.name}"] = len(json.loads(netns.execute(place, ["ip", "-j", *command.split()])))
        rules = json.loads(netns.execute(place, ["nft", "-j", "list", "ruleset"]))["nftables"]
        found[f"nftables of {node.name}"] = len(rules)
    return found


def _of_programs(lab: Lab) -> Iterator[tuple[str, tuple[int, int, int]]]:
    for role, process in lab.state.processes.items():
        if not process.alive():
            continue
        folder = Path(f"/proc/{process.pid}")
        words = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        memory, threads = int(words["VmRSS"].split()[0]) << 10, int(words["Threads"])
        yield f"{role} ({process.pid})", (memory, len(list((folder / "fd").iterdir())), threads)
