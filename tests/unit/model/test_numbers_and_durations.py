"""AS numbers and durations as documents write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.model import as_numbers, durations


@pytest.mark.parametrize(
    ("found", "number"),
    [(64512, 64512), ("64512", 64512), ("0", 0), ("1.10", 65546), ("65535.65535", 2**32 - 1), (2**32 - 1, 2**32 - 1)],
)
def test_as_numbers(found, number):
    assert as_numbers.read(found) == number


@pytest.mark.parametrize(
    "found", ["", "x", "-1", -1, 2**32, "1.65536", "65536.1", "1.2.3", "1.", ".1", "٣", " 1", "1 "]
)
def test_what_is_no_as_number(found):
    with pytest.raises(ValueError):  # noqa: PT011 - any
        as_numbers.read(found)


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_both_ways_to_write_a_number_mean_the_same(high, low):
    assert as_numbers.read(f"{high}.{low}") == as_numbers.read(high * 2**16 + low)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2m30s", 150),
        ("1h", 3600),
        ("1.5s", 1.5),
        ("100ms", 0.1),
        ("0", 0),
        ("1h1m1s", 3661),
        ("5us", 5e-6),
    ],
)
def test_durations(text, seconds):
    assert durations.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "90", "s", "1 s", "-1s", "1d", "1s x"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError):  # noqa: PT011 - any
        durations.seconds(text)
