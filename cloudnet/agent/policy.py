"""Keeps policy in force: a thread of its own between the store's events, the CNI plugin and nftables.

    store ── informer ──▶ queue ─▶ feed ─▶ calculation ─▶ compiler ─▶ one transaction ─▶ kernel
    CNI ADD ── gate ─────▶ queue ─▶ the same; the answer waits for the transaction

With a pod goes what conntrack knows of its addresses: packets of known connections pass all rules, and the next pod
may get the address. A node without endpoints has no table. When the kernel refuses a change, the old rules stay in
force; a policy that is to blame is named, in the log and in readiness, and everything else goes in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from cloudnet.agent.keeper_thread import KeeperThread
from cloudnet.agent.local_pods import LocalPods
from cloudnet.clock import Clock
from cloudnet.config import AgentConfig
from cloudnet.errors import CloudnetError
from cloudnet.kernel.api import KernelError
from cloudnet.kernel.connections import Forget
from cloudnet.kernel.nft import Nft
from cloudnet.model import cluster_events as events
from cloudnet.model.addresses import Address, NodeName
from cloudnet.model.cluster_events import Tell
from cloudnet.model.resources import Resource
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy import statistics
from cloudnet.policy.calculate import Calculation
from cloudnet.policy.elements import TABLE
from cloudnet.policy.enforce import Enforcer
from cloudnet.policy.feed import KINDS, Feed
from cloudnet.policy.options import Options, ToHost
from cloudnet.policy.rules import Change, EndpointChanged, EndpointGone, EndpointId, PolicyKey
from cloudnet.policy.statistics import Count
from cloudnet.store.api import Event, EventType

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

log = logging.getLogger(__name__)

_RETRY_FIRST = 1.0  # seconds until the second try; doubles …
_RETRY_LIMIT = 30.0  # … up to this
_PATIENCE = 20.0  # seconds that a pod's start waits for its rules; container runtimes give up later


class NotInForce(CloudnetError):
    """A pod's rules are not in the kernel; the pod must not be used."""

    retry = True


@dataclass(frozen=True, slots=True)
class _Heard:
    events: tuple[Event[Resource], ...]
    synced: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """An endpoint that somebody waits for, or, with ``leaves``, one to forget."""

    endpoint: WorkloadEndpoint
    leaves: bool
    answer: Future[None] = field(default_factory=Future)


@dataclass(slots=True)
class Counts:
    """Numbers that only grow, for metrics."""

    changes: int = 0
    failures: int = 0
    repairs: int = 0


Addresses: TypeAlias = Callable[[], Mapping[Address, str]]
"""Which of the node's interfaces has which address; for host endpoints that name addresses only."""


def options(config: AgentConfig, *, fast_path: bool = False) -> Options:
    """Return the settings of enforcement; ``fast_path``: somebody is there to take what is offered."""
    return Options(
        pod_prefixes=(config.interface_prefix,),
        to_host=ToHost(config.endpoint_to_host),
        vxlan_port=config.vxlan_port,
        overlay_ports=(config.vxlan_port, config.probe_port),
        log_denied=config.log_denied,
        fast_path=fast_path,
    )


class PolicyKeeper:
    """The state; ``hear``, ``admit`` and ``work`` are the whole loop, so that a test needs no thread."""

    def __init__(
        self,
        node: str,
        wanted: Options,
        open_door: Callable[[], Nft],
        addresses: Addresses,
        *,
        resync: float,
        forget: Forget = lambda _addresses: None,
        bypassed: Callable[[], str] = str,
        tell: Tell = lambda _reason, _note: None,
    ) -> None:
        """Keep a node's policy; ``resync``: how often the kernel is read again, in seconds.

        ``forget`` is asked for the addresses that pods leave; ``bypassed`` says what on this host goes past policy,
        if anything does; ``tell`` hears what people should see at the node.
        """
        self._tell, self._forget, self._bypassed = tell, forget, bypassed
        self._bypass = ""  # as said last
        self._pods = LocalPods(node)
        self._left: frozenset[Address] = frozenset()  # addresses with connections that are to be forgotten
        self._remembers = ""  # why that could not be done, said once
        self.counts = Counts()
        self.problem = ""  # why policy is not as it should be; any thread may ask
        self.traffic: tuple[Count, ...] = ()  # as last read; replaced whole
        self.names: dict[str, str] = {}  # what stands for a policy in the table, and what it is called; only grows
        self._options, self._open, self._addresses, self._resync = wanted, open_door, addresses, resync
        self._calculation = Calculation()
        self._feed = Feed(self._calculation, NodeName(node))
        self._door: Nft | None = None
        self._enforcer: Enforcer | None = None
        self._waiting: list[Admission] = []
        self._nameless: dict[EndpointId, EndpointChanged] = {}  # host endpoints that name addresses, no interface
        self._undone: list[Change] = []  # told by the calculation, not taken yet
        self._told_refused: Mapping[PolicyKey, str] = {}
        self._synced = False
        self._told = ""
        self._pause = 0.0
        self._due = 0.0

    @property
    def is_out_of_force(self) -> bool:
        return bool(self._told)

    def hear(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in what the store delivered."""
        for event in events:
            meta = event.value.meta
            gone = event.type is EventType.DELETED
            if isinstance(event.value, WorkloadEndpoint) and not self._pods.heard(event.value, gone=gone):
                continue
            if gone:
                self._feed.remove(type(event.value), meta.name, meta.namespace)
                continue
            for problem in self._feed.put(event.value):
                log.warning("part of a policy cannot be enforced policy=%s reason=%r", meta.name, problem)
        self._synced = self._synced or synced

    def admit(self, asked: Admission) -> None:
        """Take an endpoint in, or let it go; ``work`` answers when the kernel has it."""
        meta = asked.endpoint.meta
        if asked.leaves:
            self._pods.dismissed(asked.endpoint)
            self._feed.remove(WorkloadEndpoint, meta.name, meta.namespace)
            asked.answer.set_result(None)
        else:
            self._pods.admitted(asked.endpoint)
            self._feed.put(asked.endpoint)
            self._waiting.append(asked)

    def work(self, now: float) -> float:
        """Do what is due; return when to work again if nothing is heard before."""
        if not self._synced:
            return now + self._resync
        try:
            self._settle(now)
            self._forget_connections()
        except CloudnetError as e:
            self._failed(str(e), now)
        self._answer()
        return self._due

    def stopped(self, error: Exception) -> None:
        """Say that nobody keeps policy any more."""
        self.problem = self._told = f"the policy thread stopped: {error}"
        self._tell(events.POLICY_NOT_IN_FORCE, f"{self.problem}: restart the agent, and report it")

    def close(self) -> None:
        for asked in self._waiting:
            asked.answer.set_exception(NotInForce("the agent is stopping: try again"))
        self._waiting.clear()
        if self._door is not None:
            self._door.close()
        self._door = self._enforcer = None

    def _settle(self, now: float) -> None:
        told = self._calculation.flush()
        self.names.update(statistics.names(told))
        self._undone += self._resolved(told)
        enforcer = self._enforcer or self._begin()
        if enforcer is None:
            self._due = now + self._resync
            return
        repairing = now >= self._due and not self._pause
        if self._undone:
            changes, self._undone = self._undone, []
            changed = enforcer.take(changes)  # what is refused stays with the enforcer, to be settled later
        else:
            changed = enforcer.settle()
        self.counts.changes += changed
        if repairing:
            self._repair(enforcer)
        self._tell_refused(enforcer.refused)
        if self._told:
            log.info("policy works again")
            self._tell(events.POLICY_IN_FORCE, "every policy is enforced again")
        self._told, self._pause = "", 0.0
        self._due = now + self._resync if repairing or not self._due else self._due

    def _forget_connections(self) -> None:
        """Forget what the pods that went had open, once their rules are gone, and before their heirs are admitted."""
        self._left |= self._pods.take_left()
        if not self._left:
            return
        try:
            self._forget(self._left)
        except KernelError as e:
            if str(e) != self._remembers:
                log.warning("connections of pods that went are known on, past their heirs' policy reason=%r", str(e))
            self._remembers = str(e)
        else:
            self._left, self._remembers = frozenset(), ""

    def _begin(self) -> Enforcer | None:
        """Open the door when the node has its first endpoint; what a former agent left is taken over."""
        if not any(isinstance(change, EndpointChanged) for change in self._undone):
            return None
        if self._door is None:
            self._door = self._open()
        enforcer = Enforcer(self._door, self._options)
        enforcer.compiler.take(self._undone)
        enforcer.resync()
        self._undone = []
        self._enforcer = enforcer
        log.info("policy is in force")
        self._look_around()
        return enforcer

    def _look_around(self) -> None:
        """Say once what goes past policy here: it cannot be mended by us, and would be found out by nobody."""
        found = self._bypassed()
        if found and found != self._bypass:
            log.warning("%s", found)
            self._tell(events.POLICY_BYPASSED, found)
        self._bypass = found

    def _repair(self, enforcer: Enforcer) -> None:
        self._look_around()
        enforcer.take(self._named())
        if enforcer.resync():
            self.counts.repairs += 1
            log.warning("somebody else had changed table %s: mended", TABLE)
        if self._door is not None:
            self.traffic = tuple(self._count(enforcer, self._door))

    def _count(self, enforcer: Enforcer, door: Nft) -> Iterator[Count]:
        known = enforcer.compiler
        tiers = {policy.tier for policy in known.policies.values()}
        return statistics.counts(door.counters(TABLE), known.policies.values(), known.profiles, tiers)

    def count(self) -> None:
        """Read the counters."""
        if self._enforcer is not None and self._door is not None:
            self.traffic = tuple(self._count(self._enforcer, self._door))

    def _resolved(self, changes: Iterable[Change]) -> Iterator[Change]:
        """Give host endpoints that name only addresses the interface that has one of them; without one they wait."""
        for change in changes:
            if isinstance(change, EndpointChanged) and not change.endpoint.interface:
                self._nameless[change.endpoint.id] = change
                continue
            if isinstance(change, EndpointChanged | EndpointGone):
                gone = change.endpoint.id if isinstance(change, EndpointChanged) else change.id
                self._nameless.pop(gone, None)
            yield change
        yield from self._named()

    def _named(self) -> Iterator[Change]:
        addresses = self._addresses() if self._nameless else {}
        for changed in self._nameless.values():
            own = (addresses.get(network.network_address) for network in changed.endpoint.addresses)
            interface = next(filter(None, own), None)
            if interface is None:
                yield EndpointGone(changed.endpoint.id)
            else:
                yield replace(changed, endpoint=replace(changed.endpoint, interface=interface))

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            meta = asked.endpoint.meta
            if why := self._why_not(EndpointId(f"{meta.namespace}/{meta.name}")):
                asked.answer.set_exception(NotInForce(f"the policy of {meta.name!r} is not in force: {why}"))
            else:
                asked.answer.set_result(None)

    def _why_not(self, endpoint: EndpointId) -> str:
        if self._told:
            return self._told
        if self._enforcer is None:
            return "the agent does not know it as its own: is it for another node?"
        told = self._calculation.state().endpoints.get(endpoint)
        keys = [key for tier in told.tiers for key in tier.policies] if told else []
        return next((self._enforcer.refused[key] for key in keys if key in self._enforcer.refused), "")

    def _tell_refused(self, refused: Mapping[PolicyKey, str]) -> None:
        for key, why in refused.items():
            if self._told_refused.get(key) != why:
                log.error("the kernel refuses a policy, its old rules stay policy=%r reason=%r", str(key), why)
                self._tell(events.POLICY_REFUSED, f"the kernel refuses {key}, its former rules stay: {why}")
        self._told_refused = dict(refused)
        names = ", ".join(map(str, refused))
        self.problem = f"the kernel refuses {names}: see the log" if refused else ""

    def _failed(self, why: str, now: float) -> None:
        self.counts.failures += 1
        self.problem = f"policy is not in force: {why}"
        if why != self._told:
            log.warning("policy is not in force, trying again reason=%r", why)
            self._tell(events.POLICY_NOT_IN_FORCE, f"changes of policy wait, trying again by itself: {why}")
        self._told = why
        self._pause = min(max(_RETRY_FIRST, self._pause * 2), _RETRY_LIMIT)
        self._due = now + self._pause


class PolicyThread(KeeperThread[PolicyKeeper, "_Heard | Admission | Future[None]"]):
    """Keeps policy until it is closed. It is the gate that pods' starts pass."""

    def __init__(self, keeper: PolicyKeeper, clock: Clock) -> None:
        self.names: Mapping[str, str] = keeper.names
        super().__init__("policy", keeper, clock)

    @property
    def out_of_force(self) -> str:
        """Why the kernel holds no policy, or an old one; a single policy that it refuses is none."""
        return self._keeper.problem if self._keeper.is_out_of_force else ""

    def hear(self, events: tuple[Event[Resource], ...], *, synced: bool) -> None:
        """Take events of any kind from any thread."""
        ours = tuple(event for event in events if isinstance(event.value, KINDS))
        if ours or synced:
            self._inbox.put(_Heard(ours, synced))

    def admit(self, endpoint: WorkloadEndpoint) -> None:
        """Return when the endpoint's rules are in force.

        Raises:
            NotInForce: they are not.
        """
        self._ask(Admission(endpoint, leaves=False))

    def dismiss(self, endpoint: WorkloadEndpoint) -> None:
        """Forget the endpoint."""
        self._ask(Admission(endpoint, leaves=True))

    def _ask(self, asked: Admission) -> None:
        self._inbox.put(asked)
        try:
            asked.answer.result(_PATIENCE)
        except Late as e:
            raise NotInForce(
                f"policy took longer than {_PATIENCE:g} s: is the store away? see the agent's log"
            ) from e

    def traffic(self) -> tuple[Count, ...]:
        """Return what the counters say now; what they said last if the thread is busy."""
        asked: Future[None] = Future()
        self._inbox.put(asked)
        try:
            asked.result(1.0)
        except Late:
            log.debug("counters are from the last look")
        return self._keeper.traffic

    def _hand_on(self, heard: _Heard | Admission | Future[None]) -> None:
        match heard:
            case _Heard(events, synced):
                self._keeper.hear(events, synced=synced)
            case Admission():
                self._keeper.admit(heard)
            case Future():
                self._keeper.count()
                heard.set_result(None)

    def _show(self, metrics: Metrics) -> None:
        metrics.show_policy(self._keeper.counts, self._keeper.traffic, problem=self.problem)
