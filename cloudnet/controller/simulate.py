"""The whole controller on one thread and a clock that is moved by hand: for tests, benchmarks and dry runs.

``Simulation`` does what ``main.Controller`` does with threads: it feeds the loop from the store, carries its actions
out one after the other, and lets time pass to the next wake-up. The lease is left out: it always leads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cloudnet.clock import ManualClock
from cloudnet.controller import carry
from cloudnet.controller.actions import Action, Changed, Leading, Say, WriteStore
from cloudnet.controller.loop import KINDS, Loop, Options
from cloudnet.provider.api import Provider
from cloudnet.store.api import Event, EventType, Revision, Store, Watch


class Simulation:
    """A controller that runs when it is told to. ``said`` is what it told the operator."""

    def __init__(self, store: Store, provider: Provider, clock: ManualClock, options: Options | None = None) -> None:
        self.loop = Loop(provider.capabilities, options)
        self.said: list[str] = []
        self.done: list[Action] = []
        self.before: Callable[[Action], None] = lambda _: None
        """Called before each action; what it raises ends the run, as a crash would."""
        self._store = store
        self._provider = provider
        self._clock = clock
        self._todo: deque[Action] = deque()
        self._watch: Watch | None = None
        self._wakeup = clock.now()

    def start(self) -> None:
        """List everything and take the lead."""
        events, revision = [], Revision(0)
        for kind in KINDS:
            listing = self._store.list(kind)
            revision = listing.revision if not revision else Revision(min(revision, listing.revision))
            events += [Event(EventType.PUT, s.value, s.revision) for s in listing.items]
        self._watch = self._store.watch(KINDS, since=revision)
        self.loop.receive([Changed(tuple(events), synced=True), Leading(leader=True)])

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
            actions, self._wakeup = self.loop.step(self._clock.now(), self._clock.wall())
            self._todo.extend(actions)
            if not self._todo and not self._listen() and self._wakeup > self._clock.now():
                return
            if self._todo:
                self._carry_out(self._todo.popleft())

    def _listen(self) -> bool:
        events = self._watch.next(0.0) if self._watch is not None else ()
        if events:
            self.loop.receive([Changed(events)])
        return bool(events)

    def _carry_out(self, action: Action) -> None:
        self.before(action)
        self.done.append(action)
        if isinstance(action, Say):
            self.said.append(action.message)
        elif isinstance(action, WriteStore):
            self.loop.receive([carry.store(action, self._store, _always)])
        else:
            self.loop.receive([carry.cloud(action, self._provider, _always)])


def _always() -> bool:
    return True
