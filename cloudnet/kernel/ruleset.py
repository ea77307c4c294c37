"""Values of nftables and the text of transactions: one command a line, and no name of a user can become syntax.

Names that we choose are written as they are, and refused when they are none. Names of others (policies, pods,
devices) pass through ``identifier``, ``quoted`` or ``comment``; a rule is checked once more as a whole, so that a
piece that was not quoted is an error, never another command. Grammar: nft(8) and ``scanner.l`` of nftables 1.0.6.

Elements are added by a repeated declaration of their set (``add_set``), never by ``add element``: that command makes
libnftables read every interval set of the host first. docs/decisions/elements-by-netlink.md has the figures.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Network

FAMILY = "inet"  # one table for both families: NFPROTO_INET, linux/netfilter.h

LONGEST_NAME = 128  # of ours; the kernel takes 255 bytes (NFT_NAME_MAXLEN 256, linux/netfilter/nf_tables.h)
LONGEST_COMMENT = 128  # bytes: NFTNL_UDATA_COMMENT_MAXLEN, libnftnl
LONGEST_PREFIX = 127  # bytes of a log prefix: NF_LOG_PREFIXLEN 128, linux/netfilter/nf_log.h
LONGEST_DEVICE = 15  # bytes: IFNAMSIZ 16, linux/if.h

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_./-]*")
_PLAIN = re.compile(r"[a-zA-Z0-9.-]+")  # without "_", which marks a shortened name
_DEVICE = re.compile(r"""[^\s/:"*\\$\x00-\x20\x7f]+""")  # "*" at the end would be a wildcard, "$" a variable
_QUOTED = re.compile(r'"[^"\n]*"')
_LOOSE = re.compile(r'[\n\r\0;#"$\\]')  # outside quotes these end a command, begin a comment or expand a variable
_UNQUOTABLE = re.compile(r'[^\x20-\x7e]|["\\$]')  # a quoted string has no escapes at all
_DIGEST = 16  # hex digits of a shortened name's hash: nobody finds two names with 64 equal bits by chance


@dataclass(frozen=True, slots=True)
class Table:
    """A table; ours are of family ``inet``."""

    name: str
    family: str = FAMILY

    def __str__(self) -> str:
        return f"{self.family} {_name(self.name)}"


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain is hung up: ``type nat hook postrouting priority 90``."""

    type: str  # filter, nat, route
    point: str  # prerouting, input, forward, output, postrouting
    priority: int
    policy: str = "accept"


class KeyType(enum.Enum):
    """The types of which keys of sets are made; the value is nft's word."""

    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"
    DEVICE = "ifname"
    PROTOCOL = "inet_proto"
    PORT = "inet_service"
    MARK = "mark"
    MAC = "ether_addr"


@dataclass(frozen=True, slots=True)
class Span:
    """The numbers or addresses from ``first`` to ``last``, both included, in a set of intervals."""

    first: Address | int
    last: Address | int


Part: TypeAlias = Address | Network | Span | int | str
"""One field of a key: an address or network, a number or span, the name of a device, or a MAC."""


class Fate(enum.Enum):
    """What becomes of a packet; the value is nft's word."""

    ACCEPT = "accept"
    DROP = "drop"
    CONTINUE = "continue"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verdict map says of a key; JUMP and GOTO name a chain."""

    fate: Fate
    chain: str = ""

    def __str__(self) -> str:
        return f"{self.fate.value} {_name(self.chain)}" if self.chain else self.fate.value


@dataclass(frozen=True, slots=True)
class Element:
    """One member of a set, or with a verdict of a verdict map."""

    key: tuple[Part, ...]
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Set:
    """A named set, or with ``verdicts`` a verdict map. ``interval``: its keys may be networks and spans.

    In a set of intervals no element may lie within another, except that adding the same again is nothing.
    """

    table: Table
    name: str
    key: tuple[KeyType, ...]
    interval: bool = False
    verdicts: bool = False

    def __str__(self) -> str:
        return f"{self.table} {_name(self.name)}"


# --- commands, one line each ----------------------------------------------------------------------------------


def add_table(table: Table) -> str:
    return f"add table {table}"


def delete_table(table: Table) -> str:
    """Return the two lines that delete a table, whether there is one or not."""
    return f"add table {table}\ndelete table {table}"


def flush_table(table: Table) -> str:
    """Return the two lines that take all rules of a table away, and leave chains, sets and elements."""
    return f"add table {table}\nflush table {table}"


def add_chain(table: Table, name: str, hook: Hook | None = None) -> str:
    if hook is None:
        return f"add chain {table} {_name(name)}"
    where = f"type {_name(hook.type)} hook {_name(hook.point)} priority {hook.priority:d}"
    return f"add chain {table} {_name(name)} {{ {where}; policy {_name(hook.policy)}; }}"


def flush_chain(table: Table, name: str) -> str:
    return f"flush chain {table} {_name(name)}"


def delete_chain(table: Table, name: str) -> str:
    """Return the line that deletes a chain; what leads there must have gone, and before some versions its rules."""
    return f"delete chain {table} {_name(name)}"


def add_rule(table: Table, chain: str, body: str, *, remark: str = "") -> str:
    """Return the line that appends a rule.

    Raises:
        BadInput: something in the body is not quoted that must be.
    """
    if found := _LOOSE.search(_QUOTED.sub("", body)):
        raise BadInput(f"rule {body!r} holds {found.group()!r} outside quotes: quote what is not ours")
    return f"add rule {table} {_name(chain)} {body}{f' {comment(remark)}' if remark else ''}"


def add_set(members: Set, elements: Iterable[Element] = ()) -> str:
    """Return the line that declares a set with these elements, or adds them to the set that is there."""
    kind = " . ".join(part.value for part in members.key)
    word, kind = ("map", f"{kind} : verdict") if members.verdicts else ("set", kind)
    flags = " flags interval;" if members.interval else ""
    listed = ", ".join(element(one) for one in elements)
    inside = f" elements = {{ {listed} }};" if listed else ""
    return f"add {word} {members} {{ type {kind};{flags}{inside} }}"


def flush_set(members: Set) -> str:
    """Return the line that takes all elements out."""
    return f"flush {'map' if members.verdicts else 'set'} {members}"


def delete_set(members: Set) -> str:
    return f"delete {'map' if members.verdicts else 'set'} {members}"


def script(lines: Iterable[str]) -> str:
    """Return the text of one transaction."""
    return "".join(f"{line}\n" for line in lines)


# --- words ----------------------------------------------------------------------------------------------------


def identifier(prefix: str, text: str) -> str:
    """Return a name for a chain or set that is ``prefix-text``, if need be with other characters, cut and hashed.

    Two texts never share a name: what was changed ends in ``_`` and a hash, and what was not holds no ``_``. The
    prefix is our own word and keeps the name off nft's keywords.
    """
    whole = f"{_name(prefix)}-{text}"
    if _PLAIN.fullmatch(text) and len(whole) <= LONGEST_NAME:
        return whole
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGEST]
    readable = re.sub(r"[^a-zA-Z0-9.-]", "-", whole[len(prefix) + 1 :])
    return f"{prefix}-{readable[: LONGEST_NAME - len(prefix) - _DIGEST - 2]}_{digest}"


def device(name: str) -> str:
    """Return the name of one device in quotes.

    Raises:
        BadInput: Linux or nft would read it as anything but the name of one device.
    """
    if not _DEVICE.fullmatch(name) or len(name.encode()) > LONGEST_DEVICE:
        raise BadInput(f"{name!r} is no name of a device that a rule can hold")
    return f'"{name}"'


def comment(text: str) -> str:
    """Return a comment for the end of a rule; what a comment cannot hold is replaced, what is too long cut."""
    return f'comment "{_quotable(text, LONGEST_COMMENT)}"'


def log_prefix(text: str) -> str:
    """Return ``prefix "..."`` of a log statement, like ``comment``."""
    return f'prefix "{_quotable(text, LONGEST_PREFIX)}"'


def part(value: Part) -> str:
    """Return one field of a key as text."""
    if isinstance(value, Span):
        return f"{value.first}-{value.last}"
    if isinstance(value, str):
        return value if _MAC.fullmatch(value) else device(value)
    return str(value)


def element(value: Element) -> str:
    """Return an element as it stands between the braces of its set."""
    key = " . ".join(part(field) for field in value.key)
    return f"{key} : {value.verdict}" if value.verdict else key


_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")  # a device's name holds no colon


def _name(text: str) -> str:
    """Return a name of our own choosing, unless it is none."""
    if not _NAME.fullmatch(text) or len(text) > LONGEST_NAME:
        raise BadInput(f"{text!r} is no name for nftables: derive it by ruleset.identifier")
    return text


def _quotable(text: str, longest: int) -> str:
    return _UNQUOTABLE.sub("?", text)[:longest]
