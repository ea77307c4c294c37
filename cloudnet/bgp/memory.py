"""BIRD's in-memory twin: it keeps what it is told, and its sessions are as a test says.

Of BIRD's language it knows the names of sessions, and that nothing works without a router id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cloudnet.bgp.api import BirdRefused, BirdUnreachable, Status

_SESSION: Final = re.compile(r"^protocol bgp (\w+) \{$", re.MULTILINE)


class MemoryBird:
    """A BIRD that exists only here. ``told`` are the configurations it took, the last one in force."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.startable = True
        self.refusal = ""  # what it says to whatever it is told
        self.asked = 0
        self._running = False
        self._known: dict[str, Status] = {}

    def configure(self, text: str) -> None:
        if self.refusal or "router id" not in text:
            raise BirdRefused(f"BIRD refuses 'configure': {self.refusal or 'syntax error'}")
        if not self.startable and not self._running:
            raise BirdUnreachable("no BIRD listens, and none can be started")
        self._running = True
        self.told.append(text)
        self._known = {name: self._known.get(name, Status(name, "Idle")) for name in sorted(_SESSION.findall(text))}

    def sessions(self) -> Sequence[Status]:
        self.asked += 1
        if not self._running:
            raise BirdUnreachable("no BIRD listens")
        return tuple(self._known.values())

    # --- what tests do to it --------------------------------------------------------------------------------------

    def die(self) -> None:
        self._running, self._known = False, {}

    def becomes(self, status: Status) -> None:
        """Let a session, which there must be, be in this state."""
        if status.name not in self._known:
            raise KeyError(status.name)
        self._known[status.name] = status
