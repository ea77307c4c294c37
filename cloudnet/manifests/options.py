"""What a person may choose of the manifests: ``--set NAME=VALUE``, checked, with what each means."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias, get_type_hints

from cloudnet.errors import BadInput
from cloudnet.model import names

_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Overlay:
    """What is particular to one way to run Kubernetes.

    ``identity`` is the annotation of a service account that gives it the cloud's rights; ``pod_label`` is a label of
    pods that use it; ``cni_bin`` is where the runtime looks for plugins; ``links`` is what names of pods' links begin
    with where the cloud's own plugin makes them.
    """

    name: str
    provider: str = ""
    identity: str = ""
    pod_label: str = ""
    cni_bin: str = "/opt/cni/bin"
    links: str = ""


OVERLAYS: Final = MappingProxyType(
    {
        one.name: one
        for one in (
            Overlay("kubeadm"),
            Overlay("eks", "aws", identity="eks.amazonaws.com/role-arn", links="eni"),
            Overlay(
                "aks",
                "azure",
                identity="azure.workload.identity/client-id",
                pod_label="azure.workload.identity/use",
                links="azv",
            ),
            # Its root is read-only: plugins lie where the kubelet's own files do.
            Overlay(
                "gke",
                "gcp",
                identity="iam.gke.io/gcp-service-account",
                cni_bin="/home/kubernetes/bin",
                links="gke",
            ),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Options:
    """The choices, each with a default that works."""

    namespace: str = "cloudnet-system"
    image: str = "cloudnet:0.1.0"
    pull_secret: str = ""
    replicas: int = 2
    log_level: str = "info"
    lease_seconds: int = 15
    pod_cidr: str = ""
    block_size: int = 26
    identity: str = ""
    ip_autodetection_method: str = "kubernetes-internal-ip"
    ip6_autodetection_method: str = "kubernetes-internal-ip"
    endpoint_to_host: str = "Accept"
    bgp: bool = False
    bgp_secrets: str = ""
    policy_only: bool = False
    takeover: bool = False
    interface_prefix: str = ""
    privileged: bool = False
    calico_crds: bool = True
    monitoring: bool = False
    api_server: str = ""


MEANINGS: Final = MappingProxyType(
    {
        "namespace": "where everything lies that is in a namespace",
        "image": "the container image, as your registry has it",
        "pull_secret": "secret with the registry's password, in the same namespace",
        "replicas": "controllers; one leads, the others wait",
        "log_level": "debug, info, warning or error",
        "lease_seconds": "how long a leader that died keeps its place",
        "pod_cidr": "make an IPPool of this range, for a cluster that has none",
        "block_size": "prefix length of a node's blocks in that pool",
        "identity": "the cloud's role, client or account for the controller's service account",
        "ip_autodetection_method": "how agents find their node's IPv4 address; see the setting of that name",
        "ip6_autodetection_method": "the same for IPv6; where a node has none, it has none",
        "endpoint_to_host": "whether pods reach their own node where their policy allows it: Accept, or Drop",
        "bgp": "let agents speak BGP, as BGPConfiguration and BGPPeers say: by default each with every other",
        "bgp_secrets": "with bgp, secrets with passwords of its sessions, in the same namespace, commas between them",
        "policy_only": "keep policy beside the cloud's own CNI plugin: no addresses, no routes, no controller",
        "takeover": "for a cluster that another network serves: agents on labelled nodes, which install nothing",
        "interface_prefix": "with policy_only, what names of pods' links begin with, if not the cloud's own prefix",
        "privileged": "run the agent privileged, where its capabilities do not suffice",
        "calico_crds": "install definitions of Calico's kinds; false where Calico's own are there",
        "monitoring": "add ServiceMonitors, for clusters with the Prometheus operator",
        "api_server": "HOST:PORT of the API for agents, where kube-proxy does not run before them",
    }
)

Value: TypeAlias = str | int | bool


def parse(settings: Sequence[str]) -> Options:
    """Return the options of ``NAME=VALUE`` words; the last of one name counts.

    Raises:
        BadInput: a name is unknown, or a value is none of its kind.
    """
    types = get_type_hints(Options)
    chosen: dict[str, Value] = {}
    for word in settings:
        name, separator, text = word.partition("=")
        if not separator or name not in types:
            raise BadInput(_unknown(name), path="--set")
        chosen[name] = _value(name, text, types[name])
    options = dataclasses.replace(Options(), **chosen)  # type: ignore[arg-type]  # each value was checked by its field
    _check(options)
    return options


def secrets(options: Options) -> list[str]:
    """Return the names of the secrets that hold passwords of BGP sessions."""
    return [name.strip() for name in options.bgp_secrets.split(",")] if options.bgp_secrets else []


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, MEANINGS, 1)
    hint = f", did you mean {close[0]!r}" if close else ""
    return f"unknown setting {name!r}{hint}: expected NAME=VALUE with one of {', '.join(MEANINGS)}"


def _value(name: str, text: str, type_: type[Value]) -> Value:
    if type_ is bool:
        if text not in _BOOLEANS:
            raise BadInput(f"expected true or false, found {text!r}", path=f"--set {name}")
        return _BOOLEANS[text]
    if type_ is int:
        if not (text.isascii() and text.isdigit() and int(text)):
            raise BadInput(f"expected an integer above 0, found {text!r}", path=f"--set {name}")
        return int(text)
    return text


def _check(options: Options) -> None:
    if not names.is_label(options.namespace):
        raise BadInput(f"expected the name of a namespace, found {options.namespace!r}", path="--set namespace")
    if not options.image or " " in options.image:
        raise BadInput(f"expected a container image, found {options.image!r}", path="--set image")
    for name in secrets(options):
        if not names.is_label(name):
            raise BadInput(f"expected names of secrets, found {name!r}", path="--set bgp_secrets")
    host, colon, port = options.api_server.rpartition(":")
    if options.api_server and not (host and colon and port.isdigit()):
        raise BadInput(f"expected HOST:PORT, found {options.api_server!r}", path="--set api_server")
