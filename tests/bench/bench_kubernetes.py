"""A cluster of 5,000 nodes and 50,000 pods, listed in pages of 500 over HTTP: by us, and by the official client.

A process of its own serves pages as an API server would send them, pods of 4 KiB each; every listing runs in a
fresh process too, so that its memory can be told. Both sides get the same bytes. We end with endpoints, addresses
parsed and labels merged; the official client with its own models. It is needed for the comparison alone:
``pip install 'cloudnet[bench]'``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PODS = 50_000
NODES = 5_000
PAGE = 500


def measure() -> list[dict[str, object]]:
    """Return the rows, in about two minutes."""
    with serving() as port:
        official = listed("official", port)
        ours = listed("pods", port)
        both = listed("cluster", port)
    times = official["seconds"] / ours["seconds"]
    return [
        {
            "name": f"kubernetes: list of {PODS} pods, decoded to endpoints",
            "value": ours["seconds"],
            "unit": "s",
            "peer": f"{official['seconds']:.1f} s, the official client",
            "ok": ours["found"] == official["found"] == PODS,
        },
        {
            "name": "kubernetes: the same, times faster than the official client",
            "value": times,
            "unit": "x",
            "target": ">= 5",
            "ok": times >= 5,
        },
        {
            "name": f"kubernetes: memory with {NODES} nodes and {PODS} pods held",
            "value": both["mebibytes"] - both["before"],
            "unit": "MiB",
            "peer": f"{official['mebibytes'] - official['before']:.0f} MiB for the pods, the official client",
            "ok": True,
        },
        {
            "name": f"kubernetes: CPU to list {NODES} nodes and {PODS} pods",
            "value": both["cpu"],
            "unit": "s",
            "peer": f"{official['cpu']:.1f} s for the pods, the official client",
            "ok": True,
        },
    ]


def listed(what: str, port: int) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, what, str(port)], capture_output=True, check=True, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def serving() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


# --- in processes of their own --------------------------------------------------------------------------------


def ours(port: int) -> Any:
    from cloudnet.model.workloads import WorkloadEndpoint  # noqa: PLC0415 - the official client's process has none of it

    return opened(port).list(WorkloadEndpoint).items


def cluster(port: int) -> Any:
    from cloudnet.model.resources import Node  # noqa: PLC0415 - the same
    from cloudnet.model.workloads import WorkloadEndpoint  # noqa: PLC0415

    store = opened(port)
    nodes = store.list(Node).items
    return [*nodes, *store.list(WorkloadEndpoint).items]


def opened(port: int) -> Any:
    from cloudnet.store.connection import Endpoint  # noqa: PLC0415 - the same
    from cloudnet.store.kubernetes import KubernetesStore  # noqa: PLC0415
    from cloudnet.store.kubernetes_client import Client  # noqa: PLC0415
    from cloudnet.store.kubernetes_credentials import Fixed, Proof  # noqa: PLC0415
    from cloudnet.store.kubernetes_settings import Settings  # noqa: PLC0415

    settings = Settings(Endpoint("127.0.0.1", port), Fixed(Proof()), tls=False, group="projectcalico.org/v3")
    return KubernetesStore(Client(settings), page=PAGE)


def official(port: int) -> Any:
    from kubernetes import client  # noqa: PLC0415 - a bench's dependency

    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{port}"
    api = client.CoreV1Api(client.ApiClient(configuration))
    found: list[Any] = []
    token = None
    while True:
        answer = api.list_pod_for_all_namespaces(limit=PAGE, _continue=token)
        found += answer.items
        token = answer.metadata._continue
        if not token:
            return found


def report(read: Callable[[int], Any], port: int) -> None:
    before = peak()
    began, cpu = time.perf_counter(), time.process_time()
    found = read(port)
    result = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "found": len(found),
        "before": before,
        "mebibytes": peak(),
    }
    print(json.dumps(result))  # noqa: T201 - the other process reads it


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- the server -----------------------------------------------------------------------------------------------


def pod(number: int) -> dict[str, Any]:
    """Return a pod as a Deployment makes it and a kubelet reports it: about 4 KiB."""
    address = f"10.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"
    return {
        "metadata": {
            "name": f"web-6d4cf56db6-{number:05d}",
            "generateName": "web-6d4cf56db6-",
            "namespace": f"team-{number % 50}",
            "uid": f"00000000-0000-4000-8000-{number:012d}",
            "resourceVersion": str(1_000_000 + number),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "web", "pod-template-hash": "6d4cf56db6", "version": f"v{number % 7}"},
            "annotations": {
                "cni.projectcalico.org/podIP": f"{address}/32",
                "cni.projectcalico.org/podIPs": f"{address}/32",
                "cni.projectcalico.org/containerID": f"{number:064x}",
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "web-6d4cf56db6",
                    "uid": "x",
                    "controller": True,
                }
            ],
            "managedFields": [
                {
                    "manager": manager,
                    "operation": "Update",
                    "apiVersion": "v1",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": {"f:labels": {f"f:field-{i}": {} for i in range(12)}}},
                }
                for manager in ("kube-controller-manager", "cloudnet", "kubelet")
            ],
        },
        "spec": {
            "nodeName": f"node-{number % NODES}",
            "serviceAccountName": "web",
            "volumes": [{"name": "token", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}],
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example/web:1.0",
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "env": [{"name": f"SETTING_{i}", "value": "a value of usual length"} for i in range(8)],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                    "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets", "readOnly": True}],
                }
            ],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "hostIP": "10.0.0.1",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": "2026-01-01T00:00:00Z",
        },
    }


def node(number: int) -> dict[str, Any]:
    """Return a node with the images that it has: about 6 KiB."""
    return {
        "metadata": {
            "name": f"node-{number}",
            "uid": f"00000000-0000-4000-9000-{number:012d}",
            "resourceVersion": str(500_000 + number),
            "labels": {f"kubernetes.io/label-{i}": "value" for i in range(12)},
            "annotations": {
                "projectcalico.org/IPv4Address": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}/16",
                "projectcalico.org/IPv4VXLANTunnelAddr": f"10.64.{number // 256 % 256}.{number % 256}",
                "projectcalico.org/VXLANTunnelMACAddr": "66:00:00:00:00:01",
            },
        },
        "spec": {"podCIDRs": [f"100.64.{number % 256}.0/24"], "providerID": f"aws:///eu-west-1a/i-{number:017x}"},
        "status": {
            "images": [
                {"names": [f"registry.example/image-{i}@sha256:{'0' * 64}"], "sizeBytes": 1} for i in range(40)
            ]
        },
    }


class Pages(BaseHTTPRequestHandler):
    """Answers every list of pods or nodes; ``continue`` is how many came before."""

    protocol_version = "HTTP/1.1"
    of = {"pods": (pod, PODS, "PodList"), "nodes": (node, NODES, "NodeList")}  # noqa: RUF012 - never changed

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        make, total, kind = self.of[parts.path.rpartition("/")[2]]
        first = int(query.get("continue", ["0"])[0])
        last = min(first + int(query["limit"][0]), total)
        meta = {"resourceVersion": "2000000", **({"continue": str(last)} if last < total else {})}
        items = [make(i) for i in range(first, last)]
        body = json.dumps({"kind": kind, "apiVersion": "v1", "metadata": meta, "items": items}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        """Nobody reads it."""


def serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    print(server.server_address[1], flush=True)  # noqa: T201 - the other process reads it
    server.serve_forever()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    if sys.argv[1] == "serve":
        serve()
    else:
        report({"pods": ours, "cluster": cluster, "official": official}[sys.argv[1]], int(sys.argv[2]))
