"""Adding and deleting pods, beside the reference plugins ``ptp`` and ``host-local`` on the same node in the same run.

Both sides are measured from the start of the executed plugin to its end, as a runtime sees it, and take turns. On our
side an agent runs with a sqlite store that flushes every write to the disk, and answers when the pod's policy is in
force; on the other ``host-local`` keeps its addresses in files, and there is no policy.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from cloudnet.agent.addresses import SharedLeases
from cloudnet.cni import install
from cloudnet.ipam.allocator import Request
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.warm import Warm
from cloudnet.kernel import netns
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import BlockAffinity, IPPool, Metadata, Node, Resource, Vtep
from cloudnet.overlay import vxlan
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import Create, Event, EventType, Store, Write
from cloudnet.store.registry import open_store

PODS = 120  # one at a time, on each side
CROWD, AT_ONCE = 120, 8
REMOTE, MANY = 5000, 250  # blocks of others, and pods, when the agent's memory is looked at
ADDRESSES, ROUNDS = 50, 8  # fewer than a block has
REFERENCE = Path("/usr/lib/cni")
POOL = IPv4Network("10.64.0.0/11")
WARM_UP = f"cn-cni-{os.getpid()}-warm-up"


def measure() -> list[dict[str, object]]:
    """Return the rows, in about two minutes."""
    with machine() as node:
        rows = [*one_at_a_time(node), *many_at_once(node)]
    with machine(remote=REMOTE) as node:
        rows.append(memory(node))
    return [*rows, *addresses()]


# --- a node -------------------------------------------------------------------------------------------------


class Machine:
    """A namespace with an agent, our plugin and the reference plugins."""

    def __init__(self, name: str, folder: Path, agent: subprocess.Popen[bytes]) -> None:
        self.name, self.folder, self.agent = name, folder, agent
        socket, program = str(folder / "cni.sock"), folder / "cloudnet"
        program.write_bytes(install.program())
        program.chmod(0o755)
        ours = {"type": "cloudnet", "agent_socket": socket, "ipam": {"type": "calico-ipam"}}
        subnet = [[{"subnet": "10.77.0.0/16"}]]
        local = {"type": "host-local", "dataDir": str(folder / "host-local"), "ranges": subnet}
        self.sides = {
            "ours": (str(program), configuration("ours", ours)),
            "ptp": (str(REFERENCE / "ptp"), configuration("ptp", {"type": "ptp", "ipMasq": False, "ipam": local})),
        }

    def call(self, side: str, command: str, pod: str) -> float:
        """Execute a plugin and return the seconds that it took; the calling thread is in the node's namespace."""
        program, conf = self.sides[side]
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(REFERENCE),
            "PATH": os.environ["PATH"],
        }
        start = time.perf_counter()
        done = subprocess.run([program], input=conf, env=environment, capture_output=True, check=False)
        taken = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{side} {command}: {done.stdout.decode()} {done.stderr.decode()}")
        return taken


def configuration(name: str, fields: dict[str, object]) -> bytes:
    return json.dumps({"cniVersion": "1.0.0", "name": name, **fields}).encode()


@contextmanager
def machine(remote: int = 0) -> Iterator[Machine]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        name = stack.enter_context(netns.temporary(f"cn-cni-{os.getpid()}"))
        for line in (
            "link add eth0 type veth peer name eth0-peer",
            "link set eth0-peer up",
            "link set eth0 up",
            "address add 10.0.0.1/8 dev eth0",
            "route add default via 10.0.0.2",
        ):
            netns.execute(name, ["ip", *line.split()])
        url = f"sqlite://{folder}/store.sqlite"
        fill(url, remote)
        log = stack.enter_context((folder / "log").open("wb"))
        flags = {"node": "n0", "store": url, "socket": folder / "agent.sock", "cni-socket": folder / "cni.sock"}
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        program = [
            sys.executable,
            "-m",
            "cloudnet.cli.main",
            "agent",
            *words,
            "--cni-state",
            str(folder / "cni"),
            "--state",
            str(folder / "state"),
        ]
        agent = subprocess.Popen(netns.command_inside(name, program), stdout=log, stderr=log)
        stack.callback(agent.wait)
        stack.callback(agent.terminate)
        made = Machine(name, folder, agent)
        with pods([WARM_UP]):
            wait_until_ready(made)
        yield made


def fill(url: str, remote: int) -> None:
    """Write what the node knows of the cluster."""
    store = open_store(url)
    try:
        store.create(IPPool(Metadata("default"), POOL))
        for start in range(0, remote + 1, 50):
            writes: list[Write] = []
            for number in range(start, min(start + 50, remote + 1)):
                writes += [Create(value) for value in described(number)]
            store.write(writes)
    finally:
        store.close()


def described(number: int) -> Iterator[Resource]:
    """Yield a node, and the block of any but our own; tunnel addresses are none of the pool's blocks."""
    name = NodeName(f"n{number}")
    vtep = Vtep(IPv4Address("100.64.0.0") + number, vxlan.mac_of(name, Family.IPV4))
    yield Node(Metadata(name), (IPv4Interface((int(IPv4Address("10.0.0.1")) + number, 8)),), (vtep,))
    if number:
        block = IPv4Network((int(IPv4Address("10.80.0.0")) + 64 * number, 26))
        yield BlockAffinity(Metadata(f"{name}-{number}"), name, block)


def wait_until_ready(node: Machine) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            netns.run_inside(node.name, lambda: node.call("ours", "ADD", WARM_UP))
        except RuntimeError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            break
    netns.run_inside(node.name, lambda: node.call("ours", "DEL", WARM_UP))
    time.sleep(6)  # the agent's first round of looking after its links is over


@contextmanager
def pods(names: Sequence[str]) -> Iterator[None]:
    """Make the namespaces of pods; that is the runtime's work, and not measured."""
    try:
        for name in names:
            netns.create(name)
        yield
    finally:
        for name in names:
            netns.remove(name)


# --- measuring ----------------------------------------------------------------------------------------------


def one_at_a_time(node: Machine) -> Iterator[dict[str, object]]:
    names = {side: [f"{node.name}-{side}-{number}" for number in range(PODS)] for side in node.sides}
    taken: dict[tuple[str, str], list[float]] = {(s, c): [] for s in node.sides for c in ("ADD", "DEL")}

    def work() -> None:
        for command in ("ADD", "DEL"):
            for number in range(PODS):
                for side in sorted(node.sides, reverse=bool(number % 2)):
                    taken[side, command].append(node.call(side, command, names[side][number]))

    with pods([name for some in names.values() for name in some]):
        netns.run_inside(node.name, work)
    for command, which, most in (("ADD", 0.5, 0.5), ("ADD", 0.99, 0.5), ("DEL", 0.5, 0.7)):
        ours, peer = (quantile(taken[side, command], which) for side in ("ours", "ptp"))
        yield ratio(f"{command}, one at a time, p{which * 100:.0f}", ours, peer, most=most)


def quantile(values: Sequence[float], which: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * which))]


def ratio(name: str, ours: float, peer: float, *, most: float) -> dict[str, object]:
    value = ours / peer
    beside = f"{ours * 1000:.1f} and {peer * 1000:.1f} ms"
    return row(name, value, "of ptp", f"at most {most}", peer=beside, ok=value <= most)


def row(
    name: str, value: float, unit: str, target: str, *, peer: str | None = None, ok: bool = True
) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "target": target, "peer": peer, "ok": ok}


def many_at_once(node: Machine) -> Iterator[dict[str, object]]:
    rates: dict[str, list[float]] = {side: [] for side in node.sides}
    for turn in range(3):
        for side in sorted(node.sides, reverse=bool(turn % 2)):
            names = [f"{node.name}-{side}-{turn}-{number}" for number in range(CROWD)]
            with pods(names):
                rates[side].append(CROWD / crowd(node, side, "ADD", names))
                crowd(node, side, "DEL", names)
    ours, peer = (statistics.median(rates[side]) for side in ("ours", "ptp"))
    beside = f"{ours:.0f} and {peer:.0f} pods/s"
    yield row(f"ADD, {AT_ONCE} at once", ours / peer, "x ptp", "at least 2", peer=beside, ok=ours >= 2 * peer)


def crowd(node: Machine, side: str, command: str, names: Sequence[str]) -> float:
    """Return the seconds in which so many callers deal with all names."""
    shares = [names[start::AT_ONCE] for start in range(AT_ONCE)]
    begin = threading.Barrier(AT_ONCE + 1)

    def work(share: Sequence[str]) -> None:
        begin.wait()
        for name in share:
            node.call(side, command, name)

    def inside(share: Sequence[str]) -> Callable[[], None]:
        return lambda: work(share)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(netns.run_inside, node.name, inside(share)) for share in shares]
        begin.wait()
        start = time.perf_counter()
        for one in running:
            one.result()
        return time.perf_counter() - start


def memory(node: Machine) -> dict[str, object]:
    names = [f"{node.name}-{number}" for number in range(MANY)]
    with pods(names):
        crowd(node, "ours", "ADD", names)
        resident = resident_mib(node.agent.pid)
        crowd(node, "ours", "DEL", names)
    what = f"agent's memory with {MANY} pods and {REMOTE:,} remote blocks"
    return row(what, resident, "MiB", "at most 150", ok=resident <= 150)


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


# --- addresses alone ----------------------------------------------------------------------------------------


class Counting:
    """A store that counts requests."""

    def __init__(self, store: Store) -> None:
        self._store, self.requests, self.atomic = store, 0, store.atomic

    def __getattr__(self, verb: str) -> Callable[..., object]:
        self.requests += 1
        return getattr(self._store, verb)  # type: ignore[no-any-return]  # whatever the store answers


def addresses() -> Iterator[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite://{folder}/store.sqlite")
        try:
            store.create(IPPool(Metadata("default"), POOL))
            counting = Counting(store)
            warm = Warm(counting, NodeName("n0"), now=now, matches=Matches())  # type: ignore[arg-type]  # it is one
            leases = SharedLeases(warm)
            items = [item for kind in KINDS for item in store.list(kind).items]
            leases.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)
            leases.top_up(Request(NodeName("n0")))
            before = counting.requests
            leases.take([Family.IPV4], [Request(NodeName("n0"), "net.first")], lambda _: [])
            requests = counting.requests - before
            rates = {callers: rate(leases, callers) for callers in (1, AT_ONCE)}
        finally:
            store.close()
    yield row("store requests of a warm ADD", requests, "requests", "at most 2", ok=requests <= 2)
    for callers, found in rates.items():
        yield row(f"addresses from one warm node on sqlite, {callers} at once", found, "a second", "reported")


def now() -> datetime:
    return datetime.now(tz=UTC)


def rate(leases: SharedLeases, callers: int) -> float:
    """Return the addresses a second, over and over from one block that is given back in between."""
    spent = 0.0
    for turn in range(ROUNDS):
        handles = [f"net.{callers}-{turn}-{number}" for number in range(ADDRESSES)]

        def take(share: Sequence[str]) -> None:
            for handle in share:
                leases.take([Family.IPV4], [Request(NodeName("n0"), handle)], lambda _: [])

        start = time.perf_counter()
        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(take, [handles[first::callers] for first in range(callers)]))
        spent += time.perf_counter() - start
        for handle in handles:
            leases.give_back(handle, [])
    return ROUNDS * ADDRESSES / spent
