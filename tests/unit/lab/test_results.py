from __future__ import annotations

import msgspec
import pytest

from cloudnet.lab.results import (
    DemoResult,
    PathChange,
    Promise,
    Rights,
    StepKind,
    StepRecord,
    StepResult,
    Story,
    promises,
)


def step(kind: StepKind, *, lost: int = 0, gap: float = 0.0, tcp: bool = True, **more: object) -> StepRecord:
    return StepRecord(StepResult("fault", kind, 1000, lost, gap, tcp), "title", 0.0, 8.0, **more)


GOOD = (
    step(StepKind.PLANNED),
    step(StepKind.UNPLANNED, lost=140, gap=700.0),
    step(StepKind.HEAL),
    step(StepKind.JOIN, first_packet_ms=640.0),
    step(StepKind.RESTART),
)


def broken(*steps: StepRecord) -> list[tuple[float, str]]:
    return [(p.value, p.unit) for p in promises(steps) if not p.ok]


def test_a_good_demo_keeps_every_promise() -> None:
    found = promises(GOOD)

    assert all(promise.ok for promise in found)
    assert [promise.value for promise in found] == [0, 700.0, 0, 640.0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("bad", "value"),
    [
        (step(StepKind.PLANNED, lost=1), (1, "packets")),
        (step(StepKind.HEAL, lost=2), (2, "packets")),
        (step(StepKind.RESTART, lost=3), (3, "packets")),
        (step(StepKind.JOIN, lost=4, first_packet_ms=1.0), (4, "packets")),
        (step(StepKind.UNPLANNED, gap=1000.0), (1000.0, "ms")),
        (step(StepKind.JOIN, first_packet_ms=1000.0), (1000.0, "ms")),
        (step(StepKind.JOIN), (8000.0, "ms")),
        (step(StepKind.UNPLANNED, tcp=False), (1, "steps")),
        (step(StepKind.HEAL, problem="not native after 30 s"), (1, "steps")),
    ],
    ids=[
        "planned-loss",
        "loss-on-the-way-back",
        "loss-by-a-restart",
        "loss-by-a-join",
        "gap-of-a-second",
        "join-takes-a-second",
        "join-never",
        "stream-broken",
        "step-without-its-end",
    ],
)
def test_one_bad_step_breaks_one_promise(bad, value) -> None:
    assert broken(*GOOD, bad) == [value]


def test_losses_add_up_and_the_longest_gap_counts() -> None:
    found = promises(
        [step(StepKind.PLANNED, lost=1), step(StepKind.PLANNED, lost=2)]
        + [step(StepKind.UNPLANNED, gap=gap) for gap in (300.0, 900.0, 20.0)]
    )

    assert [promise.value for promise in found[:2]] == [3, 900.0]


def test_what_no_step_has_tried_is_not_judged() -> None:
    assert [p.unit for p in promises([step(StepKind.HEAL)])] == ["packets", "steps", "steps"]


def test_a_call_that_is_forbidden_breaks_a_promise() -> None:
    used = ("cloudnet-agent list nodes",)

    kept = Story((), rights=Rights(used, ())).result()
    broken = Story((), rights=Rights(used, ("cloudnet-agent delete nodes",))).result()

    assert kept.ok
    assert not broken.ok
    assert [(p.name, p.value) for p in broken.promises if not p.ok] == [("calls that the printed rights forbid", 1)]


def test_the_json_has_exactly_the_published_fields() -> None:
    change = PathChange("n1", "10.65.2.0/26", "native", "vxlan", "quota")
    result = DemoResult(
        (StepResult("quota", StepKind.PLANNED, 10, 0, 0.0, tcp_intact=True, paths=(change,)),),
        (Promise("lost", 0, "packets", 0, ok=True),),
    )

    assert msgspec.json.decode(msgspec.json.encode(result)) == {
        "steps": [
            {
                "fault": "quota",
                "kind": "planned",
                "sent": 10,
                "lost": 0,
                "longest_gap_ms": 0.0,
                "tcp_intact": True,
                "paths": [
                    {
                        "from_node": "n1",
                        "to_block": "10.65.2.0/26",
                        "before": "native",
                        "after": "vxlan",
                        "reason": "quota",
                    }
                ],
            }
        ],
        "promises": [{"name": "lost", "value": 0, "unit": "packets", "target": 0, "ok": True}],
        "rights": None,
    }
