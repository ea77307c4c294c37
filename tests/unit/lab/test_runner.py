from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab import spec
from cloudnet.lab.errors import LabError
from cloudnet.lab.journal import Run
from cloudnet.lab.results import PathChange, StepKind
from cloudnet.lab.runner import Runner, mesh, moved
from cloudnet.lab.scenarios import NATIVE, VXLAN, Break, Expect, Heal, Join, NewBlock, Reopen, Standing, Step, Wait
from cloudnet.lab.state import LabState
from cloudnet.lab.traffic import Endpoint, Flow, FlowSample, Mark, Sample
from cloudnet.lab.views import LabNode, LabPod
from cloudnet.lab.watch import Change, Watch
from cloudnet.model.addresses import NodeName
from cloudnet.model.paths import Path as RoutePath
from cloudnet.model.paths import PathKind, Reason
from cloudnet.model.resources import Cause

PROVEN = (PathKind.NATIVE, Reason.PROVEN)
LOST = (PathKind.VXLAN, Reason.PROBES_LOST)


def node(number: int, *, pods: int = 2) -> LabNode:
    name, block = f"n{number}", spec.block(number)
    found = tuple(LabPod(f"p{i}", f"cn-{name}-p{i}", spec.pod_address(block, i), block) for i in range(pods))
    address = IPv4Interface(f"10.0.{number}.{10 + number}/24")
    return LabNode(name, f"cn-{name}", f"s{number}", (address,), Path(f"{name}.sock"), found, (block,))


@dataclass
class FakeStage:
    """A lab of three nodes in three subnets; every agent says ``path`` for every block."""

    there: list[LabNode] = field(default_factory=lambda: [node(1), node(2), node(3)])
    path: tuple[PathKind, Reason] = PROVEN
    did: list[str] = field(default_factory=list)
    breaks: dict[str, Callable[[], None]] = field(default_factory=dict)

    @property
    def state(self) -> LabState:
        raise AssertionError("no step here restarts a program")

    def nodes(self) -> tuple[LabNode, ...]:
        return tuple(self.there)

    def add_node(self, name: str = "", subnet: str = "", *, agent: bool = True) -> LabNode:  # noqa: ARG002 - as the lab has it
        self.did.append(f"add {name} in {subnet}")
        self.there.append(node(int(name[1:]), pods=0))
        return self.there[-1]

    def add_block(self, node: str):
        self.did.append(f"block for {node}")
        return spec.block(int(node[1:]), 1)

    def add_pod(self, node: str, block=None) -> LabPod:
        at = next(i for i, known in enumerate(self.there) if known.name == node)
        old = self.there[at]
        block = block or old.blocks[0]
        pod = LabPod(f"p{len(old.pods)}", f"cn-{node}-new", spec.pod_address(block, 0), block)
        blocks = old.blocks if block in old.blocks else (*old.blocks, block)
        self.there[at] = LabNode(
            old.name, old.namespace, old.subnet, old.addresses, old.agent_socket, (*old.pods, pod), blocks
        )
        return pod

    def start_pod(self, node: str) -> LabPod:
        raise AssertionError(f"no step here starts a pod on {node} with what is at hand")

    def crowd(self, node: str) -> None:
        raise AssertionError(f"no step here crowds {node}")

    def disperse(self, node: str) -> None:
        raise AssertionError(f"no step here disperses {node}")

    def supply(self, node: str) -> tuple[int, Cause]:
        raise AssertionError(f"no step here waits for addresses of {node}")

    def break_(self, fault: str, *, target: str = "", value: str = "") -> None:  # noqa: ARG002 - as the lab has it
        self.did.append(f"break {fault} {target}".strip())
        self.breaks.get(fault, lambda: None)()

    def heal(self, fault: str, *, target: str = "") -> None:
        self.did.append(f"heal {fault} {target}".strip())
        self.path = PROVEN

    def start_agent(self, node: str) -> None:
        self.did.append(f"agent {node}")

    def start_controller(self) -> None:
        self.did.append("controller")

    def paths(self, name: str) -> tuple[RoutePath, ...]:
        return tuple(
            RoutePath(block, NodeName(other.name), *self.path)
            for other in self.there
            if other.name != name
            for block in other.blocks
        )


@dataclass
class FakeMeter:
    """Traffic that arrives at once; ``runs`` are lost by the first flow, ``first_at`` is when flows first arrive."""

    clock: ManualClock
    flows_open: list[Flow] = field(default_factory=list)
    runs: tuple[Run, ...] = ()
    first_after: float = 0.25
    opened: dict[Flow, float] = field(default_factory=dict)
    silent: bool = False
    without: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def flows(self) -> tuple[Flow, ...]:
        return tuple(self.flows_open)

    def open(self, flow: Flow) -> None:
        self.flows_open.append(flow)
        self.opened[flow] = self.clock.now()

    def close(self, flow: Flow) -> None:
        self.flows_open.remove(flow)

    def mark(self) -> Mark:
        return Mark(self.clock.now(), {})

    def arrived(self, flow: Flow) -> bool:  # noqa: ARG002 - all flows alike
        return not self.silent

    def measure(self, begin: Mark, end: Mark, *, without=()) -> Sample:  # noqa: ARG002 - all time alike
        self.without.append(tuple(without))
        return Sample(
            tuple(
                FlowSample(flow, 100, self.runs if i == 0 else (), first_at=self.opened[flow] + self.first_after)
                for i, flow in enumerate(self.flows_open)
            )
        )


class LookingClock(ManualClock):
    """Whenever somebody sleeps, the watch looks."""

    look: Callable[[], None] = staticmethod(lambda: None)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.look()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def stage() -> FakeStage:
    return FakeStage()


@pytest.fixture
def clock() -> LookingClock:
    return LookingClock(at=100.0)


@pytest.fixture
def meter(clock) -> FakeMeter:
    return FakeMeter(clock)


@pytest.fixture
def runner(stage, meter, clock, told) -> Runner:
    watch = Watch(lambda: [n.name for n in stage.nodes()], stage.paths, clock=clock)
    clock.look = watch.look
    watch.look()
    clock.advance(1.0)
    runner = Runner(stage, meter, watch, clock=clock, say=told.append)
    runner.open_flows()
    return runner


def test_every_pair_of_nodes_has_udp_both_ways_and_a_stream() -> None:
    flows = list(mesh([node(i) for i in range(1, 7)]))

    directions = {(f.source.node, f.destination.node) for f in flows if f.kind == "udp"}
    pairs = {frozenset((f.source.node, f.destination.node)) for f in flows if f.kind == "tcp"}
    assert len(directions) == 30
    assert len(pairs) == 15
    assert len({(f.kind, f.source.address) for f in flows}) > 20, "both pods of a node have their share"


def test_a_step_breaks_waits_and_tells_what_changed_path(stage, runner, told) -> None:
    stage.breaks["blackhole"] = lambda: setattr(stage, "path", LOST)
    step = Step("blackhole", StepKind.UNPLANNED, "it vanishes", (Break("blackhole", "b"),), until=Expect(VXLAN))

    story = runner.play([step])

    assert stage.did == ["break blackhole b"]
    assert story.steps[0].problem == ""
    assert len(story.steps[0].result.paths) == 6
    assert story.steps[0].result.paths[0] == PathChange("n1", "10.65.2.0/26", "native", "vxlan", "probes-lost")
    assert "    6 native > vxlan (probes-lost)" in told[1]


def test_a_step_that_does_not_come_to_its_end_says_so_and_the_story_goes_on(stage, runner) -> None:
    steps = [
        Step("quota", StepKind.PLANNED, "", (Break("quota"),), until=Expect(VXLAN), timeout=5.0),
        Step("quota", StepKind.HEAL, "", (Heal("quota"),)),
    ]

    story = runner.play(steps)

    assert story.steps[0].problem == "after 5 s n1 to 10.65.2.0/26 is native (proven) and 5 more"
    assert story.steps[1].problem == ""


def test_an_answer_from_before_the_fault_does_not_end_the_wait(stage, runner, clock) -> None:
    clock.look = lambda: None
    step = Step("agent-kill", StepKind.RESTART, "", (Break("agent-kill", "n1"),), until=Expect(NATIVE), timeout=1.0)

    assert "is unknown" in runner.play([step]).steps[0].problem


def test_losses_are_told_with_their_place_and_time(runner, meter, clock) -> None:
    at = int((clock.now() + 1.0) * 1e9)
    meter.runs = (Run(20, at, at + 105_000_000),)

    story = runner.play([Step("quota", StepKind.PLANNED, "", ())])

    loss = story.losses[0]
    assert (loss.from_node, loss.to_block, loss.lost, loss.gap_ms) == ("n1", "10.65.2.0/26", 20, 105.0)
    assert loss.at == pytest.approx(1.0)
    assert (story.steps[0].result.lost, story.steps[0].result.longest_gap_ms) == (20, 105.0)


def test_a_new_block_gets_traffic_from_all_others_until_it_is_forgotten(stage, runner, meter) -> None:
    block = str(spec.block(2, 1))
    before = meter.flows
    steps = [Step("permission", StepKind.PLANNED, "", (NewBlock("n2"),))]

    runner.play(steps)
    new = [flow for flow in meter.flows if flow not in before]
    runner.play([Step("permission", StepKind.HEAL, "", (), forget=block)])

    assert {flow.source.node for flow in new} == {"n1", "n3"}
    assert {flow.destination.address for flow in new} == {IPv4Address("10.65.2.66")}
    assert meter.flows == before


def test_the_first_packet_to_a_new_node_is_timed_from_its_agents_start(stage, runner) -> None:
    story = runner.play([Step("api-down", StepKind.JOIN, "", (Wait(2.0), Break("api-down"), Join("n4", "s1")))])

    assert stage.did == ["break api-down", "add n4 in s1", "agent n4"]
    assert story.steps[0].first_packet_ms == pytest.approx(250.0)
    assert story.steps[0].result.longest_gap_ms == pytest.approx(250.0)


def test_the_connections_of_a_node_that_was_away_are_opened_anew(runner, meter, clock) -> None:
    before = set(meter.flows)

    runner.play([Step("stop-node", StepKind.HEAL, "", (Wait(3.0), Reopen("n3")))])

    assert set(meter.flows) == before
    assert {flow for flow, at in meter.opened.items() if at == clock.at - 0.5} == {
        flow for flow in before if flow.touches("n3")
    }


def test_the_traffic_of_a_stopped_node_does_not_count(runner, meter) -> None:
    runner.play([Step("stop-node", StepKind.UNPLANNED, "", (), without=frozenset({"n3"}))])

    assert meter.without == [("n3",)]


def test_flows_that_never_come_up_are_named(stage, meter, clock) -> None:
    meter.silent = True
    watch = Watch(list, stage.paths, clock=clock)
    runner = Runner(stage, meter, watch, clock=clock, say=lambda _: None)

    with pytest.raises(LabError, match=r"nothing arrives on udp 10\.65\.1\.2 \(n1\) > 10\.65\.2\.2 and 8 more"):
        runner.open_flows()


def test_an_endpoint_knows_its_node() -> None:
    here, there = (Endpoint(f"n{i}", f"ns{i}", IPv4Address(f"10.65.{i}.2")) for i in (1, 2))

    assert Flow("udp", here, there).touches("n2")
    assert not Flow("udp", here, there).touches("n3")


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ([("vxlan", "withdrawing"), ("vxlan", "quota")], ["native > vxlan (quota)"]),
        ([("vxlan", "probes-lost"), ("vxlan", "pending")], ["native > vxlan (probes-lost)"]),
        ([("vxlan", "pending"), ("vxlan", "proving")], ["native > vxlan (proving)"]),
        (
            [("vxlan", "withdrawing"), ("native", "proven"), ("vxlan", "quota")],
            ["native > vxlan (withdrawing)", "vxlan > native (proven)", "native > vxlan (quota)"],
        ),
        ([("native", "held")], []),
    ],
    ids=["then-the-cause", "the-cause-first", "only-passing-ones", "a-reason-belongs-to-its-stay", "no-move"],
)
def test_why_a_path_moved(after, told) -> None:
    standings = [Standing(*PROVEN), *(Standing(PathKind(kind), Reason(reason)) for kind, reason in after)]
    other = Change(0.0, "n3", "b2", Standing(*PROVEN), Standing(PathKind.NATIVE, Reason.HELD))
    steps = [
        Change(float(at), "n1", "b2", before, standing)
        for at, (before, standing) in enumerate(itertools.pairwise(standings))
    ]

    found = moved([change for step in steps for change in (step, other)])

    assert [f"{path.before} > {path.after} ({path.reason})" for path in found] == told
