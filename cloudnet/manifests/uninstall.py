"""Taking cloudnet off nodes, one label at a time: a DaemonSet for nodes that agents have left. Pure.

Agents and this share one label: a node that has it loses its agent and gets this, one without it the other way round.
The work is an init container, which refuses and is tried again while the agent still answers or pods have links; so a
pod of this that is ready says that its node is as it was.
"""

from __future__ import annotations

from typing import Final

from cloudnet.errors import BadInput
from cloudnet.manifests import agent, objects
from cloudnet.manifests.objects import Json, meta
from cloudnet.manifests.options import Options, Overlay

NAME: Final = "cloudnet-uninstall"


def documents(options: Options, overlay: Overlay) -> list[Json]:
    """Return what is applied beside the manifests of the same choices.

    Raises:
        BadInput: the cluster is being taken over, whose nodes go back to the network they had.
    """
    if options.takeover:
        raise BadInput("expected false: such a node goes back by `cloudnet takeover rollback`", path="--set takeover")
    template = {
        "metadata": {"labels": {**objects.PART_OF, **objects.selected(NAME)}},
        "spec": _pod(options, overlay),
    }
    spec = {"selector": {"matchLabels": objects.selected(NAME)}, "template": template}
    return [{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta(NAME, options.namespace), "spec": spec}]


def _pod(options: Options, overlay: Overlay) -> Json:
    return {
        "automountServiceAccountToken": False,
        "priorityClassName": "system-node-critical",
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {"kubernetes.io/os": "linux", **agent.LEAVING},
        "tolerations": [{"operator": "Exists"}],
        "initContainers": [_worker(options)],
        "containers": [{"name": "done", "image": options.image, "command": ["sleep", "infinity"]}],
        "volumes": [objects.settings_volume(), *agent.folders(options, overlay)],
        **objects.pull_secrets(options),
    }


def _worker(options: Options) -> Json:
    plugin = [] if options.policy_only else ["--bin-dir", agent.PLUGINS, "--conf-dir", agent.CONFIGURATIONS]
    of_plugin = [] if options.policy_only else [agent.PLUGIN_MOUNT, agent.CONFIGURATION_MOUNT]
    return {
        "name": "uninstall",
        "image": options.image,
        "command": ["/bin/sh", "-c", agent.START, "cloudnet"],
        "args": ["--config", f"{objects.SETTINGS_AT}/settings.yaml", "agent", "--uninstall", *plugin],
        "env": [agent.NODE],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": agent.security(options, "DAC_OVERRIDE"),
        "volumeMounts": [*agent.mounts(), *of_plugin],
    }
