"""All manifests of one cluster, in the order in which they can be applied. Pure.

Definitions come before what needs them, rights before who uses them. Where a definition is not yet established when
the first object of it comes (``pod_cidr``), ``kubectl apply`` says so, and is run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cloudnet.config import AgentConfig, ControllerConfig, load
from cloudnet.errors import BadInput
from cloudnet.manifests import agent, controller, crds, objects, rights
from cloudnet.manifests.objects import AGENT_PORT, CONTROLLER_PORT, Json, meta
from cloudnet.manifests.options import Options, Overlay
from cloudnet.model import calico, manifests
from cloudnet.model.wire import network

_KUBELET_SCRAPES = "0.0.0.0"  # noqa: S104 - Prometheus asks the node's address


def definitions(options: Options) -> list[Json]:
    """Return the definitions of kinds: ours, and Calico's unless the cluster has them."""
    return [*crds.own_crds(), *(crds.calico_crds() if options.calico_crds else ())]


def documents(
    options: Options, overlay: Overlay, *, provider: str, provider_config: Mapping[str, Any] | None = None
) -> list[Json]:
    """Return every object; ``provider_config`` is what ``--provider-config`` of the controller would read.

    Raises:
        BadInput: choices do not go together.
    """
    _check(options, overlay, provider)
    return [
        _namespace(options),
        *definitions(options),
        *rights.documents(options, overlay),
        _settings(options, overlay, provider, provider_config),
        *_pool(options),
        *(() if options.policy_only else controller.documents(options, overlay)),
        *agent.documents(options, overlay),
        *_policies(options),
        *(_monitors(options) if options.monitoring else ()),
    ]


def _check(options: Options, overlay: Overlay, provider: str) -> None:
    _check_bgp(options)
    if not options.policy_only:
        if not provider:
            raise BadInput(
                "expected a cloud: name one with --provider, or use --overlay eks, aks or gke", path="--provider"
            )
        return
    if not (options.interface_prefix or overlay.links):
        raise BadInput(
            "expected what names of pods' links begin with, for policy alone must know them: eni, azv, gke, ...",
            path="--set interface_prefix",
        )
    if options.takeover:
        raise BadInput("expected false, for with policy_only the other plugin stays", path="--set takeover")
    if options.pod_cidr:
        raise BadInput("expected none, for with policy_only another plugin gives addresses", path="--set pod_cidr")


def _check_bgp(options: Options) -> None:
    if options.bgp_secrets and not options.bgp:
        raise BadInput("expected true where there are secrets for it", path="--set bgp")
    if options.bgp and options.policy_only:
        raise BadInput("expected false, for with policy_only another plugin makes the routes", path="--set bgp")
    if options.bgp and options.takeover:
        raise BadInput(
            "expected false: the other network may speak BGP itself; apply it after the takeover", path="--set bgp"
        )


def _beside(options: Options, overlay: Overlay) -> Mapping[str, object]:
    """Return what an agent has to know of the pod network that it stands beside."""
    return {"policy_only": True, "interface_prefix": options.interface_prefix or overlay.links}


def _finding(options: Options) -> Mapping[str, object]:
    """Return how an agent finds the addresses of its node: Kubernetes' own word for them, if nothing else is said."""
    return {
        "ip_autodetection_method": options.ip_autodetection_method,
        "ip6_autodetection_method": options.ip6_autodetection_method,
    }


def _namespace(options: Options) -> Json:
    found = meta(options.namespace)
    # Agents need the host's network: no other level of pod security lets them be.
    found["labels"] |= {"pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": found}


def _settings(options: Options, overlay: Overlay, provider: str, provider_config: Mapping[str, Any] | None) -> Json:
    where = f"kubernetes://?namespace={options.namespace}"
    address = _KUBELET_SCRAPES if options.monitoring else "127.0.0.1"
    of_agent = {
        "store": where,
        "metrics": f"{address}:{AGENT_PORT}",
        "allow_host_network": True,
        "log_level": options.log_level,
        **(_beside(options, overlay) if options.policy_only else _finding(options)),
        **agent.settings(options),
        **agent.bgp_settings(options),
        # Pods of a control plane's node reach the API there, and every pod what its node runs for it: DNS, metadata.
        "endpoint_to_host": options.endpoint_to_host,
    }
    of_controller = {
        "store": where,
        "provider": provider,
        "provider_config": f"{objects.SETTINGS_AT}/provider.json" if provider_config else "",
        "metrics": f"{_KUBELET_SCRAPES}:{CONTROLLER_PORT}",
        "lease_seconds": float(options.lease_seconds),
        "log_level": options.log_level,
    }
    sections = {"agent": of_agent, "controller": of_controller}
    # What a program would refuse shows here, and not on every node.
    load(AgentConfig, files=[("--set", sections)], flags={"node": "any"})
    load(ControllerConfig, files=[("--set", sections)])
    data = {"settings.yaml": manifests.dump(sections)}
    if provider_config:
        data["provider.json"] = json.dumps(provider_config, indent=2) + "\n"
    metadata = meta(objects.SETTINGS, options.namespace)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _pool(options: Options) -> list[Json]:
    if not options.pod_cidr:
        return []
    cidr = network(options.pod_cidr, "--set pod_cidr")
    document: Json = {
        "apiVersion": calico.API_VERSION,
        "kind": "IPPool",
        "metadata": meta(f"default-ipv{cidr.version}-ippool"),
        "spec": {"cidr": str(cidr), "blockSize": options.block_size, "natOutgoing": True},
    }
    calico.parse(document)
    return [document]


def _policies(options: Options) -> list[Json]:
    """Return policies for whatever else is put into the namespace: our own pods are on their hosts' network."""
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": meta("cloudnet-default-deny", options.namespace),
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": meta("cloudnet-metrics", options.namespace),
            "spec": {
                "podSelector": {"matchLabels": objects.PART_OF},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in (AGENT_PORT, CONTROLLER_PORT)]}],
            },
        },
    ]


def _monitors(options: Options) -> list[Json]:
    """Return a Service and a ServiceMonitor for each program; ServiceMonitors find Services, not pods."""
    found: list[Json] = []
    programs = [(agent.NAME, AGENT_PORT), *([] if options.policy_only else [(controller.NAME, CONTROLLER_PORT)])]
    for name, port in programs:
        metadata, labels = meta(name, options.namespace), objects.selected(name)
        ports = [{"name": "metrics", "port": port, "targetPort": port}]
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"clusterIP": "None", "selector": labels, "ports": ports},
            }
        )
        found.append(
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "ServiceMonitor",
                "metadata": metadata,
                "spec": {
                    "selector": {"matchLabels": labels},
                    "endpoints": [{"port": "metrics", "interval": "30s"}],
                },
            }
        )
    return found
