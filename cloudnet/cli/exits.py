"""What the exit code of a command says: one table, for every command."""

from __future__ import annotations

from collections.abc import Iterable

from cloudnet.cli.ask import AgentUnreachable
from cloudnet.errors import BadInput, CloudnetError, MissingTool
from cloudnet.store.api import AlreadyExists, Compacted, Conflict, NotFound, StoreUnavailable
from cloudnet.store.migrate import MigrationRefused

FAILED = 1
UNAVAILABLE = 6
IN_THE_WAY = 7  # of `cloudnet preflight`: it is no error that something stands there
CODES: tuple[tuple[type[CloudnetError], int], ...] = (
    (BadInput, 2),
    (MissingTool, 3),
    (NotFound, 4),
    (AlreadyExists, 5),
    (Conflict, 5),
    (Compacted, 5),
    (MigrationRefused, 5),
    (StoreUnavailable, UNAVAILABLE),
    (AgentUnreachable, UNAVAILABLE),
    (CloudnetError, FAILED),
)


def code(error: CloudnetError) -> int:
    """Return the exit code for an error."""
    return next(code for kind, code in CODES if isinstance(error, kind))


def of_all(codes: Iterable[int]) -> int:
    """Return the exit code of a command that went on after errors: the one that all have, 1 where they differ."""
    different = set(codes)
    return different.pop() if len(different) == 1 else FAILED if different else 0
