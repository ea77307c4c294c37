"""The lab's Google: a simulator of the few calls of Compute Engine that cloudnet and the lab's hand make.

Runs as a process inside the cloud's network namespace (``process.py``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from cloudnet.clock import Clock, SystemClock
from cloudnet.errors import BadInput
from cloudnet.lab import control
from cloudnet.lab.clouds import process
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.gcp import forwarding
from cloudnet.lab.clouds.gcp.calls import Calls, Manners
from cloudnet.lab.clouds.gcp.contract import CONTRACT, READ, WRITE
from cloudnet.lab.clouds.gcp.dialect import Dialect
from cloudnet.lab.clouds.gcp.state import Project
from cloudnet.lab.clouds.listener import MakeServer
from cloudnet.lab.clouds.process import Verb
from cloudnet.lab.clouds.server import serving
from cloudnet.lab.clouds.simulator import Judge, Simulator
from cloudnet.lab.fabric import FabricState
from cloudnet.provider.budget import Bucket

PROJECT = "lab"

# Published: 1,500 a minute each, by the minute of the clock ("Compute Engine rate quotas"). A bucket of 300 that
# refills with 20 a second lets no more than that through in any minute.
LIMITS: Mapping[str, Bucket] = MappingProxyType(
    {READ: Bucket(rate=20.0, burst=300.0), WRITE: Bucket(rate=20.0, burst=300.0)}
)


class Google:
    """One project's control plane."""

    def __init__(
        self,
        conditions: Conditions,
        *,
        clock: Clock,
        manners: Manners | None = None,
        limits: Mapping[str, Bucket] = LIMITS,
        judge: Judge | None = None,
    ) -> None:
        self.project = Project(PROJECT, clock.wall)
        self.network = ""
        self._outside = ""
        self.handler = Calls(
            self.project,
            clock,
            limit=lambda: self.conditions.routes_per_table,
            lag=lambda: self.conditions.lag(self.simulator.counts["compute.routes.list"]),
            denied=lambda: self.conditions.denied,
            manners=manners or Manners(),
        )
        self.simulator = Simulator(
            CONTRACT,
            self.handler,
            Dialect(self.project),
            clock=clock,
            limits=limits,
            conditions=conditions,
            judge=judge,
        )

    @property
    def conditions(self) -> Conditions:
        return self.simulator.conditions

    @conditions.setter
    def conditions(self, value: Conditions) -> None:
        self.simulator.conditions = value

    @property
    def account(self) -> MakeServer:
        return serving(self.simulator, outsider=False)

    @property
    def outsider(self) -> MakeServer:
        return serving(self.simulator, outsider=True)

    @property
    def verbs(self) -> Mapping[str, Verb]:
        return {"api": self._api, "network": self._watch_network, "outside": self._open_outside}

    def watch(self, changed: Callable[[], None]) -> None:
        self.handler.changed = changed

    def calls(self) -> Mapping[str, int]:
        return dict(self.simulator.counts)

    def fabric_state(self) -> FabricState | None:
        if not self.network:
            return None
        silent = self.conditions.silent
        with self.simulator.lock:
            return forwarding.fabric_state(self.project, self.network, silent=silent, outside=self._outside)

    def _api(self, message: control.Message) -> control.Message:
        """Make one call as an outsider: ``{"method": "POST", "path": "global/routes", "body": {…}}``."""
        target = f"/compute/v1/projects/{PROJECT}/{message['path']}"
        body = json.dumps(message["body"]).encode() if "body" in message else b""
        answer = self.simulator.handle(message["method"], target, {}, body, outsider=True)
        if answer.status >= 400:  # noqa: PLR2004 - HTTP's errors
            raise BadInput(str(answer.body["error"]["message"]), path=message["path"])
        return {"result": answer.body}

    def _watch_network(self, message: control.Message) -> control.Message:
        self.network = message["network"]
        self.handler.changed()
        return {}

    def _open_outside(self, message: control.Message) -> control.Message:
        """Let what comes in from outside be looked up in the table of a subnet."""
        self._outside = message["subnet"]
        self.handler.changed()
        return {}


def main(arguments: list[str] | None = None) -> int:
    parsed = process.parser(__doc__ or "").parse_args(arguments)
    return process.serve(Google(process.conditions(parsed), clock=SystemClock()), parsed)


if __name__ == "__main__":
    sys.exit(main())
