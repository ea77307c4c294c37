"""What watches cost over one HTTP/2 connection, and over one of HTTP/1.1 for each kind; the stand-in, over TLS.

The stand-in is a process of its own, so that the CPU is the reader's alone: an event read, decoded and handed over.
Its own relay to HTTP/2 is in the latency, which is from its write to the reader's hands.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_agent import connections, lay_a_wire, running
from servers import Kubernetes

from cloudnet.kernel import netns
from cloudnet.model.kubernetes import Namespace
from cloudnet.model.resources import Lease, Node, Resource
from cloudnet.store.api import Event, Revision, Store, Watch
from cloudnet.store.connection import Endpoint
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.kubernetes_credentials import Fixed, Proof
from cloudnet.store.kubernetes_settings import Settings
from cloudnet.testing import keys
from cloudnet.testing.kube.server import ApiServer

EVENTS = 10_000
SINGLE, PAUSE = 500, 0.004  # events that come one by one, and the seconds between them
NODES = 20
KINDS = (Lease, Node, Namespace)
PATIENCE = 120.0


def measure() -> list[dict[str, object]]:
    """Return the rows, in about a minute."""
    new, old = figures("h2"), figures("http/1.1")
    held = {protocol: in_namespace(protocol) for protocol in ("h2", "http/1.1")}
    return [
        row("connections of one agent", held["h2"], held["http/1.1"], "", "{:.0f}"),
        row(f"CPU to read {EVENTS:,} events that wait", new["bulk"], old["bulk"], "s", "{:.2f} s"),
        row("CPU to read an event that comes alone", new["alone"], old["alone"], "us", "{:.0f} us"),
        row("from the write to the reader, p50", new["p50"], old["p50"], "ms", "{:.1f} ms"),
        row("from the write to the reader, p99", new["p99"], old["p99"], "ms", "{:.1f} ms"),
    ]


def row(what: str, value: float, before: float, unit: str, form: str) -> dict[str, object]:
    peer = f"{form.format(before)} over HTTP/1.1"
    name = f"watches over HTTP/2: {what}"
    return {"name": name, "value": value, "unit": unit, "target": "reported", "peer": peer, "ok": True}


# --- an agent -------------------------------------------------------------------------------------------------


def in_namespace(protocol: str) -> float:
    with netns.temporary(f"cn-watches-{os.getpid()}") as name:
        return netns.run_inside(name, lambda: held(protocol))


def held(protocol: str) -> float:
    """Return how many connections a real agent holds once it is in sync."""
    lay_a_wire()
    side = Kubernetes(protocol)
    with (
        tempfile.TemporaryDirectory() as name,
        side.serving(Path(name), NODES) as url,
        running(Path(name), url, NODES),
    ):
        time.sleep(1)  # the requests of its start may still be at it
        return float(connections(side.port))


# --- a reader -------------------------------------------------------------------------------------------------


def figures(protocol: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        made = keys.make(Path(name))
        with serving(made.folder, protocol) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            port = int(server.stdout.readline())
            settings = Settings(Endpoint("127.0.0.1", port), Fixed(Proof()), ca=made.text("ca.pem"))
            store = KubernetesStore(Client(settings))
            try:
                return read(store, server)
            finally:
                store.close()


def read(store: Store, server: subprocess.Popen[str]) -> dict[str, float]:
    began = time.process_time()
    with store.watch(KINDS, since=Revision(1)) as watch:
        collect(watch, EVENTS)
        bulk = time.process_time() - began
        assert server.stdin is not None
        server.stdin.write("go\n")
        server.stdin.flush()
        began, late = time.process_time(), []
        while len(late) < SINGLE:
            late += [time.monotonic() - sent(event) for event in watch.next(1)]
        alone = time.process_time() - began
    late.sort()
    p50, p99 = late[SINGLE // 2] * 1000, late[int(SINGLE * 0.99)] * 1000
    return {"bulk": bulk, "alone": alone / SINGLE * 1e6, "p50": p50, "p99": p99}


def sent(event: Event[Resource]) -> float:
    return float(event.value.meta.labels["sent"])


def collect(watch: Watch, number: int) -> None:
    found, end = 0, time.monotonic() + PATIENCE
    while found < number:
        found += len(watch.next(1))
        if time.monotonic() > end:
            raise TimeoutError(f"{found} of {number} events came")


# --- the server, in a process of its own ------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, protocol: str) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, __file__, str(folder), protocol]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server
        finally:
            server.communicate()


def serve(folder: Path, protocol: str) -> None:
    """Have a past of so many changes, and make further ones, one by one, once told so."""
    with ApiServer(tls=keys.Keys(folder).server(protocol), keep=2 * EVENTS) as api:
        for number in range(EVENTS):
            api.create(node(f"n{number}"))
        print(api.port, flush=True)  # noqa: T201 - the other process reads it
        if sys.stdin.readline():
            for number in range(SINGLE):
                time.sleep(PAUSE)
                api.create(node(f"m{number}", sent=str(time.monotonic())))
            sys.stdin.read()


def node(name: str, **labels: str) -> dict[str, object]:
    spec = {"podCIDRs": ["10.1.0.0/24"], "providerID": "aws:///z/i-1"}
    notes = {f"example.com/note-{number}": "of usual length" for number in range(40)}  # about 2 KiB
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": notes},
        "spec": spec,
    }


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])
