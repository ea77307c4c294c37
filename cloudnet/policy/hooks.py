"""The part of the table that is the same for every policy: base chains, the ways to endpoints, and what always holds.

Each base chain first lets established connections pass, so that only the first packet of a connection meets policy.
Then one look-up leads from the interface to its endpoint's chain. Two endpoints that police one packet are asked by
two base chains of one hook, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cloudnet.model.addresses import Address, Family
from cloudnet.policy import members
from cloudnet.policy.chains import DROPS, deny
from cloudnet.policy.options import Failsafe, Options, ToHost
from cloudnet.policy.rules import ICMP, ICMPV6, TCP, UDP
from cloudnet.policy.table import Chain, Counter, Part, Set

ESTABLISHED: Final = "ct state established,related accept"
NEIGHBOURS: Final = "meta l4proto 58 @th,0,8 { 130, 131, 132, 133, 134, 135, 136, 143 } accept"

RAW: Final = -300  # linux/netfilter_ipv4.h: before connections are tracked
MANGLE: Final = -150  # before destination NAT
LAST: Final = 300  # behind everybody's filters and mangling
FILTER: Final = 0  # ours come before others', who may then still refuse what we let through

_SILENT: Final = frozenset({"drop-spoofed", "drop-stranger"})  # an answer would go to the wrong one

# {map from interface to an endpoint's chain: what leads there}
WAYS: Final = (
    "pods-in",
    "pods-out",
    "host-in",
    "host-out",
    "forward-in",
    "forward-out",
    "untracked-in",
    "untracked-out",
    "pre-dnat-in",
)
SOURCES: Final[Mapping[str, str]] = {  # {part: key}, interface and the source addresses it may use
    "4h": "ifname . ipv4_addr",
    "4n": "ifname . ipv4_addr . inet_proto",
    "6h": "ifname . ipv6_addr",
    "6n": "ifname . ipv6_addr . inet_proto",
}


TRANSLATED: Final = 0x2030  # IPS_HELPER, IPS_SRC_NAT, IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h
FAST_PROTOCOLS: Final = (ICMP, TCP, UDP, ICMPV6)

NODES: Final[Mapping[Family, Set]] = {  # addresses of all nodes, this one too
    Family.IPV4: Set("nodes-4h", "ipv4_addr"),
    Family.IPV6: Set("nodes-6h", "ipv6_addr"),
}


def sources_name(part: str) -> str:
    return f"sources-{part}"


def node(address: Address) -> tuple[str, str]:
    """Return the set that a node's own address is in, and the element."""
    return NODES[Family(address.version)].name, str(address)


def fixed(options: Options, *, has_hosts: bool, everywhere: Mapping[str, str]) -> Part:
    """Return it. ``has_hosts``: there is a host endpoint; ``everywhere``: ``{way: chain}`` of the one on ``*``."""
    maps = tuple(Set(name, "ifname", is_map=True) for name in WAYS)
    sources = tuple(Set(sources_name(part), key, is_interval=part[1] == "n") for part, key in SOURCES.items())
    chains = [*_drops(options), *_before_tracking(options), *_pods(options)]
    if has_hosts:
        chains += [*_failsafes(options), *_hosts(options, everywhere)]
    counters = tuple(Counter(name, comment) for name, comment in DROPS.items())
    sets = (*maps, *sources, *NODES.values())
    return Part(tuple(chains), sets, counters, {one.name: {} for one in sets})


def _drops(options: Options) -> Iterator[Chain]:
    for name in DROPS:
        yield Chain(name, tuple(deny(name, options, rejects=name not in _SILENT)))


# --- before tracking -----------------------------------------------------------------------------------------


def _before_tracking(options: Options) -> Iterator[Chain]:
    """Yield what every packet passes first: a pod's must come from its addresses, VXLAN for this node from a node.

    VXLAN between nodes is not tracked: it has no answers, each flow inside would be a connection of its own, and
    those are tracked already. Follows Calico ``felix/rules/static.go``.
    """
    to_pods = "accept" if options.spoofing else "goto sources"
    overlay = f"udp dport {options.vxlan_port}"
    guards = [f'iifname "{prefix}*" {to_pods}' for prefix in options.pod_prefixes]
    guards += [f"{overlay} goto overlay-in"] if options.vxlan_port else []
    yield Chain("before-tracking", tuple(guards), _hook("prerouting", RAW - 1))
    if not options.spoofing:
        yield Chain("sources", tuple(_sources()))
    if not options.vxlan_port:
        return
    yield Chain("overlay-in", (*_nodes("saddr"), "fib daddr type != local accept", "goto drop-stranger"))
    yield Chain("overlay-out", tuple(f"{overlay} {rule}" for rule in _nodes("daddr")), _hook("output", RAW - 1))


def _nodes(end: str) -> Iterator[str]:
    for family, nodes in NODES.items():
        yield f"{members.WORDS[family]} {end} @{nodes.name} notrack accept"


# --- pods ----------------------------------------------------------------------------------------------------


def _pods(options: Options) -> Iterator[Chain]:
    enters = [f'iifname "{prefix}*"' for prefix in options.pod_prefixes]
    leaves = [f'oifname "{prefix}*"' for prefix in options.pod_prefixes]
    yield Chain(
        "forward-from-pods",
        (ESTABLISHED, "iifname vmap @pods-out", *(f"{pod} goto drop-unknown" for pod in enters)),
        _hook("forward", FILTER - 3),
    )
    yield Chain(
        "forward-to-pods",
        (ESTABLISHED, "oifname vmap @pods-in", *(f"{pod} goto drop-unknown" for pod in leaves)),
        _hook("forward", FILTER - 2),
    )
    yield Chain(
        "input-from-pods",
        tuple(f"{pod} goto pods-to-node" for pod in enters),
        _hook("input", FILTER - 3),
    )
    yield Chain("pods-to-node", (ESTABLISHED, NEIGHBOURS, "iifname vmap @pods-out", "goto drop-unknown"))
    if options.fast_path:
        yield Chain("offer-fast-path", (_offer(options),), _hook("forward", LAST))
    if options.to_host is ToHost.DROP:
        yield Chain(
            "input-pods-allowed",
            tuple(f"{pod} goto pods-to-node-allowed" for pod in enters),
            _hook("input", FILTER - 2),
        )
        yield Chain("pods-to-node-allowed", (ESTABLISHED, NEIGHBOURS, "goto drop-to-node"))


def _offer(options: Options) -> str:
    """Return the rule that lets packets take the fast path: of connections that nobody rewrites and that stand."""
    protocols = ", ".join(map(str, FAST_PROTOCOLS))
    return (
        f"ct state established ct status & {TRANSLATED:#x} == 0 meta l4proto {{ {protocols} }} "
        f"meta mark set meta mark | {options.fast_mark:#x}"
    )


def _sources() -> Iterator[str]:
    """Yield what lets a pod's packets by: its own addresses, and IPv6's of the link, which nobody routes."""
    for part in SOURCES:
        field = f"iifname . {members.WORDS[Family(int(part[0]))]} saddr"
        yield f"{field}{' . meta l4proto' if part[1] == 'n' else ''} @{sources_name(part)} return"
    yield "ip6 saddr { fe80::/10, :: } return"
    yield "goto drop-spoofed"


# --- host endpoints ------------------------------------------------------------------------------------------


def _hosts(options: Options, everywhere: Mapping[str, str]) -> Iterator[Chain]:
    """Yield the chains that police the node's own interfaces; the last rule of each is the endpoint on ``*``."""
    pods_in = [f'iifname "{prefix}*" accept' for prefix in options.pod_prefixes]
    pods_out = [f'oifname "{prefix}*" accept' for prefix in options.pod_prefixes]
    marked = f"meta mark & {options.mark:#x} == {options.mark:#x} accept"
    overlay = _overlay(options)

    def way(name: str, field: str) -> list[str]:
        rules = [f"{field} vmap @{name}"]
        if name in everywhere:
            rules.append(f'{field} != "lo" goto {everywhere[name]}')
        return rules

    def guarded(way: str) -> list[str]:
        return [*overlay, NEIGHBOURS, f"jump failsafe-{way}", f"jump failsafe-replies-{way}"]

    yield Chain(
        "untracked-from-hosts",
        (*pods_in, *guarded("in"), *way("untracked-in", "iifname")),
        _hook("prerouting", RAW),
    )
    yield Chain(
        "untracked-to-hosts",
        (*guarded("out"), *way("untracked-out", "oifname")),
        _hook("output", RAW),
    )
    yield Chain(
        "pre-dnat-from-hosts",
        (ESTABLISHED, marked, *overlay, NEIGHBOURS, "jump failsafe-in", *way("pre-dnat-in", "iifname")),
        _hook("prerouting", MANGLE),
    )
    yield Chain(
        "input-from-hosts",
        (ESTABLISHED, *pods_in, *overlay, marked, NEIGHBOURS, *way("host-in", "iifname")),
        _hook("input", FILTER - 1),
    )
    yield Chain(
        "forward-from-hosts",
        (ESTABLISHED, marked, *way("forward-in", "iifname")),
        _hook("forward", FILTER - 4),
    )
    yield Chain("forward-to-hosts", (ESTABLISHED, *way("forward-out", "oifname")), _hook("forward", FILTER - 1))
    to_hosts = (*pods_out, *overlay, marked, NEIGHBOURS, *way("host-out", "oifname"))
    yield Chain("output-to-hosts", (ESTABLISHED, "ct status dnat accept", *to_hosts), _hook("output", FILTER - 1))
    # After destination NAT the kernel routes anew behind the filter: only here the interface is the right one.
    yield Chain(
        "nat-to-hosts",
        (ESTABLISHED, "ct status & dnat == 0 accept", "fib saddr type != local accept", *to_hosts),
        _hook("postrouting", MANGLE),
    )


def _overlay(options: Options) -> list[str]:
    ports = ", ".join(map(str, options.overlay_ports))
    return [f"udp dport {{ {ports} }} accept"] if ports else []


def _failsafes(options: Options) -> Iterator[Chain]:
    inbound, outbound = options.failsafe_inbound, options.failsafe_outbound
    yield Chain("failsafe-in", tuple(_safe(inbound, "dport", "saddr")))
    yield Chain("failsafe-out", tuple(_safe(outbound, "dport", "daddr")))
    yield Chain("failsafe-replies-in", tuple(_safe(outbound, "sport", "saddr")))
    yield Chain("failsafe-replies-out", tuple(_safe(inbound, "sport", "daddr")))


def _safe(safe: Iterable[Failsafe], port: str, peer: str) -> Iterator[str]:
    to_all = sorted({(one.protocol, one.port) for one in safe if one.net is None})
    if to_all:
        yield f"meta l4proto . th {port} {{ {', '.join(f'{proto} . {number}' for proto, number in to_all)} }} accept"
    for one in safe:
        if one.net is not None:
            word = members.WORDS[Family(one.net.version)]
            yield f"meta l4proto {one.protocol} th {port} {one.port} {word} {peer} {one.net} accept"


def _hook(point: str, priority: int) -> str:
    return f"type filter hook {point} priority {priority}; policy accept"
