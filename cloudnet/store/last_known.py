"""What a store told last, kept on disk: an agent that starts while the store is away goes on from there.

One document a line, as any store would hold it; the file is replaced whole, so that a crash leaves the former one. It
may be minutes old, which is why it serves only until the store answers, and never for writing.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from cloudnet.clock import Clock
from cloudnet.errors import BadInput
from cloudnet.model import kinds
from cloudnet.model.resources import Resource

log = logging.getLogger(__name__)

EVERY = 300.0  # seconds between two writes: ten thousand resources take half a second of the reader's time


def path(folder: str) -> str:
    """Return where it is kept in an agent's folder."""
    return str(Path(folder) / "last-known.jsonl")


class LastKnown:
    """The file. Use it from one thread."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = Path(path)
        self._clock = clock
        self._written_at = -EVERY

    @property
    def is_due(self) -> bool:
        """Whether the last write was long ago."""
        return self._clock.now() - self._written_at >= EVERY

    def save(self, resources: Iterable[Resource]) -> None:
        """Replace what is kept. That it cannot be written is logged, and no reason to stop."""
        self._written_at = self._clock.now()
        half = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(kinds.encode(one) + b"\n" for one in resources)
            half.replace(self._path)
        except OSError as e:
            log.warning("cannot keep what the store said path=%s reason=%r", self._path, e.strerror)
            with contextlib.suppress(OSError):  # it may not be there either
                half.unlink()

    def load(self, wanted: Iterable[type[Resource]]) -> tuple[Resource, ...]:
        """Return what is kept of these kinds; lines that make no sense, as of another version, are passed over."""
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:  # there is nothing yet
            return ()
        found = (_read(line) for line in lines)
        return tuple(one for one in found if one is not None and isinstance(one, tuple(wanted)))


def _read(line: bytes) -> Resource | None:
    try:
        return kinds.decode(line)
    except BadInput as e:
        log.debug("passed over what was kept reason=%r", str(e))
        return None
