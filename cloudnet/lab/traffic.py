"""Traffic between pods, and what became of every packet of it.

``Traffic`` starts the two processes of ``generator`` and tells them which flows to run; they write into a
``Journal`` that it reads. It measures and never judges by what a sender believes: a packet that was sent and did
not arrive within the grace is lost, a stream is intact when every byte of it arrived and was the right one.
How loss and gap are defined is in docs/design/demo.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Literal, Self

from cloudnet.lab.errors import LabError
from cloudnet.lab.journal import Counter, End, Journal, Loss, Run, judge
from cloudnet.model.addresses import Address

PORT = 7000
GRACE = 1.0  # seconds that a packet may be under way before it counts as lost
STREAM_GRACE = 5.0  # seconds that a stream may take to catch up: TCP's waits double with each lost try
UDP_EVERY = 1  # ticks of 5 ms: 200 packets a second
TCP_EVERY = 4  # ticks: 50 kilobytes a second
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.02

Kind = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a flow begins or ends: an address in a network namespace. ``node`` is the one it lives on."""

    node: str
    namespace: str
    address: Address


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of UDP at 200 packets a second, or one TCP stream at 50 kilobytes a second."""

    kind: Kind
    source: Endpoint
    destination: Endpoint

    def touches(self, node: str) -> bool:
        return node in {self.source.node, self.destination.node}

    def __str__(self) -> str:
        return f"{self.kind} {self.source.address} ({self.source.node}) > {self.destination.address}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment: how much each flow, by its slot, had sent. ``at`` is monotonic seconds."""

    at: float
    sent: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class FlowSample:
    """One flow between two marks. A flow counts from its first arrival, at ``first_at`` (monotonic seconds).

    ``intact`` is whether a stream still stands, has caught up, and brought the right bytes; packets of UDP are
    not expected to be repeated or reordered, but that is no loss. Both counts are since the flow was opened.
    """

    flow: Flow
    sent: int
    runs: tuple[Run, ...] = ()
    intact: bool = True
    first_at: float | None = None
    duplicates: int = 0
    reordered: int = 0

    @property
    def lost(self) -> int:
        return sum(run.lost for run in self.runs)

    @property
    def longest_gap_ms(self) -> float:
        return max((run.gap_ms for run in self.runs), default=0.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """All flows between two marks; the sums are over UDP, whose packets nobody sends again."""

    flows: tuple[FlowSample, ...] = ()

    @property
    def datagrams(self) -> Iterator[FlowSample]:
        return (sample for sample in self.flows if sample.flow.kind == "udp")

    @property
    def sent(self) -> int:
        return sum(sample.sent for sample in self.datagrams)

    @property
    def lost(self) -> int:
        return sum(sample.lost for sample in self.datagrams)

    @property
    def longest_gap_ms(self) -> float:
        return max((sample.longest_gap_ms for sample in self.datagrams), default=0.0)

    @property
    def tcp_intact(self) -> bool:
        return all(sample.intact for sample in self.flows)


class Process:
    """One of the generator's processes, asked line by line."""

    def __init__(self, role: str, journal: Journal) -> None:
        self._role = role
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in ``close``
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cloudnet.lab.generator", role, str(journal.descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            pass_fds=[journal.descriptor],
            start_new_session=True,  # Ctrl-C ends the demo, and the demo ends the traffic
            bufsize=0,
        )

    def ask(self, **command: object) -> None:
        """Give one command and wait until it is carried out.

        Raises:
            LabError: the process refused, or is gone.
        """
        answer = b""
        with contextlib.suppress(BrokenPipeError):  # it ended: then there is no answer either
            self._stdin.write(json.dumps(command, default=str).encode() + b"\n")
            answer = self._read_line()
        if not answer:
            raise LabError(f"the traffic process {self._role!r} does not answer: {self._last_words()}")
        refusal = json.loads(answer).get("error")
        if refusal:
            raise LabError(f"traffic: {command.get('namespace')}: {refusal}")

    def close(self) -> None:
        self._stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        self._complaints.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin  # noqa: S101 - asked for when it was started
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout  # noqa: S101 - asked for when it was started
        return self._process.stdout

    def _read_line(self) -> bytes:
        deadline = time.monotonic() + _ANSWER_SECONDS
        answer = b""
        while not answer.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._stdout], [], [], left)[0]:
                return b""
            piece = os.read(self._stdout.fileno(), 4096)
            if not piece:
                return b""
            answer += piece
        return answer

    def _last_words(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.poll()}"


class Traffic:
    """All flows of a demo. Use as a context manager: at its end every process and socket is gone."""

    def __init__(self) -> None:
        self._journal = Journal.create()
        self._receiver = Process("receive", self._journal)
        self._sender = Process("send", self._journal)
        self._slots: dict[Flow, int] = {}
        self._listening: set[Endpoint] = set()
        self._first: dict[int, int] = {}  # {slot: sequence number of its first packet that arrived}
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._sender.close()
        self._receiver.close()
        self._journal.close()

    @property
    def flows(self) -> tuple[Flow, ...]:
        """Return the open flows."""
        return tuple(self._slots)

    def open(self, flow: Flow) -> None:
        """Begin to send; returns when packets leave, not when they arrive.

        Raises:
            LabError: it is open already, or one of its namespaces or addresses is not there.
        """
        if flow in self._slots:
            raise LabError(f"traffic: {flow} is open already")
        if flow.destination not in self._listening:
            end = flow.destination
            self._receiver.ask(verb="listen", namespace=end.namespace, address=end.address, port=PORT)
            self._listening.add(end)
        slot, self._next = self._next, self._next + 1
        self._sender.ask(
            verb="open",
            slot=slot,
            kind=flow.kind,
            namespace=flow.source.namespace,
            source=flow.source.address,
            destination=flow.destination.address,
            port=PORT,
            every=UDP_EVERY if flow.kind == "udp" else TCP_EVERY,
        )
        self._slots[flow] = slot

    def close(self, flow: Flow) -> None:
        """Send on it no more; it is measured no longer."""
        self._sender.ask(verb="close", slot=self._slots.pop(flow))

    def mark(self) -> Mark:
        """Return this moment, to measure from or to."""
        return Mark(
            time.monotonic(), {slot: self._journal.counters(slot)[Counter.SENT] for slot in self._slots.values()}
        )

    def arrived(self, flow: Flow) -> bool:
        """Tell whether anything of the flow has ever arrived."""
        return self._journal.counters(self._slots[flow])[Counter.ARRIVED] > 0

    def measure(self, begin: Mark, end: Mark, *, without: Collection[str] = ()) -> Sample:
        """Return what became of all that was sent between two marks, of flows that touch none of these nodes.

        Waits until everything arrived, at most the grace after ``end``.
        """
        flows = [
            (flow, slot)
            for flow, slot in self._slots.items()
            if slot in end.sent and not any(flow.touches(node) for node in without)
        ]
        for kind, grace in (("udp", GRACE), ("tcp", STREAM_GRACE)):
            waiting = [slot for flow, slot in flows if flow.kind == kind]
            while time.monotonic() < end.at + grace and any(self._missing(slot, begin, end) for slot in waiting):
                time.sleep(_LOOK_SECONDS)
        return Sample(tuple(self._sample(flow, slot, begin, end) for flow, slot in flows))

    def _missing(self, slot: int, begin: Mark, end: Mark) -> bool:
        return self._judge(slot, begin, end).lost > 0

    def _judge(self, slot: int, begin: Mark, end: Mark) -> Loss:
        known = self._journal.counters(slot)[Counter.SENT]
        first = max(begin.sent.get(slot, 0), self._first_arrival(slot) or 0)
        return judge(
            self._journal.sent(slot), self._journal.arrived(slot), first, max(first, end.sent[slot]), known=known
        )

    def _first_arrival(self, slot: int) -> int | None:
        """Return the sequence number of the first packet that ever arrived. Found while it is remembered."""
        if slot not in self._first:
            sent = self._journal.counters(slot)[Counter.SENT]
            arrived = self._journal.arrived(slot)
            found = next((number for number in range(min(sent, len(arrived))) if arrived[number]), None)
            if found is None:
                return None
            self._first[slot] = found
        return self._first[slot]

    def _sample(self, flow: Flow, slot: int, begin: Mark, end: Mark) -> FlowSample:
        loss = self._judge(slot, begin, end)
        counters = self._journal.counters(slot)
        first = self._first_arrival(slot)
        return FlowSample(
            flow=flow,
            sent=loss.sent,
            runs=loss.runs,
            intact=flow.kind == "udp" or self._stands(slot, loss),
            first_at=None if first is None else self._journal.arrived(slot)[first] / 1e9,
            duplicates=counters[Counter.DUPLICATES],
            reordered=counters[Counter.REORDERED],
        )

    def _stands(self, slot: int, loss: Loss) -> bool:
        counters = self._journal.counters(slot)
        return not loss.lost and counters[Counter.SENDER] == counters[Counter.RECEIVER] == End.OPEN
