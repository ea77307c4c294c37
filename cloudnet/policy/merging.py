"""Many simple rules as one look-up: a verdict map from peer, protocol and port to what the first of them says.

A rule is simple if it asks only for its peer (by nets, or by one selector), a protocol and destination ports. A run
of simple rules is cut into boxes that do not overlap: by the peer's address first (``boxes``), then in each by
protocol and port. There the first rule decides, so the map says exactly what the rules say in their order, and a
packet pays for one look-up.

Protocols with ports and others are kept in maps of their own: a key with a port cannot be read from a packet without.
So are boxes of one point, of an address and a port: the kernel finds these by a hash, and puts one in without copying
the others. No two boxes overlap, so it does not matter which map is asked first.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

from cloudnet.model.addresses import Family, Network
from cloudnet.policy import members
from cloudnet.policy.boxes import Box, Recut, recut, within
from cloudnet.policy.matching import merge_ranges
from cloudnet.policy.members import Span, Spans
from cloudnet.policy.rules import ANYONE, WITH_PORTS, Action, Direction, Peer, Rule, SetId
from cloudnet.policy.table import Elements, Set

SpansOf: TypeAlias = Callable[[SetId], Spans]

_LAST_PORT: Final = 65535
_LAST_PROTOCOL: Final = 255
_TOP: Final = {Family.IPV4: 2**32 - 1, Family.IPV6: 2**128 - 1}
_ADDRESS: Final = {Family.IPV4: IPv4Address, Family.IPV6: IPv6Address}
_MORE: Final = 4  # a map may have so many times the elements that its rules name, and these besides:
_SPARE: Final = 1024


@dataclass(frozen=True, slots=True)
class Simple:
    """A rule of a run and what it leads to, with its peers as spans; no spans at all means everybody."""

    rule: Rule
    verdict: str
    peers: Spans | None

    def spans(self, family: Family) -> Sequence[Span]:
        if self.rule.family not in {None, family}:
            return ()
        return ((0, _TOP[family]),) if self.peers is None else self.peers.get(family, ())


@dataclass(frozen=True, slots=True)
class Lookup:
    """One map and the rule that asks it."""

    rule: str
    map: Set
    elements: Elements


def peer_of(rule: Rule, direction: Direction) -> Peer:
    return rule.source if direction is Direction.INGRESS else rule.destination


def is_simple(rule: Rule, direction: Direction) -> bool:
    """Tell whether a rule may stand in a map."""
    peer = peer_of(rule, direction)
    other = rule.destination if direction is Direction.INGRESS else rule.source
    ports = rule.destination.ports
    plain_peer = Peer(nets=peer.nets, sets=peer.sets, ports=ports if peer is rule.destination else ())
    plain_other = Peer(ports=ports) if other is rule.destination else ANYONE
    return (
        rule.action is not Action.LOG
        and rule.not_protocol is None
        and rule.icmp is None
        and rule.not_icmp is None
        and peer == plain_peer
        and other == plain_other
        and len(peer.sets) + bool(peer.nets) <= 1
    )


def simple(rule: Rule, direction: Direction, verdict: str, spans_of: SpansOf) -> Simple:
    """Return a rule that ``is_simple`` with its peers looked up."""
    peer = peer_of(rule, direction)
    if not peer.nets and not peer.sets:
        return Simple(rule, verdict, None)
    return Simple(rule, verdict, _spans_of_nets(peer.nets) if peer.nets else spans_of(peer.sets[0]))


@lru_cache(maxsize=1 << 16)
def _spans_of_nets(nets: tuple[Network, ...]) -> Spans:
    return members.spans(nets)


class MapKind(enum.Enum):
    """The maps of a run, in the order in which packets ask them; the value ends their names."""

    POINTS = "pe"
    PORTS = "p"
    OTHERS = "o"


def map_of_ranges(name: str) -> str:
    """Return the name of the map of ranges beside a map of points; nothing for any other set."""
    is_of_points = name.startswith("map-") and name.endswith(MapKind.POINTS.value)
    return name.removesuffix(MapKind.POINTS.value) + MapKind.PORTS.value if is_of_points else ""


Maps: TypeAlias = dict[MapKind, dict[str, str]]
"""{kind: {key: verdict}}, every kind in it."""


@dataclass(slots=True)
class Merged:
    """What a run came to the last time, so that a change of one rule costs what that rule does.

    ``boxes`` by address, of each family; ``pieces``: of each combination of rules that some box has, by protocol and
    port; ``used``: how many boxes have it; ``maps``: what each holds.
    """

    run: tuple[Simple, ...] = ()
    boxes: dict[Family, list[Box]] = field(default_factory=dict)
    pieces: dict[tuple[int, ...], _Pieces] = field(default_factory=dict)
    used: Counter[tuple[int, ...]] = field(default_factory=Counter)
    maps: dict[Family, Maps] = field(default_factory=dict)


def merge(run: Sequence[Simple], direction: Direction, name: str, memory: dict[str, Merged]) -> Iterator[Lookup]:
    """Yield the look-ups that stand for a run of rules, in order: one or two a family, more where one grows too big.

    Their maps are called after ``name``, so that they keep their names when what they hold changes. ``memory`` is
    empty, or what it was left as by the last call for the same place.
    """
    if not run:
        return
    if len(run) > 1 and _is_too_big(run):
        half = len(run) // 2
        yield from merge(run[:half], direction, f"{name}a", memory)
        yield from merge(run[half:], direction, f"{name}b", memory)
        return
    if all(entry.peers is None and entry.rule.family is None for entry in run):
        pieces = _pieces(run)
        yield from _lookups(name, None, _maps([("", pieces)], " . 0-255"))
        return
    side = "saddr" if direction is Direction.INGRESS else "daddr"
    merged = _again(tuple(run), memory.get(name))
    memory[name] = merged
    for family in Family:
        yield from _lookups(name, (family, f"{members.WORDS[family]} {side} . "), merged.maps[family])


def _again(run: tuple[Simple, ...], before: Merged | None) -> Merged:
    """Merge a run, building on what it was before if it has as many rules; anew on nothing."""
    if before is None or len(before.run) != len(run):
        before = Merged()
    merged = Merged(run, pieces=dict(before.pieces), used=before.used.copy())
    differ = [index for index, (now, was) in enumerate(zip(run, before.run, strict=False)) if now != was]
    said = frozenset(index for index in differ if not _say_the_same(run[index], before.run[index]))
    for family in Family:
        moved = [(index, _moved(run[index], before.run[index], family)) for index in differ]
        merged.maps[family] = _merge_family(merged, before, family, moved, said)
    return merged


def _merge_family(
    merged: Merged,
    before: Merged,
    family: Family,
    moved: Sequence[tuple[int, frozenset[Span]]],
    said: frozenset[int],
) -> Maps:
    """Return what the maps of one family hold.

    ``moved``: of each rule that differs, where its peers do; ``said``: the rules that differ in something else.
    """
    spans = [entry.spans(family) for entry in merged.run]
    now = recut(before.boxes.get(family, []), moved, spans)
    merged.boxes[family] = now.boxes
    others = _boxes_of(said, now, spans)
    merged.used.update(box.rules for box in now.new)
    merged.used.subtract(box.rules for box in now.gone)
    for rules in {box.rules for box in itertools.chain(now.new, others)}:
        if rules not in merged.pieces or not said.isdisjoint(rules):
            merged.pieces[rules] = _pieces([merged.run[index] for index in rules])
    old = _maps(_parts(family, itertools.chain(now.gone, others), before.pieces))
    fresh = _maps(_parts(family, itertools.chain(now.new, others), merged.pieces))
    for rules in {box.rules for box in now.gone}:
        if not merged.used[rules]:
            del merged.used[rules], merged.pieces[rules]
    known = before.maps.get(family) or _maps(())
    return {kind: _exchange(known[kind], old[kind], fresh[kind]) for kind in MapKind}


def _boxes_of(rules: Iterable[int], now: Recut, spans: Sequence[Sequence[Span]]) -> set[Box]:
    """Return the boxes that these rules are in, without the new ones."""
    found = {box for index in rules for span in spans[index] for box in within(now.boxes, span)}
    return found.difference(now.new) if found else found


def _parts(
    family: Family, boxes: Iterable[Box], pieces: Mapping[tuple[int, ...], _Pieces]
) -> Iterator[tuple[str, _Pieces]]:
    """Yield what the elements of each box begin with, and what comes behind."""
    return ((f"{_span(family, (box.first, box.last))} . ", pieces[box.rules]) for box in boxes)


def _exchange(elements: dict[str, str], old: dict[str, str], fresh: dict[str, str]) -> dict[str, str]:
    """Return the elements with ``fresh`` ones where ``old`` ones were."""
    if not elements:
        return fresh
    if not old and not fresh:
        return elements
    changed = dict(elements)
    for key in old:
        del changed[key]
    return changed | fresh


def _say_the_same(now: Simple, was: Simple) -> bool:
    """Tell whether two rules differ in their peers at most."""
    return now.verdict == was.verdict and (now.rule is was.rule or now.rule == was.rule)


def _moved(now: Simple, was: Simple, family: Family) -> frozenset[Span]:
    """Return where peers are that only one of two rules has."""
    if now.peers is was.peers and now.rule.family == was.rule.family:
        return frozenset()
    return frozenset(now.spans(family)).symmetric_difference(was.spans(family))


def _is_too_big(run: Sequence[Simple]) -> bool:
    """Guess the number of elements from above: every named peer with every port of those rules that are for all."""
    named = sum(len(entry.spans(family)) for entry in run if entry.peers is not None for family in Family)
    to_all = sum(_ports_in(entry) for entry in run if entry.peers is None)
    own = sum(
        _ports_in(entry) * len(entry.spans(family)) for entry in run if entry.peers is not None for family in Family
    )
    return named * to_all > _MORE * (own + to_all) + _SPARE


def _ports_in(entry: Simple) -> int:
    return max(1, len(entry.rule.destination.ports))


# --- by protocol and port --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pieces:
    """``(protocol, first port, last port, verdict)`` and ``(first protocol, last protocol, verdict)``."""

    ported: tuple[tuple[int, int, int, str], ...]
    others: tuple[tuple[int, int, str], ...]


def _pieces(run: Sequence[Simple]) -> _Pieces:
    ported = []
    for protocol in sorted(WITH_PORTS):
        chosen = [entry for entry in run if entry.rule.protocol in {None, protocol}]
        spans = [
            [(ports.first, ports.last) for ports in merge_ranges(entry.rule.destination.ports)] or [(0, _LAST_PORT)]
            for entry in chosen
        ]
        ported += [(protocol, first, last, chosen[index].verdict) for first, last, index in _first(spans, chosen)]
    rest = [entry for entry in run if entry.rule.protocol not in WITH_PORTS]
    spans = [
        _around_ports() if entry.rule.protocol is None else [(entry.rule.protocol, entry.rule.protocol)]
        for entry in rest
    ]
    return _Pieces(tuple(ported), tuple((a, b, rest[index].verdict) for a, b, index in _first(spans, rest)))


def _around_ports() -> list[Span]:
    ends = [-1, *sorted(WITH_PORTS), _LAST_PROTOCOL + 1]
    return [(before + 1, after - 1) for before, after in itertools.pairwise(ends) if before + 1 < after]


def _first(spans: Sequence[Sequence[Span]], entries: Sequence[Simple]) -> Iterator[tuple[int, int, int]]:
    """Yield ``(first, last, lowest index)`` of what is covered, neighbours of one verdict as one."""
    starts = sorted((first, index, last) for index, of in enumerate(spans) for first, last in of)
    points = sorted({first for first, _, _ in starts} | {last + 1 for _, _, last in starts})
    waiting: list[tuple[int, int]] = []  # (index, last), the lowest index on top
    position = 0
    before: tuple[int, int, int] | None = None
    for point, following in itertools.pairwise(points):
        while position < len(starts) and starts[position][0] == point:
            heapq.heappush(waiting, (starts[position][1], starts[position][2]))
            position += 1
        while waiting and waiting[0][1] < point:
            heapq.heappop(waiting)
        if not waiting:
            continue
        index = waiting[0][0]
        joins = before is not None and before[1] == point - 1 and _same(entries, before[2], index)
        if before is not None and not joins:
            yield before
        before = (before[0] if before is not None and joins else point, following - 1, index)
    if before is not None:
        yield before


def _same(entries: Sequence[Simple], one: int, other: int) -> bool:
    return entries[one].verdict == entries[other].verdict


# --- maps ------------------------------------------------------------------------------------------------------


def _maps(boxes: Iterable[tuple[str, _Pieces]], end: str = "") -> Maps:
    """Return what each map holds; ``end`` is what keys of protocols without ports end with."""
    maps: Maps = {kind: {} for kind in MapKind}
    for begin, pieces in boxes:
        is_one_peer = "-" not in begin
        for protocol, first, last, verdict in pieces.ported:
            point = is_one_peer and first == last
            maps[MapKind.POINTS if point else MapKind.PORTS][f"{begin}{protocol} . {_numbers(first, last)}"] = verdict
        for first, last, verdict in pieces.others:
            maps[MapKind.OTHERS][f"{begin}{_numbers(first, last)}{end}"] = verdict
    return maps


def _lookups(name: str, of: tuple[Family, str] | None, maps: Maps) -> Iterator[Lookup]:
    """Yield the look-ups of maps that hold something; ``of`` is the family, and what a look-up begins with."""
    family, begin = of or ("", "")
    kind = f"{members.TYPES[of[0]]} . " if of else ""
    alone = "" if of else " . meta l4proto"  # see table.Set
    for which, elements in maps.items():
        if not elements:
            continue
        if which is MapKind.OTHERS:
            key, asked = f"inet_proto{' . inet_proto' if alone else ''}", f"meta l4proto{alone}"
        else:
            key, asked = "inet_proto . inet_service", "meta l4proto . th dport"
        ranges = which is not MapKind.POINTS
        map_ = Set(f"{name}-{family}{which.value}", f"{kind}{key}", is_interval=ranges, is_map=True)
        yield Lookup(f"{begin}{asked} vmap @{map_.name}", map_, elements)


@lru_cache(maxsize=1 << 17)
def _span(family: Family, span: tuple[int, ...]) -> str:
    make = _ADDRESS[family]
    return str(make(span[0])) if span[0] == span[1] else f"{make(span[0])}-{make(span[1])}"


def _numbers(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
