"""What ``nft --json list`` says, as values (libnftables-json(5))."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from cloudnet.kernel.nft import Standing, StandingChain, StandingRule, StandingSet, Traffic
from cloudnet.kernel.ruleset import Element, Fate, Hook, KeyType, Part, Set, Span, Table, Verdict
from cloudnet.model.addresses import Address

_FATES = {fate.value: fate for fate in Fate}
_KEY_TYPES = {kind.value: kind for kind in KeyType}


def read_tables(text: str) -> frozenset[Table]:
    return frozenset(
        Table(one["table"]["name"], one["table"]["family"]) for one in json.loads(text)["nftables"] if "table" in one
    )


def read_table(text: str, table: Table) -> Standing:
    """Return chains and sets; objects of other kinds are not ours and left out."""
    chains: dict[str, Hook | None] = {}
    rules: dict[str, list[StandingRule]] = {}
    sets: dict[str, StandingSet] = {}
    for one in json.loads(text)["nftables"]:
        match one:
            case {"chain": chain}:
                chains[chain["name"]] = _hook(chain)
            case {"rule": rule}:
                rules.setdefault(rule["chain"], []).append(_rule(rule))
            case {"set": members} | {"map": members}:
                sets[members["name"]] = _set(members, table)
    standing = {name: StandingChain(tuple(rules.get(name, ())), hook) for name, hook in chains.items()}
    return Standing(standing, sets)


def read_counters(text: str) -> Mapping[str, Traffic]:
    return {
        one["counter"]["name"]: Traffic(one["counter"]["packets"], one["counter"]["bytes"])
        for one in json.loads(text)["nftables"]
        if "counter" in one
    }


def _hook(chain: Mapping[str, Any]) -> Hook | None:
    if "hook" not in chain:
        return None
    return Hook(chain["type"], chain["hook"], chain["prio"], chain["policy"])


def _rule(rule: Mapping[str, Any]) -> StandingRule:
    return StandingRule(json.dumps(rule["expr"], sort_keys=True), rule.get("comment", ""))


def _set(members: Mapping[str, Any], table: Table) -> StandingSet:
    kinds = members["type"] if isinstance(members["type"], list) else [members["type"]]
    known = tuple(_KEY_TYPES[kind] for kind in kinds if kind in _KEY_TYPES)
    listed = members.get("elem", ())
    read = [_element(one, known) for one in listed] if len(known) == len(kinds) else []
    elements = frozenset(one for one in read if one is not None)
    described = Set(
        table, members["name"], known, interval="interval" in members.get("flags", ()), verdicts="map" in members
    )
    return StandingSet(described, elements, len(listed) - len(elements))


def _element(one: Any, kinds: tuple[KeyType, ...]) -> Element | None:
    """Return an element, or ``None`` if we could not have made it."""
    verdict = None
    if isinstance(one, list):
        one, data = one
        verdict = _verdict(data)
        if verdict is None:
            return None
    fields = one["concat"] if isinstance(one, dict) and "concat" in one else [one]
    try:
        return Element(tuple(_part(kind, field) for kind, field in zip(kinds, fields, strict=True)), verdict)
    except (ValueError, TypeError, KeyError):
        return None


def _verdict(data: Any) -> Verdict | None:
    if not isinstance(data, dict) or len(data) != 1:
        return None
    (word, argument), *_ = data.items()
    return Verdict(_FATES[word], argument["target"] if argument else "") if word in _FATES else None


def _part(kind: KeyType, field: Any) -> Part:
    match field:
        case {"prefix": {"addr": address, "len": length}}:
            return ip_network(f"{address}/{length}")
        case {"range": [first, last]}:
            return Span(_single(kind, first), _single(kind, last))
    return str(field) if kind in {KeyType.DEVICE, KeyType.MAC} else _single(kind, field)


def _single(kind: KeyType, field: Any) -> Address | int:
    return ip_address(field) if kind in {KeyType.IPV4, KeyType.IPV6} else int(field)
