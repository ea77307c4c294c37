"""Calico's spelling of the kinds that routing shares with it: ``projectcalico.org/v3`` Node, IPPool, BlockAffinity.

Only this file knows it; the kinds for address management stand in ``calico_ipam.py``. Sources: Calico
``api/pkg/apis/projectcalico/v3/{ippool,blockaffinity}.go``, ``libcalico-go/lib/apis/internalapi/node.go``,
``libcalico-go/lib/names/cidr.go`` and ``libcalico-go/lib/backend/model/block_affinity.go``. Fields of Calico's
that we have no use for are not listed here; ``kinds.Kind.encode(..., onto=...)`` keeps them when we write a
document back.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_network
from typing import Any, Final, Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import as_numbers, wire
from cloudnet.model.addresses import Family, Interface, Network, NodeName, family
from cloudnet.model.resources import (
    Affinity,
    AffinityState,
    AllowedUse,
    AssignmentMode,
    BlockAffinity,
    EncapMode,
    IPPool,
    Metadata,
    Node,
    NodeAddress,
    Resource,
    Vtep,
)

API_VERSION: Final = "projectcalico.org/v3"
PROVIDER_ID = "cloudnet.io/provider-id"
"""Annotation of a Node with Kubernetes' ``spec.providerID``, which Calico's own Node has no field for."""


# --- a document of any kind ---------------------------------------------------------------------------------


# Any: a document as a YAML or JSON reader gives it; nobody checked it yet.
def parse(document: Mapping[str, Any]) -> Resource:
    """Return the resource in a document of any kind that we know, Calico's, Kubernetes' or our own.

    Raises:
        BadInput: it is no document of a kind we know.
        BadDocument: fields are wrong; ``problems`` names every one of them.
    """
    from cloudnet.model import kinds  # noqa: PLC0415 - the list of kinds knows this file

    try:
        data = _to_json(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"expected an object as JSON has them: {str(error)[:80]}") from error
    return kinds.decode(data)


_to_json = msgspec.json.Encoder().encode


# --- names --------------------------------------------------------------------------------------------------


def cidr_name(cidr: Network) -> str:
    """Return the object name of a prefix: ``10-65-1-0-26``. Calico ``names.CIDRToName``."""
    return str(cidr).replace(".", "-").replace(":", "-").replace("/", "-")


def affinity_name(node: NodeName, cidr: Network) -> str:
    """Return the object name of a block affinity; a name of 253 or more is cut and told apart by a hash.

    Calico ``backend/k8s/resources/ipam_affinity.go``: room is left for two dashes and eleven hex digits.
    """
    name = cidr_name(cidr)
    full = f"{node}-{name}"
    if len(full) < wire.NAME_LENGTH:
        return full
    digest = hashlib.sha256(f"{node}+{name}".encode()).hexdigest()[:11]
    return f"{node[: 252 - len(name) - 13]}-{name}-{digest}"


def affinity_labels(owner: Affinity, cidr: Network) -> dict[str, str]:
    """Return the labels by which Calico finds a host's affinities. Calico ``model/block_affinity.go``."""
    digest = base64.b32encode(hashlib.sha3_256(owner.host.encode()).digest())
    return {
        "projectcalico.org/hostname-hash": digest.decode().rstrip("="),
        "projectcalico.org/affinity-type": owner.type,
        "projectcalico.org/ip-version": str(cidr.version),
    }


# --- Node ---------------------------------------------------------------------------------------------------


class _Bgp(msgspec.Struct, omit_defaults=True, gc=False):
    ipv4_address: str = msgspec.field(name="ipv4Address", default="")
    ipv6_address: str = msgspec.field(name="ipv6Address", default="")
    as_number: int | str | None = msgspec.field(name="asNumber", default=None)
    cluster_id: str = msgspec.field(name="routeReflectorClusterID", default="")


class _NodeAddress(msgspec.Struct, omit_defaults=True, gc=False):
    address: str = ""
    type: str = ""


class _NodeSpec(msgspec.Struct, omit_defaults=True):
    addresses: list[_NodeAddress] | None = None
    bgp: _Bgp | None = None
    ipv4_vtep: str = msgspec.field(name="ipv4VXLANTunnelAddr", default="")
    ipv4_mac: str = msgspec.field(name="vxlanTunnelMACAddr", default="")
    ipv6_vtep: str = msgspec.field(name="ipv6VXLANTunnelAddr", default="")
    ipv6_mac: str = msgspec.field(name="vxlanTunnelMACAddrV6", default="")


class _NodeStatus(msgspec.Struct, omit_defaults=True):
    pod_cidrs: list[str] | None = msgspec.field(name="podCIDRs", default=None)


class NodeDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A Node as Calico writes it."""

    metadata: wire.Meta
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["Node"] | None = None


def read_node(document: NodeDocument) -> Node:
    meta = wire.metadata(document.metadata)
    provider_id = meta.annotations.get(PROVIDER_ID, "")
    bgp = document.spec.bgp or _Bgp()
    return Node(
        meta=_without_provider_id(meta),
        addresses=_node_addresses(bgp),
        vteps=_vteps(document.spec),
        pod_cidrs=tuple(
            wire.network(text, f"status.podCIDRs[{i}]") for i, text in enumerate(document.status.pod_cidrs or ())
        ),
        provider_id=provider_id,
        as_number=_as_number(bgp.as_number),
        route_reflector=_cluster_id(bgp.cluster_id),
        said_addresses=tuple(NodeAddress(one.address, one.type) for one in document.spec.addresses or ()),
    )


def _without_provider_id(meta: Metadata) -> Metadata:
    if PROVIDER_ID not in meta.annotations:
        return meta
    others = {key: value for key, value in meta.annotations.items() if key != PROVIDER_ID}
    return Metadata(meta.name, meta.namespace, meta.uid, meta.labels, others)


def _as_number(found: int | str | None) -> int | None:
    if found is None or not str(found):
        return None
    try:
        return as_numbers.read(found)
    except ValueError:
        message = f"expected {as_numbers.EXPECTED}, found {found!r}"
        raise BadInput(message, path="spec.bgp.asNumber") from None


def _cluster_id(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text) if text else None
    except ValueError:
        path = "spec.bgp.routeReflectorClusterID"
        raise BadInput(f"expected a cluster id in the form of an IPv4 address, found {text!r}", path=path) from None


def _node_addresses(bgp: _Bgp) -> tuple[Interface, ...]:
    fields = ((Family.IPV4, bgp.ipv4_address, "ipv4Address"), (Family.IPV6, bgp.ipv6_address, "ipv6Address"))
    found = []
    for expected, text, field in fields:
        if text:
            value = wire.interface(text, f"spec.bgp.{field}")
            _check_family(family(value), expected, text, f"spec.bgp.{field}")
            found.append(value)
    return tuple(found)


def _vteps(spec: _NodeSpec) -> tuple[Vtep, ...]:
    """Return the tunnel ends; a MAC without an address is no tunnel end, an address without a MAC is one."""
    fields = (
        (Family.IPV4, spec.ipv4_vtep, spec.ipv4_mac, "ipv4VXLANTunnelAddr"),
        (Family.IPV6, spec.ipv6_vtep, spec.ipv6_mac, "ipv6VXLANTunnelAddr"),
    )
    found = []
    for expected, text, mac, field in fields:
        if text:
            value = wire.address(text, f"spec.{field}")
            _check_family(family(value), expected, text, f"spec.{field}")
            found.append(Vtep(value, mac))
    return tuple(found)


def _check_family(found: Family, expected: Family, text: str, path: str) -> None:
    if found != expected:
        raise BadInput(f"expected an IPv{expected} address, found {text!r}", path=path)


def write_node(node: Node) -> NodeDocument:
    v4, v6 = node.address(Family.IPV4), node.address(Family.IPV6)
    if len(node.addresses) > sum(a is not None for a in (v4, v6)):
        raise BadInput(f"expected one address a family, found {', '.join(map(str, node.addresses))}", path="spec.bgp")
    bgp = _Bgp(
        ipv4_address=str(v4) if v4 else "",
        ipv6_address=str(v6) if v6 else "",
        as_number=node.as_number,
        cluster_id=str(node.route_reflector) if node.route_reflector else "",
    )
    spec = _NodeSpec(bgp=bgp if bgp != _Bgp() else None)
    spec.addresses = [_NodeAddress(one.address, one.type) for one in node.said_addresses] or None
    if vtep := node.vtep(Family.IPV4):
        spec.ipv4_vtep, spec.ipv4_mac = str(vtep.address), vtep.mac
    if vtep := node.vtep(Family.IPV6):
        spec.ipv6_vtep, spec.ipv6_mac = str(vtep.address), vtep.mac
    meta = wire.meta(_without_provider_id(node.meta))
    if node.provider_id:
        meta.annotations = {**(meta.annotations or {}), PROVIDER_ID: node.provider_id}
    return NodeDocument(
        metadata=meta,
        spec=spec,
        status=_NodeStatus([str(cidr) for cidr in node.pod_cidrs] or None),
        api_version=API_VERSION,
        kind="Node",
    )


# --- IPPool -------------------------------------------------------------------------------------------------


class _IPPoolSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    cidr: str
    vxlan_mode: str = ""
    ipip_mode: str = ""
    nat_outgoing: bool = False
    disabled: bool = False
    block_size: int = 0
    node_selector: str = ""
    namespace_selector: str = ""
    allowed_uses: list[str] | None = None
    assignment_mode: str = ""
    disable_bgp_export: bool = msgspec.field(name="disableBGPExport", default=False)


class IPPoolDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """An IPPool as Calico writes it."""

    metadata: wire.Meta
    spec: _IPPoolSpec
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["IPPool"] | None = None


_ALL_NODES = "all()"
_USES = {use.value: use for use in AllowedUse}
_DEFAULT_USES = frozenset({AllowedUse.WORKLOAD, AllowedUse.TUNNEL})
_ASSIGNMENT_MODES = {"": AssignmentMode.AUTOMATIC, **{mode.value: mode for mode in AssignmentMode}}
_MODES = {"": EncapMode.NEVER, **{mode.value: mode for mode in EncapMode}}
_BLOCK_SIZES = {Family.IPV4: (26, 20, 32), Family.IPV6: (122, 116, 128)}  # default, smallest, largest
_LINK_LOCAL = {Family.IPV4: ip_network("169.254.0.0/16"), Family.IPV6: ip_network("fe80::/10")}


def read_ippool(document: IPPoolDocument) -> IPPool:
    spec = document.spec
    cidr = wire.network(spec.cidr, "spec.cidr")
    pool = IPPool(
        meta=wire.metadata(document.metadata),
        cidr=cidr,
        vxlan_mode=wire.choice(spec.vxlan_mode, _MODES, "spec.vxlanMode"),
        ipip_mode=wire.choice(spec.ipip_mode, _MODES, "spec.ipipMode"),
        nat_outgoing=spec.nat_outgoing,
        disabled=spec.disabled,
        block_size=spec.block_size or _BLOCK_SIZES[family(cidr)][0],
        node_selector=spec.node_selector or _ALL_NODES,
        namespace_selector=spec.namespace_selector,
        allowed_uses=_allowed_uses(spec.allowed_uses or []),
        assignment_mode=wire.choice(spec.assignment_mode, _ASSIGNMENT_MODES, "spec.assignmentMode"),
        disable_bgp_export=spec.disable_bgp_export,
    )
    _check_ippool(pool)
    _check_uses(pool)
    return pool


def _allowed_uses(words: list[str]) -> frozenset[AllowedUse]:
    uses = frozenset(wire.choice(word, _USES, f"spec.allowedUses[{i}]") for i, word in enumerate(words))
    return uses or _DEFAULT_USES


def _check_ippool(pool: IPPool) -> None:
    """Refuse what Calico's own validation refuses (``validator/v3/validator.go`` validateIPPoolSpec)."""
    of = family(pool.cidr)
    _, smallest, largest = _BLOCK_SIZES[of]
    if not smallest <= pool.block_size <= largest:
        raise BadInput(
            f"expected an integer from {smallest} to {largest} for an IPv{of} pool, found {pool.block_size}",
            path="spec.blockSize",
        )
    if pool.cidr.prefixlen > pool.block_size and not pool.disabled:
        raise BadInput(
            f"expected {pool.cidr.prefixlen} or more, a block of pool {pool.cidr} at most, found {pool.block_size}",
            path="spec.blockSize",
        )
    if pool.cidr.overlaps(_LINK_LOCAL[of]):
        raise BadInput(f"{pool.cidr} overlaps link-local {_LINK_LOCAL[of]}", path="spec.cidr")
    if pool.ipip_mode is not EncapMode.NEVER:
        _check_ipip(pool, of)


def _check_ipip(pool: IPPool, of: Family) -> None:
    if of is Family.IPV6:
        raise BadInput(
            f"expected 'Never', for IPIP carries no IPv6, found {pool.ipip_mode.value!r}", path="spec.ipipMode"
        )
    if pool.vxlan_mode is not EncapMode.NEVER:
        raise BadInput(
            "a pool uses IPIP or VXLAN: set spec.ipipMode or spec.vxlanMode to 'Never'", path="spec.ipipMode"
        )


def _check_uses(pool: IPPool) -> None:
    if pool.namespace_selector and AllowedUse.TUNNEL in pool.allowed_uses:
        raise BadInput(
            "a tunnel's address belongs to no namespace: leave this out, or set spec.allowedUses to ['Workload']",
            path="spec.namespaceSelector",
        )
    if AllowedUse.LOAD_BALANCER not in pool.allowed_uses:
        return
    if len(pool.allowed_uses) > 1:
        raise BadInput("expected 'LoadBalancer' alone, or any of 'Workload' and 'Tunnel'", path="spec.allowedUses")
    if pool.node_selector != _ALL_NODES:
        raise BadInput(
            f"expected {_ALL_NODES!r} for a LoadBalancer pool, found {pool.node_selector!r}", path="spec.nodeSelector"
        )
    if pool.disable_bgp_export:
        raise BadInput("expected false for a LoadBalancer pool, found true", path="spec.disableBGPExport")
    for path, mode in (("spec.vxlanMode", pool.vxlan_mode), ("spec.ipipMode", pool.ipip_mode)):
        if mode is not EncapMode.NEVER:
            raise BadInput(f"expected 'Never' for a LoadBalancer pool, found {mode.value!r}", path=path)


def write_ippool(pool: IPPool) -> IPPoolDocument:
    return IPPoolDocument(
        metadata=wire.meta(pool.meta),
        spec=_IPPoolSpec(
            cidr=str(pool.cidr),
            vxlan_mode=pool.vxlan_mode.value,
            ipip_mode=pool.ipip_mode.value,
            nat_outgoing=pool.nat_outgoing,
            disabled=pool.disabled,
            block_size=pool.block_size,
            node_selector="" if pool.node_selector == _ALL_NODES else pool.node_selector,
            namespace_selector=pool.namespace_selector,
            allowed_uses=_spelt_uses(pool.allowed_uses),
            assignment_mode="" if pool.assignment_mode is AssignmentMode.AUTOMATIC else pool.assignment_mode.value,
            disable_bgp_export=pool.disable_bgp_export,
        ),
        api_version=API_VERSION,
        kind="IPPool",
    )


def _spelt_uses(uses: frozenset[AllowedUse]) -> list[str] | None:
    """Return the uses in Calico's order; the usual ones are left unsaid, as in older pools."""
    return None if uses == _DEFAULT_USES else [use.value for use in AllowedUse if use in uses]


# --- BlockAffinity ------------------------------------------------------------------------------------------


class _AffinitySpec(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    cidr: str
    node: str
    state: str = ""
    type: str = ""
    deleted: bool | Literal["true", "false"] = False  # a string in group crd.projectcalico.org/v1


class BlockAffinityDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A BlockAffinity as Calico writes it."""

    metadata: wire.Meta
    spec: _AffinitySpec
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["BlockAffinity"] | None = None


_STATES = {"": AffinityState.CONFIRMED, **{state.value: state for state in AffinityState}}  # "" is old data


def read_block_affinity(document: BlockAffinityDocument) -> BlockAffinity:
    spec = document.spec
    return BlockAffinity(
        meta=wire.metadata(document.metadata),
        node=NodeName(spec.node),
        cidr=wire.network(spec.cidr, "spec.cidr"),
        state=wire.choice(spec.state, _STATES, "spec.state"),
        type=wire.choice(spec.type, {"": "host", "host": "host", "virtual": "virtual"}, "spec.type"),
        deleted=spec.deleted in (True, "true"),
    )


def write_block_affinity(affinity: BlockAffinity) -> BlockAffinityDocument:
    return BlockAffinityDocument(
        metadata=wire.meta(affinity.meta),
        spec=_AffinitySpec(
            cidr=str(affinity.cidr),
            node=affinity.node,
            state=affinity.state.value,
            type=affinity.type,
            deleted=affinity.deleted,
        ),
        api_version=API_VERSION,
        kind="BlockAffinity",
    )
