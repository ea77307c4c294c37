"""What a running lab remembers: one JSON file in its directory, replaced whole, so that a crash leaves a good one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import msgspec

from cloudnet.lab.errors import LabError
from cloudnet.lab.processes import Process
from cloudnet.lab.spec import LabSpec

ROOT = Path("/run/cloudnet-lab")
_LOCK_SECONDS = 2.0  # a killed builder's child holds the lock too, until it has become its program


@dataclass(frozen=True, slots=True)
class PodRecord:
    """A pod: a namespace with one address."""

    name: str
    address: IPv4Address
    block: IPv4Network


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node: an instance in the cloud, a namespace here."""

    name: str
    number: int
    subnet: str
    address: IPv4Interface
    instance: str
    interface: str
    mac: str
    agent: bool
    blocks: tuple[IPv4Network, ...] = ()
    pods: tuple[PodRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class CloudRecord:
    """The ids that the cloud gave; ``subnets`` and ``tables`` by subnet name."""

    vpc: str = ""
    subnets: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that somebody made and nobody has healed yet."""

    name: str
    target: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class LabState:
    """The whole memory of a lab. ``processes`` by role: ``cloud``, ``controller``, ``agent n1``."""

    spec: LabSpec
    cloud: CloudRecord = field(default_factory=CloudRecord)
    nodes: tuple[NodeRecord, ...] = ()
    processes: dict[str, Process] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def node(self, name: str) -> NodeRecord:
        """Return a node's record.

        Raises:
            LabError: the lab has no such node.
        """
        for record in self.nodes:
            if record.name == name:
                return record
        raise LabError(f"no node {name!r} in lab {self.spec.name!r}: it has {', '.join(n.name for n in self.nodes)}")


def directory(name: str) -> Path:
    return ROOT / name


def save(state: LabState) -> None:
    path = directory(state.spec.name) / "lab.json"
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state, enc_hook=_encode)))
    fresh.replace(path)


def load(name: str) -> LabState:
    """Read a lab's memory.

    Raises:
        LabError: there is no such lab, or its file cannot be read.
    """
    path = directory(name) / "lab.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabState, dec_hook=_decode)
    except FileNotFoundError as error:
        raise LabError(f"there is no lab {name!r}: start one with cloudnet lab up --name {name}") from error
    except msgspec.DecodeError as error:
        raise LabError(f"{path}: {error}; clean up with cloudnet lab down --name {name}") from error


def edit(name: str, change: Callable[[LabState], LabState]) -> LabState:
    """Read, change and write a lab's memory, one editor at a time; returns what stands there now."""
    with (directory(name) / "lab.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = change(load(name))
        save(state)
    return state


@contextlib.contextmanager
def building(name: str) -> Iterator[None]:
    """Keep others from building or removing the lab meanwhile; a killed builder lets go by itself.

    Raises:
        LabError: somebody else is at it.
    """
    handle = os.open(directory(name), os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while not _locked(handle):
            if time.monotonic() > end:
                raise LabError(f"lab {name!r} is being built or removed by another process: wait, or end that one")
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _encode(value: object) -> str:
    return str(value)


def _decode(kind: type, value: Any) -> Any:  # msgspec's hook: JSON in, any of our types out
    return kind(value)
