"""What pods get on the wire, beside the same namespaces wired by hand: throughput, and the time of a round trip.

A round trip is measured twice: a byte there and back over a standing TCP connection, as two programs see it, and a
ping, which the kernel answers without any program and which begins anew in the middle of nowhere every 2 ms.

Two labs of two nodes in two subnets stand side by side. One has agents; in the other the same routes, and the same
kind of VXLAN device, were typed with ``ip`` and ``bridge``, and no program of ours runs on its nodes. They take
turns, and medians are compared. Their fabrics must do the same work: source checks cost there, too.

Uplinks of a lab hand on what comes in packet by packet, as it left the fabric. Network cards put the packets of a
stream together first (GRO): throughput is measured a second time with uplinks that do so.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError
from urllib.request import urlopen

from cloudnet.kernel import netns
from cloudnet.lab import fabric, spec
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec
from cloudnet.lab.views import LabNode
from cloudnet.model.paths import PathKind
from cloudnet.model.resources import EncapMode, IPPool
from cloudnet.store import api

TURNS = 7
SECONDS = 2  # of TCP in each turn
REQUESTS = 8000  # in each turn
PINGS = 400  # in each turn
LEAST = 0.97
DEVICES = 3  # of a node that take the fast path: the pod's, the uplink and the overlay's
_PATIENCE = 30.0  # seconds

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figures:
    """One turn: bits a second, and the median round trips in seconds."""

    throughput: float
    request: float
    ping: float


def measure() -> list[dict[str, object]]:
    """Return the rows, in about five minutes."""
    return [*measure_with_native_paths(), *measure_vxlan_alone()]


def measure_with_native_paths() -> list[dict[str, object]]:
    with lab("bencha", agents=False) as hand, lab("benchb", agents=True) as ours:
        wire_natively(hand)
        ours.wait_native()
        wait_fast_path(ours)
        native = rows("native path", *take_turns(ours, hand, figures))
        wire_vxlan(hand)
        switch_to_vxlan(ours)
        path = "VXLAN of a node with native paths"
        fallen_back = rows(path, *take_turns(ours, hand, figures))
        return [*native, *fallen_back, *rows_put_together(path, ours, hand)]


def measure_vxlan_alone() -> list[dict[str, object]]:
    """Return the rows of a cluster that never asks for a native path, where a controller has nothing to do."""
    with (
        lab("benchc", agents=False, controller=False) as hand,
        lab("benchd", agents=False, controller=False) as ours,
    ):
        wire_vxlan(hand)
        start_with_vxlan(ours)
        wait_fast_path(ours)
        return [*rows("VXLAN", *take_turns(ours, hand, figures)), *rows_put_together("VXLAN", ours, hand)]


def rows_put_together(path: str, ours: Lab, hand: Lab) -> list[dict[str, object]]:
    """Return the throughput once more, with uplinks that put packets together."""
    for one in (ours, hand):
        put_together(one)
    found = take_turns(ours, hand, throughput)
    return [throughput_row(f"{path}, uplinks that put packets together", *found)]


@contextmanager
def lab(name: str, *, agents: bool, controller: bool = True) -> Iterator[Lab]:
    wanted = LabSpec(f"{name}{os.getpid() % 1000}", nodes=2, subnets=2, pods=1, agents=agents, controller=controller)
    built = Lab.up(wanted)
    try:
        yield built
    finally:
        built.down()


# --- by hand ------------------------------------------------------------------------------------------------


def wire_natively(hand: Lab) -> None:
    """Lead each node to the other's block through its subnet's gateway; the controller has told the cloud."""
    for node, other in both_ways(hand):
        gateway = node.addresses[0].network.network_address + 1
        run(node, f"ip route replace {other.blocks[0]} via {gateway} dev eth0 metric 100")
    wait(lambda: ping(hand, 1) > 0)


def wire_vxlan(hand: Lab) -> None:
    """Lead each node to the other's block through a VXLAN device with fixed entries."""
    for node, _ in both_ways(hand):
        own, mac = node.addresses[0].ip, vxlan_mac(node)
        mtu = hand.state.spec.pod_mtu
        kind = f"type vxlan id 9 dstport 4789 local {own} dev eth0 nolearning"
        run(node, f"ip link add vxlan9 address {mac} mtu {mtu} {kind}")
        run(node, f"ip address add {node.blocks[0].network_address}/32 dev vxlan9")
        run(node, "ip link set vxlan9 up")
    for node, other in both_ways(hand):
        end, mac = other.blocks[0].network_address, vxlan_mac(other)
        run(node, f"bridge fdb append {mac} dev vxlan9 dst {other.addresses[0].ip}")
        run(node, f"ip neighbour add {end} lladdr {mac} dev vxlan9 nud permanent")
        run(node, f"ip route add {other.blocks[0]} via {end} dev vxlan9 onlink metric 50")
    wait(lambda: ping(hand, 1) > 0)


def vxlan_mac(node: LabNode) -> str:
    return f"66:00:00:00:00:{int(node.name[1:]):02x}"


def both_ways(of: Lab) -> tuple[tuple[LabNode, LabNode], ...]:
    first, second = of.nodes()
    return (first, second), (second, first)


def run(node: LabNode, command: str) -> None:
    netns.execute(node.namespace, command.split())


# --- ours ---------------------------------------------------------------------------------------------------


def start_with_vxlan(ours: Lab) -> None:
    """Start agents in a cluster whose pool has always asked for VXLAN."""
    ask_for_vxlan(ours)
    for node in ours.nodes():
        ours.start_agent(node.name)


def ask_for_vxlan(ours: Lab) -> None:
    store = ours.store()
    try:
        api.change(store, IPPool, "default", lambda pool: replace(pool, vxlan_mode=EncapMode.ALWAYS))
    finally:
        store.close()


def switch_to_vxlan(ours: Lab) -> None:
    """Ask for VXLAN always, and wait until every path follows."""
    ask_for_vxlan(ours)
    wait(lambda: all(path.kind is PathKind.VXLAN for node in ours.nodes() for path in ours.paths(node.name)))


def wait_fast_path(ours: Lab) -> None:
    wait(lambda: all(on_fast_path(node) == DEVICES for node in ours.nodes()))


def on_fast_path(node: LabNode) -> int:
    """Return how many devices of a node take the fast path, which they do some seconds after they came."""

    def ask() -> str:
        with urlopen("http://127.0.0.1:9091/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    try:
        told = netns.run_inside(node.namespace, ask)
    except URLError:  # the agent is still on its way
        return 0
    found = re.search(r"^cloudnet_fast_path_devices (\d+)", told, re.MULTILINE)
    return int(found[1]) if found else 0


def wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing after {_PATIENCE:g} s")
        time.sleep(0.1)


# --- what lies between --------------------------------------------------------------------------------------


def put_together(of: Lab) -> None:
    """Let uplinks put a stream's packets together (GRO), as network cards do.

    A veth does so only where its other end sends packets one by one (``veth_skb_is_eligible_for_gro``).
    """
    for node in of.nodes():
        run(node, "ethtool -K eth0 gro on")
        netns.execute(of.namespace("cloud"), f"ethtool -K {spec.port_name(node.name)} tso off".split())


def require_one_fabric(ours: Lab, hand: Lab) -> None:
    """Make sure that both fabrics check the same sources: one that does costs a stream a tenth.

    Raises:
        RuntimeError: they do not.
    """
    checks = [guarded(of) for of in (ours, hand)]
    if checks[0] != checks[1]:
        raise RuntimeError(f"the fabrics check different ports, {checks[0]} and {checks[1]}: nothing to compare")


def guarded(of: Lab) -> list[str]:
    """Return the ports of a lab whose sources its fabric checks."""
    told = netns.execute(of.namespace("cloud"), ["nft", "-j", "list", "set", "bridge", fabric.TABLE, "guarded"])
    return sorted(next(found["set"].get("elem", []) for found in json.loads(told)["nftables"] if "set" in found))


# --- measuring ----------------------------------------------------------------------------------------------


def take_turns(ours: Lab, hand: Lab, measure: Callable[[Lab], T]) -> tuple[list[T], list[T]]:
    require_one_fabric(ours, hand)
    taken: tuple[list[T], list[T]] = ([], [])
    for turn in range(TURNS):
        for side, of in sorted(enumerate((ours, hand)), reverse=bool(turn % 2)):
            taken[side].append(measure(of))
    return taken


def figures(of: Lab) -> Figures:
    return Figures(throughput(of), request(of), ping(of, PINGS))


def throughput(of: Lab) -> float:
    """Return the bits a second that arrive through one TCP stream between two pods."""
    (source,), (target,) = (node.pods for node in of.nodes())
    server = netns.command_inside(
        target.namespace, ["iperf3", "--server", "--one-off", "--bind", str(target.address)]
    )
    with subprocess.Popen(server, stdout=subprocess.DEVNULL) as listening:
        try:
            wait(lambda: bool(netns.execute(target.namespace, ["ss", "-Hltn", "sport", "=", ":5201"])))
            client = ["iperf3", "--json", "--time", str(SECONDS), "--client", str(target.address)]
            shown = json.loads(netns.execute(source.namespace, client))
        finally:
            listening.terminate()
    return float(shown["end"]["sum_received"]["bits_per_second"])


def request(of: Lab) -> float:
    """Return the median round trip over a TCP connection, in seconds."""
    (source,), (target,) = (node.pods for node in of.nodes())
    program = [sys.executable, str(Path(__file__).parent / "requests_and_answers.py")]
    server = netns.command_inside(target.namespace, [*program, "answer", str(target.address)])
    with subprocess.Popen(server) as answering:
        try:
            wait(lambda: bool(netns.execute(target.namespace, ["ss", "-Hltn", "sport", "=", ":5202"])))
            asked = [*program, "ask", str(target.address), str(REQUESTS)]
            return float(netns.execute(source.namespace, asked))
        finally:
            answering.terminate()


def ping(of: Lab, count: int) -> float:
    """Return the median round trip in seconds; 0 when nothing came back."""
    (source,), (target,) = (node.pods for node in of.nodes())
    command = ["ping", "-c", str(count), "-i", "0.002", "-w", "10", str(target.address)]
    done = subprocess.run(
        netns.command_inside(source.namespace, command), capture_output=True, text=True, check=False
    )
    times = [float(text) / 1000 for text in re.findall(r"time=([\d.]+) ms", done.stdout)]
    return statistics.median(times) if times else 0.0


def rows(path: str, ours: list[Figures], hand: list[Figures]) -> list[dict[str, object]]:
    asked, wired_asked = (statistics.median(turn.request for turn in side) for side in (ours, hand))
    pinged, wired_pinged = (statistics.median(turn.ping for turn in side) for side in (ours, hand))
    return [
        throughput_row(path, [turn.throughput for turn in ours], [turn.throughput for turn in hand]),
        row(
            f"pod to pod over the {path}: latency, a TCP request and its answer",
            wired_asked / asked,
            f"{asked * 1e6:.1f} and {wired_asked * 1e6:.1f} µs",
        ),
        row(
            f"pod to pod over the {path}: latency, ping",
            wired_pinged / pinged,
            f"{pinged * 1e6:.0f} and {wired_pinged * 1e6:.0f} µs",
        ),
    ]


def throughput_row(path: str, ours: list[float], hand: list[float]) -> dict[str, object]:
    mine, theirs = statistics.median(ours), statistics.median(hand)
    return row(
        f"pod to pod over the {path}: throughput", mine / theirs, f"{mine / 1e9:.2f} and {theirs / 1e9:.2f} Gbit/s"
    )


def row(name: str, ratio: float, beside: str) -> dict[str, object]:
    return {
        "name": name,
        "value": ratio,
        "unit": "of wired by hand",
        "target": f"at least {LEAST}",
        "peer": beside,
        "ok": ratio >= LEAST,
    }
