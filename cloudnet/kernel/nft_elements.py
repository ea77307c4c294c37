"""Changes of set elements as netlink messages, without a look at what the set holds.

struct nfgenmsg { __u8 nfgen_family, version; __be16 res_id; };  all numbers in attributes are big-endian.
Sources: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h; the padding of concatenations and the ends of
intervals as in ``nft_set_pipapo`` and ``nft_set_rbtree``. Why: docs/decisions/elements-by-netlink.md.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from cloudnet.kernel import wire
from cloudnet.kernel.nft import ElementChange, Include, NftError
from cloudnet.kernel.ruleset import LONGEST_DEVICE, Element, Fate, KeyType, Part, Set, Span, Verdict
from cloudnet.kernel.wire import NLA_F_NESTED, Request, attribute
from cloudnet.model.addresses import Address

NFNL_SUBSYS_NFTABLES = 10
_NEWSETELEM, _DELSETELEM = NFNL_SUBSYS_NFTABLES << 8 | 12, NFNL_SUBSYS_NFTABLES << 8 | 14
_GENERIC_INET = struct.pack("=BBH", 1, 0, 0)  # NFPROTO_INET, NFNETLINK_V0

_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_ELEMENT = 1  # NFTA_LIST_ELEM
_KEY, _DATA, _FLAGS, _KEY_END = 1, 2, 3, 10  # NFTA_SET_ELEM_*
_VALUE, _VERDICT = 1, 2  # NFTA_DATA_*
_CODE, _CHAIN = 1, 2  # NFTA_VERDICT_*
_INTERVAL_END = attribute(_FLAGS, struct.pack(">I", 1))  # NFT_SET_ELEM_INTERVAL_END

_CODES = {Fate.DROP: 0, Fate.ACCEPT: 1, Fate.CONTINUE: -1, Fate.JUMP: -3, Fate.GOTO: -4, Fate.RETURN: -5}
_WIDTHS = {
    KeyType.IPV4: 4,
    KeyType.IPV6: 16,
    KeyType.DEVICE: LONGEST_DEVICE + 1,
    KeyType.PROTOCOL: 1,
    KeyType.PORT: 2,
    KeyType.MARK: 4,
    KeyType.MAC: 6,
}
_WITHOUT_ORDER = frozenset({KeyType.DEVICE, KeyType.MARK})  # kept in the host's byte order, or no numbers
_MOST_BYTES = 60 << 10  # of elements in one message: the list's own length has 16 bits


def requests(changes: Sequence[ElementChange], *, one_each: bool = False) -> Iterator[tuple[Request, ElementChange]]:
    """Yield the messages of the changes in order, each with the change it is of, of its elements only those within.

    ``one_each``: a message for every element, so that the kernel's refusals tell which.

    Raises:
        NftError: an element does not fit its set.
    """
    for change in changes:
        if isinstance(change, Include):
            members, kind, flags = change.into, _NEWSETELEM, wire.NLM_F_CREATE
        else:
            members, kind, flags = change.out_of, _DELSETELEM, 0
        head = _GENERIC_INET + _text(_LIST_TABLE, members.table.name) + _text(_LIST_SET, members.name)
        for elements, packed in _portions(members, change.elements, 1 if one_each else _MOST_BYTES):
            body = head + attribute(_LIST_ELEMENTS | NLA_F_NESTED, packed)
            yield Request(kind, flags, body), type(change)(members, elements)


def _portions(members: Set, elements: Sequence[Element], most: int) -> Iterator[tuple[tuple[Element, ...], bytes]]:
    """Yield elements and their bytes, a portion once it has reached ``most`` bytes."""
    begun, size = 0, 0
    packed: list[bytes] = []
    for position, element in enumerate(elements):
        one = _element(members, element)
        packed.append(one)
        size += len(one)
        if size >= most:
            yield tuple(elements[begun : position + 1]), b"".join(packed)
            begun, size, packed = position + 1, 0, []
    if packed:
        yield tuple(elements[begun:]), b"".join(packed)


def _element(members: Set, element: Element) -> bytes:
    """Pack one element: in a set of plain intervals two, where it begins and where the next number is outside.

    The last of all addresses has no next number: without an end the interval is open, which says the same.
    """
    try:
        ends = [_ends(kind, field) for kind, field in zip(members.key, element.key, strict=True)]
    except (ValueError, OverflowError, struct.error) as e:
        key = " . ".join(str(field) for field in element.key)
        raise NftError(f"element {key} does not fit set {members}: {e}", errno=errno.EINVAL) from e
    data = _data(element.verdict) if members.verdicts and element.verdict else b""
    first, last = (_joined([one[side] for one in ends]) for side in (0, 1))
    if len(ends) > 1 or not members.interval:
        if first != last and not members.interval:
            raise NftError(f"an interval does not fit set {members}, whose keys are single", errno=errno.EINVAL)
        until = _value(_KEY_END, last) if members.interval else b""
        return _nested(_ELEMENT, _value(_KEY, first) + until + data)
    if members.key[0] in _WITHOUT_ORDER:
        raise NftError(f"set {members}: there are no intervals of {members.key[0].value}", errno=errno.EINVAL)
    begin = _nested(_ELEMENT, _value(_KEY, first) + data)
    beyond = int.from_bytes(last) + 1
    if beyond >> (8 * len(last)):
        return begin
    return begin + _nested(_ELEMENT, _INTERVAL_END + _value(_KEY, beyond.to_bytes(len(last))))


def _ends(kind: KeyType, field: Part) -> tuple[bytes, bytes]:
    """Return the first and last value of a field as bytes, without padding."""
    if isinstance(field, Span):
        return _single(kind, field.first), _single(kind, field.last)
    if isinstance(field, IPv4Address | IPv6Address | int | str):
        one = _single(kind, field)
        return one, one
    return _single(kind, field.network_address), _single(kind, field.broadcast_address)


def _single(kind: KeyType, field: Address | int | str) -> bytes:
    width = _WIDTHS[kind]
    match kind, field:
        case (KeyType.IPV4, IPv4Address()) | (KeyType.IPV6, IPv6Address()):
            return ip_address(field).packed
        case KeyType.PROTOCOL | KeyType.PORT, int():
            return field.to_bytes(width)
        case KeyType.MARK, int():
            return field.to_bytes(width, wire.BYTE_ORDER)
        case KeyType.DEVICE, str() if len(field.encode()) < width:
            return field.encode().ljust(width, b"\0")
        case KeyType.MAC, str():
            return bytes.fromhex(field.replace(":", ""))
    raise ValueError(f"{field!r} is no {kind.value}")


def _joined(fields: Sequence[bytes]) -> bytes:
    """Concatenate; beside others, each field begins at a multiple of four bytes (a register)."""
    if len(fields) == 1:
        return fields[0]
    return b"".join(field.ljust((len(field) + 3) & ~3, b"\0") for field in fields)


def _data(verdict: Verdict) -> bytes:
    code = attribute(_CODE, struct.pack(">i", _CODES[verdict.fate]))
    chain = _text(_CHAIN, verdict.chain) if verdict.chain else b""
    return _nested(_DATA, _nested(_VERDICT, code + chain))


def _value(kind: int, packed: bytes) -> bytes:
    return _nested(kind, attribute(_VALUE, packed))


def _nested(kind: int, payload: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, payload)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")
