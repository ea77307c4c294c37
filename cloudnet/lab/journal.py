"""What the traffic generator writes down of every packet, in memory that its processes and the reader share.

A flow has a slot: a row of counters and two rings of times, when a packet left and when it arrived, indexed by
its sequence number. Each cell has one writer, so there are no locks: the sender zeroes the arrival before it
sends, the receiver fills it in. Times are ``CLOCK_MONOTONIC`` nanoseconds, the same in all network namespaces.
``judge`` is pure and knows nothing of memory: two rows of numbers in, the losses out.
"""

from __future__ import annotations

import enum
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass

SLOTS = 256
RING = 1 << 16  # packets a slot remembers: 327 s at 200 a second, longer than any step that is judged
_CELL = 8  # bytes of a counter or time


class Counter(enum.IntEnum):
    """The counters of a slot, by their place."""

    SENT = 0  # sequence number of the next packet
    ARRIVED = 1
    DUPLICATES = 2
    REORDERED = 3
    HIGHEST = 4  # highest sequence number that arrived, plus one
    REFUSED = 5  # the kernel took the packet only at the second try, or not at all
    SENDER = 6  # End of the sending side
    RECEIVER = 7  # End of the receiving side


class End(enum.IntEnum):
    """How one side of a stream stands."""

    NEW = 0
    OPEN = 1
    CLOSED = 2  # by us
    BROKEN = 3  # reset, timed out or closed by the other side
    CORRUPT = 4  # other bytes arrived than were sent


_ROW = 16  # counters a slot has room for


class Journal:
    """The shared memory. The creator closes the descriptor; whoever attaches maps it anew."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _CELL * SLOTS * (_ROW + 2 * RING))
        self._cells = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls) -> Journal:
        """Make an empty journal; pages that nobody writes take no memory."""
        descriptor = os.memfd_create("cloudnet-traffic")
        os.ftruncate(descriptor, _CELL * SLOTS * (_ROW + 2 * RING))
        return cls(descriptor)

    def counters(self, slot: int) -> memoryview[int]:
        return self._cells[slot * _ROW : (slot + 1) * _ROW]

    def sent(self, slot: int) -> memoryview[int]:
        """Return when each packet left: ``ring[sequence % RING]``."""
        start = SLOTS * _ROW + slot * RING
        return self._cells[start : start + RING]

    def arrived(self, slot: int) -> memoryview[int]:
        """Return when each packet arrived, zero when it did not."""
        start = SLOTS * (_ROW + RING) + slot * RING
        return self._cells[start : start + RING]

    def close(self) -> None:
        """Give the memory back; rows handed out before keep it alive until they are dropped."""
        self._cells.release()
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Run:
    """Packets lost in a row. ``after``: when the last that arrived before left; ``until``: the first after."""

    lost: int
    after: int
    until: int

    @property
    def gap_ms(self) -> float:
        return (self.until - self.after) / 1e6


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of the packets ``begin`` to ``end`` of one flow."""

    sent: int = 0
    runs: tuple[Run, ...] = ()

    @property
    def lost(self) -> int:
        return sum(run.lost for run in self.runs)

    @property
    def longest_gap_ms(self) -> float:
        return max((run.gap_ms for run in self.runs), default=0.0)


def judge(sent: Sequence[int], arrived: Sequence[int], begin: int, end: int, *, known: int) -> Loss:
    """Return the losses among the packets ``begin`` (included) to ``end`` (not), given all up to ``known``.

    A run at an edge of the window is measured in full: the packet that arrived before it may lie before
    ``begin``, the one after it behind ``end``. When nothing arrived after it, the last packet sent ends it.
    """
    size = len(sent)
    runs = []
    number = begin
    while number < end:
        if arrived[number % size]:
            number += 1
            continue
        first = number
        while number < end and not arrived[number % size]:
            number += 1
        before = _arrived_before(arrived, first, oldest=max(0, known - size))
        after = _arrived_after(arrived, number, known)
        runs.append(Run(number - first, sent[before % size], sent[after % size]))
    return Loss(max(0, end - begin), tuple(runs))


def _arrived_before(arrived: Sequence[int], number: int, *, oldest: int) -> int:
    """Return the last packet before ``number`` that arrived; when none did, the oldest that is remembered."""
    number -= 1
    while number > oldest and not arrived[number % len(arrived)]:
        number -= 1
    return max(number, oldest)


def _arrived_after(arrived: Sequence[int], number: int, known: int) -> int:
    """Return the first packet from ``number`` on that arrived; when none did, the last that was sent."""
    while number < known - 1 and not arrived[number % len(arrived)]:
        number += 1
    return min(number, known - 1)
