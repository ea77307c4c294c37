"""The door to BIRD: what it is told, and what it tells of its sessions.

``daemon`` is the real side, ``memory`` the twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cloudnet.errors import CloudnetError

ESTABLISHED: Final = "Established"
DOWN: Final = "Down"


class BirdError(CloudnetError):
    """BIRD does not do what it was asked to."""


class BirdUnreachable(BirdError):
    """No BIRD answers, and none could be started."""

    retry = True


class BirdRefused(BirdError):
    """BIRD answered with an error; what it did before it goes on doing."""


@dataclass(frozen=True, slots=True)
class Status:
    """One session as BIRD sees it. ``name`` is ``render.name``; ``state`` a state of RFC 4271, or ``Down``.

    ``since`` is local time, as BIRD writes it; ``error`` is what ended the session last; ``imported`` and
    ``exported`` are numbers of routes.
    """

    name: str
    state: str
    since: str = ""
    error: str = ""
    imported: int = 0
    exported: int = 0

    @property
    def established(self) -> bool:
        return self.state == ESTABLISHED

    @property
    def is_down(self) -> bool:
        """Whether BIRD gave the session up, as where the address to speak from is missing."""
        return self.state == DOWN


class Bird(Protocol):
    """One BIRD, for one thread."""

    def configure(self, text: str) -> None:
        """Make this the configuration, whatever it was; sessions of which nothing changes go on.

        Raises:
            BirdRefused: it makes no sense to BIRD; the one before stays in force.
            BirdUnreachable: nobody is there to take it.
        """

    def sessions(self) -> Sequence[Status]:
        """Return the state of every session, by name.

        Raises:
            BirdUnreachable: nobody answers.
        """
