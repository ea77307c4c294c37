"""What the controller knows of each cloud table between reads: what was seen, accepted, refused and seen through.

A read is the truth; a write that the cloud accepted is a promise, kept apart until a read shows it. A promise that
no read shows for ``VERIFY_SECONDS`` is forgotten, and the plan sends the change again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cloudnet.model.addresses import Family, TableId, family
from cloudnet.model.resources import Cause
from cloudnet.provider.api import RouteChange, RouteTable, TableRoute, Verb
from cloudnet.routes.aggregate import key
from cloudnet.routes.plan import Refusal, Standing

NEVER: Final = float("inf")
"""A moment that does not come, in monotonic seconds."""

VERIFY_SECONDS = 60.0  # EC2 shows a write within seconds; longer than this and it was lost


@dataclass(frozen=True, slots=True)
class Trouble:
    """A refusal and when to try again; ``tries`` in a row came to nothing."""

    cause: Cause
    detail: str
    until: float
    tries: int = 1


def growing(first: float, limit: float, tries: int) -> float:
    """Return the wait after that many failures in a row: ``first``, doubling up to ``limit``."""
    return min(limit, first * 2.0 ** min(tries - 1, 60))


@dataclass(slots=True)
class Table:
    """One table. Times are monotonic seconds."""

    seen: RouteTable
    limits: Mapping[Family, int]
    routes: dict[int, TableRoute] = field(default_factory=dict)
    awaiting: dict[int, RouteChange] = field(default_factory=dict)
    accepted_at: dict[int, float] = field(default_factory=dict)
    refused: dict[int, Trouble] = field(default_factory=dict)
    closed: dict[Family, Trouble] = field(default_factory=dict)
    cleared: set[int] = field(default_factory=set)
    queue: deque[RouteChange] = field(default_factory=deque)
    busy: bool = False
    stale: bool = True  # something changed that a plan has not seen
    used: Mapping[Family, int] = field(default_factory=dict)
    retry_at: float = NEVER  # when the next refusal may be tried again

    @property
    def id(self) -> TableId:
        return self.seen.id

    def standing(self, now: float, left: Collection[int]) -> Standing:
        """Return the planner's view; refusals whose wait is over let one attempt through."""
        return Standing(
            id=self.seen.id,
            subnets=self.seen.subnets,
            limits=self.limits,
            routes=self.routes,
            awaiting=self.awaiting,
            refused={k: _refusal(t, now) for k, t in self.refused.items()},
            closed={v: _refusal(t, now) for v, t in self.closed.items()},
            left=left,
            cleared=self.cleared,
            zone=self.seen.zone,
            read_only=self.seen.read_only,
        )

    def read(self, seen: RouteTable, limits: Mapping[Family, int], *, started: float, now: float) -> bool:
        """Take a read in that was ``started`` then; tell whether it changed anything."""
        routes = {key(route.destination): route for route in seen.routes}
        changed = routes != self.routes or limits != self.limits or seen.subnets != self.seen.subnets
        before = len(self.awaiting)
        self.seen, self.limits, self.routes = seen, limits, routes
        for k, change in list(self.awaiting.items()):
            if self.accepted_at[k] >= started:
                continue
            if _shows(routes.get(k), change) or now - self.accepted_at[k] > VERIFY_SECONDS:
                self._settle(k, change)
        changed = changed or len(self.awaiting) != before
        self.stale = self.stale or changed
        return changed

    def _settle(self, k: int, change: RouteChange) -> None:
        del self.awaiting[k]
        del self.accepted_at[k]
        if change.verb is Verb.DELETE and k not in self.routes:
            self.cleared.add(k)

    def send(self, most: int) -> tuple[RouteChange, ...]:
        """Take the next changes off the queue."""
        batch = tuple(self.queue.popleft() for _ in range(min(most, len(self.queue))))
        self.cleared.difference_update(key(c.destination) for c in batch if c.verb is not Verb.DELETE)
        self.busy = True
        return batch

    def accept(self, change: RouteChange, now: float) -> None:
        """The cloud took the change; a read has yet to show it."""
        k = key(change.destination)
        self.awaiting[k] = change
        self.accepted_at[k] = now
        self.refused.pop(k, None)
        if change.verb is Verb.CREATE and self.closed.pop(family(change.destination), None) is not None:
            self.stale = True

    def refuse(self, k: int, cause: Cause, detail: str, *, now: float, first: float, limit: float) -> Trouble:
        """Leave this destination alone for a while, longer each time."""
        tries = self.refused[k].tries + 1 if k in self.refused else 1
        trouble = Trouble(cause, detail, now + growing(first, limit, tries), tries)
        self.refused[k] = trouble
        self.stale = True
        return trouble

    def close(self, of: Family, cause: Cause, detail: str, *, now: float, first: float, limit: float) -> Trouble:
        """Create no route of this family for a while, longer each time; refusals of one batch count once."""
        old = self.closed.get(of)
        if old is not None and old.cause is cause and old.until > now:
            return old
        tries = old.tries + 1 if old is not None and old.cause is cause else 1
        trouble = Trouble(cause, detail, now + growing(first, limit, tries), tries)
        self.closed[of] = trouble
        self.stale = True
        return trouble

    def planned(self, queue: Iterable[RouteChange], now: float) -> None:
        """Take over what a plan wants sent; the plan has seen everything up to ``now``."""
        self.queue = deque(queue)
        self.stale = False
        waits = (t.until for t in (*self.refused.values(), *self.closed.values()) if t.until > now)
        self.retry_at = min(waits, default=NEVER)

    def forget(self, wanted: Collection[int]) -> None:
        """Forget refusals of destinations that nobody is interested in any more."""
        for k in [k for k in self.refused if k not in wanted and k not in self.routes]:
            del self.refused[k]


def _refusal(trouble: Trouble, now: float) -> Refusal:
    return Refusal(trouble.cause, trouble.detail, probe=trouble.until <= now)


def _shows(route: TableRoute | None, change: RouteChange) -> bool:
    """Tell whether a read settles the change: it shows it, or shows that somebody else came in between."""
    if change.verb is Verb.DELETE:
        return route is None
    if change.verb is Verb.CREATE:
        return route is not None
    return route is not None and route.next_hop.same_as(change.next_hop)
