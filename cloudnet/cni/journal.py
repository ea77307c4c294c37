"""What is still to be released: a container is gone, and the store did not answer when it went.

One file for each container, written whole and synced before DEL succeeds; so an agent that dies remembers. Whoever
adds the container again, or the retry of a later moment, does what stands there first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cloudnet.errors import BadInput


class Release(msgspec.Struct, frozen=True):
    """All that is needed to release a container's addresses without its runtime asking again.

    What comes after ``interface`` is the DEL's own, for an IPAM plugin that has to be run.
    """

    link: str
    handle: str
    endpoint: str
    namespace: str
    network: str
    container: str
    interface: str
    configuration: str = ""
    netns: str = ""
    path: tuple[str, ...] = ()
    args: dict[str, str] = {}


@dataclass
class Journal:
    """The files of one folder, and what they say."""

    folder: Path

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._open: dict[str, Release] = dict(self._read())
        except OSError as e:
            raise BadInput(
                f"cannot use {str(self.folder)!r} ({e.strerror}): choose another folder", path="cni_state"
            ) from e

    def _read(self) -> Mapping[str, Release]:
        found: dict[str, Release] = {}
        for file in self.folder.glob("*.new"):
            file.unlink()
        for file in sorted(self.folder.glob("*.json")):
            try:
                release = msgspec.json.decode(file.read_bytes(), type=Release)
            except msgspec.DecodeError:  # cut short by a crash before it was renamed: then DEL has not succeeded
                file.unlink()
            else:
                found[release.handle] = release
        return found

    def add(self, release: Release) -> None:
        """Note a release, for good.

        Raises:
            OSError: it cannot be written.
        """
        file = self._file(release.handle)
        new = file.with_suffix(".new")
        with new.open("wb") as out:
            out.write(msgspec.json.encode(release))
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
        self._sync()
        self._open[release.handle] = release

    def find(self, handle: str) -> Release | None:
        return self._open.get(handle)

    def all(self) -> tuple[Release, ...]:
        return tuple(self._open.values())

    def done(self, handle: str) -> None:
        """Strike a release off; done twice it would free the addresses of whoever came after, so this is synced."""
        if handle in self._open:
            self._file(handle).unlink(missing_ok=True)
            self._sync()
            del self._open[handle]

    def _file(self, handle: str) -> Path:
        return self.folder / f"{hashlib.sha256(handle.encode()).hexdigest()[:32]}.json"

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
