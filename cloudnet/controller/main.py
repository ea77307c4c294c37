"""The controller's wiring: threads, queue, cloud, store, lease, metrics. ``run`` is ``cloudnet controller``.

One thread owns the loop and the lease keeper. The informer's thread, the workers and the signal handler only put
things on its queue. Cloud calls run in a small pool, store writes on one thread (so that they keep their order), and
the lease on another, so that no long write ever delays a renewal.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeAlias

from prometheus_client import CollectorRegistry

from cloudnet import logs, metrics
from cloudnet.addresses.plan import Settings
from cloudnet.clock import Clock, SystemClock
from cloudnet.config import ControllerConfig
from cloudnet.controller import books, carry, carry_pools, lease
from cloudnet.controller.actions import Action, Changed, Input, Leading, Level, Say, Tell, WriteStore
from cloudnet.controller.addresses import Collector
from cloudnet.controller.loop import KINDS, Loop
from cloudnet.controller.metrics import Metrics
from cloudnet.controller.options import Options
from cloudnet.controller.pool_actions import (
    AddInterface,
    AddressesRead,
    AdoptBlocks,
    Adopted,
    GiveAddresses,
    LedgerWritten,
    LetBlocksGo,
    LetGo,
    Mutated,
    PoolAction,
    PoolInput,
    ReadAddresses,
    RemoveInterface,
    TakeAddresses,
    WriteLedger,
)
from cloudnet.controller.pools import PoolOptions, Pools
from cloudnet.controller.status import Status
from cloudnet.controller.tables import growing
from cloudnet.errors import BadInput
from cloudnet.keeping import keeping
from cloudnet.model.addresses import FAMILIES
from cloudnet.model.cluster_events import Record, ignore
from cloudnet.model.resources import Lease, Resource
from cloudnet.provider import registry as providers
from cloudnet.provider.api import Provider
from cloudnet.provider.errors import ProviderError
from cloudnet.store import guard
from cloudnet.store.api import Event, EventType, Store, Stored
from cloudnet.store.event_recorder import recording
from cloudnet.store.guard import Guard
from cloudnet.store.informer import Batch, Informer
from cloudnet.store.registry import open_store

log = logging.getLogger(__name__)

_WORKERS = 8  # one a table, an instance look-up, a table read, a forwarding change; more tables take turns
_STUCK = 30.0  # seconds without a step, past the wake-up that was asked for: not healthy
_LONGEST_WAIT = 60.0  # seconds; nothing depends on it, an owner that looks around is easier to trust
_SHOW_EVERY = 1.0  # seconds; counting fifteen thousand statuses takes longer than a decision
_RETRY_FIRST, _RETRY_LIMIT = 1.0, 60.0  # seconds between tries to learn the cloud's capabilities


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave the owner's loop."""


@dataclass(frozen=True, slots=True)
class LeaseTried:
    """The outcome of a try to write the lease."""

    outcome: lease.Outcome | None


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker met an error that nobody foresaw: a defect of ours."""

    error: Exception


Heard: TypeAlias = Input | PoolInput | Batch | LeaseTried | Stop | Broken
Inbox: TypeAlias = "queue.SimpleQueue[Heard]"


class Controller:
    """The owner: feeds the loop, hands its actions to workers. ``run`` returns when somebody says ``Stop``."""

    def __init__(
        self,
        loop: Loop,
        keeper: lease.Keeper,
        inbox: Inbox,
        clock: Clock,
        *,
        provider: Provider,
        store: Store,
        native: Pools | None = None,
        record: Record = ignore,
    ) -> None:
        self._record = record
        self.status = Status()
        self.locked: Callable[[], str] = str  # somebody has locked the store
        self._pools = native
        self.metrics: Metrics | None = None
        self._shown_at, self._show_due = -_SHOW_EVERY, float("inf")
        self.awake_until = clock.now() + _STUCK
        self._loop = loop
        self._keeper = keeper
        self._provider = provider
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._stopping = threading.Event()
        self._cloud = ThreadPoolExecutor(_WORKERS, "cloud")
        self._interfaces = ThreadPoolExecutor(_WORKERS, "addresses")  # apart: routes do not wait for them
        self._writer = ThreadPoolExecutor(1, "store")
        self._adopter = ThreadPoolExecutor(1, "blocks")  # a block takes several requests: no record waits for it
        self._renewer = ThreadPoolExecutor(1, "lease")

    def leads(self) -> bool:
        """Tell whether a write may go out now. Any thread may ask."""
        return not self._stopping.is_set() and self._keeper.leading(self._clock.now())

    def not_ready(self) -> str:
        if not self.status.synced:
            return "the store has not been read yet"
        return self.locked() or (self.status.problem if self.status.leader else "")

    def run(self) -> None:
        wakeup = self._clock.now()
        try:
            while True:
                wait = min(_LONGEST_WAIT, max(0.0, wakeup - self._clock.now()))
                if not all(map(self._hear, self._heard(wait))):
                    return
                wakeup = self._step()
        finally:
            self._leave()

    def _heard(self, wait: float) -> list[Heard]:
        """Return what came, waiting for the first; what else is there already comes along."""
        try:
            heard = [self._inbox.get(timeout=wait)]
        except queue.Empty:
            return []
        while not self._inbox.empty():
            heard.append(self._inbox.get_nowait())
        return heard

    def _hear(self, heard: Heard) -> bool:
        """Take one thing in; tell whether to go on."""
        now = self._clock.now()
        match heard:
            case Stop():
                return False
            case Broken():
                raise heard.error
            case LeaseTried():
                self._keeper.done(heard.outcome, now)
            case Batch():
                self._look_for_lease(heard, now)
                events = tuple(e for e in heard.events if not isinstance(e.value, (Lease, *guard.KINDS)))
                self._tell(Changed(events, synced=heard.synced))
            case AddressesRead() | Mutated() | Adopted() | LetGo() | LedgerWritten():
                if self._pools is not None:
                    self._pools.receive([heard])
            case _:
                self._loop.receive([heard])
        return True

    def _tell(self, event: Changed | Leading) -> None:
        self._loop.receive([event])
        if self._pools is not None:
            self._pools.receive([event])

    def _look_for_lease(self, batch: Batch, now: float) -> None:
        found: list[Event[Resource]] = [e for e in batch.events if isinstance(e.value, Lease)]
        for event in found:
            if isinstance(event.value, Lease) and event.value.meta.name == lease.NAME:
                gone = event.type is EventType.DELETED
                self._keeper.saw(None if gone else Stored(event.value, event.revision), now)
        if batch.synced and not found:
            self._keeper.saw(None, now)

    def _step(self) -> float:
        now = self._clock.now()
        leader = self._keeper.leading(now)
        if leader is not self._loop.leader:
            log.info("leading=%s identity=%s holder=%r", leader, self._keeper.identity, self._keeper.holder)
            self._tell(Leading(leader))
        actions, wakeup = self._loop.step(now, self._clock.wall())
        for action in actions:
            self._hand_out(action)
        if self._pools is not None:
            more, due = self._pools.step(now, self._clock.wall(), self._loop.nodes.machines())
            wakeup = min(wakeup, due)
            for each in more:
                self._hand_out(each)
        attempt, again = self._keeper.step(now)
        if attempt is not None:
            self._work(self._renewer, lambda: LeaseTried(carry.take_lease(attempt, self._store)))
        self._show(now)
        wakeup = min(wakeup, again, self._show_due, self._keeper.silent_at if leader else float("inf"))
        self.awake_until = max(now, min(wakeup, now + _LONGEST_WAIT)) + _STUCK
        return wakeup

    def _show(self, started: float) -> None:
        ended = self._clock.now()
        if self.metrics is not None:
            self.metrics.step_seconds.observe(ended - started)
        if ended < self._shown_at + _SHOW_EVERY and self._loop.leader is self.status.leader:
            self._show_due = self._shown_at + _SHOW_EVERY
            return
        self._show_due = float("inf")
        self._shown_at, self.status = ended, self._loop.status()
        if self.metrics is not None:
            self.metrics.show(self.status)
            if self._pools is not None:
                self.metrics.show_native(self._pools.status())

    def _hand_out(self, action: Action | PoolAction) -> None:
        leads, wall = self.leads, self._clock.wall
        match action:
            case Say():
                log.log(logging.WARNING if action.level is Level.WARNING else logging.INFO, "%s", action.message)
            case Tell():
                self._record(action.event)
            case WriteStore():
                self._work(self._writer, lambda: carry.store(action, self._store, self.leads))
            case AdoptBlocks() | LetBlocksGo():
                self._work(
                    self._adopter, lambda: carry_pools.store(action, self._store, self.leads, self._clock.wall)
                )
            case WriteLedger():
                self._work(self._writer, lambda: carry_pools.store(action, self._store, leads, wall))
            case ReadAddresses() | GiveAddresses() | AddInterface() | TakeAddresses() | RemoveInterface():
                allocator = self._provider.addresses
                if allocator is not None:
                    self._work(self._interfaces, lambda: carry_pools.cloud(action, allocator, self.leads))
            case _:
                self._work(self._cloud, lambda: carry.cloud(action, self._provider, self.leads))

    def _work(self, pool: ThreadPoolExecutor, work: Callable[[], Heard]) -> None:
        def carried() -> None:
            try:
                self._inbox.put(work())
            except Exception as error:  # noqa: BLE001  the owner raises it, so that the program ends loudly
                self._inbox.put(Broken(error))

        pool.submit(carried)

    def _leave(self) -> None:
        """Let go: no more writes, and the lease is free once those under way have ended."""
        self._stopping.set()
        for pool in (self._cloud, self._interfaces, self._adopter, self._writer, self._renewer):
            pool.shutdown(wait=True, cancel_futures=True)
        self._take_in_the_last_lease()
        attempt = self._keeper.release()
        if attempt is not None and carry.take_lease(attempt, self._store) is None:
            log.warning("cannot give the lease back: the next controller waits until it expires")

    def _take_in_the_last_lease(self) -> None:
        while not self._inbox.empty():
            heard = self._inbox.get_nowait()
            if isinstance(heard, LeaseTried):
                self._keeper.done(heard.outcome, self._clock.now())


def run(config: ControllerConfig) -> int:
    """Run the controller until SIGTERM; return the exit status.

    Raises:
        CloudnetError: the configuration, the provider or the store cannot be used at all.
    """
    logs.setup(config.log_level)
    clock = SystemClock()
    inbox: Inbox = queue.SimpleQueue()
    with ExitStack() as stack:
        stopped = stack.enter_context(stopping_on_signals(inbox))
        opened = open_store(config.store)
        store = Guard(opened)
        stack.callback(store.close)
        provider = providers.load(config.provider, providers.read_config(config.provider_config), clock=clock)
        registry = CollectorRegistry()
        measured = Metrics(registry)
        _observe(provider, measured)
        holder = _Health(clock)
        server = metrics.serve(config.metrics, registry, healthy=holder.healthy, ready=holder.ready)
        stack.callback(server.close)
        if not learn_capabilities(provider, stopped, holder):
            return 0
        loop = Loop(provider.capabilities, options(config))
        keeper = lease.Keeper(config.identity or f"{socket.gethostname()}:{os.getpid()}", config.lease_seconds)
        native = native_pools(config, provider)
        record = stack.enter_context(recording(opened, keeper.identity))
        controller = Controller(
            loop, keeper, inbox, clock, provider=provider, store=store, native=native, record=record
        )
        controller.metrics = measured
        controller.locked = lambda: store.problem
        holder.controller = controller
        kinds = dict.fromkeys((*KINDS, *(books.KINDS if native else ()), Lease, *guard.KINDS))
        informer = Informer(store, tuple(kinds), telling(store, inbox))
        collector = Collector(store, grace=config.leak_seconds, period=config.collect_seconds, metrics=measured)
        with informer, collecting(collector, controller.leads, clock):
            controller.run()
    return 0


def telling(store: Guard, inbox: Inbox) -> Callable[[Batch], None]:
    """Return what hands batches to the owner, and to the guard whatever says that the store is locked."""

    def deliver(batch: Batch) -> None:
        store.hear(batch.events, synced=batch.synced)
        inbox.put(batch)

    return deliver


def options(config: ControllerConfig) -> Options:
    return Options(
        resync=config.resync_seconds,
        retry_first=config.retry_first,
        retry_limit=max(config.retry_first, config.retry_limit),
        withdraw_timeout=config.withdraw_timeout,
        every_route_in_every_table=config.every_route_in_every_table,
        headroom=config.headroom,
    )


def native_pools(config: ControllerConfig, provider: Provider) -> Pools | None:
    """Return the loop of native addresses; nothing where none are asked for.

    Raises:
        BadInput: they are, and this cloud gives none.
    """
    families = FAMILIES[config.native_addresses]
    if not families:
        return None
    if provider.addresses is None:
        raise BadInput(
            f"the {provider.name} provider gives pods no addresses of the cloud: use none, and pods have pools",
            path="native_addresses",
        )
    settings = Settings(
        families=families,
        warm=config.native_warm,
        pod_limit=config.native_pod_limit,
        idle=config.native_idle_seconds,
        quarantine=config.native_quarantine_seconds,
        leak=config.leak_seconds,
    )
    options_ = PoolOptions(
        resync=config.native_resync_seconds,
        retry_first=config.retry_first,
        retry_limit=max(config.retry_first, config.retry_limit),
    )
    return Pools(settings, options_)


class _Health:
    """What the health endpoints tell, before there is a controller and after."""

    def __init__(self, clock: Clock) -> None:
        self.controller: Controller | None = None
        self.waiting = "starting"
        self._clock = clock

    def healthy(self) -> str:
        if self.controller is None:
            return ""
        late = self._clock.now() - self.controller.awake_until
        return f"the loop is {late:.0f} s late" if late > 0 else ""

    def ready(self) -> str:
        return self.waiting if self.controller is None else self.controller.not_ready()


def learn_capabilities(provider: Provider, stopped: threading.Event, health: _Health) -> bool:
    """Wait until the cloud has told what it can do; tell whether it did before somebody said stop.

    The cloud may be away, or the credentials expired, when the controller starts: nodes are on VXLAN meanwhile.
    """
    tries = 0
    while not stopped.is_set():
        try:
            provider.capabilities  # noqa: B018  asking is what may fail
        except ProviderError as error:
            tries += 1
            if str(error) != health.waiting:
                log.warning("the cloud does not tell what it can do, trying again by itself: %s", error)
            health.waiting = str(error)
            stopped.wait(growing(_RETRY_FIRST, _RETRY_LIMIT, tries))
        else:
            return True
    return False


def _observe(provider: Provider, measured: Metrics) -> None:
    """Count the provider's calls, where it shows its budget as the plugins that come with cloudnet do."""
    budget = getattr(provider, "budget", None)
    if budget is not None:
        budget.observe = measured.called


def collecting(collector: Collector, leads: Callable[[], bool], clock: Clock) -> AbstractContextManager[None]:
    """Take leaked addresses back, on a thread of its own, while this controller leads."""
    return keeping("collector", lambda: collector.step(clock.now(), leads=leads()))


@contextmanager
def stopping_on_signals(inbox: Inbox) -> Iterator[threading.Event]:
    """Turn SIGTERM and SIGINT into ``Stop`` and a set event; off the main thread signals are somebody else's."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        inbox.put(Stop())  # SimpleQueue.put is reentrant, so a handler may call it

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
