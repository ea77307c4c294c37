"""What policies in the way cost: TCP throughput and connections a second through a node, with 10 to 10,000 of them.

Two pods and their node, three namespaces. The receiving pod is selected by so many policies, or by policies of a
thousand rules each; only the last one lets the sender in. Beside them, the same as a list of nftables rules, one a
peer, as iptables is used. They take turns with a node that has the table and no policy.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network

import policies

from cloudnet.kernel import netns
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.policy.compile import Compiler
from cloudnet.policy.options import Options
from cloudnet.policy.rules import Change, PolicyChanged
from cloudnet.policy.table import script

SENDER, RECEIVER = "10.0.0.1", "10.0.0.2"
PORT, STREAM = 7000, 5201
SIZES = (10, 1000, 10_000)
TURNS = 9
SECONDS = 1.0  # of connecting, in each turn
LEAST = 0.95
FLAT = 0.97  # 10,000 against 10


@dataclass(frozen=True, slots=True)
class Way:
    """A ruleset, and how it is called."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Figures:
    """One turn: connections a second, and bits a second."""

    connections: float
    throughput: float


def measure() -> list[dict[str, object]]:
    """Return the rows, in about three minutes."""
    ways = [Way("none", nothing()), *(way for size in SIZES for way in of_size(size))]
    with node() as (middle, sender, receiver):
        taken: dict[str, list[Figures]] = {way.name: [] for way in ways}
        for turn in range(TURNS):
            for way in ways if turn % 2 else reversed(ways):
                apply(middle, way.text)
                taken[way.name].append(Figures(connections(sender, receiver), throughput(sender, receiver)))
    return list(rows(taken))


# --- rulesets ------------------------------------------------------------------------------------------------


def of_size(size: int) -> Iterator[Way]:
    yield Way(f"{size:,} policies", compiled(policies.by_selector(size - 1)))
    yield Way(f"{size:,} rules", compiled(policies.by_rule(size - 1)))
    yield Way(f"{size:,} rules in a list", listed(size))


def nothing() -> str:
    compiler = Compiler(Options())
    compiler.take([*policies.profile(), policies.endpoint("cali1", f"{SENDER}/32", [])])
    compiler.take([policies.endpoint("cali2", f"{RECEIVER}/32", [])])
    return script(compiler.part())


def compiled(of: tuple[list[Change], list[policies.Policy]]) -> str:
    changes, chosen = of
    last = policies.policy(99_999, *(policies.allow(port=port, nets=[sender_net()]) for port in (PORT, STREAM)))
    compiler = Compiler(Options())
    compiler.take([*changes, PolicyChanged(last), *policies.profile()])
    compiler.take([policies.endpoint("cali1", f"{SENDER}/32", [])])
    compiler.take([policies.endpoint("cali2", f"{RECEIVER}/32", [*chosen, last])])
    return script(compiler.part())


def sender_net() -> IPv4Network:
    return IPv4Network(f"{SENDER}/32")


def listed(size: int) -> str:
    """Return what a generator in the style of iptables makes of the same: established first, then one rule a peer."""
    rules = [f"ip saddr {min(policies.peers(number, 1))} tcp dport {1000 + number}" for number in range(size - 1)]
    rules += [f"ip saddr {SENDER} tcp dport {{ {PORT}, {STREAM} }}"]
    lines = ["add table inet cloudnet", "delete table inet cloudnet", "add table inet cloudnet"]
    lines += [
        "add chain inet cloudnet pod",
        "add chain inet cloudnet forward { type filter hook forward priority 0; }",
    ]
    lines += ["add rule inet cloudnet forward ct state established,related accept"]
    lines += ['add rule inet cloudnet forward oifname "cali2" jump pod']
    lines += [f"add rule inet cloudnet pod {rule} counter accept" for rule in rules]
    return "\n".join([*lines, "add rule inet cloudnet pod drop"]) + "\n"


def apply(middle: str, text: str) -> None:
    def work() -> None:
        nft = NftLibrary()
        try:
            nft.run(text)
        finally:
            nft.close()

    netns.run_inside(middle, work)


# --- the node ------------------------------------------------------------------------------------------------


@contextmanager
def node() -> Iterator[tuple[str, str, str]]:
    names = [f"cn-traffic-{os.getpid()}-{which}" for which in ("n", "a", "b")]
    with netns.temporary(names[0]), netns.temporary(names[1]), netns.temporary(names[2]):
        middle, *pods = names
        netns.execute(middle, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        for number, (pod, address) in enumerate(zip(pods, (SENDER, RECEIVER), strict=True), start=1):
            wire(middle, pod, f"cali{number}", address)
        yield middle, pods[0], pods[1]


def wire(middle: str, pod: str, link: str, address: str) -> None:
    batch(middle, f"link add {link} type veth peer eth0 netns {pod}", f"link set {link} up")
    batch(middle, f"route add {address} dev {link}", f"address add 169.254.1.1/32 dev {link}")
    batch(pod, "link set eth0 up", f"address add {address}/32 dev eth0")
    batch(pod, "route add 169.254.1.1 dev eth0", "route add default via 169.254.1.1 dev eth0")
    # Ports of closed connections are used again at once, or a second of connecting would use them up.
    netns.execute(pod, ["sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535"])


def batch(namespace: str, *lines: str) -> None:
    netns.execute(namespace, ["ip", "-batch", "-"], stdin="\n".join(lines))


# --- measuring -----------------------------------------------------------------------------------------------


def connections(sender: str, receiver: str) -> float:
    """Return how many TCP connections a second are opened and closed, one after the other."""
    listening = netns.open_socket(receiver, socket.AF_INET, socket.SOCK_STREAM)
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((RECEIVER, PORT))
        listening.listen(1024)
        ending = threading.Event()
        accepting = threading.Thread(target=_accept, args=(listening, ending))
        accepting.start()
        try:
            return netns.run_inside(sender, _connect)
        finally:
            ending.set()
            netns.run_inside(sender, lambda: socket.create_connection((RECEIVER, PORT)).close())
            accepting.join()


def _accept(listening: socket.socket, ending: threading.Event) -> None:
    while not ending.is_set():
        listening.accept()[0].close()


def _connect() -> float:
    done = 0
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for _ in range(50):
            opened = socket.socket()
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # no port waits in TIME_WAIT
            opened.connect((RECEIVER, PORT))
            opened.close()
        done += 50
    return done / (time.perf_counter() - began)


def throughput(sender: str, receiver: str) -> float:
    """Return the bits a second of one TCP stream."""
    server = netns.command_inside(receiver, ["iperf3", "--server", "--one-off", "--bind", RECEIVER])
    with subprocess.Popen(server, stdout=subprocess.DEVNULL) as running:
        try:
            _wait(lambda: bool(netns.execute(receiver, ["ss", "-Hltn", "sport", "=", f":{STREAM}"])))
            client = ["iperf3", "--json", "--time", "1", "--client", RECEIVER]
            shown = json.loads(netns.execute(sender, client))
        finally:
            running.terminate()
    return float(shown["end"]["sum_received"]["bits_per_second"])


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("iperf3 does not listen")
        time.sleep(0.02)


# --- rows ----------------------------------------------------------------------------------------------------


def rows(taken: Mapping[str, list[Figures]]) -> Iterator[dict[str, object]]:
    """Yield ratios: of each turn against the one without policy of the same turn, and their median."""
    for kind in ("policies", "rules"):
        for what in ("connections", "throughput"):
            for size in SIZES:
                name = f"{size:,} {kind}"
                value, shown = ratio(taken, name, "none", what), _median(taken[name], what)
                yield row(f"{name} in the way: {what}", value, LEAST, f"{shown:.4g} a second", "of none")
            value = ratio(taken, f"{SIZES[-1]:,} {kind}", f"{SIZES[0]:,} {kind}", what)
            yield row(f"{SIZES[-1]:,} {kind} in the way: {what}", value, FLAT, "", f"of {SIZES[0]}")
    for size in SIZES:
        value = ratio(taken, f"{size:,} policies", f"{size:,} rules in a list", "connections")
        yield row(f"{size:,} policies: connections", value, 0.0, "", "of a list of rules, one a peer")


def ratio(taken: Mapping[str, list[Figures]], one: str, other: str, what: str) -> float:
    pairs = zip(taken[one], taken[other], strict=True)
    return statistics.median(getattr(mine, what) / getattr(theirs, what) for mine, theirs in pairs)


def _median(of: list[Figures], what: str) -> float:
    return statistics.median(getattr(turn, what) for turn in of)


def row(name: str, value: float, least: float, peer: str, unit: str) -> dict[str, object]:
    target = f"at least {least}" if least else ""
    return {"name": name, "value": value, "unit": unit, "target": target, "peer": peer, "ok": value >= least}
