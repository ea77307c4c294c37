"""Probes over the native path: which are due, what their answers mean, and the packet itself. Pure.

A probe is sent to an address *inside* the remote block over the native way, whatever the main routing table
says; the remote agent answers from its node's own address, so that an answer tells of our way there and of nothing
else. Verdicts are by evidence alone:

* ``LOST``: at least ``lost_probes`` in a row went unanswered, the last answer is ``lost_after`` seconds ago, **and**
  the remote agent answers when it is called at its node's own address. A dead agent is not a dead path: while nobody
  is there to answer, nothing is concluded (docs/decisions/a-dead-agent-is-not-a-dead-path.md).
* ``SILENT``: for ``silent_after`` seconds neither probes nor calls were answered. The path stays as it is, for no
  other could be better; somebody should look whether the machine still runs.
* ``PROVEN``: at least ``prove_answers`` probes in a row were answered, over at least ``prove_seconds``.

The interval is stretched so that all destinations together stay within ``budget`` probes a second; proven paths whose
last probe went unanswered are probed at the full pace, within as large a budget of their own. When our own
loop stood still, the probes of that time were never sent or their answers wait unread: nobody is blamed.
"""

from __future__ import annotations

import enum
import heapq
import ipaddress
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from cloudnet.model.addresses import Network

# --- the packet: UDP, the same port on both sides, network byte order ------------------------------------------
#
#   offset size field
#        0    4 magic        "cnpb"
#        4    1 version      1
#        5    1 kind         1 probe, 2 answer, 3 call, 4 present (the answer to a call)
#        6    1 family       4 or 6, of the block
#        7    1 prefix       prefix length of the block
#        8    4 run          random number of the prober's process: answers to an earlier one do not count
#       12    4 sequence     of this destination, wraps
#       16   16 block        network address; IPv4 in the first four bytes, then zeros

_PACKET = struct.Struct("!4sBBBBII16s")
_MAGIC = b"cnpb"
_VERSION = 1
SIZE = _PACKET.size
_LENGTHS = {4: 4, 6: 16}  # bytes of an address
_WRAP = 1 << 32


class PacketKind(enum.IntEnum):
    """What a probe packet is."""

    PROBE = 1  # from tunnel address to an address in the block, over the native way
    ANSWER = 2
    CALL = 3  # from node address to node address: is your agent there?
    PRESENT = 4


REPLIES: Mapping[PacketKind, PacketKind] = MappingProxyType(
    {PacketKind.PROBE: PacketKind.ANSWER, PacketKind.CALL: PacketKind.PRESENT}
)


@dataclass(frozen=True, slots=True)
class Packet:
    """One probe, one call, or the reply to it, which repeats block, run and sequence."""

    kind: PacketKind
    block: Network
    run: int
    sequence: int


def encode(packet: Packet) -> bytes:
    block = packet.block
    address = block.network_address.packed.ljust(16, b"\0")
    return _PACKET.pack(
        _MAGIC, _VERSION, packet.kind, block.version, block.prefixlen, packet.run, packet.sequence, address
    )


def decode(data: bytes) -> Packet | None:
    """Return the packet, or ``None`` for anything that is not one of ours in a version that we know."""
    if len(data) != SIZE:
        return None
    magic, version, kind, family, prefix, run, sequence, address = _PACKET.unpack(data)
    length = _LENGTHS.get(family, 0)
    if magic != _MAGIC or version != _VERSION or not length or any(address[length:]):
        return None
    try:
        block = ipaddress.ip_network((address[:length], prefix))
        return Packet(PacketKind(kind), block, run, sequence)
    except ValueError:
        return None


# --- the prober ---------------------------------------------------------------------------------------------


class Verdict(enum.Enum):
    """What the probes say of one destination's native path."""

    UNKNOWN = "unknown"
    PROVEN = "proven"
    LOST = "lost"
    SILENT = "silent"  # nobody there who could answer


@dataclass(frozen=True, slots=True)
class Settings:
    """When to probe and what to conclude; all times in seconds."""

    interval: float = 0.1
    budget: float = 2000.0  # probes a second, all destinations together
    lost_probes: int = 4
    lost_after: float = 0.5
    prove_answers: int = 5
    prove_seconds: float = 1.0
    called_after: int = 2  # unanswered probes in a row: call the agent along with the next ones
    silent_after: float = 5.0
    stall: float = 0.25  # our own loop came this much too late: judge nobody by that time
    tick: float = 0.01  # probes due this soon are sent together: a hundred wake-ups a second at most


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe to send now."""

    block: Network
    sequence: int
    call: bool = False  # call the remote agent as well, at its node's own address


@dataclass(slots=True)
class _Destination:
    number: int  # tells a destination from an earlier one of the same block
    due_at: float  # when to look at it again
    probe_at: float  # when it is probed again, unless the last probe goes unanswered
    heard_at: float  # the last answer, or when we began to listen
    sequence: int = 0
    present_at: float | None = None  # the first reply to a call since the last answer
    called_back_at: float = float("-inf")  # the last one
    unanswered: OrderedDict[int, float] = field(default_factory=OrderedDict)  # sequence -> sent at
    streak: int = 0
    streak_at: float = 0.0
    verdict: Verdict = Verdict.UNKNOWN


_REMEMBERED = 32  # unanswered probes a destination; an answer to an older one tells nothing of now
_FORGIVE_EVERY = 5.0  # seconds
_NEARLY = 1e-6  # seconds: what rounding takes away is still time
_GOLDEN = 0.6180339887498949  # its multiples modulo 1 lie evenly spread, however many are taken


class Prober:
    """Schedule and verdicts for all destinations. Not thread-safe; driven by ``due`` and ``answered``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._destinations: dict[Network, _Destination] = {}
        self._queue: list[tuple[float, int, Network]] = []
        self._changed: dict[Network, None] = {}
        self._suspects: set[Network] = set()  # proven paths whose last probe went unanswered
        self._watched = 0
        self._forgave_at = float("-inf")

    @property
    def interval(self) -> float:
        """Seconds between two probes of one destination, stretched by the budget."""
        return max(self._settings.interval, len(self._destinations) / self._settings.budget)

    @property
    def next_due(self) -> float | None:
        """When ``due`` should be called again; ``None`` while nobody is watched."""
        while self._queue and self._stale(self._queue[0]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def __contains__(self, block: Network) -> bool:
        return block in self._destinations

    def watch(self, block: Network, now: float) -> None:
        """Begin with a destination, if it is not watched already."""
        if block in self._destinations:
            return
        self._watched += 1
        due_at = now + (self._watched * _GOLDEN % 1.0) * self.interval
        self._destinations[block] = _Destination(self._watched, due_at, due_at, now)
        self._schedule(block, due_at)

    def forget(self, block: Network) -> None:
        if self._destinations:
            self._suspects.discard(block)
            self._destinations.pop(block, None)
            self._changed.pop(block, None)

    def verdict(self, block: Network) -> Verdict:
        destination = self._destinations.get(block) if self._destinations else None
        return destination.verdict if destination else Verdict.UNKNOWN

    def changed(self) -> tuple[Network, ...]:
        """Return the destinations whose verdict changed since the last call."""
        blocks = tuple(self._changed)
        self._changed.clear()
        return blocks

    def due(self, now: float) -> Sequence[Probe]:
        """Judge the destinations whose turn it is, and return the probes to send now."""
        self._forgive_a_stall(now)
        probes = []
        while self._queue and self._queue[0][0] <= now + self._settings.tick:
            item = heapq.heappop(self._queue)
            if self._stale(item):
                continue
            block = item[2]
            destination = self._destinations[block]
            at_once = self._becomes_suspect(block, destination)
            if destination.probe_at > now + self._settings.tick and not at_once:  # just a look: all is as before
                self._look_at(block, destination, destination.probe_at)
                continue
            self._judge(block, destination, now)
            probes.append(self._next_probe(block, destination, now))
        return probes

    def answered(self, block: Network, sequence: int, at: float) -> float | None:
        """Take an answer in; return its round-trip time, or ``None`` when it tells nothing: unknown or repeated."""
        destination = self._destinations.get(block)
        sent_at = destination.unanswered.pop(sequence, None) if destination else None
        if destination is None or sent_at is None:
            return None
        skipped = [s for s, sent in destination.unanswered.items() if sent < sent_at]
        for older in skipped:
            del destination.unanswered[older]
        if not destination.unanswered:
            self._suspects.discard(block)
        if skipped or destination.streak == 0:
            destination.streak, destination.streak_at = 0, sent_at
        destination.streak += 1
        destination.heard_at = max(destination.heard_at, at)
        destination.present_at = None
        if destination.verdict is Verdict.SILENT:
            self._decide(block, destination, Verdict.UNKNOWN)
        long_enough = at - destination.streak_at >= self._settings.prove_seconds
        if destination.streak >= self._settings.prove_answers and long_enough:
            self._decide(block, destination, Verdict.PROVEN)
        return max(0.0, at - sent_at)

    def present(self, block: Network, at: float) -> None:
        """Take the reply to a call in: the remote agent is there, so its silence to probes means something."""
        destination = self._destinations.get(block)
        if destination is None:
            return
        destination.called_back_at = max(destination.called_back_at, at)
        if destination.present_at is None:
            destination.present_at = at

    def _judge(self, block: Network, destination: _Destination, now: float) -> None:
        settings, silent = self._settings, now - destination.heard_at + _NEARLY
        if len(destination.unanswered) < settings.lost_probes or silent < settings.lost_after:
            return
        first_sent_at = next(iter(destination.unanswered.values()))
        if now - first_sent_at + _NEARLY < settings.lost_after - settings.interval:
            return  # with long intervals most of the silence was our own
        destination.streak = 0
        present_at = destination.present_at
        if present_at is not None and now - present_at + _NEARLY >= self._pace(
            block
        ):  # a probe since then could tell
            self._decide(block, destination, Verdict.LOST)
        elif silent >= settings.silent_after and now - destination.called_back_at >= settings.silent_after:
            self._decide(block, destination, Verdict.SILENT)

    def _decide(self, block: Network, destination: _Destination, verdict: Verdict) -> None:
        if destination.verdict is not verdict:
            destination.verdict = verdict
            self._changed[block] = None

    def _next_probe(self, block: Network, destination: _Destination, now: float) -> Probe:
        sequence, call = destination.sequence, len(destination.unanswered) >= self._settings.called_after
        destination.sequence = (sequence + 1) % _WRAP
        destination.unanswered[sequence] = now
        while len(destination.unanswered) > _REMEMBERED:
            destination.unanswered.popitem(last=False)
            destination.streak = 0
        out_of_turn = destination.probe_at > now + self._settings.tick
        destination.probe_at = (now if out_of_turn else destination.probe_at) + self._pace(block)
        if destination.probe_at <= now:  # we were late: go on from now instead of catching up
            destination.probe_at = now + self._pace(block)
        look_at = destination.probe_at
        if destination.verdict is Verdict.PROVEN:  # what carries traffic is looked at before its next turn
            look_at = min(look_at, now + self._settings.interval)
        self._look_at(block, destination, look_at)
        return Probe(block, sequence, call)

    def _forgive_a_stall(self, now: float) -> None:
        """Give unread answers two intervals to arrive; only once in a while, or a slow host would see nothing."""
        due = self.next_due
        late = due is not None and now - due > self._settings.stall
        if not late or now - self._forgave_at < _FORGIVE_EVERY:
            return
        self._forgave_at = now
        grace = now - self._settings.lost_after + 2 * self.interval
        for destination in self._destinations.values():
            destination.heard_at = max(destination.heard_at, min(now, grace))

    def _becomes_suspect(self, block: Network, destination: _Destination) -> bool:
        """Tell whether a path that works as far as we know has just gone silent: that may be a black hole."""
        if destination.verdict is not Verdict.PROVEN:
            self._suspects.discard(block)
            return False
        if not destination.unanswered or block in self._suspects:
            return False
        self._suspects.add(block)
        return True

    def _pace(self, block: Network) -> float:
        """Return the seconds between two probes of a destination; suspects share a budget of their own."""
        if block in self._suspects:
            return max(self._settings.interval, len(self._suspects) / self._settings.budget)
        return self.interval

    def _look_at(self, block: Network, destination: _Destination, at: float) -> None:
        destination.due_at = at
        self._schedule(block, at)

    def _schedule(self, block: Network, due_at: float) -> None:
        heapq.heappush(self._queue, (due_at, self._destinations[block].number, block))

    def _stale(self, item: tuple[float, int, Network]) -> bool:
        due_at, number, block = item
        destination = self._destinations.get(block)
        return destination is None or destination.number != number or destination.due_at != due_at
