"""The process that is a lab's cloud: a control plane on loopback, the fabric that follows it, a control socket.

Runs inside the cloud's network namespace. Two listeners share one state: the *account* port, where cloudnet calls
and faults apply, and the *outsider* port, for the lab's own hand and for people who change routes behind cloudnet's
back: strict as well, but never refused, delayed or counted. A Unix socket takes faults and questions, as JSON lines.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from cloudnet.errors import BadInput
from cloudnet.lab import control
from cloudnet.lab.clouds import conditions as terms
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.follower import Follower
from cloudnet.lab.clouds.listener import Listener, MakeServer
from cloudnet.lab.fabric import Fabric, FabricState

log = logging.getLogger(__name__)

ACCOUNT_PORT = 5000
OUTSIDER_PORT = 5001

Verb: TypeAlias = Callable[[control.Message], control.Message]


class Plane(Protocol):
    """A cloud's control plane, as its process needs it. Its methods are called by several threads."""

    conditions: Conditions

    @property
    def account(self) -> MakeServer | None:
        """Make the server that faults apply to; nothing where the cloud has no API."""

    @property
    def outsider(self) -> MakeServer | None:
        """Make the server that no fault concerns."""

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """What the control socket understands beside the verbs that every cloud has."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called after everything that packets may feel."""

    def fabric_state(self) -> FabricState | None:
        """Return what holds for packets now; nothing before there is a network."""

    def calls(self) -> Mapping[str, int]:
        """Return how many calls of the account arrived, by name."""


class Cloud:
    """Everything together, and the verbs of the control socket."""

    def __init__(self, plane: Plane, *, propagation: float) -> None:
        self._plane = plane
        self._fabric = Fabric()
        self._follower = Follower(self._fabric.apply, propagation)
        self._account = Listener(ACCOUNT_PORT, plane.account) if plane.account else None
        self._outsider = Listener(OUTSIDER_PORT, plane.outsider) if plane.outsider else None
        plane.watch(self._follow)

    def start(self) -> None:
        for listener in (self._account, self._outsider):
            if listener:
                listener.open()
        self._follower.start()

    def close(self) -> None:
        for listener in (self._account, self._outsider):
            if listener:
                listener.close()
        self._follower.close()

    def answer(self, message: control.Message) -> control.Message:
        """Answer one request of the control socket."""
        verbs = {**self._plane.verbs, "sync": self._sync, "set": self._set, "stats": self._stats}
        verb = verbs.get(message.get("verb", ""))
        if verb is None:
            raise BadInput(f"expected one of {', '.join(verbs)}, found {message.get('verb')!r}", path="verb")
        return verb(message)

    def _sync(self, _message: control.Message) -> control.Message:
        """Make the fabric follow at once; for devices that came or went."""
        state = self._plane.fabric_state()
        if state is not None:
            self._follower.settle(state)
        return {}

    def _set(self, message: control.Message) -> control.Message:
        """Change conditions: any of the fields of ``Conditions``."""
        self._plane.conditions = terms.change(self._plane.conditions, message.get("conditions", {}))
        if self._account:
            if self._plane.conditions.api == "down":
                self._account.close()
            else:
                self._account.open()
        self._follow()
        return {}

    def _stats(self, _message: control.Message) -> control.Message:
        return {
            "calls": dict(self._plane.calls()),
            "drops": self._fabric.drops() if self._plane.fabric_state() is not None else {},
            "conditions": terms.shown(self._plane.conditions),
        }

    def _follow(self) -> None:
        state = self._plane.fabric_state()
        if state is not None:
            self._follower.follow(state)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that ``cloudnet lab up`` gives to every cloud's process."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--socket", required=True, type=Path)
    made.add_argument("--routes-per-table", type=int, default=50)
    made.add_argument("--propagation", type=float, default=0.2, help="seconds")
    made.add_argument("--read-delay", type=float, default=0.0, help="seconds")
    made.add_argument("--key", action="append", default=[], help="a valid credential; none means any")
    return made


def conditions(arguments: argparse.Namespace) -> Conditions:
    """Return the conditions that a process starts with."""
    return Conditions(
        routes_per_table=arguments.routes_per_table,
        read_delay=arguments.read_delay,
        keys=frozenset(arguments.key),
    )


def serve(plane: Plane, arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cloud = Cloud(plane, propagation=arguments.propagation)
    cloud.start()
    server = control.Server(arguments.socket, cloud.answer)
    log.info("serving pid=%d", os.getpid())
    stop.wait()
    server.close()
    cloud.close()
    return 0
