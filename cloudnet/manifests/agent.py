"""The agent: a DaemonSet on every Linux node, on the host's network. Pure.

What it may do on the host are capabilities, not everything (docs/decisions/capabilities-not-privileged.md): NET_ADMIN
for links, routes, nftables and probes; SYS_ADMIN to enter pods' network namespaces, and to make ``/proc/sys``
writable for itself, which a runtime mounts read-only; NET_BIND_SERVICE for the port of BGP, where it is spoken.
AppArmor's usual profile forbids that mount, so it is off.
"""

from __future__ import annotations

from typing import Final

from cloudnet.manifests import objects
from cloudnet.manifests.objects import AGENT_PORT, Json, meta
from cloudnet.manifests.options import Options, Overlay, secrets

NAME: Final = "cloudnet-agent"
TAKEN: Final = {"cloudnet.io/agent": "yes"}  # label of the nodes that a takeover has come to
LEAVING: Final = {"cloudnet.io/uninstall": "yes"}  # label of the nodes that cloudnet is taken off
_STAYING: Final = {
    "nodeSelectorTerms": [
        {"matchExpressions": [{"key": key, "operator": "NotIn", "values": [value]} for key, value in LEAVING.items()]}
    ]
}

_CAPABILITIES: Final = ("NET_ADMIN", "SYS_ADMIN")
_OF_TAKEOVER: Final = ("DAC_OVERRIDE", "NET_RAW")  # others' files, and iptables, which opens a raw socket
_OF_BGP: Final = ("NET_BIND_SERVICE",)  # port 179
_RUN: Final = "/run/cloudnet"
_PASSWORDS: Final = "/run/secrets/cloudnet"
_STATE: Final = "/var/lib/cloudnet"
_STAGED: Final = f"{_STATE}/net.d"
_FILE: Final = "10-cloudnet.conflist"
_LOCAL: Final = "127.0.0.1"  # probes come from the kubelet, on the same host
PLUGINS: Final = "/host/cni/bin"  # the host's folders, where containers that change them see them
CONFIGURATIONS: Final = "/host/cni/net.d"
NODE: Final = {"name": "CLOUDNET_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
START: Final = 'mount -o remount,rw,bind /proc/sys && exec cloudnet "$@"'


def documents(options: Options, overlay: Overlay) -> list[Json]:
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": meta(NAME, options.namespace),
            "spec": {
                "selector": {"matchLabels": objects.selected(NAME)},
                # An agent that restarts leaves the kernel as it is: packets go on. New pods wait for it, though.
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
                "template": {
                    "metadata": {"labels": {**objects.PART_OF, **objects.selected(NAME)}},
                    "spec": _pod(options, overlay),
                },
            },
        }
    ]


def settings(options: Options) -> Json:
    """Return the settings that go with these containers: the configuration comes when the agent can add pods."""
    if options.policy_only or options.takeover:
        return {}
    return {"cni_config": f"{_STAGED}/{_FILE}", "cni_config_to": f"{CONFIGURATIONS}/{_FILE}"}


def bgp_settings(options: Options) -> Json:
    return {"bgp": True, "bgp_secrets": _PASSWORDS} if options.bgp else {}


def _pod(options: Options, overlay: Overlay) -> Json:
    found: Json = {
        "serviceAccountName": NAME,
        "priorityClassName": "system-node-critical",
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 10,
        "nodeSelector": {"kubernetes.io/os": "linux", **(TAKEN if options.takeover else {})},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _STAYING}},
        "tolerations": [{"operator": "Exists"}],
        "containers": [_container(options)],
        "volumes": [objects.settings_volume(), *folders(options, overlay), *_secrets(options)],
        **objects.pull_secrets(options),
    }
    if not (options.policy_only or options.takeover):
        found["initContainers"] = [_installer(options)]
    return found


def _container(options: Options) -> Json:
    return {
        "name": "agent",
        "image": options.image,
        "command": ["/bin/sh", "-c", START, "cloudnet"],
        "args": ["--config", f"{objects.SETTINGS_AT}/settings.yaml", "agent"],
        "env": objects.environment(options, NODE),
        "startupProbe": objects.probe("/healthz", AGENT_PORT, host=_LOCAL, period=2, failures=60),
        "livenessProbe": objects.probe("/healthz", AGENT_PORT, host=_LOCAL, failures=6),
        "readinessProbe": objects.probe("/readyz", AGENT_PORT, host=_LOCAL),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": security(options, *_more_rights(options)),
        "volumeMounts": [*mounts(), *_of_the_runtime(options), *_passwords(options)],
    }


def _more_rights(options: Options) -> list[str]:
    return [*(_OF_TAKEOVER if options.takeover else ()), *(_OF_BGP if options.bgp else ())]


def mounts() -> list[Json]:
    """Return what everybody mounts who reads the agent's settings and what it keeps on the host."""
    folders = {"run": _RUN, "state": _STATE}
    return [objects.settings_mount(), *({"name": name, "mountPath": path} for name, path in folders.items())]


def _passwords(options: Options) -> list[Json]:
    """Return the mounts of secrets with passwords; the agent itself may read no secret."""
    return [
        {"name": f"secret-{name}", "mountPath": f"{_PASSWORDS}/{name}", "readOnly": True} for name in secrets(options)
    ]


def _of_the_runtime(options: Options) -> list[Json]:
    if options.takeover:
        return list(_MOUNTS)
    return [] if options.policy_only else [CONFIGURATION_MOUNT]


PLUGIN_MOUNT: Final = {"name": "cni-bin", "mountPath": PLUGINS}
CONFIGURATION_MOUNT: Final = {"name": "cni-conf", "mountPath": CONFIGURATIONS}

# `cloudnet takeover` runs inside this container, and finds the host's folders where the host has them.
_MOUNTS: Final = (
    {"name": "cni-bin", "mountPath": "/opt/cni/bin"},
    {"name": "cni-conf", "mountPath": "/etc/cni/net.d"},
    {"name": "cni-books", "mountPath": "/var/lib/cni/networks"},
)


def security(options: Options, *more: str) -> Json:
    """Return what a container may do that changes the host's network; ``more`` are further capabilities."""
    if options.privileged:
        return {"privileged": True}
    return {
        "allowPrivilegeEscalation": False,
        "runAsUser": 0,
        "capabilities": {"drop": ["ALL"], "add": [*_CAPABILITIES, *more]},
        "appArmorProfile": {"type": "Unconfined"},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _installer(options: Options) -> Json:
    """Return the container that puts the plugin on the node, and its configuration where the agent finds it."""
    return {
        "name": "install",
        "image": options.image,
        "args": ["cni", "install", "--bin-dir", PLUGINS, "--conf-dir", _STAGED],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsUser": 0,
            "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]},
        },
        "volumeMounts": [PLUGIN_MOUNT, {"name": "state", "mountPath": _STATE}],
    }


def _secrets(options: Options) -> list[Json]:
    """Return volumes of secrets; one that is not there yet holds up no agent, but its sessions."""
    return [
        {"name": f"secret-{name}", "secret": {"secretName": name, "optional": True, "defaultMode": 0o400}}
        for name in secrets(options)
    ]


def folders(options: Options, overlay: Overlay) -> list[Json]:
    """Return the host's folders as volumes."""
    folders = {"run": _RUN, "state": _STATE}
    if not options.policy_only:
        folders |= {"cni-bin": overlay.cni_bin, "cni-conf": "/etc/cni/net.d"}
    if options.takeover:
        folders["cni-books"] = "/var/lib/cni/networks"
    return [{"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}} for name, path in folders.items()]
