"""What a demo found: values that are printed, written as JSON and drawn. Pure.

``DemoResult`` is the document of ``cloudnet lab demo -o json``, field by field. ``Story`` holds all that the report
draws besides. ``promises`` is the verdict: what the program promises of packets, and what was measured.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


class StepKind(enum.StrEnum):
    """What a step does to a working network, and so what may happen to packets."""

    PLANNED = "planned"  # nothing native was there yet, or we withdraw it: nothing may be lost
    UNPLANNED = "unplanned"  # a working native route goes: a gap, under a second
    HEAL = "heal"  # the way back to native: nothing may be lost
    JOIN = "join"  # a new node: reachable at once
    RESTART = "restart"  # of a program of ours: nothing may be lost


@dataclass(frozen=True, slots=True)
class PathChange:
    """One path that changed, in the words of ``cloudnet routes``."""

    from_node: str
    to_block: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: UDP packets sent and lost on all flows, the longest gap of any flow, and whether TCP held."""

    fault: str
    kind: StepKind
    sent: int
    lost: int
    longest_gap_ms: float
    tcp_intact: bool
    paths: tuple[PathChange, ...] = ()

    def changes(self) -> list[str]:
        """Return path changes of one sort as one phrase each: ``12 native > vxlan (quota)``."""
        counts: dict[str, int] = {}
        for path in self.paths:
            phrase = f"{path.before} > {path.after} ({path.reason})"
            counts[phrase] = counts.get(phrase, 0) + 1
        return [f"{count} {phrase}" for phrase, count in counts.items()]


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise and what was measured. ``target`` is the most that is allowed; gaps must stay under it."""

    name: str
    value: float
    unit: str
    target: float
    ok: bool

    @property
    def measured(self) -> str:
        return f"{self.value:.0f} {self.unit}"

    @property
    def allowed(self) -> str:
        return f"under {self.target:.0f} {self.unit}" if self.unit == "ms" else f"{self.target:.0f} {self.unit}"


@dataclass(frozen=True, slots=True)
class Rights:
    """What agents and controllers asked of a Kubernetes API: who, verb and resource of each call, in words."""

    used: tuple[str, ...]
    denied: tuple[str, ...]

    @property
    def promise(self) -> Promise:
        return Promise("calls that the printed rights forbid", len(self.denied), "calls", 0, not self.denied)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The whole result of a demo, as programs read it. ``rights`` are there where the store has accounts."""

    steps: tuple[StepResult, ...]
    promises: tuple[Promise, ...]
    rights: Rights | None = None

    @property
    def ok(self) -> bool:
        return all(promise.ok for promise in self.promises)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step as people are told of it. Times are seconds since the story began.

    ``first_packet_ms`` is how long after its agent's start the last other node reached a new one. ``problem`` says
    what the step waited for in vain.
    """

    result: StepResult
    title: str
    began: float
    ended: float
    first_packet_ms: float | None = None
    problem: str = ""

    def summary(self) -> str:
        """Return a few lines on how the step went."""
        result = self.result
        paths = "; ".join(result.changes()) or "no path changed"
        gap = f", longest gap {result.longest_gap_ms:.0f} ms" if result.longest_gap_ms else ""
        tcp = "TCP intact" if result.tcp_intact else "TCP BROKEN"
        problem = f"\n    NOT as expected: {self.problem}" if self.problem else ""
        facts = f"{result.sent} packets, {result.lost} lost{gap}, {tcp}, {self.ended - self.began:.1f} s"
        return f"    {paths}\n    {facts}{problem}"


@dataclass(frozen=True, slots=True)
class PathMoment:
    """From this moment on, packets of a node for a block took this path. ``at`` is seconds since the story began."""

    at: float
    from_node: str
    to_block: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Losses:
    """Packets that one UDP flow lost in a row."""

    at: float
    from_node: str
    to_node: str
    to_block: str
    lost: int
    gap_ms: float


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that a demo saw, in the order of time."""

    steps: tuple[StepRecord, ...]
    moments: tuple[PathMoment, ...] = ()
    losses: tuple[Losses, ...] = ()
    rights: Rights | None = None

    def result(self) -> DemoResult:
        kept = promises(self.steps)
        if self.rights:
            kept = (*kept, self.rights.promise)
        return DemoResult(tuple(step.result for step in self.steps), kept, self.rights)


def promises(steps: Sequence[StepRecord]) -> tuple[Promise, ...]:
    """Judge the steps; what no step has tried is not promised here, what a step did not reach is broken."""
    return tuple(promise for judge in _PROMISES if (promise := judge(steps)) is not None)


Judge = Callable[[Sequence[StepRecord]], Promise | None]
_SECOND = 1000.0  # milliseconds


def _nothing_lost(name: str, kind: StepKind) -> Judge:
    def judge(steps: Sequence[StepRecord]) -> Promise | None:
        tried = [step.result.lost for step in steps if step.result.kind is kind]
        return Promise(name, sum(tried), "packets", 0, sum(tried) == 0) if tried else None

    return judge


def _longest_gap(steps: Sequence[StepRecord]) -> Promise | None:
    gaps = [step.result.longest_gap_ms for step in steps if step.result.kind is StepKind.UNPLANNED]
    return _under_a_second("longest gap when a working route vanishes or black-holes", gaps)


def _first_packet(steps: Sequence[StepRecord]) -> Promise | None:
    joined = [step for step in steps if step.result.kind is StepKind.JOIN]
    times = [step.first_packet_ms for step in joined if step.first_packet_ms is not None]
    if len(times) < len(joined):  # somebody never reached it: all the time that there was is not enough
        times = [1000 * (step.ended - step.began) for step in joined if step.first_packet_ms is None]
        return Promise(_JOINS, max(times), "ms", _SECOND, ok=False)
    return _under_a_second(_JOINS, times)


_JOINS = "first packet to a new node from every other, cloud API down"


def _under_a_second(name: str, times: Sequence[float]) -> Promise | None:
    return Promise(name, max(times), "ms", _SECOND, max(times) < _SECOND) if times else None


def _streams(steps: Sequence[StepRecord]) -> Promise | None:
    return _count("steps that broke a TCP stream or its content", steps, lambda step: not step.result.tcp_intact)


def _reached(steps: Sequence[StepRecord]) -> Promise | None:
    return _count("steps that did not come to their expected end", steps, lambda step: bool(step.problem))


def _count(name: str, steps: Iterable[StepRecord], bad: Callable[[StepRecord], bool]) -> Promise:
    found = sum(bad(step) for step in steps)
    return Promise(name, found, "steps", 0, found == 0)


_PROMISES: Sequence[Judge] = (
    _nothing_lost("lost when the cloud refuses, or a route is withdrawn", StepKind.PLANNED),
    _longest_gap,
    _nothing_lost("lost on the way back to native", StepKind.HEAL),
    _first_packet,
    _nothing_lost("lost by others while a node joins", StepKind.JOIN),
    _nothing_lost("lost when an agent or the controller restarts", StepKind.RESTART),
    _streams,
    _reached,
)
