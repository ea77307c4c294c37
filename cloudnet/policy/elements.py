"""Sets and elements of our table as the nftables door spells them, and back."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from cloudnet.kernel import ruleset
from cloudnet.kernel.ruleset import Element, Fate, KeyType, Part, Span, Verdict
from cloudnet.policy.table import Set

TABLE: Final = ruleset.Table("cloudnet")


def to_door(one: Set) -> ruleset.Set:
    kinds = tuple(KeyType(word) for word in one.key.split(" . "))
    return ruleset.Set(TABLE, one.name, kinds, interval=one.is_interval, verdicts=one.is_map)


def parse(of: ruleset.Set, key: str, verdict: str) -> Element:
    fields = tuple(_part(kind, text) for kind, text in zip(of.key, key.split(" . "), strict=True))
    fate, _, chain = verdict.partition(" ")
    return Element(fields, Verdict(Fate(fate), chain) if verdict else None)


def spell(element: Element) -> tuple[str, str]:
    """Return an element as our compiler writes it: the key and the verdict."""
    return " . ".join(map(_text, element.key)), str(element.verdict or "")


def _part(kind: KeyType, text: str) -> Part:
    if kind is KeyType.DEVICE:
        return text.strip('"')
    read: Callable[[str], Part] = ip_address if kind in {KeyType.IPV4, KeyType.IPV6} else int
    first, dash, last = text.partition("-")
    return Span(read(first), read(last)) if dash else read(text)  # type: ignore[arg-type]  # never a device


def _text(part: Part) -> str:
    match part:
        case Span(first, last):
            return f"{first}-{last}"
        case str() | int():
            return ruleset.part(part)
        case IPv4Network() | IPv6Network():
            return f"{part.network_address}-{part.broadcast_address}"
        case _:
            return str(part)
