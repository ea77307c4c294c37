"""The agent's owner thread: it runs the loop, and is the only one that carries out what the loop decides.

Others put what they hear on its queue, and look at its snapshot.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from cloudnet.agent import actions
from cloudnet.agent.bgp_thread import BgpThread, Silent
from cloudnet.agent.loop import Loop
from cloudnet.agent.policy import PolicyThread
from cloudnet.clock import Clock
from cloudnet.config import AgentConfig
from cloudnet.kernel.api import Change, Kernel, KernelError
from cloudnet.model.addresses import Address
from cloudnet.model.paths import Path
from cloudnet.model.resources import AgentReport
from cloudnet.policy.statistics import Count

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

log = logging.getLogger(__name__)

_NAMED_FAILURES = 5  # of one batch; the others have the same cause more often than not
_BATCH = 10_000  # inputs taken in before a step: probes must go out under any flood


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave the owner's loop."""


class Sockets(Protocol):
    """Where probes leave."""

    def send(self, probes: Collection[actions.ProbeToSend]) -> int: ...

    def answer_peers(self, peers: actions.AnswerPeers) -> None: ...


class Reports(Protocol):
    """Where the report goes."""

    def report(self, report: AgentReport) -> None: ...


Message: TypeAlias = actions.Input | Stop
Inbox: TypeAlias = "queue.SimpleQueue[Message]"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What other threads may know; replaced whole, never changed."""

    paths: tuple[Path, ...] = ()
    kinds: Mapping[tuple[str, str], int] = field(default_factory=dict)
    not_ready: str = "starting"
    mtu: int = 0
    observed: int = 0
    flaps: int = 0
    repairs: int = 0
    failures: int = 0
    heard_at: float = 0.0  # from the store
    awake_until: float = 0.0  # the next step is due by then


class Agent:
    """The owner: runs the loop and carries its actions out. ``run`` returns when somebody says ``Stop``."""

    def __init__(
        self,
        config: AgentConfig,
        inbox: Inbox,
        clock: Clock,
        *,
        kernel: Kernel,
        sockets: Sockets,
        reporter: Reports,
    ) -> None:
        self.inbox = inbox
        self.snapshot = Snapshot()
        self.store_problem: Callable[[], str] = str
        self.locked: Callable[[], str] = str  # somebody has locked the store
        self.unreadable: Callable[[], Sequence[str]] = tuple  # policies whose documents make no sense, and why
        self.node_addresses: Callable[[], Mapping[str, str]] = dict  # of this node, by family, and how they are found
        self.nat_problem: Callable[[], str] = str
        self.policy_problem: Callable[[], str] = str
        self.policy_out_of_force: Callable[[], str] = str  # a part of the former: no policy can be changed
        self.policy_traffic: Callable[[], Sequence[Count]] = tuple
        self.bgp: BgpThread | Silent = Silent()
        self.laid = threading.Event()  # the ground is in the kernel, for the first time
        self.metrics: Metrics | None = None  # comes later: its library takes longer to import than the ground to lay
        self._loop = Loop(config)
        self._speaks_bgp = config.bgp
        self._kernel, self._sockets, self._reporter, self._clock = kernel, sockets, reporter, clock
        self._sysctl_problems: set[str] = set()

    def ask_of_policy(self, policing: PolicyThread) -> None:
        """Ask this thread how policy fares."""
        self.policy_problem = lambda: policing.problem
        self.policy_out_of_force = lambda: policing.out_of_force
        self.policy_traffic = policing.traffic

    @property
    def heard_at(self) -> float:
        return self.snapshot.heard_at

    @property
    def awake_until(self) -> float:
        return self.snapshot.awake_until

    def not_ready(self) -> str:
        """Return what is missing, or nothing; any thread may ask."""
        unreadable = "; ".join(self.unreadable())
        return self.cannot_add() or self.nat_problem() or self.policy_problem() or self.bgp.problem or unreadable

    def cannot_add(self) -> str:
        """Return why no pod can be added now, or nothing; any thread may ask."""
        return self.snapshot.not_ready or self.locked()

    def impaired(self) -> str:
        """Return what keeps this node's pods from all of their network, or nothing; any thread may ask."""
        return self.nat_problem() or self.policy_out_of_force()

    def run(self) -> None:
        wakeup = self._clock.now()
        while True:
            heard = self._take(max(0.0, wakeup - self._clock.now()))
            if any(isinstance(h, Stop) for h in heard):
                return
            self._loop.receive(h for h in heard if not isinstance(h, Stop))
            wakeup = self._act()

    def _take(self, timeout: float) -> Sequence[Message]:
        heard: list[Message] = []
        try:
            heard.append(self.inbox.get(timeout=timeout))
            while len(heard) < _BATCH:
                heard.append(self.inbox.get_nowait())
        except queue.Empty:
            pass  # everything that was there has been taken
        return heard

    def _act(self) -> float:
        """Step and carry out until nothing more is to do now; return when to wake up."""
        while True:
            due, wakeup = self._loop.step(self._clock.now(), self._clock.wall())
            answers = [answer for action in due if (answer := self._carry_out(action)) is not None]
            if not answers:
                break
            self._loop.receive(answers)
        self._publish(wakeup)
        return wakeup

    def _carry_out(self, action: actions.Action) -> actions.Input | None:
        match action:
            case actions.ReadKernel():
                return self._read()
            case actions.ApplyKernel(changes):
                return self._apply(changes)
            case actions.SetUpDevices(devices):
                return self._set_up(devices)
            case actions.SetSysctls(settings):
                self._set_sysctls(settings)
            case actions.SendProbes(probes):
                unsent = self._sockets.send(probes)
                if self.metrics:
                    self.metrics.probes_sent.inc(len(probes) - unsent)
                    self.metrics.probes_unsent.inc(unsent)
            case actions.AnswerPeers():
                self._sockets.answer_peers(action)
            case actions.WriteReport(report):
                self._reporter.report(report)
            case actions.PathChanged():
                self._tell(action)
        return None

    def _set_up(self, devices: Sequence[tuple[str, tuple[Address, ...]]]) -> actions.Input | None:
        """Set devices up; look at them again, unless one could not be: the next resync tries again."""
        try:
            for name, addresses in devices:
                self._kernel.set_up(name, addresses)
                log.info("set up interface=%s addresses=%s", name, ",".join(map(str, addresses)))
        except KernelError as e:
            log.warning("an interface for pods cannot be set up, trying again by itself: %s", e)
            return None
        return actions.KernelStirred()

    def _read(self) -> actions.Input:
        try:
            learned = self._kernel.learned() if self._speaks_bgp else {}
            links, gateways = self._kernel.links(), tuple(self._kernel.gateways())
            return actions.KernelRead(links, gateways, self._kernel.read(), learned)
        except KernelError as e:
            log.warning("cannot read the kernel, trying again reason=%r", str(e))
            return actions.ReadFailed()

    def _apply(self, changes: tuple[Change, ...]) -> actions.Input:
        failures = tuple(self._kernel.apply(changes))
        for failure in failures[:_NAMED_FAILURES]:
            log.warning("kernel refused a change change=%r reason=%r", failure.change, str(failure.error))
        if len(failures) > _NAMED_FAILURES:
            log.warning("kernel refused more changes number=%d", len(failures) - _NAMED_FAILURES)
        if self.metrics:
            self.metrics.kernel_changes.inc(len(changes) - len(failures))
            self.metrics.kernel_failures.inc(len(failures))
        return actions.Applied(changes, failures)

    def _set_sysctls(self, settings: tuple[tuple[str, str], ...]) -> None:
        for name, value in settings:
            try:
                self._kernel.set_sysctl(name, value)
            except KernelError as e:
                if name not in self._sysctl_problems:
                    log.warning("cannot set a kernel setting name=%s value=%s reason=%r", name, value, str(e))
                self._sysctl_problems.add(name)

    def _tell(self, change: actions.PathChanged) -> None:
        path = change.after or change.before
        if path is not None:
            was, now = (p.kind.value if p else "gone" for p in (change.before, change.after))
            log.info(
                "path changed block=%s node=%s before=%s after=%s reason=%s detail=%r",
                path.block, path.node, was, now, path.reason.value, path.detail,
            )  # fmt: skip
        if self.metrics:
            self.metrics.path_changed(change)

    def _publish(self, wakeup: float) -> None:
        counts, before = self._loop.counts, self.snapshot
        not_ready = self._loop.not_ready()
        if not not_ready:
            self.laid.set()
        if not_ready != before.not_ready:
            log.info("not ready reason=%r", not_ready) if not_ready else log.info("ready node=%s", self._loop.name)
        self.snapshot = Snapshot(
            paths=self._loop.paths,
            kinds=dict(self._loop.kinds),
            not_ready=not_ready,
            mtu=self._loop.mtu(),
            observed=self._loop.report.observed if self._loop.report else 0,
            flaps=counts.flaps,
            repairs=counts.repairs,
            failures=counts.failures,
            heard_at=self._loop.heard_at,
            awake_until=wakeup,
        )
        if self.metrics:
            self.metrics.show(self.snapshot.kinds, ready=not not_ready, repairs=counts.repairs, rtts=counts.rtts)
        counts.rtts.clear()
