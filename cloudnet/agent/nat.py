"""Keeps outgoing NAT as the pools say: a thread of its own between the store's events and nftables.

Its errors are logged once until the same thing works again, tried again ever more slowly, and told in metrics and
readiness. Without libnftables the agent goes on, unless a pool needs NAT: then it is not ready and says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVar

from cloudnet.agent.keeper_thread import KeeperThread
from cloudnet.clock import Clock
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.kernel.nft import Nft
from cloudnet.model.resources import IPPool, Node, Resource
from cloudnet.nat import plan
from cloudnet.nat.apply import Nat
from cloudnet.nat.plan import Options
from cloudnet.store.api import Event, EventType

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

log = logging.getLogger(__name__)

R = TypeVar("R", IPPool, Node)

_RETRY_FIRST = 1.0  # seconds until the second try; doubles …
_RETRY_LIMIT = 30.0  # … up to this


@dataclass(frozen=True, slots=True)
class _Heard:
    events: tuple[Event[Resource], ...]
    synced: bool


@dataclass(slots=True)
class Counts:
    """Numbers that only grow, for metrics."""

    changes: int = 0
    failures: int = 0
    repairs: int = 0


def options(config: AgentConfig) -> Options:
    """Return the settings of NAT.

    Raises:
        BadInput: one makes no sense.
    """
    try:
        address = ip_address(config.nat_outgoing_address) if config.nat_outgoing_address else None
    except ValueError as e:
        found = config.nat_outgoing_address
        raise BadInput(f"expected an address, found {found!r}", path="nat_outgoing_address") from e
    return Options(
        exclude_hosts=config.nat_outgoing_exclusions == "IPPoolsAndHostIPs",
        ports=plan.port_range(config.nat_port_range, path="nat_port_range"),
        address=address,
        device=plan.device_pattern(config.nat_outgoing_interface, path="nat_outgoing_interface"),
        own_ports=(config.vxlan_port, config.probe_port),
    )


class NatKeeper:
    """The state; ``hear`` and ``work`` are the whole loop, so that a test needs no thread."""

    def __init__(self, wanted: Options, open_door: Callable[[], Nft], *, resync: float) -> None:
        """Keep NAT for these settings; ``resync``: how often the kernel is read again, in seconds."""
        self.counts = Counts()
        self.problem = ""  # why NAT is not as it should be; any thread may ask
        self._options, self._open, self._resync = wanted, open_door, resync
        self._door: Nft | None = None
        self._nat: Nat | None = None
        self._pools: dict[str, IPPool] = {}
        self._nodes: dict[str, Node] = {}
        self._synced = False
        self._told = ""
        self._pause = 0.0
        self._due = 0.0  # when to look at the kernel although nothing was heard
        self._dirty = True

    def hear(self, events: Iterable[Event[Resource]], *, synced: bool) -> None:
        """Take in what the store delivered; of nodes only when their addresses matter."""
        for event in events:
            if isinstance(event.value, IPPool):
                self._take(self._pools, event, event.value)
            elif isinstance(event.value, Node) and self._options.exclude_hosts:
                self._take(self._nodes, event, event.value)
        self._synced = self._synced or synced

    def _take(self, where: dict[str, R], event: Event[Resource], value: R) -> None:
        if event.type is EventType.DELETED:
            where.pop(value.meta.name, None)
        else:
            where[value.meta.name] = value
        self._dirty = True

    def work(self, now: float) -> float:
        """Do what is due; return when to work again if nothing is heard before."""
        if not self._synced:
            return now + self._resync
        if not self._dirty and now < self._due:
            return self._due
        try:
            self._settle(now)
        except CloudnetError as e:
            self._failed(str(e), now)
        return self._due

    def stopped(self, error: Exception) -> None:
        """Say that nobody keeps NAT any more."""
        self.problem = f"the NAT thread stopped: {error}"

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
        self._door = self._nat = None

    def _settle(self, now: float) -> None:
        if self._nat is None:
            self._door = self._open()
            self._nat = Nat(self._door)
        repairing = now >= self._due and not self._pause
        if self._nat.settle(plan.desired(self._pools.values(), self._nodes.values(), self._options)):
            self.counts.changes += 1
            sources = sorted(str(pool.cidr) for pool in self._pools.values() if pool.nat_outgoing)
            log.info("outgoing NAT changed sources=%s", ",".join(sources) or "none")
        elif repairing and self._nat.repair():
            self.counts.repairs += 1
            log.warning("somebody else had changed table %s: mended", plan.TABLE)
        if self._told:
            log.info("outgoing NAT works again")
        self.problem = self._told = ""
        self._pause, self._dirty, self._due = 0.0, False, now + self._resync

    def _failed(self, why: str, now: float) -> None:
        """Wait and try again; without a pool that needs NAT this is nobody's problem."""
        self.counts.failures += 1
        pool = plan.needed(self._pools.values())
        self.problem = f"pool {pool!r} has natOutgoing, which is not in force: {why}" if pool else ""
        if why != self._told:
            level = logging.WARNING if pool else logging.INFO
            log.log(level, "no outgoing NAT, trying again pool=%s reason=%r", pool or "none needs it", why)
        self._told = why
        self._pause = min(max(_RETRY_FIRST, self._pause * 2), _RETRY_LIMIT)
        self._dirty, self._due = False, now + self._pause


class NatThread(KeeperThread[NatKeeper, _Heard]):
    """Keeps NAT until it is closed."""

    def __init__(self, keeper: NatKeeper, clock: Clock) -> None:
        super().__init__("nat", keeper, clock)

    def hear(self, events: tuple[Event[Resource], ...], *, synced: bool) -> None:
        """Take events of any kind from any thread."""
        ours = tuple(event for event in events if isinstance(event.value, IPPool | Node))
        if ours or synced:
            self._inbox.put(_Heard(ours, synced))

    def _hand_on(self, heard: _Heard) -> None:
        self._keeper.hear(heard.events, synced=heard.synced)

    def _show(self, metrics: Metrics) -> None:
        metrics.show_nat(self._keeper.counts, problem=self.problem)
