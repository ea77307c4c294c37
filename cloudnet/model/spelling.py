"""How Calico spells a name of ours: ``vxlan_mtu_v6`` is ``vxlanMTUV6``."""

from __future__ import annotations

from typing import Final

_CAPITALS: Final = frozenset({"AS", "BGP", "CIDR", "DNS", "DSCP", "GUID", "ICMP", "IP", "IPIP", "MTU", "NAT"}) | {
    "RPF",
    "TCP",
    "TTL",
    "UDP",
    "VNI",
    "VXLAN",
}
_PLURALS: Final = {"IPS": "IPs", "CIDRS": "CIDRs"}


def camel(name: str) -> str:
    """Return a field's name on the wire; only the first word is small, and abbreviations are capitals."""
    first, *others = name.split("_")
    return first + "".join(_word(word) for word in others)


def _word(word: str) -> str:
    capitals = word.upper()
    return _PLURALS.get(capitals) or (capitals if capitals in _CAPITALS else word.capitalize())
