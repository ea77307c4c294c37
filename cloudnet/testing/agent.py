"""An agent's loop over any kernel door, without threads, sockets or sleep: for tests and measurements.

``Host`` does what ``agent/owner.py`` does, on a clock that it moves itself; ``answers`` decides which probes come
back, ``present`` which remote agents run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cloudnet.agent import actions
from cloudnet.agent.loop import Loop
from cloudnet.config import AgentConfig
from cloudnet.kernel.api import Kernel
from cloudnet.model.addresses import Address, Network
from cloudnet.model.paths import Path
from cloudnet.model.resources import AgentReport, Resource
from cloudnet.routes.probe import REPLIES, PacketKind
from cloudnet.store.api import Event, EventType, Revision

RTT = 0.001  # seconds


class Host:
    """One agent on one host. Everything that it did is kept for assertions."""

    def __init__(self, config: AgentConfig, kernel: Kernel, *, now: float = 0.0) -> None:
        self.now = now
        self.kernel = kernel
        self.loop = Loop(config)
        self.answers: Callable[[Network], bool] = lambda _block: True
        self.present: Callable[[Network], bool] = lambda _block: True  # whether the block's agent runs
        self.answers_from: Callable[[Network], Address | None] = self.loop.responder
        self.reports: list[AgentReport] = []
        self.changes: list[actions.PathChanged] = []
        self.sysctls: dict[str, str] = {}
        self.peers: dict[Address, tuple[Address, Address]] = {}
        self.applied: list[actions.ApplyKernel] = []
        self.probes: list[actions.ProbeToSend] = []
        self._revision = 0
        self._wakeup = now

    def put(self, *resources: Resource, revision: int | None = None) -> None:
        """Let the store deliver new or changed resources, in one batch."""
        self.hear(*(self._event(EventType.PUT, value, revision) for value in resources))

    def delete(self, *resources: Resource) -> None:
        """Let the store deliver deletions, in one batch."""
        self.hear(*(self._event(EventType.DELETED, value, None) for value in resources))

    def hear(self, *events: Event[Resource], synced: bool = True) -> None:
        """Let the store deliver events, and act on them."""
        self.loop.receive([actions.ResourcesChanged(events, synced)])
        self.act()

    def stir(self) -> None:
        """Let the kernel tell that somebody else changed something."""
        self.loop.receive([actions.KernelStirred()])
        self.act()

    def run(self, seconds: float) -> None:
        """Let time pass, stepping when the loop asked for it."""
        end = self.now + seconds
        while self._wakeup <= end:
            self.now = max(self.now, self._wakeup)
            self.act()
            self._wakeup = max(self._wakeup, self.now + 0.001)
        self.now = end

    def act(self) -> None:
        """Step and carry out until nothing more is to do now."""
        while True:
            due, self._wakeup = self.loop.step(self.now, self.now)
            answers = [answer for action in due for answer in self._carry_out(action)]
            self.loop.receive(answers)
            if all(isinstance(answer, actions.Answered) for answer in answers):
                return

    def path(self, block: Network) -> Path | None:
        return next((path for path in self.loop.paths if path.block == block), None)

    def _event(self, kind: EventType, value: Resource, revision: int | None) -> Event[Resource]:
        self._revision = self._revision + 1 if revision is None else revision
        return Event(kind, value, Revision(self._revision))

    def _carry_out(self, action: actions.Action) -> Iterable[actions.Input]:
        match action:
            case actions.ReadKernel():
                links, gateways, learned = self.kernel.links(), self.kernel.gateways(), self.kernel.learned()
                yield actions.KernelRead(links, tuple(gateways), self.kernel.read(), learned)
            case actions.ApplyKernel(changes):
                self.applied.append(action)
                yield actions.Applied(changes, tuple(self.kernel.apply(changes)))
            case actions.SetSysctls(settings):
                self.sysctls.update(settings)
            case actions.SetUpDevices(devices):
                yield self._set_up(devices)
            case actions.SendProbes(probes):
                self.probes += probes
                yield from self._answered(probes)
            case actions.AnswerPeers(peers):
                kept = {**self.peers, **peers}
                self.peers = {tunnel: pair for tunnel, pair in kept.items() if pair is not None}
            case actions.WriteReport(report):
                self.reports.append(report)
            case actions.PathChanged():
                self.changes.append(action)

    def _set_up(self, devices: Iterable[tuple[str, tuple[Address, ...]]]) -> actions.Input:
        for name, addresses in devices:
            self.kernel.set_up(name, addresses)
        return actions.KernelStirred()

    def _answered(self, probes: Iterable[actions.ProbeToSend]) -> Iterable[actions.Answered]:
        for probe in probes:
            source = self.answers_from(probe.block)
            heard = self.present if probe.kind is PacketKind.CALL else self.answers
            if source is not None and heard(probe.block):
                yield actions.Answered(probe.block, probe.sequence, source, self.now + RTT, REPLIES[probe.kind])
