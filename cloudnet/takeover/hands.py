"""What a takeover works with: the doors, where things lie on this host, and the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cloudnet.clock import Clock
from cloudnet.cni.install import Place
from cloudnet.config import AgentConfig
from cloudnet.ipam.affinity import Moment
from cloudnet.ipam.allocator import Allocator
from cloudnet.ipam.choose import Matches
from cloudnet.kernel.api import Kernel
from cloudnet.store.api import Store
from cloudnet.takeover.leavings import Leavings
from cloudnet.takeover.remains import Remains

NETWORKS = Path("/var/lib/cni/networks")  # host-local's own default


@dataclass(frozen=True, slots=True)
class Hands:
    """The means of one takeover. ``agent`` tells whether an agent answers, and why it takes no pods yet.

    ``executable`` is the plugin's program, as it is to lie on the host.
    """

    config: AgentConfig
    store: Store
    kernel: Kernel
    place: Place
    executable: bytes
    matches: Matches
    agent: Callable[[], tuple[bool, str]]
    clock: Clock
    remains: Remains
    leavings: Leavings
    networks: Path = NETWORKS

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.wall(), tz=UTC)

    def moment(self) -> Moment:
        now = self.now()
        return Moment(now, int(now.timestamp() * 1_000_000_000))

    def allocator(self) -> Allocator:
        return Allocator(self.store, now=self.now, matches=self.matches)
