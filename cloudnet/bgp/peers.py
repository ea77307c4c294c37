"""Whom a node speaks with: the mesh of all nodes, and peers by BGPPeer. Pure.

Follows Calico ``confd/pkg/backends/calico`` (client.go, peers): peers of certain nodes come before those of all
nodes, and these before the mesh, where several ask for one address. A node that reflects routes is no part of the
mesh. A peer that is a node itself speaks back without a BGPPeer of its own (``reversePeering``).

A session of which something is missing or not understood is not made, and named: without its password or its filters
it would let in, or out, what it should not. The VXLAN ground carries packets meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv6Address, ip_address

from cloudnet.bgp import filters
from cloudnet.bgp.picture import PORT, Picture, SecretKey, usable
from cloudnet.bgp.speaker import NextHopMode, Origin, Session
from cloudnet.errors import BadInput
from cloudnet.model import as_numbers, durations
from cloudnet.model.addresses import Address, Family, family
from cloudnet.model.calico_bgp import BGPPeer, BGPPeerSpec, Password, read_peer_address
from cloudnet.model.resources import Node
from cloudnet.model.selectors import parse

_LONGEST_PASSWORD = 80  # TCP_MD5SIG_MAXKEYLEN, linux/tcp.h
_LONGEST_RESTART = 4095  # seconds: twelve bits (RFC 4724)
_LONGEST_KEEPALIVE = 21845  # seconds: three of these are the hold time, of sixteen bits (RFC 4271)


@dataclass(frozen=True, slots=True)
class Peers:
    """The sessions, in the order of their addresses, and what is wrong with those that there should be besides."""

    sessions: tuple[Session, ...]
    problems: tuple[str, ...] = ()


class _Gathering:
    """What has been found so far: of several sessions with one address the first stays."""

    def __init__(self, picture: Picture, secrets: Mapping[SecretKey, str]) -> None:
        self.picture, self.secrets = picture, secrets
        self.found: dict[tuple[Address, int], Session] = {}
        self.problems: dict[str, None] = {}

    def take(self, whose: str, make: Callable[[], Session]) -> None:
        """Add the session that ``make`` returns, or note why it cannot be."""
        try:
            session = make()
        except BadInput as error:
            self.refuse(whose, str(error))
        else:
            self.found.setdefault(session.key, session)

    def refuse(self, whose: str, why: str) -> None:
        self.problems[f"{whose}: no session: {why}"] = None


def wanted_secrets(picture: Picture) -> frozenset[SecretKey]:
    """Return which passwords the node's sessions need."""
    said = [picture.settings(picture.node.name).node_mesh_password]
    said += [peer.spec.password for peer in picture.peers.values() if _concerns(peer.spec, picture.node)]
    return frozenset(key for one in said if (key := _key(one)) is not None)


def sessions(picture: Picture, secrets: Mapping[SecretKey, str]) -> Peers:
    """Return whom the picture's node speaks with; ``secrets``: the passwords that could be read."""
    gathering = _Gathering(picture, secrets)
    by_name = sorted(picture.peers.values(), key=lambda peer: peer.meta.name)
    for peer in sorted(by_name, key=lambda peer: _origin(peer.spec) is Origin.GLOBAL):
        _of_peer(gathering, peer)
    _mesh(gathering)
    own = {address.ip for address in picture.node.addresses}
    kept = [session for session in gathering.found.values() if session.address not in own]
    kept.sort(key=lambda session: (session.address.version, int(session.address), session.port))
    return Peers(tuple(kept), tuple(gathering.problems))


# --- the mesh -----------------------------------------------------------------------------------------------


def _mesh(gathering: _Gathering) -> None:
    node = gathering.picture.node
    said = gathering.picture.settings(node.name)
    if said.node_to_node_mesh_enabled is False or node.route_reflector is not None:
        return
    spec = BGPPeerSpec(password=said.node_mesh_password, max_restart_time=said.node_mesh_max_restart_time)
    for other in _others(gathering.picture):
        if other.route_reflector is None:
            _take_node(gathering, "the mesh of nodes", spec, other, Origin.MESH)


def _others(picture: Picture) -> list[Node]:
    return sorted((n for n in picture.nodes.values() if n.name != picture.node.name), key=lambda n: n.name)


# --- peers by BGPPeer ---------------------------------------------------------------------------------------


def _origin(spec: BGPPeerSpec) -> Origin:
    return Origin.NODE if spec.node or spec.node_selector else Origin.GLOBAL


def _concerns(spec: BGPPeerSpec, node: Node) -> bool:
    return _is_of(spec, node) or _is_at(spec, node)


def _is_of(spec: BGPPeerSpec, node: Node) -> bool:
    """Tell whether the peer is one of the node's."""
    if spec.node:
        return spec.node == node.name
    return not spec.node_selector or parse(spec.node_selector).matches(node.meta.labels)


def _is_at(spec: BGPPeerSpec, node: Node) -> bool:
    """Tell whether the node itself is the peer, and speaks back by itself."""
    if spec.reverse_peering == "Manual" or spec.local_workload_selector:
        return False
    if spec.peer_selector:
        return parse(spec.peer_selector).matches(node.meta.labels)
    return bool(spec.peer_ip) and read_peer_address(spec.peer_ip or "")[0] in {a.ip for a in node.addresses}


def _of_peer(gathering: _Gathering, peer: BGPPeer) -> None:
    picture, spec, whose = gathering.picture, peer.spec, f"BGPPeer {peer.meta.name!r}"
    if _is_of(spec, picture.node):
        _forward(gathering, whose, spec)
    if _is_at(spec, picture.node):
        for other in _others(picture):
            if _is_of(spec, other):
                _take_node(gathering, whose, spec, other, _origin(spec))


def _forward(gathering: _Gathering, whose: str, spec: BGPPeerSpec) -> None:
    if spec.local_workload_selector:
        gathering.refuse(whose, "spec.localWorkloadSelector: peers that are pods are not supported")
    elif spec.peer_selector:
        selected = parse(spec.peer_selector)
        for other in _others(gathering.picture):
            if selected.matches(other.meta.labels):
                _take_node(gathering, whose, spec, other, _origin(spec))
    elif spec.peer_ip:
        gathering.take(whose, lambda: _with_router(gathering, whose, spec))


def _with_router(gathering: _Gathering, whose: str, spec: BGPPeerSpec) -> Session:
    address, port = read_peer_address(spec.peer_ip or "")
    number = gathering.picture.common_as_number() if spec.as_number is None else as_numbers.read(spec.as_number)
    return _session(gathering, spec, _origin(spec), _End(whose, address, usable(number, whose), port or PORT))


def _take_node(gathering: _Gathering, whose: str, spec: BGPPeerSpec, other: Node, origin: Origin) -> None:
    for version in Family:
        address = other.address(version)
        if address is not None and gathering.picture.node.address(version) is not None:
            gathering.take(whose, partial(_with_node, gathering, spec, origin, other, address.ip))


def _with_node(gathering: _Gathering, spec: BGPPeerSpec, origin: Origin, other: Node, address: Address) -> Session:
    picture = gathering.picture
    number, port = picture.as_number(other), picture.port(other)
    session = _session(gathering, spec, origin, _End(f"node {other.name!r}", address, number, port))
    if origin is Origin.MESH:
        # Only one end calls, so that there are never two connections to choose from.
        return replace(session, client=False, passive=str(address) > str(session.source))
    return replace(session, client=session.client and other.route_reflector != picture.node.route_reflector)


@dataclass(frozen=True, slots=True)
class _End:
    """The other end of a session."""

    named: str
    address: Address
    as_number: int
    port: int


def _session(gathering: _Gathering, spec: BGPPeerSpec, origin: Origin, end: _End) -> Session:
    picture = gathering.picture
    own = picture.node.address(family(end.address))
    local = picture.as_number(picture.node)
    if spec.local_as_number is not None:
        local = usable(as_numbers.read(spec.local_as_number), "spec.localASNumber")
    if own is None and spec.source_address != "None":
        raise BadInput(f"node {picture.node.name!r} has no IPv{end.address.version} address to speak from")
    if isinstance(end.address, IPv6Address) and end.address.scope_id:
        raise BadInput(f"expected an address without a zone, found {str(end.address)!r}", path="spec.peerIP")
    return Session(
        origin=origin,
        peer=end.named,
        address=end.address,
        as_number=end.as_number,
        local_as=local,
        port=end.port,
        source=None if own is None or spec.source_address == "None" else own.ip,
        client=picture.node.route_reflector is not None and end.as_number == local,
        next_hop=_next_hop(spec),
        password=_password(spec.password, gathering.secrets),
        restart_time=_seconds(spec.max_restart_time, "spec.maxRestartTime", 0, _LONGEST_RESTART),
        keepalive=_seconds(spec.keepalive_time, "spec.keepaliveTime", 1, _LONGEST_KEEPALIVE),
        ttl_security=spec.ttl_security or 0,
        own_as_allowed=spec.num_allowed_local_as_numbers or 0,
        gateway=ip_address(spec.reachable_by) if spec.reachable_by else None,
        filters=filters.usable(spec.filters, picture.filters),
    )


def _next_hop(spec: BGPPeerSpec) -> NextHopMode:
    if spec.next_hop_mode:
        return NextHopMode(spec.next_hop_mode)
    return NextHopMode.KEEP if spec.keep_original_next_hop else NextHopMode.AUTO


# --- what may be wrong --------------------------------------------------------------------------------------


def _key(said: Password | None) -> SecretKey | None:
    return (said.secret_key_ref.name, said.secret_key_ref.key) if said and said.secret_key_ref else None


def _password(said: Password | None, secrets: Mapping[SecretKey, str]) -> str:
    key = _key(said)
    if key is None:
        return ""
    name, found = f"key {key[1]!r} of secret {key[0]!r}", secrets.get(key)
    if not found:
        raise BadInput(f"{name} cannot be read: put it in the folder that the setting bgp_secrets names")
    if '"' in found or not found.isprintable():
        raise BadInput(f"{name}: BIRD takes no password with a double quote or a control character: choose another")
    if len(found.encode()) > _LONGEST_PASSWORD:
        raise BadInput(f"{name}: Linux takes no password of more than {_LONGEST_PASSWORD} bytes: choose another")
    return found


def _seconds(text: str | None, path: str, low: int, high: int) -> int | None:
    if text is None:
        return None
    try:
        found = durations.seconds(text)
    except ValueError:
        found = -1.0
    if not low <= found <= high:
        raise BadInput(f"expected a duration of {low} to {high} seconds such as 120s, found {text!r}", path=path)
    return round(found)
