"""What people call a kind: its name, its plural, Calico's and kubectl's short names, in any case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cloudnet.errors import BadInput
from cloudnet.model import kinds

SHORT: Final[Mapping[str, str]] = {
    "no": "Node",
    "nos": "Node",
    "ipp": "IPPool",
    "ipps": "IPPool",
    "pool": "IPPool",
    "pools": "IPPool",
    "ipamconfig": "IPAMConfiguration",
    "ipamconfigs": "IPAMConfiguration",
    "policy": "NetworkPolicy",
    "policies": "NetworkPolicy",
    "np": "NetworkPolicy",
    "nps": "NetworkPolicy",
    "gnp": "GlobalNetworkPolicy",
    "gnps": "GlobalNetworkPolicy",
    "snp": "StagedNetworkPolicy",
    "sgnp": "StagedGlobalNetworkPolicy",
    "sknp": "StagedKubernetesNetworkPolicy",
    "knp": "KubernetesNetworkPolicy",
    "cnp": "ClusterNetworkPolicy",
    "netset": "NetworkSet",
    "netsets": "NetworkSet",
    "gns": "GlobalNetworkSet",
    "pro": "Profile",
    "pros": "Profile",
    "hep": "HostEndpoint",
    "heps": "HostEndpoint",
    "wep": "WorkloadEndpoint",
    "weps": "WorkloadEndpoint",
    "bgpconfig": "BGPConfiguration",
    "bgpconfigs": "BGPConfiguration",
    "bgpp": "BGPPeer",
    "bgpps": "BGPPeer",
    "felixconfig": "FelixConfiguration",
    "felixconfigs": "FelixConfiguration",
    "kcconfig": "KubeControllersConfiguration",
    "kcconfigs": "KubeControllersConfiguration",
    "clusterinfo": "ClusterInformation",
    "clusterinfos": "ClusterInformation",
    "ns": "Namespace",
    "po": "Pod",
    "sa": "ServiceAccount",
}


def find(word: str) -> kinds.Kind[Any]:  # Any: kinds.named says so
    """Return the kind that a person means.

    Raises:
        BadInput: there is none such.
    """
    return kinds.named(SHORT.get(word.lower(), word))


def find_all(words: str) -> tuple[kinds.Kind[Any], ...]:
    """Return the kinds of a list such as ``nodes,ippools``; each once."""
    return tuple(dict.fromkeys(find(word) for word in words.split(",") if word)) or (find(words),)


def split(word: str, names: list[str]) -> tuple[str, list[str]]:
    """Return kind and names of ``node n1``, and of ``node/n1`` as kubectl writes it.

    Raises:
        BadInput: both are mixed.
    """
    kind, slash, name = word.partition("/")
    if not slash:
        return word, names
    if names or not name:
        raise BadInput(f"expected KIND NAME or KIND/NAME, found {word!r}", path="KIND")
    return kind, [name]


def every_word() -> list[str]:
    """Return all that a kind may be called, for completion."""
    return sorted({*SHORT, *(word for kind in kinds.ALL for word in (kind.name.lower(), kind.plural))})
