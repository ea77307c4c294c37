"""The lab's Azure as a process: Resource Manager on two ports, machines by the control socket, the fabric's state."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from cloudnet.clock import Clock, SystemClock
from cloudnet.errors import BadInput
from cloudnet.lab import control
from cloudnet.lab.clouds import process
from cloudnet.lab.clouds.azure import forwarding
from cloudnet.lab.clouds.azure.arm import Arm
from cloudnet.lab.clouds.azure.contract import BUCKETS, CONTRACT
from cloudnet.lab.clouds.azure.names import GROUP, SCALE_SET, SUBSCRIPTION
from cloudnet.lab.clouds.azure.state import INTERFACE, SCALE_SET_MACHINE, Machine
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.listener import MakeServer
from cloudnet.lab.clouds.process import Verb
from cloudnet.lab.clouds.server import serving
from cloudnet.lab.clouds.simulator import Simulator
from cloudnet.lab.fabric import FabricState

_PREFIX = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"


class AzurePlane:
    """One subscription with one resource group, and one virtual network that the fabric follows."""

    def __init__(self, conditions: Conditions, clock: Clock, *, operation_seconds: float) -> None:
        arm = Arm(clock, lambda: self.simulator.conditions.routes_per_table, operation_seconds=operation_seconds)
        self.state = arm.state
        self.state.denied = lambda: self.simulator.conditions.denied
        self.state.groups.add(GROUP)
        self.simulator = Simulator(CONTRACT, arm, arm, clock=clock, limits=BUCKETS, conditions=conditions)
        self._network = self._gateway = ""
        self._machines = 0

    @property
    def conditions(self) -> Conditions:
        return self.simulator.conditions

    @conditions.setter
    def conditions(self, wanted: Conditions) -> None:
        self.simulator.conditions = wanted

    @property
    def account(self) -> MakeServer:
        return serving(self.simulator, outsider=False)

    @property
    def outsider(self) -> MakeServer:
        return serving(self.simulator, outsider=True)

    @property
    def verbs(self) -> Mapping[str, Verb]:
        return {
            "arm": self._call,
            "network": self._follow,
            "gateway": self._attach,
            "launch": self._launch,
            "power": self._power,
            "terminate": self._terminate,
        }

    def watch(self, changed: Callable[[], None]) -> None:
        self.state.changed = changed

    def fabric_state(self) -> FabricState | None:
        if not self._network:
            return None
        with self.simulator.lock:
            return forwarding.fabric_state(
                self.state, self._network, gateway=self._gateway, silent=self.simulator.conditions.silent
            )

    def calls(self) -> Mapping[str, int]:
        return self.simulator.counts

    def _call(self, message: control.Message) -> control.Message:
        """Make one call as an outsider: ``{"method": "PUT", "path": …, "version": …, "body": {…}}``.

        An outsider waits for nobody: his operations are done at once.
        """
        body = json.dumps(message["body"]).encode() if message.get("body") is not None else b""
        target = f"{message['path']}?api-version={message['version']}"
        answer = self.simulator.handle(message["method"], target, {}, body, outsider=True)
        if answer.status >= 400:  # noqa: PLR2004 - HTTP's errors
            raise BadInput(f"{message['method']} {message['path']}: {answer.status} {answer.body}", path="arm")
        return {"status": answer.status, "body": answer.body}

    def _follow(self, message: control.Message) -> control.Message:
        self._network = message["network"]
        self.state.changed()
        return {}

    def _attach(self, message: control.Message) -> control.Message:
        self._gateway = message["subnet"]
        self.state.changed()
        return {}

    def _launch(self, message: control.Message) -> control.Message:
        """Start a machine: one by itself, or with ``scale_set`` one of a uniform scale set."""
        self._machines += 1
        number, name = self._machines, message["name"]
        mac = f"00:0d:3a:00:{number >> 8:02x}:{number & 0xFF:02x}"  # Microsoft's
        configurations = [
            {
                "name": "ipconfig1",
                "properties": {
                    "privateIPAddress": message["address"],
                    "privateIPAllocationMethod": "Static",
                    "subnet": {"id": message["subnet"]},
                    "primary": True,
                },
            }
        ]
        properties = {"ipConfigurations": configurations, "enableIPForwarding": False}
        with self.simulator.lock:
            if message.get("scale_set"):
                made = f"{_PREFIX}/Microsoft.Compute/virtualMachineScaleSets/{SCALE_SET}/virtualMachines/{number}"
                interface = f"{made}/networkInterfaces/nic"
                self.state.put(SCALE_SET_MACHINE, made, {"name": "nic", "properties": properties})
            else:
                made = f"{_PREFIX}/Microsoft.Compute/virtualMachines/{name}"
                interface = f"{_PREFIX}/Microsoft.Network/networkInterfaces/{name}-nic"
                self.state.put(INTERFACE, interface, {"properties": properties})
            self.state.machines[made] = Machine(made, name, interface, mac)
        self.state.changed()
        return {"instance": made, "interface": interface, "mac": mac}

    def _power(self, message: control.Message) -> control.Message:
        machine = self.state.machines[message["instance"]]
        self.state.machines[machine.id] = replace(machine, running=bool(message["on"]))
        self.state.changed()
        return {}

    def _terminate(self, message: control.Message) -> control.Message:
        """Delete a machine, and its interface with it."""
        with self.simulator.lock:
            machine = self.state.machines.pop(message["instance"])
            self.state.drop(machine.interface)
            self.state.drop(machine.id)
        self.state.changed()
        return {}


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM."""
    parser = process.parser("Azure for a lab; started by cloudnet lab up")
    parser.add_argument("--operation-seconds", type=float, default=0.5, help="that an operation takes")
    parsed = parser.parse_args(arguments)
    plane = AzurePlane(process.conditions(parsed), SystemClock(), operation_seconds=parsed.operation_seconds)
    return process.serve(plane, parsed)


if __name__ == "__main__":
    sys.exit(main())
