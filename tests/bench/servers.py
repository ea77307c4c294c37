"""The servers that hold a large cluster, each in a process of its own, and what a process costs.

A stand-in for a Kubernetes API server, and a real etcd.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import large_cluster

from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.api import Create, Store, change
from cloudnet.store.registry import open_store
from cloudnet.testing import keys
from cloudnet.testing.etcd import EtcdServer

_TICKS = os.sysconf("SC_CLK_TCK")
_TIMEOUT = 60.0  # seconds


class Side(Protocol):
    """A kind of store, with the cluster in it."""

    name: str
    pid: int
    port: int
    quiet: float  # seconds in which everything comes round that happens by itself

    def serving(self, folder: Path, nodes: int) -> AbstractContextManager[str]:
        """Fill a server with a cluster of so many nodes, and return its URL until it is stopped."""

    def relabel(self, store: Store, pod: int, app: str) -> None:
        """Give a pod another label, as its owner would."""


class Kubernetes:
    """The stand-in for an API server, over TLS, with the HTTP that it chooses for who lets it."""

    name = "Kubernetes"
    pid = port = 0
    quiet = 60.0  # bookmarks

    def __init__(self, protocol: str = "h2") -> None:
        self._protocol = protocol
        self._trust = ssl.create_default_context()

    @contextmanager
    def serving(self, folder: Path, nodes: int) -> Iterator[str]:
        ca = keys.make(folder).text("ca.pem")
        self._trust = ssl.create_default_context(cadata=ca)
        program = [sys.executable, large_cluster.__file__, str(nodes), str(folder), self._protocol]
        path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=path, text=True) as server:
            assert server.stdout is not None
            self.pid, self.port = server.pid, int(server.stdout.readline())
            yield kubeconfig(folder, self.port, ca)
            server.communicate()

    def relabel(self, store: Store, pod: int, app: str) -> None:  # noqa: ARG002 - a pod's labels are not ours to write
        meta = large_cluster.pod(pod)["metadata"]
        self.patch(f"namespaces/{meta['namespace']}/pods/{meta['name']}", {"metadata": {"labels": {"app": app}}})

    def patch(self, path: str, patch: large_cluster.Json) -> None:
        """Change an object of Kubernetes' own, as somebody else would."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}/api/v1/{path}",
            json.dumps(patch).encode(),
            {"Content-Type": "application/merge-patch+json"},
            method="PATCH",
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT, context=self._trust) as answer:  # noqa: S310 - the same
            answer.read()


def kubeconfig(folder: Path, port: int, ca: str) -> str:
    file = folder / "config"
    trusted = base64.b64encode(ca.encode()).decode()
    cluster = f'{{server: "https://127.0.0.1:{port}", certificate-authority-data: {trusted}}}'
    contexts = "[{name: c, context: {cluster: c}}]"
    file.write_text(f"current-context: c\nclusters: [{{name: c, cluster: {cluster}}}]\ncontexts: {contexts}\n")
    return f"kubernetes://{file}"


class Etcd:
    """A real etcd."""

    name = "etcd"
    pid = port = 0
    quiet = 10.0

    @contextmanager
    def serving(self, folder: Path, nodes: int) -> Iterator[str]:
        with EtcdServer(folder) as server:
            self.pid, self.port = server.pid, server.port
            store = open_store(server.url)
            values = list(large_cluster.resources(nodes))
            for start in range(0, len(values), 50):
                store.write([Create(value) for value in values[start : start + 50]])
            store.close()
            yield server.url

    def relabel(self, store: Store, pod: int, app: str) -> None:
        (value,) = large_cluster.read(WorkloadEndpoint, large_cluster.pod(pod))
        meta = value.meta
        change(
            store,
            WorkloadEndpoint,
            meta.name,
            lambda seen: replace(seen, meta=replace(seen.meta, labels={**seen.meta.labels, "app": app})),
            namespace=meta.namespace,
        )


# --- what a process costs ---------------------------------------------------------------------------------


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int, which: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:")) / 1024
