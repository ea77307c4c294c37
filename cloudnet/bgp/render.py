"""A speaker as BIRD 2 reads it. Pure, and the only file that knows BIRD's language.

Only addresses, numbers and names made here go into the text as they are. The rest, descriptions and passwords, stands
in quotes, inside which BIRD knows no escape: what cannot stand there is left out of a description, and a password
with it never comes so far (``peers``).

    peers ──▶ master ──pipe──▶ pods ──kernel──▶ table 4795, which only the agent reads
                │ ◀── own: what is announced
                ├──kernel──▶ the main table: what lies outside of the cluster
                └──◀ host's own routes and connected networks, to find the way to next hops

A BIRD that dies leaves its routes in the kernel, and takes them over again when it comes back with ``-R`` (RFC 4724);
one that is told to stop takes them away. Names of protocols follow from addresses, so that BIRD sees what is the
same peer in two configurations, and leaves that session alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from cloudnet.bgp.speaker import (
    Announcement,
    Community,
    Filter,
    Match,
    NextHopMode,
    Origin,
    Rule,
    Session,
    Severity,
    Speaker,
)
from cloudnet.kernel.api import LEARNED_TABLE, OVERLAY_DEVICES, ROUTE_PROTOCOL
from cloudnet.model.addresses import Address, Family, Network, family

_WARNINGS: Final = ("remote", "warning")
_ERRORS: Final = ("auth", "error")
_FATAL: Final = ("bug", "fatal")
_LOG_BYTES: Final = 1024 * 1024
_RECOVERY: Final = 30  # seconds that a BIRD that came back waits for its peers: one that is away must not hold up all
_SCAN: Final = 10  # seconds; Linux tells of most changes by itself
_NOBODYS: Final = ("cali*", "kube-ipvs*", "docker*", "veth*", *sorted(OVERLAY_DEVICES.values()))
"""Interfaces whose networks are no way to a peer."""


def render(speaker: Speaker, *, log: str) -> str:
    """Return the whole configuration; ``log`` is the path of BIRD's log.

    Raises:
        ValueError: the path cannot stand in it.
    """
    return "\n".join(line for part in _parts(speaker, log) for line in part) + "\n"


def name(session: Session) -> str:
    """Return what BIRD calls a session: ``Mesh_10_0_1_12``, ``Global_10_0_1_1_port_1790``."""
    address = re.sub(r"[.:]", "_", _address(session.address))
    port = "" if session.port == _PORT else f"_port_{session.port}"
    return f"{_PREFIXES[session.origin]}_{address}{port}"


_PORT: Final = 179
_PREFIXES: Final = {Origin.MESH: "Mesh", Origin.GLOBAL: "Global", Origin.NODE: "Node"}  # Calico's


def _parts(speaker: Speaker, log: str) -> Iterator[Iterable[str]]:
    yield ("# Written by the cloudnet agent; what is changed here by hand is lost.",)
    yield _log(speaker.severity, log)
    yield (f"router id {speaker.router_id};", f"graceful restart wait {_RECOVERY};", "timeformat protocol iso long;")
    yield ("protocol device {", "  scan time 60;", "}")
    for version in Family:
        yield _tables(speaker, version)
    yield _direct(speaker)
    for version in Family:
        yield _own(speaker.announcements, version)
        yield _gateways(speaker.sessions, version)
        yield _kernel(version)
    for one in speaker.filters:
        yield _filter(one)
    for session in speaker.sessions:
        yield _session(speaker, session)


def _log(severity: Severity, path: str) -> Iterator[str]:
    classes = {
        Severity.NONE: (),
        Severity.FATAL: _FATAL,
        Severity.ERROR: (*_FATAL, *_ERRORS),
        Severity.WARNING: (*_FATAL, *_ERRORS, *_WARNINGS),
        Severity.INFO: (*_FATAL, *_ERRORS, *_WARNINGS, "info"),
        Severity.DEBUG: (*_FATAL, *_ERRORS, *_WARNINGS, "info", "debug", "trace"),
    }[severity]
    if classes:
        yield f"log {_path(path)} {_LOG_BYTES} {_path(f'{path}.1')} {{ {', '.join(classes)} }};"


def _direct(speaker: Speaker) -> Iterator[str]:
    yield "protocol direct {"
    yield from (f"  ipv{v.value} {{ import where !inside{v.value}(); }};" for v in Family)
    patterns = ", ".join(f'-"{pattern}"' for pattern in (*_NOBODYS, *speaker.ignored_interfaces))
    yield f'  interface {patterns}, "*";'
    yield "}"


# --- tables, and what goes between them and the kernel --------------------------------------------------------


def _tables(speaker: Speaker, version: Family) -> Iterator[str]:
    v = version.value
    yield f"ipv{v} table pods{v};"
    yield f"function inside{v}() {{ return {_in_any(speaker.inside, version)}; }}"
    yield f"function passed_on{v}() {{ return {_in_any(speaker.passed_on, version)}; }}"
    yield f"function services{v}() {{ return {_in_any(speaker.services, version)}; }}"
    # Others' blocks with one number more: routers outside prefer what the node itself says.
    yield f"function announce{v}(bool away; int number) {{"
    yield f'  if proto = "own{v}" then accept;'
    yield f"  if source = RTS_BGP && passed_on{v}() then {{"
    yield "    if away then bgp_path.prepend(number);"
    yield "    accept;"
    yield "  }"
    yield "  reject;"
    yield "}"


def _in_any(networks: Iterable[Network], version: Family) -> str:
    found = ", ".join(f"{_network(network)}+" for network in networks if family(network) is version)
    return f"net ~ [ {found} ]" if found else "false"


def _own(announcements: Iterable[Announcement], version: Family) -> Iterator[str]:
    yield f"protocol static own{version.value} {{"
    yield f"  ipv{version.value};"
    for one in announcements:
        if family(one.prefix) is version:
            added = " ".join(map(_add, one.communities))
            yield f"  route {_network(one.prefix)} blackhole{f' {{ {added} }}' if added else ''};"
    yield "}"


def _gateways(sessions: Iterable[Session], version: Family) -> Iterator[str]:
    """Yield the ways to peers that are reached through a gateway of their own; they go into the host's routes too."""
    yield f"protocol static reach{version.value} {{"
    yield f"  ipv{version.value};"
    ways = {(s.address, s.gateway) for s in sessions if s.gateway is not None and family(s.address) is version}
    for address, gateway in sorted(ways, key=lambda way: int(way[0])):
        yield f"  route {_address(address)}/{address.max_prefixlen} via {_address(gateway)};"
    yield "}"


def _kernel(version: Family) -> Iterator[str]:
    v = version.value
    yield f"protocol kernel host{v} {{"
    yield "  learn;"
    yield "  graceful restart;"
    yield f"  scan time {_SCAN};"
    yield "  merge paths;"
    yield f"  ipv{v} {{"
    yield f"    import where krt_source != {ROUTE_PROTOCOL} && !inside{v}();"
    yield f'    export where (source = RTS_BGP && !inside{v}() && !services{v}()) || proto = "reach{v}";'
    yield "  };"
    yield "}"
    yield f"protocol pipe to_pods{v} {{"
    yield f"  table master{v};"
    yield f"  peer table pods{v};"
    yield "  import none;"
    yield f"  export where source = RTS_BGP && inside{v}();"
    yield "}"
    yield f"protocol kernel pods_to_kernel{v} {{"
    yield f"  kernel table {LEARNED_TABLE};"
    yield "  graceful restart;"
    yield f"  scan time {_SCAN};"
    yield f"  ipv{v} {{"
    yield f"    table pods{v};"
    yield "    import none;"
    yield "    export all;"
    yield "  };"
    yield "}"


# --- filters ------------------------------------------------------------------------------------------------


def _filter(one: Filter) -> Iterator[str]:
    for direction, rules in (("export", one.exports), ("import", one.imports)):
        for version in Family:
            yield f"function {_function(one.name, direction, version)}(bool away) {{"
            for rule in rules.get(version, ()):
                yield f"  {_rule(rule)}"
            yield "  return false;"
            yield "}"


def _function(filter_name: str, direction: str, version: Family) -> str:
    """Return a name that no other filter has, whatever it is called; BIRD takes 64 characters."""
    digest = hashlib.sha256(filter_name.encode()).hexdigest()[:10]
    readable = re.sub(r"[^A-Za-z0-9]", "_", filter_name)[:40]
    return f"{direction}{version.value}_{readable}_{digest}"


def _rule(rule: Rule) -> str:
    conditions = " && ".join(_conditions(rule)) or "true"
    if not rule.accept:
        return f"if {conditions} then reject;"
    done = [*map(_add, rule.add_communities), *(f"bgp_path.prepend({n});" for n in reversed(rule.prepend))]
    return f"if {conditions} then {{ {' '.join([*done, 'accept;'])} }}"


def _conditions(rule: Rule) -> Iterator[str]:
    if rule.prefix is not None:
        yield _compared(rule.prefix, rule)
    if rule.from_peers:
        yield "source = RTS_BGP"
    if rule.interface:
        yield f'ifname ~ "{rule.interface}"'
    if rule.external is not None:
        yield "away" if rule.external else "!away"
    if rule.community is not None:
        attribute = "bgp_community" if len(rule.community) == _SHORT else "bgp_large_community"
        yield f"{_community(rule.community)} ~ {attribute}"
    if rule.path_begins:
        yield f"bgp_path ~ [= {' '.join(map(str, rule.path_begins))} * =]"


def _compared(prefix: Network, rule: Rule) -> str:
    if rule.match in {Match.EQUAL, Match.NOT_EQUAL}:
        return f"net {'=' if rule.match is Match.EQUAL else '!='} {_network(prefix)}"
    shortest, high = rule.lengths or (prefix.prefixlen, prefix.max_prefixlen)
    low = max(shortest, prefix.prefixlen)
    if low > high:  # nothing is so short and lies in it
        return "false" if rule.match is Match.IN else "true"
    return f"net {'~' if rule.match is Match.IN else '!~'} [ {_network(prefix)}{{{low},{high}}} ]"


_SHORT: Final = 2


def _add(community: Community) -> str:
    attribute = "bgp_community" if len(community) == _SHORT else "bgp_large_community"
    return f"{attribute}.add({_community(community)});"


def _community(community: Community) -> str:
    return f"({', '.join(map(str, community))})"


# --- sessions -----------------------------------------------------------------------------------------------


def _session(speaker: Speaker, session: Session) -> Iterator[str]:
    own = f" {_address(session.source)}" if session.source is not None else ""
    yield f"protocol bgp {name(session)} {{"
    yield f'  description "{_described(session.peer)}";'
    yield f"  local{own} port {speaker.port} as {session.local_as};"
    yield f"  neighbor {_address(session.address)} port {session.port} as {session.as_number};"
    yield from (f"  {line}" for line in _options(speaker, session))
    yield from _channel(session)
    yield "}"


def _options(speaker: Speaker, session: Session) -> Iterator[str]:
    yield f"multihop {session.ttl_security};" if session.ttl_security else "multihop;"
    yield f"ttl security {'on' if session.ttl_security else 'off'};"
    yield f"strict bind {'on' if speaker.strict_bind and session.source is not None else 'off'};"
    yield f"passive {'on' if session.passive else 'off'};"
    yield "connect delay time 2;"
    yield "connect retry time 5;"
    yield "error wait time 5, 30;"
    yield "graceful restart on;"
    if session.restart_time is not None:
        yield f"graceful restart time {session.restart_time};"
    if session.keepalive is not None:
        yield f"hold time {3 * session.keepalive};"
        yield f"keepalive time {session.keepalive};"
    if session.own_as_allowed:
        yield f"allow local as {session.own_as_allowed};"
    if session.client:
        yield "rr client;"
    if speaker.cluster_id is not None and not session.external:
        yield f"rr cluster id {speaker.cluster_id};"
    if session.password:
        yield f'password "{session.password}";'


def _channel(session: Session) -> Iterator[str]:
    version = family(session.address)
    external = "true" if session.external else "false"
    exports, imports = (
        [f"{_function(one, direction, version)}({external});" for one in session.filters]
        for direction in ("export", "import")
    )
    asked = " ".join([*exports, f"announce{version.value}({external}, {session.local_as});"])
    believed = " ".join([*imports, "accept;"])
    yield f"  ipv{version.value} {{"
    yield f"    import filter {{ {believed} }};"
    yield f"    export filter {{ {asked} }};"
    yield "    gateway recursive;"
    if session.next_hop is NextHopMode.SELF:
        yield "    next hop self;"
    if session.next_hop is NextHopMode.KEEP and session.external:
        yield "    next hop keep;"
    yield "  };"


# --- words --------------------------------------------------------------------------------------------------


def _address(address: Address) -> str:
    """Return the address alone: a zone behind it could hold anything."""
    return str(ip_address(address.packed))


def _network(network: Network) -> str:
    return f"{_address(network.network_address)}/{network.prefixlen}"


def _described(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9 _.:/'-]", "_", text)[:100]


def _path(path: str) -> str:
    if '"' in path or not path.isprintable():
        raise ValueError(f"expected a path without quotes and control characters, found {path!r}")
    return f'"{path}"'
