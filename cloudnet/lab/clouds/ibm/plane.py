"""The process that is a lab's IBM Cloud."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network

from cloudnet.clock import Clock, SystemClock
from cloudnet.errors import BadInput
from cloudnet.lab import control
from cloudnet.lab.clouds import process
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.ibm.cloud import IbmCloud
from cloudnet.lab.clouds.ibm.contract import contract
from cloudnet.lab.clouds.ibm.fabric import fabric_state
from cloudnet.lab.clouds.ibm.state import Route, Rule, Vpc
from cloudnet.lab.clouds.listener import MakeServer
from cloudnet.lab.clouds.server import serving
from cloudnet.lab.clouds.simulator import Simulator
from cloudnet.lab.fabric import FabricState
from cloudnet.lab.spec import POOL, VPC
from cloudnet.provider.budget import Bucket

REGION = "eu-de"
LIMITS = {  # IBM publishes none: assumed, and wide enough that a polite caller meets them only when it hurries
    "read": Bucket(rate=50.0, burst=200.0),
    "write": Bucket(rate=20.0, burst=100.0),
}


class IbmPlane:
    """One VPC behind its API. Verbs of the control socket are what people and other programs do to it."""

    def __init__(self, conditions: Conditions, clock: Clock) -> None:
        self._clock = clock
        self.vpc = Vpc(REGION)
        self.cloud = IbmCloud(self.vpc, clock, lambda: self.simulator.conditions)
        self.simulator = Simulator(
            contract(), self.cloud, self.cloud, clock=clock, limits=LIMITS, conditions=conditions
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

    def watch(self, changed: Callable[[], None]) -> None:
        """Tell at once, and again when what was accepted is in force."""

        def tell() -> None:
            changed()
            if delay := self.conditions.read_delay:
                timer = threading.Timer(delay, changed)
                timer.daemon = True
                timer.start()

        self.cloud.changed = tell

    def fabric_state(self) -> FabricState | None:
        with self.simulator.lock:
            if not self.vpc.subnets:
                return None
            return fabric_state(self.vpc, self._clock.now(), silent=self.conditions.silent)

    def calls(self) -> Mapping[str, int]:
        return dict(self.simulator.counts)

    # --- what others do -------------------------------------------------------------------------------------

    @property
    def verbs(self) -> Mapping[str, process.Verb]:
        verbs: Mapping[str, process.Verb] = {
            "network": self._network,
            "launch": self._launch,
            "status": self._status,
            "terminate": self._terminate,
            "outside": self._outside,
            "delete-route": self._delete_route,
            "claim": self._claim,
            "unclaim": self._unclaim,
        }
        return {name: self._locked(verb) for name, verb in verbs.items()}

    def _locked(self, verb: process.Verb) -> process.Verb:
        def carry_out(message: control.Message) -> control.Message:
            with self.simulator.lock:
                answer = verb(message)
            self.cloud.changed()
            return answer

        return carry_out

    def _network(self, message: control.Message) -> control.Message:
        """Make subnets, ``{"subnets": [{"name", "zone", "cidr"}]}``, with a routing table for each.

        The default group lets nodes and pods in, as the Terraform module's does; the fabric does not look at it.
        """
        made = {}
        self.vpc.default_group.rules += [Rule("inbound", str(source)) for source in (VPC, POOL)]
        for wanted in message["subnets"]:
            table = self.vpc.add_table(wanted["name"])
            subnet = self.vpc.add_subnet(wanted["name"], wanted["zone"], IPv4Network(wanted["cidr"]), table.id)
            made[wanted["name"]] = {"subnet": subnet.id, "table": f"{table.id}/{subnet.zone}"}
        return {"vpc": self.vpc.id, "made": made}

    def _launch(self, message: control.Message) -> control.Message:
        address = IPv4Address(message["address"])
        machine = self.vpc.add_machine(message["name"], message["subnet"], address, old=message.get("old", False))
        interface = self.vpc.interfaces[machine.interface]
        return {"instance": machine.id, "interface": interface.id, "mac": interface.mac}

    def _status(self, message: control.Message) -> control.Message:
        self.vpc.machines[message["instance"]].status = message["status"]
        return {}

    def _terminate(self, message: control.Message) -> control.Message:
        self.vpc.remove_machine(message["instance"])
        return {}

    def _outside(self, message: control.Message) -> control.Message:
        self.vpc.outside = message["subnet"]
        return {}

    def _routes(self, message: control.Message) -> list[Route]:
        """Return the routes to a block in a table of one zone, ``{"table": "TABLE/ZONE", "block"}``."""
        name, _, zone = message["table"].partition("/")
        if name not in self.vpc.tables:
            raise BadInput(f"there is no routing table {name!r}", path="table")
        wanted = IPv4Network(message["block"]), zone
        return [r for r in self.vpc.tables[name].routes.values() if (r.destination, r.zone) == wanted]

    def _delete_route(self, message: control.Message) -> control.Message:
        name = message["table"].partition("/")[0]
        for route in self._routes(message):
            del self.vpc.tables[name].routes[route.id]
        return {}

    def _claim(self, message: control.Message) -> control.Message:
        """Lead a block elsewhere, in a route of somebody else's with IBM's own priority."""
        name, _, zone = message["table"].partition("/")
        address = IPv4Address(message["address"])
        route = Route(self.vpc.new("r010-"), "", IPv4Network(message["block"]), zone, "deliver", address, 2)
        route.name = f"theirs-{route.id[-12:]}"
        self.vpc.tables[name].routes[route.id] = route
        return {}

    def _unclaim(self, message: control.Message) -> control.Message:
        name = message["table"].partition("/")[0]
        for route in self._routes(message):
            if route.name.startswith("theirs-"):
                del self.vpc.tables[name].routes[route.id]
        return {}


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM."""
    parsed = process.parser("IBM Cloud for a lab; started by cloudnet lab up").parse_args(arguments)
    return process.serve(IbmPlane(process.conditions(parsed), SystemClock()), parsed)


if __name__ == "__main__":
    sys.exit(main())
