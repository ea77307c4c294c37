"""The whole controller on one thread and a clock that is moved by hand: for tests, benchmarks and dry runs.

``Simulation`` does what ``main.Controller`` does with threads: it feeds the loop from the store, carries its actions
out one after the other, and lets time pass to the next wake-up. The lease is left out: it always leads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cloudnet.addresses.plan import Settings
from cloudnet.clock import ManualClock
from cloudnet.controller import books, carry, carry_pools
from cloudnet.controller.actions import Action, Changed, Leading, Say, Tell, WriteStore
from cloudnet.controller.loop import KINDS, Loop
from cloudnet.controller.options import Options
from cloudnet.controller.pool_actions import CloudAction as PoolCloudAction
from cloudnet.controller.pool_actions import PoolAction, StoreAction
from cloudnet.controller.pools import Pools
from cloudnet.model.cluster_events import ClusterEvent
from cloudnet.provider.api import Provider
from cloudnet.store.api import Event, EventType, Revision, Store, Watch


class Simulation:
    """A controller that runs when it is told to. ``said`` is what it told the operator.

    ``told`` is what it told at nodes. With ``native`` it manages native addresses too, where the provider has an
    allocator.
    """

    def __init__(
        self,
        store: Store,
        provider: Provider,
        clock: ManualClock,
        options: Options | None = None,
        *,
        native: Settings | None = None,
    ) -> None:
        self.loop = Loop(provider.capabilities, options)
        self.pools = Pools(native) if native is not None and provider.addresses is not None else None
        self.said: list[str] = []
        self.told: list[ClusterEvent] = []
        self.done: list[Action | PoolAction] = []
        self.before: Callable[[Action | PoolAction], None] = lambda _: None
        """Called before each action; what it raises ends the run, as a crash would."""
        self._store = store
        self._provider = provider
        self._clock = clock
        self._todo: deque[Action | PoolAction] = deque()
        self._kinds = KINDS if self.pools is None else tuple(dict.fromkeys((*KINDS, *books.KINDS)))
        self._watch: Watch | None = None
        self._wakeup = clock.now()

    def start(self) -> None:
        """List everything and take the lead."""
        events, revision = [], Revision(0)
        for kind in self._kinds:
            listing = self._store.list(kind)
            revision = listing.revision if not revision else Revision(min(revision, listing.revision))
            events += [Event(EventType.PUT, s.value, s.revision) for s in listing.items]
        self._watch = self._store.watch(self._kinds, since=revision)
        self._tell(Changed(tuple(events), synced=True), Leading(leader=True))

    def run(self, seconds: float) -> None:
        """Let that much time pass, and do everything that is due meanwhile."""
        until = self._clock.now() + seconds
        while True:
            self.settle()
            if self._wakeup > until or self._clock.now() > until:
                break
            self._clock.advance(max(0.0, self._wakeup - self._clock.now()))
        self._clock.advance(max(0.0, until - self._clock.now()))
        self.settle()

    def settle(self) -> None:
        """Do everything that is due now; time passes only where a call takes some."""
        if self._watch is None:
            self.start()
        while True:
            self._listen()
            self._step()
            if not self._todo and not self._listen() and self._wakeup > self._clock.now():
                return
            if self._todo:
                self._carry_out(self._todo.popleft())

    def _step(self) -> None:
        now, wall = self._clock.now(), self._clock.wall()
        actions, self._wakeup = self.loop.step(now, wall)
        self._todo.extend(actions)
        if self.pools is not None:
            more, wakeup = self.pools.step(now, wall, self.loop.nodes.machines())
            self._todo.extend(more)
            self._wakeup = min(self._wakeup, wakeup)

    def _listen(self) -> bool:
        events = self._watch.next(0.0) if self._watch is not None else ()
        if events:
            self._tell(Changed(events))
        return bool(events)

    def _tell(self, *events: Changed | Leading) -> None:
        self.loop.receive(events)
        if self.pools is not None:
            self.pools.receive(events)

    def _carry_out(self, action: Action | PoolAction) -> None:
        self.before(action)
        self.done.append(action)
        if isinstance(action, Say):
            self.said.append(action.message)
        elif isinstance(action, Tell):
            self.told.append(action.event)
        elif isinstance(action, WriteStore):
            self.loop.receive([carry.store(action, self._store, _always)])
        elif isinstance(action, StoreAction) and self.pools is not None:
            self.pools.receive([carry_pools.store(action, self._store, _always, self._clock.wall)])
        elif isinstance(action, PoolCloudAction):
            if self.pools is not None and self._provider.addresses is not None:
                self.pools.receive([carry_pools.cloud(action, self._provider.addresses, _always)])
        elif not isinstance(action, StoreAction):
            self.loop.receive([carry.cloud(action, self._provider, _always)])


def _always() -> bool:
    return True
