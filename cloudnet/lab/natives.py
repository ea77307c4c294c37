"""The demo where pods have addresses of the cloud itself, as data; the counterpart of ``scenarios``. Pure.

What is about routes there is about addresses here: prefixes are refused and single addresses come, a subnet is full
and pods get addresses of an overlay pool, somebody takes a prefix that pods use. The rest is the same.
"""

from __future__ import annotations

from collections.abc import Collection

from cloudnet.errors import BadInput
from cloudnet.lab import spec
from cloudnet.lab.results import StepKind
from cloudnet.lab.scenarios import (
    ALL_NATIVE,
    NATIVE,
    POOL,
    VXLAN,
    Break,
    Crowd,
    Disperse,
    Expect,
    Heal,
    Join,
    Reopen,
    StartPod,
    StartPods,
    Step,
    Supply,
    Wait,
    chosen,
    first_of,
    newest_of,
    programs,
)
from cloudnet.model.resources import Cause

FIRST = "no-addresses"


def story(nodes: int, subnets: int, *, pods: int = 1, only: Collection[str] = ()) -> tuple[Step, ...]:
    """Return the demo for a lab of so many nodes, or just the steps of the faults in ``only``.

    Raises:
        BadInput: the lab is too small for it, or there is no such fault in it.
    """
    if nodes < 3:  # noqa: PLR2004 - one breaks, one watches it break, one is not concerned
        raise BadInput(f"the demo needs 3 nodes at least, found {nodes}", path="nodes")
    told = (*_begin(nodes, pods), *_shortages(), *_breakages(nodes), *_joins(nodes, subnets), *programs())
    return chosen(told, only, first=FIRST)


def _begin(nodes: int, pods: int) -> tuple[Step, ...]:
    all_have = (Supply(f"n{k}", at_hand=pods) for k in range(1, nodes + 1))
    return (
        Step(
            FIRST,
            StepKind.HEAL,
            "a new cluster: pods have addresses of a pool; now the controller starts, and new pods get the cloud's",
            (Heal("controller-kill"), *all_have, StartPods(pods)),
            timeout=60.0,
            forget=POOL,
        ),
    )


def _shortages() -> tuple[Step, ...]:
    """The cloud has no prefix, or no address, or gives none."""
    return (
        Step(
            "fragmented",
            StepKind.PLANNED,
            "the subnet of n2 has no whole prefix left, and n2 fills up: its next pod gets a single address",
            (Break("fragmented", "n2"), Crowd("n2"), Supply("n2", at_hand=1), StartPod("n2")),
            until=Expect(NATIVE, block=newest_of("n2")),
        ),
        Step(
            "fragmented",
            StepKind.HEAL,
            "there is room again",
            (Heal("fragmented", "n2"), Disperse("n2")),
            forget=newest_of("n2"),
        ),
        *_without("exhausted", "n1", "the subnet of n1 has no address left", Cause.EXHAUSTED, target="n1"),
        *_without("permission", "n3", "the permission to take addresses is taken away", Cause.PERMISSION),
        *_without("throttle", "n2", "the API throttles every call", Cause.THROTTLED),
    )


def _without(fault: str, node: str, says: str, cause: Cause, *, target: str = "") -> tuple[Step, ...]:
    """A node fills up and gets no more: its next pod has an address of the pool, and a later one a native again."""
    return (
        Step(
            fault,
            StepKind.PLANNED,
            f"{says}, and {node} fills up: its next pod gets an address of the pool",
            (Break(fault, target), Crowd(node), StartPod(node), Supply(node, cause=cause)),
            until=Expect(VXLAN, block=str(spec.block(int(node[1:])))),
        ),
        Step(
            fault,
            StepKind.HEAL,
            "the cloud relents, and one pod more gets a native address",
            (Heal(fault, target), Disperse(node), Supply(node, at_hand=1), StartPod(node)),
            until=Expect(NATIVE, block=newest_of(node)),
            forget=newest_of(node),
        ),
    )


def _breakages(nodes: int) -> tuple[Step, ...]:
    """Addresses that work break under the traffic."""
    last = f"n{nodes}"
    return (
        Step(
            "take-prefix",
            StepKind.UNPLANNED,
            "somebody takes the prefix of n2 for himself",
            (Break("take-prefix", "n2"),),
            until=Expect(VXLAN, block=first_of("n2")),
        ),
        Step("take-prefix", StepKind.HEAL, "he gives it back", (Heal("take-prefix", "n2"),)),
        Step(
            "blackhole",
            StepKind.UNPLANNED,
            "the API says all is well, but native packets to n3 vanish",
            (Break("blackhole", first_of("n3")),),
            until=Expect(VXLAN, block=first_of("n3")),
        ),
        Step("blackhole", StepKind.HEAL, "they arrive again", (Heal("blackhole", first_of("n3")),)),
        Step(
            "stop-node",
            StepKind.UNPLANNED,
            f"the instance of {last} stops: only the others' traffic counts",
            (Break("stop-node", last), Wait(1.0)),
            until=Expect(NATIVE | VXLAN, block=first_of(last)),  # no table tells that a machine is dead
            without=frozenset({last}),
        ),
        Step(
            "stop-node",
            StepKind.HEAL,
            f"{last} starts again and its connections are opened anew",
            (Heal("stop-node", last), Reopen(last)),
        ),
    )


def _joins(nodes: int, subnets: int) -> tuple[Step, ...]:
    joining = f"n{nodes + 1}"
    return (
        Step(
            "api-down",
            StepKind.JOIN,
            f"the cloud's API is down, and a new node {joining} joins: its pod gets an address of the pool",
            (Break("api-down"), Join(joining, f"s{nodes % subnets + 1}")),
            until=Expect(VXLAN, block=str(spec.block(nodes + 1))),
        ),
        Step(
            "api-down",
            StepKind.HEAL,
            "the API is back, and one pod more gets a native address",
            (Heal("api-down"), Supply(joining, at_hand=1), StartPod(joining)),
            until=ALL_NATIVE,
        ),
    )
