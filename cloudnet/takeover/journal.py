"""What a takeover has done so far, on disk before it is done: so that who was killed can go on, or go back.

The first line is the job, each further one a step that begins, is done, is undone, or stays for a reason. Lines are
appended and synced; the last one may be torn, and then it was never written. What a setting was before is told
when its step begins, once: a second beginning would note what we made of it ourselves.
"""

from __future__ import annotations

import enum
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model.addresses import NodeName
from cloudnet.takeover.plan import Job

FINISH: Final = "finish"  # of no step, but noted as one: what the predecessor left is being removed


class Busy(CloudnetError):
    """Another takeover of this node is at work."""


class Phase(enum.StrEnum):
    """How far a step is."""

    BEGUN = "begun"
    DONE = "done"
    UNDONE = "undone"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Entry:
    """A step as the journal has it: what was ``before``, and ``why`` it stays."""

    phase: Phase
    before: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


class Journal:
    """One node's journal. One process at a time: see ``held``."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            BadInput: it is no journal.
        """
        self.path = path
        self.job: Job | None = None
        self.steps: dict[str, Entry] = {}
        for line in _lines(path):
            self._take_in(line)

    @property
    def is_begun(self) -> bool:
        return self.job is not None

    def _take_in(self, line: Mapping[str, Any]) -> None:  # Any: a line of JSON
        if "job" in line:
            self.job = _parse(line["job"])
            return
        old = self.steps.get(line["step"])
        before = line.get("before", old.before if old else {})
        self.steps[line["step"]] = Entry(Phase(line["is"]), before, line.get("why", ""))

    def open(self, job: Job) -> None:
        """Begin with a job; one that is there already goes on."""
        if self.job is None:
            self._append({"job": _spell(job)})

    def begin(self, step: str, before: Mapping[str, str]) -> None:
        self._append({"step": step, "is": Phase.BEGUN, "before": dict(before)})

    def note(self, step: str, phase: Phase, why: str = "") -> None:
        self._append({"step": step, "is": phase} | ({"why": why} if why else {}))

    def close(self) -> None:
        """Forget it all: the node is as it was."""
        self.path.unlink(missing_ok=True)
        self.job, self.steps = None, {}

    def _append(self, line: Mapping[str, object]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                _mend(file.fileno(), self.path)
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as e:
            raise BadInput(
                f"cannot write {str(self.path)!r} ({e.strerror}): name another folder", path="state"
            ) from e
        self._take_in(line)


def _mend(descriptor: int, path: Path) -> None:
    """Cut off a line that a kill left torn, so that the next one stands on its own."""
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole != len(text):
        os.ftruncate(descriptor, whole)


@contextmanager
def held(path: Path) -> Iterator[Journal]:
    """Hold the journal alone.

    Raises:
        Busy: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another takeover holds {str(path)!r}: wait until it has ended") from None
        yield Journal(path)
    finally:
        os.close(lock)


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for number, line in enumerate(text.split(b"\n")[:-1], start=1):  # what follows the last end of a line is torn
        try:
            yield json.loads(line)
        except ValueError as e:
            raise BadInput(
                f"line {number} is no JSON: move the file away, and put back by hand what it says", path=str(path)
            ) from e


def _spell(job: Job) -> dict[str, object]:
    return {
        f.name: [str(v) for v in value] if isinstance(value := getattr(job, f.name), tuple) else value and str(value)
        for f in fields(job)
    }


def _parse(spelled: Mapping[str, Any]) -> Job:
    return Job(
        node=NodeName(spelled["node"]),
        kind=spelled["kind"],
        network=spelled["network"],
        block=ip_network(spelled["block"]) if spelled["block"] else None,
        bridge=spelled["bridge"],
        gateways=tuple(ip_address(one) for one in spelled["gateways"]),
        pool=ip_network(spelled["pool"]) if spelled["pool"] else None,
        chain=tuple(spelled["chain"]),
        configuration=spelled["configuration"],
    )
