"""Let a lab live with faults for a while: ``soak.py [SECONDS] [SEED] [STORE]``.

The demo plays every fault once. What a program loses bit by bit, memory, open files, addresses, routes, shows only
when it goes on: here faults come in random order, programs are killed, nodes and pods come and go, under traffic all
the time. The demo's promises must hold in every round, and at the end there must be as much of everything as there
was after the first rounds. The seed is printed, so that a find can be had again.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from runtime import Runtime
from taken import Taken, differences, taken

from cloudnet.cli.demo import standing
from cloudnet.clock import SystemClock
from cloudnet.lab import scenarios
from cloudnet.lab.lab import Lab
from cloudnet.lab.results import StepKind, StepRecord, promises
from cloudnet.lab.runner import Runner
from cloudnet.lab.scenarios import VXLAN, Break, Expect, Heal, Step
from cloudnet.lab.spec import LabSpec, block
from cloudnet.lab.traffic import Traffic
from cloudnet.lab.watch import Watch

NODES = 4
PATIENCE = 180.0  # seconds for a path that is lost again and again: it is held back ever longer
WARM_UP = 8  # rounds until everything that is kept for good has been made once
REPEATABLE = (
    "delete-route",
    "blackhole",
    "stop-node",
    "agent-kill",
    "controller-kill",
    "leader-kill",
    "agent-restart",
    "controller-restart",
)


def rounds(lab: Lab) -> Mapping[str, tuple[Step, ...]]:
    """Return what may happen in a round, by name."""
    told = scenarios.story(NODES, 2, 2, manners=lab.kind.manners)
    found = {fault: tuple(step for step in told if step.fault == fault) for fault in REPEATABLE}
    lost = str(block(3))
    for refusal in ("throttle", "permission", "api-down"):
        found[f"delete-route and {refusal}"] = (
            Step(
                "delete-route",
                StepKind.UNPLANNED,
                f"{refusal}, and somebody deletes the routes to n3",
                (Break(refusal), Break("delete-route", lost)),
                until=Expect(VXLAN, block=lost),
            ),
            Step(
                "delete-route",
                StepKind.HEAL,
                "the cloud is well again",
                (Heal(refusal), Heal("delete-route", lost)),
            ),
        )
    return {name: tuple(replace(step, timeout=PATIENCE) for step in steps) for name, steps in found.items()}


def live(lab: Lab, seconds: float, chance: random.Random) -> Iterator[str]:
    """Play rounds until the time is over; yield what was broken, or is left over."""
    folder = Path(tempfile.mkdtemp(prefix="cloudnet-soak-"))
    with (
        Traffic() as traffic,
        Watch(lambda: [node.name for node in lab.nodes()], lab.paths, clock=SystemClock()) as watch,
    ):
        runner = Runner(lab, traffic, watch, clock=SystemClock(), say=_say, manners=lab.kind.manners)
        runner.open_flows()
        records: list[StepRecord] = [*runner.play(scenarios.story(NODES, 2, 2, only=(scenarios.FIRST,))).steps]
        with closing(Runtime(lab, folder, chance)) as runtime:
            known, begun, number, warm = rounds(lab), time.monotonic(), 0, None
            while time.monotonic() - begun < seconds or number <= WARM_UP:
                number += 1
                name = chance.choice(sorted(known))
                _say(f"round {number}, {time.monotonic() - begun:.0f} s: {name}")
                runtime.start_some()
                records += runner.play(known[name]).steps
                runtime.end_all()
                _come_and_go(lab)
                if number == WARM_UP:
                    warm = _at_rest(lab)
            _say(f"{number} rounds, {runtime.started} pods, {len(records)} steps")
            yield from _broken(records)
            yield from differences(warm or Taken(), _at_rest(lab))


def _come_and_go(lab: Lab) -> None:
    """Let a node join and leave: a name that comes again, on a machine that does not."""
    name = lab.add_node("visitor", "s1").name
    lab.wait_agents()
    lab.remove_node(name)


def _at_rest(lab: Lab) -> Taken:
    """Return what is taken once it has been the same for a while."""
    before = taken(lab)
    for _ in range(30):
        time.sleep(2.0)
        now = taken(lab)
        if now.counts == before.counts:
            return now
        before = now
    return before


def _broken(records: list[StepRecord]) -> Iterator[str]:
    for promise in promises(records):
        _say(f"{promise.name}: {promise.measured}, {promise.allowed} allowed")
        if not promise.ok:
            yield f"{promise.name}: {promise.measured}, {promise.allowed} allowed"
    yield from (f"{record.result.fault}: {record.problem}" for record in records if record.problem)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(seconds: float = 600.0, seed: int = 0, store: str = "sqlite") -> int:
    chosen = seed or random.SystemRandom().randrange(1 << 32)
    _say(f"seed {chosen}, {seconds:.0f} s, on {store}")
    wanted = LabSpec("soak", NODES, 2, 2, 1, controller=False, store=store)
    with standing(wanted, _say, keep=False) as lab:
        problems = list(live(lab, seconds, random.Random(chosen)))
    for problem in problems:
        _say(f"BROKEN: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(*(kind(word) for kind, word in zip((float, int, str), words, strict=False))))
