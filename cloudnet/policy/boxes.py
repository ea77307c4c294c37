"""The addresses of one family, cut into boxes: in each box, every address has the same rules.

A box ends wherever the peers of some rule begin or end. ``cut`` begins anew; ``recut`` cuts only around what changed,
and comes to the same boxes: they depend on the rules' peers, never on what these were before.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from cloudnet.policy.members import Span

_FEW: Final = 4  # one part in so many may have changed; with more, it is quicker to begin anew


class Box(NamedTuple):
    """Addresses from ``first`` to ``last``, both included, and the indexes of their rules, lowest first."""

    first: int
    last: int
    rules: tuple[int, ...]


class Recut(NamedTuple):
    """All boxes, in order; which of them are ``new``, and which old ones are ``gone``."""

    boxes: list[Box]
    gone: list[Box]
    new: list[Box]


def cut(spans: Iterable[tuple[int, Iterable[Span]]]) -> Iterator[Box]:
    """Yield the boxes, in order. ``spans``: of each rule by its index; those of one rule do not overlap."""
    events = sorted(
        itertools.chain.from_iterable(
            itertools.chain(((first, index) for first, _ in of), ((last + 1, ~index) for _, last in of))
            for index, of in ((index, tuple(of)) for index, of in spans)
        )
    )  # where, and the index of what begins there, or ~index of what has ended
    active: set[int] = set()
    begin = 0
    for where, index in events:
        if active and where > begin:
            yield Box(begin, where - 1, tuple(sorted(active)) if len(active) > 1 else tuple(active))
        if index < 0:
            active.discard(~index)
        else:
            active.add(index)
        begin = where


def within(boxes: list[Box], span: Span) -> list[Box]:
    """Return the boxes that have an address of the span."""
    return boxes[slice(*_places(boxes, span))]


def recut(
    boxes: list[Box], changed: Sequence[tuple[int, Collection[Span]]], spans: Sequence[Sequence[Span]]
) -> Recut:
    """Cut anew around what changed.

    ``changed``: index of a rule, and the spans that it has lost or got; without ``boxes`` it does not matter.
    ``spans``: what each rule has now, in order.
    """
    parts = [part for _, of in changed for part in of]
    if not boxes or len(parts) * _FEW > len(boxes):
        fresh = list(cut(enumerate(spans)))
        return Recut(fresh, boxes, fresh)
    moved = frozenset(index for index, of in changed if of)
    kept, gone, new = list(boxes), [], []
    for region in _joined(_with_neighbours(boxes, part) for part in parts):
        old = within(boxes, region)
        rules = sorted(moved.union(*(box.rules for box in old)))
        fresh = list(cut((index, _clipped(spans[index], region)) for index in rules))
        kept[slice(*_places(kept, region))] = fresh
        gone += old
        new += fresh
    return Recut(kept, gone, new)


def _places(boxes: Sequence[Span | Box], span: Span) -> tuple[int, int]:
    """Return where those begin and end, in a sequence in order, that have an address of the span."""
    first, last = span
    begin = bisect_left(boxes, (first,))
    if begin and boxes[begin - 1][1] >= first:
        begin -= 1
    return begin, bisect_left(boxes, (last + 1,))


def _with_neighbours(boxes: list[Box], span: Span) -> Span:
    """Return the span with the boxes that it touches: they end at its ends, and perhaps do so no longer."""
    near = within(boxes, (span[0] - 1, span[1] + 1))
    return (min(span[0], near[0].first), max(span[1], near[-1].last)) if near else span


def _joined(regions: Iterable[Span]) -> Iterator[Span]:
    """Yield regions in order; those that overlap become one."""
    before: Span | None = None
    for first, last in sorted(regions):
        if before is None or first > before[1]:
            if before is not None:
                yield before
            before = first, last
        else:
            before = before[0], max(before[1], last)
    if before is not None:
        yield before


def _clipped(spans: Sequence[Span], region: Span) -> Iterator[Span]:
    """Yield what the region has of the spans."""
    for first, last in spans[slice(*_places(spans, region))]:
        yield max(first, region[0]), min(last, region[1])
