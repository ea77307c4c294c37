"""What pods and namespaces wish by their annotations, over what the network configuration says. Pure.

``cni.projectcalico.org/...``: a pod's word counts more than its namespace's, and that more than the configuration's.
Source: Calico ``libcalico-go/lib/backend/k8s/conversion`` and ``cni-plugin/pkg/ipamplugin``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from cloudnet.cni import netconf
from cloudnet.cni.netconf import NetConf
from cloudnet.cni.wire import CniError, Code, short
from cloudnet.errors import BadInput
from cloudnet.model import wire as documents
from cloudnet.model.addresses import Address, Family, Network

PREFIX: Final = "cni.projectcalico.org/"

_FAMILIES = {"ipv4": Family.IPV4, "ipv6": Family.IPV6}
_texts = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a pod is to get. ``pools`` are names or ranges; with none, every pool that selects node and namespace."""

    families: tuple[Family, ...]
    pools: Mapping[Family, tuple[str, ...]]
    addresses: tuple[Address, ...] = ()
    mac: str = ""
    floating: tuple[Address, ...] = ()
    allowed_sources: tuple[Network, ...] = ()


def wishes(conf: NetConf, pod: Mapping[str, str], namespace: Mapping[str, str]) -> Wishes:
    """Return what the annotations of a pod and its namespace, and the configuration, say together.

    Raises:
        CniError: an annotation is wrong (code 7); the message names it.
    """
    try:
        return _wishes(conf, pod, namespace)
    except BadInput as e:
        raise CniError(Code.INVALID_CONFIGURATION, f"annotation {e}: change it, or remove it") from e


def _wishes(conf: NetConf, pod: Mapping[str, str], namespace: Mapping[str, str]) -> Wishes:
    def either(key: str) -> tuple[str, ...]:
        return _list(pod, key) or _list(namespace, key)

    if _list(pod, "ipAddrsNoIpam"):
        raise BadInput(
            "addresses that IPAM does not know are not given out: use ipAddrs", path=f"{PREFIX}ipAddrsNoIpam"
        )
    addresses = _addresses(pod, "ipAddrs") or conf.ipam.addresses
    floating = _addresses(pod, "floatingIPs")
    if floating and not conf.floating:
        raise BadInput("needs feature_control.floating_ips in the network configuration", path=f"{PREFIX}floatingIPs")
    hardware = pod.get(f"{PREFIX}hwAddr", "")
    return Wishes(
        families=_families(either("ipFamilies")) or conf.ipam.families,
        pools={
            Family.IPV4: either("ipv4pools") or conf.ipam.ipv4_pools,
            Family.IPV6: either("ipv6pools") or conf.ipam.ipv6_pools,
        },
        addresses=addresses,
        mac=netconf.mac(hardware, f"{PREFIX}hwAddr") if hardware else conf.mac,
        floating=floating,
        allowed_sources=tuple(
            documents.network(text, f"{PREFIX}allowedSourcePrefixes") for text in _list(pod, "allowedSourcePrefixes")
        ),
    )


def _addresses(annotations: Mapping[str, str], key: str) -> tuple[Address, ...]:
    return tuple(netconf.address(text, f"{PREFIX}{key}") for text in _list(annotations, key))


def _families(texts: tuple[str, ...]) -> tuple[Family, ...]:
    found = {documents.choice(text.lower(), _FAMILIES, f"{PREFIX}ipFamilies") for text in texts}
    return tuple(family for family in Family if family in found)


def _list(annotations: Mapping[str, str], key: str) -> tuple[str, ...]:
    text = annotations.get(f"{PREFIX}{key}", "")
    if not text:
        return ()
    try:
        return tuple(_texts.decode(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadInput(f"expected a JSON list of texts, found {short(text)}", path=f"{PREFIX}{key}") from None
