"""The controller: a Deployment of which one pod leads. Pure.

It runs on the host's network, for it has to work before any pod has a network, and a cloud's metadata service answers
the node. It has no rights on the host: no capabilities, no root, no writable file.
"""

from __future__ import annotations

from typing import Final

from cloudnet.manifests import objects
from cloudnet.manifests.objects import CONTROLLER_PORT, Json, meta
from cloudnet.manifests.options import Options, Overlay

NAME: Final = "cloudnet-controller"

_TOLERATIONS: Final = [
    {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
    # Both go when the network works, and that takes the controller.
    {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists"},
    {"key": "node.cloudprovider.kubernetes.io/uninitialized", "operator": "Exists", "effect": "NoSchedule"},
]


def documents(options: Options, overlay: Overlay) -> list[Json]:
    return [_deployment(options, overlay), _budget(options)]


def _deployment(options: Options, overlay: Overlay) -> Json:
    labels = {**objects.PART_OF, **objects.selected(NAME)}
    if overlay.pod_label:
        labels[overlay.pod_label] = "true"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(NAME, options.namespace),
        "spec": {
            "replicas": options.replicas,
            "selector": {"matchLabels": objects.selected(NAME)},
            # Two on one node would want one port: the old one goes first.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": _pod(options)},
        },
    }


def _pod(options: Options) -> Json:
    return {
        "serviceAccountName": NAME,
        "priorityClassName": "system-cluster-critical",
        "hostNetwork": True,
        "dnsPolicy": "Default",  # the cluster's DNS is in pods
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": list(_TOLERATIONS),
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": objects.selected(NAME)},
                    }
                ]
            }
        },
        "containers": [_container(options)],
        "volumes": [objects.settings_volume()],
        **objects.pull_secrets(options),
    }


def _container(options: Options) -> Json:
    identity = {"name": "CLOUDNET_IDENTITY", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    return {
        "name": "controller",
        "image": options.image,
        "args": ["--config", f"{objects.SETTINGS_AT}/settings.yaml", "controller"],
        "env": objects.environment(options, identity),
        "ports": [{"name": "metrics", "containerPort": CONTROLLER_PORT, "hostPort": CONTROLLER_PORT}],
        "livenessProbe": {**objects.probe("/healthz", CONTROLLER_PORT, failures=6), "initialDelaySeconds": 10},
        "readinessProbe": objects.probe("/readyz", CONTROLLER_PORT),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [objects.settings_mount()],
    }


def _budget(options: Options) -> Json:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(NAME, options.namespace),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": objects.selected(NAME)}},
    }
