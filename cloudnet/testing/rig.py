"""A few nodes with real agents, in namespaces of their own, and a router between their subnets; no cloud.

The router is the bridge within each subnet and forwards between them. Each node has one block, and the address of a
pod in it on its loopback. Who needs more, or other subnets, derives from ``Rig``.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_interface
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from cloudnet.kernel import netns
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, Metadata, Node, Resource, Vtep
from cloudnet.store import api
from cloudnet.store.registry import open_store

SOON: Final = 60.0  # seconds, for what has no promise about time
_FEWEST: Final = 100  # packets that a flow must have sent, or it shows nothing


def block(k: int) -> IPv4Network:
    return IPv4Network(f"10.65.{k}.0/26")


def pod(k: int) -> str:
    return f"10.65.{k}.5"


class Rig:
    """The namespaces, the store, and the agents that were started. ``folder`` has their files and logs."""

    router: ClassVar = "router"
    subnets: ClassVar[Mapping[int, int]] = {1: 1, 2: 2, 3: 1}  # of each node

    def __init__(self, prefix: str, folder: Path) -> None:
        self.prefix, self.folder = prefix, folder
        self.store_url = f"sqlite://{folder}/store.sqlite"
        self.store = open_store(self.store_url)
        self.agents: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    def places(cls) -> tuple[str, ...]:
        return (cls.router, *(f"n{k}" for k in cls.subnets))

    @classmethod
    def address(cls, k: int) -> str:
        return f"10.0.{cls.subnets[k]}.{10 + k}"

    @classmethod
    def resources(cls, k: int) -> Iterator[Resource]:
        """Yield what the store knows of a node."""
        name, own = f"n{k}", ip_interface(f"{cls.address(k)}/24")
        yield Node(Metadata(name), (own,), (Vtep(ip_address(f"10.65.{k}.0"), ""),))
        yield BlockAffinity(Metadata(f"{name}-10-65-{k}-0-26"), NodeName(name), block(k))

    def namespace(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def ip(self, name: str, *lines: str) -> None:
        netns.execute(self.namespace(name), ["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")

    def wire(self) -> None:
        """Connect the nodes, and let the router forward."""
        netns.execute(self.namespace(self.router), ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        self.ip(self.router, "link set lo up")
        for subnet in sorted(set(self.subnets.values())):
            bridge = f"br{subnet}"
            there = f"address add 10.0.{subnet}.1/24 dev {bridge}"
            self.ip(self.router, f"link add {bridge} type bridge", there, f"link set {bridge} up")
        for k, subnet in self.subnets.items():
            pair = f"link add n{k} type veth peer name eth0 netns {self.namespace(f'n{k}')}"
            self.ip(self.router, pair, f"link set n{k} master br{subnet} up")
            self.ip(f"n{k}", "link set lo up", f"address add {self.address(k)}/24 dev eth0", "link set eth0 up")
            self.ip(f"n{k}", f"route add default via 10.0.{subnet}.1", f"address add {pod(k)}/32 dev lo")

    def put(self, resource: Resource) -> api.Stored[Resource]:
        """Store a resource, over one of its name if there is one."""
        try:
            return self.store.create(resource)
        except api.AlreadyExists:
            seen = self.store.get(type(resource), resource.meta.name)
            # replace() knows dataclasses, and the protocol cannot say that every resource is one.
            new: Resource = replace(resource, meta=seen.value.meta)  # type: ignore[type-var]
            return self.store.update(new, expected=seen.revision)

    # --- agents -----------------------------------------------------------------------------------------

    def command(self, k: int, *more: str) -> list[str]:
        """Return the command line of a node's agent."""
        here = self.folder / f"n{k}"
        command = [sys.executable, "-m", "cloudnet", "agent", "--node", f"n{k}", "--store", self.store_url]
        command += ["--state", f"{here}-state", "--socket", f"{here}.sock", "--metrics", "127.0.0.1:9091"]
        return netns.command_inside(self.namespace(f"n{k}"), [*command, "--cni-socket", "", *more])

    def start(self, k: int, *more: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"n{k}.log").open("ab") as log:
            self.agents[k] = subprocess.Popen(self.command(k, *more), stdout=log, stderr=log)
        return self.agents[k]

    def stop(self, k: int, number: int = signal.SIGTERM) -> int:
        agent = self.agents.pop(k)
        agent.send_signal(number)
        return agent.wait(10)

    def ask(self, k: int, verb: str) -> dict[str, Any]:  # Any: JSON
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.folder / f"n{k}.sock"))
            client.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        found: dict[str, Any] = json.loads(answer)
        return found

    def paths(self, k: int) -> Mapping[str, tuple[str, str]]:
        """Return kind and reason of each path of a node, by block."""
        return {path["block"]: (path["kind"], path["reason"]) for path in self.ask(k, "paths")["paths"]}

    def path(self, k: int, to: int) -> tuple[str, str] | None:
        with contextlib.suppress(OSError):  # the agent does not answer yet
            return self.paths(k).get(str(block(to)))
        return None

    def wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SOON
        while not condition():
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.01)

    def told(self) -> Mapping[str, str]:
        """Return the end of every log, by the file's name."""
        logs = (*self.folder.glob("*.log"), *self.folder.glob("*/*.log"))
        return {str(path.relative_to(self.folder)): path.read_text()[-3000:] for path in logs}

    # --- traffic ----------------------------------------------------------------------------------------

    def flow(self, k: int, to: int | str, seconds: int) -> subprocess.Popen[str]:
        """Ping a pod, or an address, 200 times a second; by count: a deadline would cut off the last one's answer."""
        command = ["ping", "-i", "0.005", "-c", str(200 * seconds), "-W", "1", "-q", "-I", pod(k), _target(to)]
        inside = netns.command_inside(self.namespace(f"n{k}"), command)
        return subprocess.Popen(inside, stdout=subprocess.PIPE, text=True)

    def pings(self, k: int, to: int | str) -> bool:
        command = ["ping", "-c", "1", "-W", "0.1", "-q", "-I", pod(k), _target(to)]
        inside = netns.command_inside(self.namespace(f"n{k}"), command)
        return subprocess.run(inside, capture_output=True, check=False).returncode == 0


def _target(to: int | str) -> str:
    return pod(to) if isinstance(to, int) else to


def lost(flow: subprocess.Popen[str]) -> int:
    """Return how many packets of a flow were not answered, once it has ended."""
    output, _ = flow.communicate(timeout=60)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", output)
    assert found, output
    sent, received = (int(number) for number in found.groups())
    assert sent > _FEWEST
    return sent - received


R = TypeVar("R", bound=Rig)


@contextlib.contextmanager
def standing(kind: type[R], prefix: str, folder: Path) -> Iterator[R]:
    """Build a rig, and take it away with its agents."""
    with contextlib.ExitStack() as stack:
        for name in kind.places():
            stack.enter_context(netns.temporary(f"{prefix}-{name}"))
        rig = kind(prefix, folder)
        stack.callback(rig.store.close)
        stack.callback(lambda: [rig.stop(k, signal.SIGKILL) for k in list(rig.agents)])
        rig.wire()
        for k in kind.subnets:
            for resource in kind.resources(k):
                rig.put(resource)
        yield rig
