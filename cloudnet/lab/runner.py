"""Plays a scenario on a lab while traffic runs, and writes down what became of every packet and path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cloudnet.clock import Clock
from cloudnet.lab import processes, scenarios
from cloudnet.lab.errors import LabError
from cloudnet.lab.manners import Manners
from cloudnet.lab.results import Losses, PathChange, PathMoment, StepRecord, StepResult, Story
from cloudnet.lab.scenarios import Pair, Step
from cloudnet.lab.state import LabState
from cloudnet.lab.traffic import Endpoint, Flow, FlowSample, Mark, Sample
from cloudnet.lab.views import LabNode, LabPod
from cloudnet.lab.watch import Change, Watch
from cloudnet.model.addresses import Network
from cloudnet.model.paths import Reason
from cloudnet.model.resources import Cause

LOOK = 0.1  # seconds between two looks at what a step waits for
UP_SECONDS = 20.0  # for the very first packet of every flow
SUPPLY_SECONDS = 30.0  # for the cloud to give, or the controller to say why not
_TERM_SECONDS = 10.0

Say = Callable[[str], None]


class Stage(Protocol):
    """What a scenario needs of a lab."""

    @property
    def state(self) -> LabState: ...

    def nodes(self) -> tuple[LabNode, ...]: ...

    def add_node(self, name: str = "", subnet: str = "", *, agent: bool = True) -> LabNode: ...

    def add_block(self, node: str) -> Network: ...

    def add_pod(self, node: str, block: Network | None = None) -> LabPod: ...

    def start_pod(self, node: str) -> LabPod: ...

    def crowd(self, node: str) -> None: ...

    def disperse(self, node: str) -> None: ...

    def supply(self, node: str) -> tuple[int, Cause]: ...

    def break_(self, fault: str, *, target: str = "", value: str = "") -> None: ...

    def heal(self, fault: str, *, target: str = "") -> None: ...

    def start_agent(self, node: str) -> None: ...

    def start_controller(self) -> None: ...


class Meter(Protocol):
    """What a scenario needs of the traffic."""

    @property
    def flows(self) -> tuple[Flow, ...]: ...

    def open(self, flow: Flow) -> None: ...

    def close(self, flow: Flow) -> None: ...

    def mark(self) -> Mark: ...

    def arrived(self, flow: Flow) -> bool: ...

    def measure(self, begin: Mark, end: Mark, *, without: Collection[str] = ()) -> Sample: ...


@dataclass(slots=True)
class _Joining:
    """A node that joins: the flows towards it, and when its agent was started (monotonic seconds)."""

    flows: tuple[Flow, ...] = ()
    started: float = 0.0


class Runner:
    """Plays steps one after the other; each packet is counted in the step in which it was sent."""

    def __init__(
        self,
        stage: Stage,
        traffic: Meter,
        watch: Watch,
        *,
        clock: Clock,
        say: Say,
        manners: Manners = Manners(),  # noqa: B008 - a frozen value
        native: bool = False,
    ) -> None:
        self._stage = stage
        self._traffic = traffic
        self._watch = watch
        self._clock = clock
        self._say = say
        self._manners = manners
        self._native = native
        self._newest: dict[str, LabPod] = {}
        self._began = clock.now()
        self._joining = _Joining()
        self._losses: list[Losses] = []

    def open_flows(self) -> None:
        """Start traffic between all nodes, and wait until something has arrived on every flow.

        Raises:
            LabError: a flow brings nothing, or no agent answers.
        """
        for flow in mesh(self._stage.nodes()):
            self._traffic.open(flow)
        deadline = self._clock.now() + UP_SECONDS
        while silent := [flow for flow in self._traffic.flows if not self._traffic.arrived(flow)]:
            if self._clock.now() > deadline:
                more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
                raise LabError(f"nothing arrives on {silent[0]}{more} after {UP_SECONDS:g} s; see the agents' logs")
            self._clock.sleep(LOOK)
        self._began = self._clock.now()

    def play(self, steps: Sequence[Step]) -> Story:
        records = []
        begin = self._traffic.mark()
        for number, step in enumerate(steps, start=1):
            self._say(f"[{number}/{len(steps)}] {step.fault}, {step.kind}: {step.title}")
            record, begin = self._play(step, begin)
            self._say(record.summary())
            records.append(record)
        return Story(tuple(records), tuple(self._moments()), tuple(self._losses))

    def _play(self, step: Step, begin: Mark) -> tuple[StepRecord, Mark]:
        started = self._clock.now()
        problem = ""
        for action in step.do:
            problem = problem or self._do(action)
        problem = problem or self._await(step, started)
        self._clock.sleep(step.settle)
        end = self._traffic.mark()
        sample = self._traffic.measure(begin, end, without=step.without)
        self._losses += [loss for flow in sample.datagrams for loss in self._lost(flow)]
        first = self._first_packet(sample)
        result = StepResult(
            fault=step.fault,
            kind=step.kind,
            sent=sample.sent,
            lost=sample.lost,
            longest_gap_ms=round(max(sample.longest_gap_ms, first or 0.0), 1),
            tcp_intact=sample.tcp_intact,
            paths=moved(self._watch.changes(begin.at)),
        )
        self._joining = _Joining()
        self._forget(step.forget)
        record = StepRecord(result, step.title, begin.at - self._began, end.at - self._began, first, problem)
        return record, end

    # --- acting -------------------------------------------------------------------------------------------------

    def _do(self, action: scenarios.Action) -> str:
        """Carry one action out; return what it waited for in vain."""
        match action:
            case scenarios.Break(fault, target, value):
                self._stage.break_(fault, target=self._block(target), value=value)
            case scenarios.Heal(fault, target):
                self._stage.heal(fault, target=self._block(target))
            case scenarios.Wait(seconds):
                self._clock.sleep(seconds)
            case scenarios.NewBlock(node):
                self._give_block(node)
            case scenarios.Join(node, subnet):
                self._join(node, subnet)
            case scenarios.Reopen(node):
                self._reopen(node)
            case scenarios.Restart(node):
                self._restart(node)
            case _:
                return self._do_with_addresses(action)
        return ""

    def _do_with_addresses(self, action: scenarios.Action) -> str:
        match action:
            case scenarios.StartPods(number):
                self._start_pods(number)
            case scenarios.StartPod(node):
                self._newest[node] = pod = self._stage.start_pod(node)
                self._open_towards(node, pod)
            case scenarios.Crowd(node):
                self._stage.crowd(node)
            case scenarios.Disperse(node):
                self._stage.disperse(node)
            case scenarios.Supply():
                return self._await_supply(action)
        return ""

    def _await_supply(self, wanted: scenarios.Supply) -> str:
        deadline = self._clock.now() + SUPPLY_SECONDS
        while problem := wanted.missing(*self._stage.supply(wanted.node)):
            if self._clock.now() > deadline:
                return f"after {SUPPLY_SECONDS:g} s {problem}"
            self._clock.sleep(LOOK)
        return ""

    def _start_pods(self, number: int) -> None:
        """Give each node pods with native addresses, and let these talk."""
        nodes = self._stage.nodes()
        pods = {node.name: tuple(self._stage.start_pod(node.name) for _ in range(number)) for node in nodes}
        for flow in mesh([replace(node, pods=pods[node.name]) for node in nodes]):
            self._traffic.open(flow)

    def _give_block(self, node: str) -> None:
        block = self._stage.add_block(node)
        pod = self._stage.add_pod(node, block)
        self._open_towards(node, pod)

    def _join(self, node: str, subnet: str) -> None:
        self._stage.add_node(node, subnet, agent=False)
        pod = self._stage.add_pod(node)
        flows = self._open_towards(node, pod)
        self._joining = _Joining(flows, self._clock.now())
        self._stage.start_agent(node)

    def _open_towards(self, node: str, pod: LabPod) -> tuple[Flow, ...]:
        end = Endpoint(node, pod.namespace, pod.address)
        others = [other for other in self._stage.nodes() if other.name != node and other.pods]
        flows = tuple(Flow("udp", self._sender(other), end) for other in others)
        for flow in flows:
            self._traffic.open(flow)
        return flows

    def _sender(self, node: LabNode) -> Endpoint:
        """Return a node's pod that has an address like those whose traffic counts."""
        return _endpoint(replace(node, pods=_natives(node) or node.pods), 0)

    def _block(self, name: str) -> str:
        """Return the prefix of a block that a step names before anybody knows it."""
        first = {node.name: str(pods[0].block) for node in self._stage.nodes() if (pods := _natives(node))}
        return scenarios.resolved(name, first=first, newest={n: str(p.block) for n, p in self._newest.items()})

    def _reopen(self, node: str) -> None:
        again = [flow for flow in self._traffic.flows if flow.touches(node)]
        for flow in again:
            self._traffic.close(flow)
        for flow in again:
            self._traffic.open(flow)

    def _restart(self, node: str) -> None:
        process = self._stage.state.processes[f"agent {node}" if node else "controller"]
        processes.kill([process], grace=_TERM_SECONDS)
        if node:
            self._stage.start_agent(node)
        else:
            self._stage.start_controller()

    def _forget(self, block: str) -> None:
        """End the flows to a block's pods, or to the newest one of a node: they have played their part."""
        nodes = self._stage.nodes()
        here = [(node, pod) for node in nodes for pod in node.pods]
        if block == scenarios.POOL:
            pods = {pod.address for node, pod in here if pod.block in node.blocks}
        else:
            pods = {pod.address for _, pod in here if str(pod.block) == block}
            pods |= {pod.address for node, pod in self._newest.items() if scenarios.newest_of(node) == block}
        for flow in self._traffic.flows:
            if flow.destination.address in pods:
                self._traffic.close(flow)

    # --- looking ------------------------------------------------------------------------------------------------

    def _await(self, step: Step, started: float) -> str:
        """Wait for what the step expects of paths, and that every flow has brought something; return what is not."""
        acted = self._clock.now()
        while problem := self._missing(step, started=started, acted=acted):
            if self._clock.now() > acted + step.timeout:
                return f"after {step.timeout:g} s {problem}"
            self._clock.sleep(LOOK)
        return ""

    def _missing(self, step: Step, *, started: float, acted: float) -> str:
        here = [node for node in self._stage.nodes() if node.name not in step.without]
        nodes = self._stage.nodes()
        pairs = list(_native_pairs(here, nodes) if self._native else _pairs(here, nodes, self._manners))
        since = [
            (Pair(change.node, change.block, adjacent=False), change.after) for change in self._watch.changes(started)
        ]
        until = replace(step.until, block=self._block(step.until.block))
        missing = until.missing(pairs, self._watch.now(fresh=acted), since)
        silent = [flow for flow in self._flows(step) if not self._traffic.arrived(flow)]
        return missing or (f"nothing arrives on {silent[0]}" if silent else "")

    def _flows(self, step: Step) -> list[Flow]:
        return [flow for flow in self._traffic.flows if not any(flow.touches(node) for node in step.without)]

    def _first_packet(self, sample: Sample) -> float | None:
        """Return after how many milliseconds the slowest node reached the new one; nothing when one did not."""
        reached = {flow.flow: flow.first_at for flow in sample.flows}
        times = [reached.get(flow) for flow in self._joining.flows]
        if not times or None in times:
            return None
        return round(1000 * (max(at for at in times if at is not None) - self._joining.started), 1)

    def _lost(self, sample: FlowSample) -> Iterator[Losses]:
        ends = sample.flow.source, sample.flow.destination
        block = next(
            (str(pod.block) for node in self._stage.nodes() for pod in node.pods if pod.address == ends[1].address),
            "",
        )
        for run in sample.runs:
            yield Losses(run.after / 1e9 - self._began, ends[0].node, ends[1].node, block, run.lost, run.gap_ms)

    def _moments(self) -> Iterator[PathMoment]:
        for change in self._watch.changes():
            after = change.after
            yield PathMoment(
                max(0.0, change.at - self._began), change.node, change.block, after.kind.value, after.reason.value
            )


def mesh(nodes: Sequence[LabNode]) -> Iterator[Flow]:
    """Return UDP in both directions and a TCP stream between pods of every pair of nodes; each pod has its share."""
    nodes = [node for node in nodes if node.pods]
    for i, one in enumerate(nodes):
        for j, other in enumerate(nodes[i + 1 :]):
            here, there = _endpoint(one, i + j), _endpoint(other, i)
            yield Flow("udp", here, there)
            yield Flow("udp", there, here)
            yield Flow("tcp", here, there)


def _endpoint(node: LabNode, index: int) -> Endpoint:
    pod = node.pods[index % len(node.pods)]
    return Endpoint(node.name, pod.namespace, pod.address)


def _pairs(sources: Sequence[LabNode], nodes: Sequence[LabNode], manners: Manners) -> Iterator[Pair]:
    return (
        Pair(
            source.name,
            str(block),
            adjacent=manners.flat and source.subnet == node.subnet,
            native=not manners.zonal or source.zone == node.zone,
        )
        for source in sources
        for node in nodes
        if node.name != source.name
        for block in node.blocks
    )


def _native_pairs(sources: Sequence[LabNode], nodes: Sequence[LabNode]) -> Iterator[Pair]:
    """Yield pairs where the cloud delivers pods' addresses: it does so inside a subnet too, and in every zone."""
    others = ((source, node) for source in sources for node in nodes if node.name != source.name)
    for source, node in others:
        for block in node.native:
            yield Pair(source.name, str(block), adjacent=False)
        for block in node.blocks:
            yield Pair(source.name, str(block), adjacent=False, overlay=True)


def _natives(node: LabNode) -> tuple[LabPod, ...]:
    return tuple(pod for pod in node.pods if pod.block not in node.blocks)


_IN_PASSING = frozenset({Reason.PENDING, Reason.PROVING, Reason.WITHDRAWING})


def moved(changes: Sequence[Change]) -> tuple[PathChange, ...]:
    """Return the paths that became of another kind, with the first reason that is more than a passing one."""
    return tuple(_told(change, changes[at + 1 :]) for at, change in enumerate(changes) if _is_move(change))


def _is_move(change: Change) -> bool:
    return change.before is None or change.before.kind is not change.after.kind


def _told(change: Change, later: Sequence[Change]) -> PathChange:
    reason = change.after.reason
    for other in later:
        if (other.node, other.block) != (change.node, change.block):
            continue
        if reason not in _IN_PASSING or _is_move(other):
            break
        reason = other.after.reason
    before = change.before.kind.value if change.before else "none"
    return PathChange(change.node, change.block, before, change.after.kind.value, reason.value)
