"""Which pods' packets get the node's address when they leave the cluster: pools and nodes in, table out. Pure.

Calico's rules (``felix/rules/nat.go``, ``felix/dataplane/linux/masq_mgr.go``): the source lies in a pool with
``natOutgoing`` and the destination in no pool at all. A disabled pool counts like any other, as a range that is
inside; a pool for load balancers alone does not count. The rules follow from the settings and never change while the
agent runs; pools and nodes are members of sets.

Only the first packet of a connection asks a NAT chain, and conntrack keeps the answer. So changes touch no open
connection; but the chain must never go away, or answers would no longer be translated back, and it must be there
from the start, or open connections would look like new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cloudnet.errors import BadInput
from cloudnet.kernel import ruleset
from cloudnet.kernel.nft import ElementChange, Exclude, Include, Standing
from cloudnet.kernel.ruleset import Element, Hook, KeyType, Set, Table
from cloudnet.model.addresses import Address, Family, Network, family, order
from cloudnet.model.resources import AllowedUse, IPPool, Node

TABLE = Table("cloudnet_nat")
CHAIN = "outgoing"
HOOK = Hook("nat", "postrouting", 90)
"""Just before the priority 100 of everybody else (``srcnat``, NF_IP_PRI_NAT_SRC), as Calico inserts its chain first:
of several NAT chains the first that gives an address decides. What stays inside we leave to those behind us, e.g.
portmap's hairpins."""

_KEYS = {Family.IPV4: KeyType.IPV4, Family.IPV6: KeyType.IPV6}
POOLS: Mapping[Family, Set] = MappingProxyType(
    {of: Set(TABLE, f"pools{of.value}", (key,), interval=True) for of, key in _KEYS.items()}
)
"""What is inside: Calico's ``network-ip-pools``."""
SOURCES: Mapping[Family, Set] = MappingProxyType(
    {of: Set(TABLE, f"sources{of.value}", (key,), interval=True) for of, key in _KEYS.items()}
)
"""Pools with natOutgoing: Calico's ``masq-ipam-pools``."""
HOSTS: Mapping[Family, Set] = MappingProxyType(
    {of: Set(TABLE, f"hosts{of.value}", (key,)) for of, key in _KEYS.items()}
)
"""Addresses of nodes: Calico's ``all-hosts-net``."""
SETS = (*POOLS.values(), *SOURCES.values(), *HOSTS.values())

_WORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_LAST_PORT = 65535
_PORTS = re.compile(r"(?P<first>[0-9]+)(?::(?P<last>[0-9]+))?")
_LOAD_BALANCERS_ALONE = frozenset({AllowedUse.LOAD_BALANCER})


@dataclass(frozen=True, slots=True)
class Options:
    """The settings, with Calico's meanings.

    ``exclude_hosts``: destinations that are nodes keep the pod's address (``IPPoolsAndHostIPs``). ``ports``: first
    and last port that TCP and UDP connections come from. ``address``: instead of the address of the device that
    the packet leaves by; of the other family packets are masqueraded. ``device``: only what leaves by devices of
    this name; a ``+`` at the end stands for anything. ``own_ports``: UDP ports of ours, VXLAN and probes.
    """

    exclude_hosts: bool = False
    ports: tuple[int, int] | None = None
    address: Address | None = None
    device: str = ""
    own_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Desired:
    """What should stand in the table: the rules of its one chain, and the members of every set."""

    rules: tuple[str, ...]
    members: Mapping[Set, frozenset[Element]]


def desired(pools: Iterable[IPPool], nodes: Iterable[Node], options: Options) -> Desired:
    inside = [pool for pool in pools if pool.allowed_uses != _LOAD_BALANCERS_ALONE]
    hosts = (a.ip for node in nodes for a in node.addresses) if options.exclude_hosts else ()
    members: dict[Set, set[Element]] = {one: set() for one in SETS}
    for network in outermost(pool.cidr for pool in inside):
        members[POOLS[family(network)]].add(_member(network))
    for network in outermost(pool.cidr for pool in inside if pool.nat_outgoing):
        members[SOURCES[family(network)]].add(_member(network))
    for host in hosts:
        members[HOSTS[family(host)]].add(Element((host,)))
    return Desired(rules(options), {one: frozenset(elements) for one, elements in members.items()})


def needed(pools: Iterable[IPPool]) -> str:
    """Return the name of a pool whose packets need a node's address, or nothing when there is none."""
    return min((pool.meta.name for pool in pools if pool.nat_outgoing), default="")


def rules(options: Options) -> tuple[str, ...]:
    """Return the rules in order. VXLAN and probes come first: they must arrive from where they were sent."""
    listed: list[str] = []
    if options.own_ports:
        ports = ", ".join(str(port) for port in options.own_ports)
        listed.append(f"udp dport {{ {ports} }} fib saddr type local return")
    for of in Family:
        matching = _matching(of, options)
        if options.ports is not None:
            first, last = options.ports
            to = f"{_to(of, options, ports=f':{first}-{last}')} fully-random"
            listed += [f"meta l4proto {protocol} {matching} {to}" for protocol in ("tcp", "udp")]
        # "fully-random" as Calico: two connections at one moment must not choose the same port
        listed.append(f"{matching} {_to(of, options)} fully-random")
    return tuple(listed)


def _matching(of: Family, options: Options) -> str:
    word = _WORD[of]
    parts = [f"{word} saddr @{SOURCES[of].name}", f"{word} daddr != @{POOLS[of].name}"]
    if options.exclude_hosts:
        parts.append(f"{word} daddr != @{HOSTS[of].name}")
    if options.device:
        parts.append(f"oifname {_pattern(options.device)}")
    return " ".join(parts)


def _pattern(name: str) -> str:
    """Return a device's name in quotes; iptables' ``+`` at the end is nft's ``*``."""
    if not name.endswith("+"):
        return ruleset.device(name)
    return f'{ruleset.device(name[:-1])[:-1]}*"'


def _to(of: Family, options: Options, ports: str = "") -> str:
    if options.address is None or family(options.address) is not of:
        return f"masquerade to {ports}" if ports else "masquerade"
    address = f"[{options.address}]" if ports and of is Family.IPV6 else str(options.address)
    return f"snat {_WORD[of]} to {address}{ports}"


def outermost(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the networks in order, without those that lie within another: a set of intervals takes no others."""
    kept: list[Network] = []
    for network in sorted(set(networks), key=order):
        last = kept[-1] if kept else None
        if last is None or last.version != network.version or last.broadcast_address < network.network_address:  # type: ignore[operator]  # of one family
            kept.append(network)
    return tuple(kept)


def _member(network: Network) -> Element:
    """Return a network as a member; one of a single address is read back as that address."""
    return Element((network if network.prefixlen < network.max_prefixlen else network.network_address,))


# --- from what stands to what should ----------------------------------------------------------------------------


def transaction(wanted: Desired, standing: Standing | None) -> str:
    """Return the transaction that makes the table what it should be, whatever stands.

    The chain stays, unless it hangs elsewhere (or a set is of another type): without a NAT chain open connections
    would be translated no more.
    """
    lines = [] if standing is None or _fits(standing) else [ruleset.delete_table(TABLE)]
    lines += [ruleset.add_table(TABLE), ruleset.add_chain(TABLE, CHAIN, HOOK), ruleset.flush_chain(TABLE, CHAIN)]
    for one in SETS:
        lines += [ruleset.add_set(one), ruleset.flush_set(one)]
        if wanted.members[one]:
            lines.append(ruleset.add_set(one, sorted(wanted.members[one], key=str)))
    lines += [ruleset.add_rule(TABLE, CHAIN, rule) for rule in wanted.rules]
    if standing is not None and _fits(standing):
        strange = [name for name in standing.chains if name != CHAIN]
        lines += [ruleset.flush_chain(TABLE, name) for name in strange]
        lines += [ruleset.delete_chain(TABLE, name) for name in strange]
    return ruleset.script(lines)


def _fits(standing: Standing) -> bool:
    chain = standing.chains.get(CHAIN)
    known = {one.name: one for one in SETS}
    return (chain is None or chain.hook == HOOK) and all(
        name in known and found.set == known[name] for name, found in standing.sets.items()
    )


def changes(before: Desired, after: Desired) -> tuple[ElementChange, ...]:
    """Return what leads from one state to another with the same rules; out first, so that nothing overlaps."""
    gone = [Exclude(one, _ordered(before.members[one] - after.members[one])) for one in SETS]
    new = [Include(one, _ordered(after.members[one] - before.members[one])) for one in SETS]
    return (*(change for change in gone if change.elements), *(change for change in new if change.elements))


def _ordered(elements: frozenset[Element]) -> tuple[Element, ...]:
    return tuple(sorted(elements, key=str))


# --- settings -----------------------------------------------------------------------------------------------------


def port_range(text: str, *, path: str) -> tuple[int, int] | None:
    """Read ``FIRST:LAST`` as Calico writes it, or one port; nothing and ``0`` mean any port.

    Raises:
        BadInput: it is neither.
    """
    if text in {"", "0"}:
        return None
    found = _PORTS.fullmatch(text)
    if not found:
        raise BadInput(f"expected FIRST:LAST, e.g. 32768:60999, found {text!r}", path=path)
    ports = int(found["first"]), int(found["last"] or found["first"])
    if not 1 <= ports[0] <= ports[1] <= _LAST_PORT:
        raise BadInput(
            f"expected ports from 1 to {_LAST_PORT}, the first not above the last, found {text!r}", path=path
        )
    return ports


def device_pattern(text: str, *, path: str) -> str:
    """Check the name of a device, or the beginning of names with ``+``.

    Raises:
        BadInput: no device can be called so.
    """
    if text:
        try:
            _pattern(text)
        except BadInput as e:
            raise BadInput(str(e), path=path) from e
    return text
