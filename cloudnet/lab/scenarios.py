"""The demo as data: what is done to a lab, step by step, and what its paths must come to. Pure.

Every fault of ``faults.KINDS`` is broken and healed once, while traffic runs between all nodes. A step names what
to do, what to wait for, and whose packets do not count. ``runner`` plays the steps; nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from cloudnet.errors import BadInput
from cloudnet.lab import spec
from cloudnet.lab.manners import Manners
from cloudnet.lab.results import StepKind
from cloudnet.model.paths import PathKind, Reason
from cloudnet.model.resources import Cause

NATIVE = frozenset({PathKind.NATIVE, PathKind.DIRECT})
VXLAN = frozenset({PathKind.VXLAN})


# --- what is done -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Break:
    """Make a fault of the lab."""

    fault: str
    target: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Heal:
    """Take a fault of the lab back."""

    fault: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class NewBlock:
    """Give a node another block and a pod in it, and send to it from every other node."""

    node: str


@dataclass(frozen=True, slots=True)
class Join:
    """Start a new node with a pod; every other node sends to it from before its agent starts."""

    node: str
    subnet: str


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open the flows of a node anew: it was away, and its connections with it."""

    node: str


@dataclass(frozen=True, slots=True)
class Restart:
    """End a program with SIGTERM and start it again; ``node`` names an agent's, empty the controller."""

    node: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Let some seconds pass: the fault shall last."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StartPods:
    """Start pods with native addresses, so many on each node, and send between them as between the first ones."""

    number: int


@dataclass(frozen=True, slots=True)
class StartPod:
    """Start one more pod with what address is at hand, and send to it from every other node."""

    node: str


@dataclass(frozen=True, slots=True)
class Crowd:
    """Take every native address that a node has at hand, as so many pods would."""

    node: str


@dataclass(frozen=True, slots=True)
class Disperse:
    """Give back what ``Crowd`` took."""

    node: str


@dataclass(frozen=True, slots=True)
class Supply:
    """Wait until a node has so many native addresses ``at_hand``, or the reason is recorded why it gets no more."""

    node: str
    at_hand: int = 0
    cause: Cause | None = None

    def missing(self, at_hand: int, cause: Cause) -> str:
        """Return what is not as expected yet, for people; empty when all is."""
        if at_hand < self.at_hand:
            return f"{self.node} has {at_hand} native addresses at hand, not {self.at_hand} ({cause.value})"
        if self.cause is not None and cause is not self.cause:
            return f"{self.node} records {cause.value}, not {self.cause.value}"
        return ""


Action: TypeAlias = (
    Break | Heal | NewBlock | Join | Reopen | Restart | Wait | StartPods | StartPod | Crowd | Disperse | Supply
)

POOL: Final = "pool"  # all blocks of the pool, where something is to be forgotten
_FIRST_OF, _NEWEST_OF = "first of ", "newest of "  # blocks whose prefix nobody knows before the cloud gives them


def first_of(node: str) -> str:
    """Name the block of a node's first pod with a native address."""
    return f"{_FIRST_OF}{node}"


def newest_of(node: str) -> str:
    """Name the block of the pod that a node started last."""
    return f"{_NEWEST_OF}{node}"


def resolved(name: str, *, first: Mapping[str, str], newest: Mapping[str, str]) -> str:
    """Return the prefix of a block that was named; ``{node: prefix}``."""
    if name.startswith(_FIRST_OF):
        return first.get(name.removeprefix(_FIRST_OF), name)
    return newest.get(name.removeprefix(_NEWEST_OF), name) if name.startswith(_NEWEST_OF) else name


# --- what is expected ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """A node and somebody else's block. ``adjacent``: no route is needed; ``native``: one can be made at all.

    An ``overlay``'s blocks are never reached natively, and asked about by name only.
    """

    node: str
    block: str
    adjacent: bool
    native: bool = True
    overlay: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """The path that a node has chosen for a block."""

    kind: PathKind
    reason: Reason


@dataclass(frozen=True, slots=True)
class Expect:
    """Paths must come to one of these kinds: those to ``block``, or to all; ``at_least`` so many, or (0) all.

    ``seen`` is satisfied by what was so for a while since the step began: a repair may be quick. Where ``kinds`` is
    VXLAN, neighbours in one subnet are not asked: no cloud route is between them. Pairs that no route can ever
    connect are asked nothing.
    """

    kinds: frozenset[PathKind]
    block: str = ""
    reasons: frozenset[Reason] = frozenset()
    at_least: int = 0
    seen: bool = False

    def missing(
        self, pairs: Sequence[Pair], now: Mapping[tuple[str, str], Standing], since: Collection[tuple[Pair, Standing]]
    ) -> str:
        """Return what is not as expected yet, for people; empty when all is."""
        asked = [pair for pair in pairs if self._concerns(pair)]
        good = {(pair.node, pair.block) for pair, standing in since if self.seen and self._fits(standing)}
        good |= {key for key, standing in now.items() if self._fits(standing)}
        late = [pair for pair in asked if (pair.node, pair.block) not in good]
        if len(asked) - len(late) >= (self.at_least or max(1, len(asked))):
            return ""
        if not late:
            return f"only {len(asked)} paths are concerned"
        first = now.get((late[0].node, late[0].block))
        standing = f"{first.kind.value} ({first.reason.value})" if first else "unknown"
        more = f" and {len(late) - 1} more" if len(late) > 1 else ""
        return f"{late[0].node} to {late[0].block} is {standing}{more}"

    def _concerns(self, pair: Pair) -> bool:
        asked = pair.native and not (pair.adjacent and PathKind.VXLAN in self.kinds)
        return asked and self.block in ({pair.block} if pair.overlay else {"", pair.block})

    def _fits(self, standing: Standing) -> bool:
        return standing.kind in self.kinds and (not self.reasons or standing.reason in self.reasons)


ALL_NATIVE = Expect(NATIVE)


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``timeout`` and ``settle`` are seconds; ``without`` are nodes whose traffic does not count.

    ``forget`` is a block whose flows end with the step.
    """

    fault: str
    kind: StepKind
    title: str
    do: tuple[Action, ...]
    until: Expect = ALL_NATIVE
    timeout: float = 30.0
    settle: float = 0.5
    without: frozenset[str] = frozenset()
    forget: str = ""


# --- the story ----------------------------------------------------------------------------------------------


def story(
    nodes: int,
    subnets: int,
    zones: int = 1,
    *,
    only: Collection[str] = (),
    manners: Manners = Manners(),  # noqa: B008 - a frozen value
) -> tuple[Step, ...]:
    """Return the demo for a lab of so many nodes in such a cloud, or just the steps of the faults in ``only``.

    Raises:
        BadInput: the lab is too small for it, or there is no such fault in it.
    """
    if nodes < 3:  # noqa: PLR2004 - one breaks, one watches it break, one is not concerned
        raise BadInput(f"the demo needs 3 nodes at least, found {nodes}", path="nodes")
    if subnets < 2:  # noqa: PLR2004
        raise BadInput("the demo needs 2 subnets at least: inside one, no packet asks the cloud", path="subnets")
    room = smallest_table(nodes, subnets, zones, manners)
    breakages = (*_breakages(nodes, manners), *_joins(nodes, subnets))
    told = (*_begin(), *_refusals(room, manners), *breakages, *programs())
    return chosen([step for step in told if step.fault not in manners.without], only, first=FIRST)


FIRST = "no-routes"


def chosen(steps: Sequence[Step], only: Collection[str], *, first: str) -> tuple[Step, ...]:
    """Return the steps of some faults, after the first one; all when none is named.

    Raises:
        BadInput: a fault is in no step.
    """
    known = dict.fromkeys(step.fault for step in steps)
    for fault in only:
        if fault not in known:
            raise BadInput(f"expected one of {', '.join(known)}, found {fault!r}", path="only")
    return tuple(step for step in steps if not only or step.fault in {*only, first})


def _begin() -> tuple[Step, ...]:
    title = "a new cluster: everything goes over VXLAN, now the controller starts and programs the cloud"
    return (Step(FIRST, StepKind.HEAL, title, (Heal("controller-kill"),), timeout=40.0),)


def smallest_table(nodes: int, subnets: int, zones: int, manners: Manners) -> int:
    """Return how many routes of ours stand in the table that needs the fewest."""

    def needed(home: int, subnet: int) -> bool:
        there = manners.flat and home == subnet
        never = manners.zonal and home % zones != subnet % zones
        return not there and not never

    homes = [node % subnets for node in range(nodes)]  # where the lab puts them, in turn
    return min(sum(needed(home, subnet) for home in homes) for subnet in range(subnets))


def _refusals(room: int, manners: Manners) -> tuple[Step, ...]:
    """The cloud says no, in four ways. A new block waits on VXLAN until it says yes."""
    claimed = str(spec.block(1, 1 if manners.tells_quota else 2))  # without it, n1 has got a block by then
    claim = Break("foreign-route", claimed)
    quota = _lower_quota(room, manners) if manners.tells_quota else _full_quota(room, manners)
    return (
        *quota,
        *_refused_block("permission", 2, "the permission to write routes is taken away", {Reason.PERMISSION}),
        *_refused_block("throttle", 3, "the API throttles every call", {Reason.THROTTLED}),
        Step(
            "foreign-route",
            StepKind.PLANNED,
            "somebody else's route stands where a new block of n1 wants one",
            (claim, NewBlock("n1")),
            until=Expect(VXLAN, block=claimed, reasons=frozenset({Reason.CONFLICT})),
        ),
        Step(
            "foreign-route",
            StepKind.HEAL,
            "he takes it away",
            (Heal("foreign-route", claimed),),
            forget=claimed,
        ),
    )


def _lower_quota(room: int, manners: Manners) -> tuple[Step, ...]:
    """The API tells a quota below what is programmed."""
    return (
        Step(
            "quota",
            StepKind.PLANNED,
            "the quota falls below what is programmed: some routes are withdrawn",
            (Break("quota", value=str(manners.listed + room // 2)),),
            until=Expect(VXLAN, reasons=frozenset({Reason.QUOTA}), at_least=1),
            settle=2.0,
        ),
        Step("quota", StepKind.HEAL, "the quota is raised", (Heal("quota"),)),
    )


def _full_quota(room: int, manners: Manners) -> tuple[Step, ...]:
    """The tables are full, and only a refusal says so."""
    block = str(spec.block(1, 1))
    return (
        Step(
            "quota",
            StepKind.PLANNED,
            "the tables are full, then n1 gets a new block",
            (Break("quota", value=str(manners.listed + room)), NewBlock("n1")),
            until=Expect(VXLAN, block=block, reasons=frozenset({Reason.QUOTA})),
            settle=2.0,
        ),
        Step("quota", StepKind.HEAL, "the quota is raised", (Heal("quota"),), forget=block),
    )


def _refused_block(fault: str, number: int, says: str, reasons: Collection[Reason]) -> tuple[Step, ...]:
    block = str(spec.block(number, 1))
    return (
        Step(
            fault,
            StepKind.PLANNED,
            f"{says}, then n{number} gets a new block",
            (Break(fault), NewBlock(f"n{number}")),
            until=Expect(VXLAN, block=block, reasons=frozenset(reasons)),
        ),
        Step(fault, StepKind.HEAL, "the cloud relents", (Heal(fault),), forget=block),
    )


def _breakages(nodes: int, manners: Manners) -> tuple[Step, ...]:
    """A native route that works breaks under the traffic.

    An agent that does not answer is no proof that its node is gone; where the cloud does not say so, paths stay.
    """
    second, third, last = str(spec.block(2)), str(spec.block(3)), f"n{nodes}"
    return (
        Step(
            "delete-route",
            StepKind.UNPLANNED,
            "somebody deletes the routes to n2",
            (Break("delete-route", second),),
            until=Expect(VXLAN, block=second, seen=True),
        ),
        Step("delete-route", StepKind.HEAL, "the controller writes them again", (Heal("delete-route", second),)),
        Step(
            "blackhole",
            StepKind.UNPLANNED,
            "the API says all is well, but native packets to n3 vanish",
            (Break("blackhole", third),),
            until=Expect(VXLAN, block=third),
        ),
        Step("blackhole", StepKind.HEAL, "they arrive again", (Heal("blackhole", third),)),
        Step(
            "stop-node",
            StepKind.UNPLANNED,
            f"the instance of {last} stops: only the others' traffic counts",
            (Break("stop-node", last), Wait(1.0)),
            until=Expect(VXLAN if manners.tells_death else VXLAN | NATIVE, block=str(spec.block(nodes))),
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
    """The API is away when a node comes."""
    joining = nodes + 1
    first = (Break("api-down"), Join(f"n{joining}", f"s{(joining - 1) % subnets + 1}"))
    return (
        Step(
            "api-down",
            StepKind.JOIN,
            f"the cloud's API is down, and a new node n{joining} joins",
            first,
            until=Expect(VXLAN, block=str(spec.block(joining))),
        ),
        Step("api-down", StepKind.HEAL, "the API is back", (Heal("api-down"),)),
    )


def programs() -> tuple[Step, ...]:
    """Our own programs die."""
    return (
        Step(
            "agent-kill",
            StepKind.RESTART,
            "the agent of n1 is killed (SIGKILL) and started again",
            (Break("agent-kill", "n1"), Wait(1.0), Heal("agent-kill", "n1"), Wait(1.0)),
        ),
        Step(
            "controller-kill",
            StepKind.RESTART,
            "the controller is killed (SIGKILL) and started again",
            (Break("controller-kill"), Wait(1.0), Heal("controller-kill"), Wait(1.0)),
        ),
        Step(
            "leader-kill",
            StepKind.RESTART,
            "the controller is killed (SIGKILL) while another one stands by, which takes over and hands back",
            (Break("leader-kill"), Wait(1.0), Heal("leader-kill"), Wait(1.0)),
        ),
        Step(
            "agent-restart",
            StepKind.RESTART,
            "the agent of n2 is restarted in order (SIGTERM)",
            (Restart("n2"), Wait(1.0)),
        ),
        Step(
            "controller-restart",
            StepKind.RESTART,
            "the controller is restarted in order (SIGTERM)",
            (Restart(), Wait(1.0)),
        ),
    )
