from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.lab.journal import RING, Counter, Journal, judge

MS = 1_000_000


def packets(arrivals: str, *, every: int = 5) -> tuple[list[int], list[int]]:
    """``x`` is a packet that arrived, ``.`` one that was lost; one is sent every so many milliseconds."""
    sent = [1000 * MS + number * every * MS for number in range(len(arrivals))]
    return sent, [at + MS if what == "x" else 0 for at, what in zip(sent, arrivals, strict=True)]


@pytest.mark.parametrize(
    ("arrivals", "window", "lost", "gap_ms"),
    [
        ("xxxxxx", (0, 6), 0, 0),
        ("xx..xx", (0, 6), 2, 15),
        ("x.x..x", (0, 6), 3, 15),
        ("xx....", (0, 6), 4, 15 + 5),
        ("..xx", (0, 4), 2, 10),
        ("xx....xx", (4, 8), 2, 25),
        ("xx....xx", (0, 4), 2, 25),
        ("xx....xx", (6, 8), 0, 0),
        ("xx", (2, 2), 0, 0),
        ("", (0, 0), 0, 0),
    ],
    ids=[
        "nothing-lost",
        "one-run",
        "the-longer-of-two",
        "no-end-in-sight",
        "nothing-before",
        "begins-before-the-window",
        "ends-after-the-window",
        "healed-before-the-window",
        "empty-window",
        "nothing-sent",
    ],
)
def test_losses_and_gaps(arrivals, window, lost, gap_ms) -> None:
    sent, arrived = packets(arrivals)

    found = judge(sent, arrived, *window, known=len(sent))

    assert (found.sent, found.lost, found.longest_gap_ms) == (window[1] - window[0], lost, gap_ms)


@given(st.text("x.", max_size=60), st.integers(0, 60))
def test_two_windows_lose_together_what_one_loses(arrivals, cut) -> None:
    sent, arrived = packets(arrivals)
    middle = min(cut, len(sent))

    parts = [judge(sent, arrived, *w, known=len(sent)) for w in ((0, middle), (middle, len(sent)))]

    assert sum(part.lost for part in parts) == arrivals.count(".")
    assert sum(part.sent for part in parts) == len(arrivals)


def test_a_window_behind_the_first_turn_of_the_ring() -> None:
    sent, arrived = packets("xx..xxxx")
    sent, arrived = sent[-3:] + sent[:-3], arrived[-3:] + arrived[:-3]

    found = judge(sent, arrived, 83, 91 - 3, known=91 - 3)

    assert (found.lost, found.longest_gap_ms) == (2, 15)


def test_a_slot_keeps_its_own_rows() -> None:
    journal = Journal.create()
    try:
        journal.counters(1)[Counter.SENT] = 7
        journal.sent(1)[RING - 1] = 8
        journal.arrived(1)[0] = 9

        rows = [
            (journal.counters(s)[Counter.SENT], journal.sent(s)[RING - 1], journal.arrived(s)[0]) for s in range(3)
        ]
    finally:
        journal.close()

    assert rows == [(0, 0, 0), (7, 8, 9), (0, 0, 0)]
