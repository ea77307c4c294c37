"""Which learned prefix leads to a block."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.kernel.api import Hop
from cloudnet.routes.ways import Ways


def hop(k):
    return Hop(ip_address(f"10.0.0.{k}"), "eth0")


WAYS = Ways(
    {
        ip_network("10.65.0.0/16"): hop(1),
        ip_network("10.65.2.0/24"): hop(2),
        ip_network("10.65.2.64/26"): hop(3),
        ip_network("fd00:65::/48"): hop(4),
    }
)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("10.65.2.64/26", hop(3)),
        ("10.65.2.0/26", hop(2)),
        ("10.65.2.70/32", hop(3)),
        ("10.65.9.0/26", hop(1)),
        ("10.65.0.0/16", hop(1)),
        ("10.0.0.0/8", None),
        ("10.66.0.0/26", None),
        ("fd00:65::40/122", hop(4)),
        ("fd00:66::/122", None),
    ],
)
def test_the_longest_prefix_around_a_block_counts(block, expected):
    assert WAYS.to(ip_network(block)) == expected


def test_who_has_learned_nothing_knows_no_way():
    assert Ways().to(ip_network("10.65.2.0/26")) is None


networks = st.tuples(st.integers(0, 7), st.integers(29, 32)).map(lambda t: ip_network((t[0], t[1]), strict=False))
tables = st.dictionaries(networks, st.integers(1, 3).map(hop), max_size=6)


@given(tables, networks)
def test_it_is_found_as_by_looking_at_all(table, block):
    around = [prefix for prefix in table if block.subnet_of(prefix)]
    longest = max(around, key=lambda prefix: prefix.prefixlen, default=None)

    assert Ways(table).to(block) == table.get(longest)


@given(tables, tables)
def test_what_differs_is_what_came_went_or_changed(one, other):
    assert set(Ways(one).differing(Ways(other))) == {p for p, _ in one.items() ^ other.items()}
