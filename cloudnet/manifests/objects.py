"""What all manifests share: names, labels, the container's common parts."""

from __future__ import annotations

from typing import Any

from cloudnet.manifests.options import Options

# Any: JSON as Kubernetes has it; the tests hold it to Kubernetes' own schemas.
Json = dict[str, Any]

PART_OF = {"app.kubernetes.io/part-of": "cloudnet"}
SETTINGS = "cloudnet-settings"
SETTINGS_AT = "/etc/cloudnet"
AGENT_PORT = 9091
CONTROLLER_PORT = 9092


def meta(name: str, namespace: str = "") -> Json:
    found: Json = {"name": name, "labels": {**PART_OF, "app.kubernetes.io/name": name}}
    if namespace:
        found["namespace"] = namespace
    return found


def selected(name: str) -> dict[str, str]:
    """Return the labels by which the pods of one program are found; they never change."""
    return {"app.kubernetes.io/name": name}


def pull_secrets(options: Options) -> Json:
    return {"imagePullSecrets": [{"name": options.pull_secret}]} if options.pull_secret else {}


def environment(options: Options, *more: Json) -> list[Json]:
    """Return where the API is, if not where Kubernetes says by itself, and more variables."""
    if not options.api_server:
        return list(more)
    host, _, port = options.api_server.rpartition(":")
    return [
        {"name": "KUBERNETES_SERVICE_HOST", "value": host.strip("[]")},
        {"name": "KUBERNETES_SERVICE_PORT", "value": port},
        *more,
    ]


def probe(path: str, port: int, *, host: str = "", period: int = 10, failures: int = 3) -> Json:
    get: Json = {"path": path, "port": port}
    if host:
        get["host"] = host
    return {"httpGet": get, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 5}


def settings_mount() -> Json:
    return {"name": "settings", "mountPath": SETTINGS_AT, "readOnly": True}


def settings_volume() -> Json:
    return {"name": "settings", "configMap": {"name": SETTINGS}}
