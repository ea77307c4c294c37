"""What 5,000 remote blocks cost the path manager, beside ``ip -batch`` and ``bridge -batch`` doing the same.

Each node has one block, so there are 5,000 forwarding entries, neighbours and routes. All of it happens in one
network namespace of its own; both sides start from the same empty kernel and take turns, and medians are compared.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from cloudnet.agent.actions import Applied, ApplyKernel, KernelRead, ResourcesChanged
from cloudnet.agent.loop import Loop
from cloudnet.agent.main import spare_the_collector
from cloudnet.config import AgentConfig
from cloudnet.kernel import netns
from cloudnet.kernel.api import FdbEntry, KernelObject, Neighbour, Put, Remove, Route, VxlanDevice
from cloudnet.kernel.netlink import NetlinkKernel
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import BlockAffinity, Metadata, Node, Resource, Vtep
from cloudnet.overlay import vxlan
from cloudnet.store.api import Event, EventType, Revision

BLOCKS = 5000
RUNS = 5
CHANGES = 50
ONE_CHANGE, READING = 0.010, 0.250  # seconds


def measure() -> list[dict[str, object]]:
    """Return the rows, in about ten seconds."""
    with netns.temporary(f"cn-bench-{os.getpid()}") as name:
        return netns.run_inside(name, _measure)


def _measure() -> list[dict[str, object]]:
    for line in (
        "link add eth0 type veth peer name eth0-peer",
        "link set eth0-peer up",
        "link set eth0 up",
        "address add 10.0.0.1/8 dev eth0",
        "route add default via 10.0.0.2",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    kernel = NetlinkKernel()
    spare_the_collector()  # as the agent does
    try:
        return _rows(kernel)
    finally:
        kernel.close()


def _rows(kernel: NetlinkKernel) -> list[dict[str, object]]:
    remotes = [remote(number) for number in range(1, BLOCKS + 1)]
    objects = [value for node, affinity in remotes for value in vxlan.ground(node, affinity.cidr)]
    own = vxlan.device(remote(0)[0], Family.IPV4, parent="eth0", underlay_mtu=1500)
    if own is None:
        raise AssertionError("node 0 has its addresses")
    times: dict[str, list[float]] = {"peer": [], "door": [], "manager": []}
    with tempfile.TemporaryDirectory() as folder:
        batches = write_batches(Path(folder), objects)
        for _ in range(RUNS):
            times["peer"].append(timed(kernel, own, lambda: run_batches(batches), objects))
            times["door"].append(timed(kernel, own, lambda: put_all(kernel, objects), objects))
            times["manager"].append(timed(kernel, own, lambda: manage(kernel, remotes), objects))
    reading = statistics.median(seconds(kernel.read) for _ in range(RUNS))
    change = statistics.median(one_change(kernel, remotes))
    clear(kernel)
    peer, door, manager = (statistics.median(times[side]) for side in ("peer", "door", "manager"))
    beside, bound = f"ip -batch: {peer * 1000:.0f} ms", "at most 2 x ip -batch"
    name = "5,000 remote blocks, path manager, from cold to kernel"
    return [
        row(name, manager * 1000, "ms", bound, peer=beside, ok=manager <= 2 * peer),
        row(f"{name}, by ip -batch", manager / peer, "x", "at most 2", peer="1", ok=manager <= 2 * peer),
        row("the same by the kernel door alone", door * 1000, "ms", bound, peer=beside, ok=door <= 2 * peer),
        row("one change among 5,000 blocks", change * 1000, "ms", "under 10", peer=None, ok=change < ONE_CHANGE),
        row("reading 15,000 entries back", reading * 1000, "ms", "under 250", peer=None, ok=reading < READING),
    ]


def row(name: str, value: float, unit: str, target: str, *, peer: str | None, ok: bool) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "target": target, "peer": peer, "ok": ok}


def remote(number: int) -> tuple[Node, BlockAffinity]:
    """Return node ``number`` and its block; number 0 is this node."""
    name = f"n{number}"
    block = IPv4Network((int(IPv4Address("100.64.0.0")) + (number << 6), 26))
    node = Node(
        Metadata(name),
        addresses=(IPv4Interface((int(IPv4Address("10.0.0.1")) + number, 8)),),
        vteps=(Vtep(block.network_address, ""),),
    )
    return node, BlockAffinity(Metadata(f"{name}-block"), NodeName(name), block)


def write_batches(folder: Path, objects: Sequence[KernelObject]) -> Sequence[Sequence[str]]:
    lines: dict[str, list[str]] = {"fdb": [], "neighbours": [], "routes": []}
    for value in objects:
        match value:
            case FdbEntry(device, mac, address):
                lines["fdb"].append(f"fdb add {mac} dev {device} dst {address} self permanent")
            case Neighbour(device, address, mac):
                lines["neighbours"].append(f"neigh add {address} lladdr {mac} dev {device} nud permanent")
            case Route(destination=block, device=device, gateway=via):
                lines["routes"].append(f"route add {block} via {via} dev {device} onlink proto 67 metric 1024")
    for name, text in lines.items():
        (folder / name).write_text("\n".join(text) + "\n")
    programs = {"fdb": "bridge", "neighbours": "ip", "routes": "ip"}
    return [[program, "-batch", str(folder / name)] for name, program in programs.items()]


def run_batches(batches: Sequence[Sequence[str]]) -> None:
    for command in batches:
        subprocess.run(command, check=True)


def put_all(kernel: NetlinkKernel, objects: Sequence[KernelObject]) -> None:
    must(not kernel.apply([Put(value) for value in objects]), "the kernel refused nothing")


def manage(kernel: NetlinkKernel, remotes: Sequence[tuple[Node, BlockAffinity]]) -> Loop:
    """Do what a starting agent does, from the store's first delivery until everything is in the kernel."""
    loop = Loop(AgentConfig(node="n0"))
    resources: list[Resource] = [value for pair in (remote(0), *remotes) for value in pair]
    loop.receive(
        [
            KernelRead(kernel.links(), tuple(kernel.gateways()), kernel.read()),
            ResourcesChanged(tuple(Event(EventType.PUT, value, Revision(1)) for value in resources)),
        ]
    )
    work(kernel, loop, 0.0)
    return loop


def work(kernel: NetlinkKernel, loop: Loop, now: float) -> int:
    """Step once and carry out what is for the kernel; return how many changes that were."""
    actions, _ = loop.step(now)
    number = 0
    for action in actions:
        if isinstance(action, ApplyKernel):
            number += len(action.changes)
            loop.receive([Applied(action.changes, tuple(kernel.apply(action.changes)))])
    must(not loop.not_ready(), "the ground is in the kernel")
    return number


def one_change(kernel: NetlinkKernel, remotes: Sequence[tuple[Node, BlockAffinity]]) -> list[float]:
    """Move blocks to other nodes one by one; return how long each took from the store's event to the kernel."""
    loop = manage(kernel, remotes)
    times = []
    for number in range(CHANGES):
        moved = replace(remotes[number][1], node=remotes[-1 - number][0].name)
        event: Event[Resource] = Event(EventType.PUT, moved, Revision(2 + number))
        start = time.perf_counter()
        loop.receive([ResourcesChanged((event,))])
        changes = work(kernel, loop, 1.0 + number)
        times.append(time.perf_counter() - start)
        must(changes == 1, f"one block moved by one change, not {changes}")
    return times


def timed(
    kernel: NetlinkKernel, own: VxlanDevice, lay: Callable[[], object], objects: Sequence[KernelObject]
) -> float:
    """Return how long laying the ground of every block takes on a kernel that has only the device."""
    clear(kernel)
    must(not kernel.apply([Put(own)]), "the device is there")
    took = seconds(lay)
    found = kernel.read()
    must(all(found.get(value.key) == value for value in objects), "everything is in the kernel")
    return took


def clear(kernel: NetlinkKernel) -> None:
    kernel.apply([Remove(value) for value in reversed(list(kernel.read().values()))])


def seconds(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def must(holds: bool, what: str) -> None:  # noqa: FBT001 - the thing itself
    if not holds:
        raise AssertionError(f"expected that {what}")


if __name__ == "__main__":
    for one in measure():
        print(one)  # noqa: T201 - a program that prints
