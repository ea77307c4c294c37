"""Case files of policy: a small node, its policies, packets, and what becomes of each packet.

One YAML file holds many cases; each is held against the evaluator, a golden ruleset and the real kernel. The node is
always the same: ``cali1`` and ``cali2`` lead to pods, ``eth0`` to the world, and ``node`` means itself.

    says: a rule for port 80 lets web traffic in
    policies:
      - {name: web, selects: [cali1], ingress: [{action: allow, protocol: tcp, destination: {ports: [80]}}]}
    packets:
      - eth0 > cali1 tcp 80: allow
      - eth0 > cali1 tcp 81: deny
      - {send: eth0 > cali1 tcp 80, source: 10.9.9.7, verdict: allow, by: default/web/0}

``by`` names what decided: ``tier/policy/rule``, ``profile/rule``, or the words of ``verdicts.Why``. Rules are spelt
as in ``rules.py``; a pod without ``endpoints`` entry has the profile that allows everything. ``nodes`` are addresses
of other nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import yaml

from cloudnet.model.addresses import Family
from cloudnet.policy.options import Options, ToHost
from cloudnet.policy.packets import ConnectionState, Packet
from cloudnet.policy.rules import (
    ALLOW_ALL,
    ICMP,
    ICMPV6,
    PROTOCOLS,
    WITH_PORTS,
    Action,
    Change,
    Direction,
    Endpoint,
    EndpointChanged,
    EndpointGone,
    EndpointId,
    Icmp,
    NodesChanged,
    Peer,
    Policy,
    PolicyChanged,
    PolicyGone,
    PolicyKey,
    PortMember,
    PortRange,
    Profile,
    ProfileChanged,
    ProfileGone,
    Rule,
    SetChanged,
    SetGone,
    SetId,
    State,
    Tier,
    arrange,
)
from cloudnet.policy.verdicts import Verdict, Why

PLACES: Final = {  # {place: (its IPv4 address, its IPv6 address)}
    "cali1": ("10.0.0.1", "fd00::1"),
    "cali2": ("10.0.0.2", "fd00::2"),
    "eth0": ("10.9.9.9", "fd09::9"),
    "node": ("10.9.9.254", "fd09::fe"),
}
FROM_PORT: Final = 40000


@dataclass(frozen=True, slots=True)
class Sent:
    """One packet of a case, and what should become of it."""

    packet: Packet
    allowed: bool
    by: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    says: str
    state: State
    packets: tuple[Sent, ...]
    options: Options = field(default_factory=Options)


def read(path: Path) -> Iterator[Case]:
    """Yield the cases of one file."""
    for document in yaml.safe_load_all(path.read_text()):
        yield parse(document)


# YAML is a door: what comes from it is whatever the file says.
Document = Mapping[str, Any]


def parse(document: Document) -> Case:
    """Return one case.

    Raises:
        KeyError, ValueError, TypeError: the document is not one.
    """
    policies = [_policy(entry) for entry in document.get("policies", ())]
    tiers = {"default": Tier("default", 1_000_000)} | {
        name: Tier(name, entry.get("order"), Action(entry.get("default", "deny")))
        for name, entry in document.get("tiers", {}).items()
    }
    profiles = [ALLOW_ALL, *(_profile(name, entry) for name, entry in document.get("profiles", {}).items())]
    by_interface = {"cali1": _pod("cali1"), "cali2": _pod("cali2")} | {
        interface: _endpoint(interface, entry) for interface, entry in document.get("endpoints", {}).items()
    }
    endpoints = {}
    for interface, endpoint in by_interface.items():
        selected = [policy for policy, on in policies if interface in on]
        endpoints[endpoint.id] = EndpointChanged(endpoint, arrange(selected, tiers))
    state = State(
        endpoints,
        {policy.key: policy for policy, _ in policies},
        {profile.name: profile for profile in profiles},
        {SetId(name): frozenset(map(ip_network, nets)) for name, nets in document.get("sets", {}).items()},
        {SetId(name): frozenset(map(_member, of)) for name, of in document.get("port-sets", {}).items()},
        frozenset(map(ip_address, (*PLACES["node"], *document.get("nodes", ())))),
    )
    return Case(document["says"], state, tuple(map(_sent, document["packets"])), _options(document))


def words(verdict: Verdict) -> str:
    """Return what decided, as ``by`` spells it; nothing where nobody polices."""
    step = verdict.deciding
    if step is None:
        return ""
    if step.hit is None:
        return f"{step.tier}/{step.why.value}" if step.why is Why.TIER else step.why.value
    owner = step.hit.owner.name if isinstance(step.hit.owner, PolicyKey) else step.hit.owner
    return f"{step.tier}/{owner}/{step.hit.rule}".lstrip("/")


def differences(before: State, after: State) -> Iterator[Change]:
    """Yield the changes that lead from one state to another, in the order that ``rules.py`` asks for."""
    yield NodesChanged(after.nodes - before.nodes, before.nodes - after.nodes)
    for name in {**before.address_sets, **after.address_sets}:
        old, new = before.address_sets.get(name, frozenset()), after.address_sets.get(name, frozenset())
        yield SetChanged(name, of_ports=False, added=new - old, removed=old - new)
    for name in {**before.port_sets, **after.port_sets}:
        had, has = before.port_sets.get(name, frozenset()), after.port_sets.get(name, frozenset())
        yield SetChanged(name, of_ports=True, added=has - had, removed=had - has)
    yield from (PolicyChanged(new) for key, new in after.policies.items() if before.policies.get(key) != new)
    yield from (ProfileChanged(new) for name, new in after.profiles.items() if before.profiles.get(name) != new)
    yield from (new for key, new in after.endpoints.items() if before.endpoints.get(key) != new)
    yield from (EndpointGone(gone) for gone in before.endpoints.keys() - after.endpoints.keys())
    yield from (PolicyGone(key) for key in before.policies.keys() - after.policies.keys())
    yield from (ProfileGone(name) for name in before.profiles.keys() - after.profiles.keys())
    for gone_set in (
        *(before.address_sets.keys() - after.address_sets),
        *(before.port_sets.keys() - after.port_sets),
    ):
        yield SetGone(gone_set)


def _options(document: Document) -> Options:
    chosen = dict(document.get("options", {}))
    if "to_host" in chosen:
        chosen["to_host"] = ToHost(chosen["to_host"])
    return replace(Options(log_denied=False), **chosen)


def _pod(interface: str) -> Endpoint:
    return _endpoint(interface, {"addresses": PLACES[interface]})


def _endpoint(interface: str, entry: Document) -> Endpoint:
    is_host = bool(entry.get("host", not interface.startswith("cali")))
    addresses = entry.get("addresses", () if is_host else PLACES.get(interface, ()))
    return Endpoint(
        EndpointId(f"endpoint-{interface}"),
        interface,
        tuple(map(ip_network, addresses)),
        tuple(entry.get("profiles", () if is_host else (ALLOW_ALL.name,))),
        tuple(map(ip_network, entry.get("allowed-sources", ()))),
        is_host=is_host,
    )


def _policy(entry: Document) -> tuple[Policy, Sequence[str]]:
    present = frozenset(direction for direction in Direction if direction.value in entry)
    policy = Policy(
        PolicyKey("GlobalNetworkPolicy", entry.get("namespace", ""), entry["name"]),
        entry.get("tier", "default"),
        "all()",
        frozenset(map(Direction, entry["types"])) if "types" in entry else present,
        entry.get("order"),
        tuple(map(_rule, entry.get("ingress", ()))),
        tuple(map(_rule, entry.get("egress", ()))),
        staged=entry.get("staged", False),
        do_not_track=entry.get("do-not-track", False),
        pre_dnat=entry.get("pre-dnat", False),
        apply_on_forward=bool(set(entry) & {"apply-on-forward", "do-not-track", "pre-dnat"}),
    )
    return policy, entry.get("selects", ("cali1",))


def _profile(name: str, entry: Document) -> Profile:
    return Profile(name, tuple(map(_rule, entry.get("ingress", ()))), tuple(map(_rule, entry.get("egress", ()))))


def _rule(entry: Document) -> Rule:
    return Rule(
        Action(entry["action"]),
        Family(entry["family"]) if "family" in entry else None,
        _protocol(entry.get("protocol")),
        _protocol(entry.get("not-protocol")),
        _icmp(entry.get("icmp")),
        _icmp(entry.get("not-icmp")),
        _peer(entry.get("source", {})),
        _peer(entry.get("destination", {})),
    )


def _protocol(value: str | int | None) -> int | None:
    return PROTOCOLS[value] if isinstance(value, str) else value


def _icmp(value: int | Sequence[int] | None) -> Icmp | None:
    if value is None:
        return None
    return Icmp(value) if isinstance(value, int) else Icmp(value[0], value[1])


def _peer(entry: Document) -> Peer:
    def nets(name: str) -> tuple[Any, ...]:
        return tuple(map(ip_network, entry.get(name, ())))

    def sets(name: str) -> tuple[SetId, ...]:
        return tuple(map(SetId, entry.get(name, ())))

    def ports(name: str) -> tuple[PortRange, ...]:
        return tuple(map(_ports, entry.get(name, ())))

    return Peer(
        nets("nets"),
        nets("not-nets"),
        sets("sets"),
        sets("not-sets"),
        ports("ports"),
        sets("named-ports"),
        ports("not-ports"),
        sets("not-named-ports"),
        sets("services"),
    )


def _ports(value: int | str) -> PortRange:
    first, _, last = str(value).partition("-")
    return PortRange(int(first), int(last or first))


def _member(text: str) -> PortMember:
    address, protocol, port = text.split()
    return PortMember(ip_network(address), PROTOCOLS[protocol], int(port))


def _sent(entry: str | Document) -> Sent:
    fields = entry if isinstance(entry, Mapping) and "send" in entry else None
    if fields is None:
        if not isinstance(entry, Mapping):
            raise TypeError(f"a packet is `PLACE > PLACE PROTOCOL PORT: VERDICT`, not {entry!r}")
        ((send, verdict),) = entry.items()
        fields = {"send": send, "verdict": verdict}
    return Sent(_packet(fields), fields["verdict"] == "allow", fields.get("by", ""), fields["send"])


def _packet(fields: Document) -> Packet:
    """Read ``eth0 > cali1 tcp 80``, ``cali1 > cali2 icmpv6 128``, ``node > eth0 6 udp 53`` and its like."""
    ends, rest = fields["send"].split(" > ")
    goes_to, *what = rest.split()
    version = int(what.pop(0)) if what[0] in {"4", "6"} and len(what) > 1 else 4
    protocol = _protocol(what[0] if not what[0].isdigit() else int(what[0])) or 0
    version = 6 if protocol == ICMPV6 else version
    numbers = [int(part) for part in what[1:]]
    index = 0 if version == Family.IPV4 else 1
    icmp = Icmp(numbers[0], (*numbers[1:], 0)[0]) if protocol in {ICMP, ICMPV6} else None
    has_ports = protocol in WITH_PORTS
    before = fields.get("before-nat")
    return Packet(
        ip_address(fields.get("source", PLACES[ends][index])),
        ip_address(fields.get("destination", PLACES[goes_to][index])),
        protocol,
        fields.get("from-port", FROM_PORT) if has_ports else None,
        numbers[0] if has_ports else None,
        icmp,
        None if ends == "node" else ends,
        None if goes_to == "node" else goes_to,
        ConnectionState(fields.get("state", "new")),
        None if before is None else (ip_address(before[0]), int(before[1])),
    )
