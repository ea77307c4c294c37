"""Element changes as netlink messages: what does not fit is refused, what is large is divided."""

from __future__ import annotations

import errno
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.kernel import nft_elements
from cloudnet.kernel.nft import Exclude, Include, NftError
from cloudnet.kernel.ruleset import Element, KeyType, Set, Span, Table

TABLE = Table("t")
HOSTS = Set(TABLE, "hosts", (KeyType.IPV4,))
NETS = Set(TABLE, "nets", (KeyType.IPV4,), interval=True)
DEVICES = Set(TABLE, "devices", (KeyType.DEVICE,), interval=True)
PAIRS = Set(TABLE, "pairs", (KeyType.PROTOCOL, KeyType.PORT))


@pytest.mark.parametrize(
    ("into", "key"),
    [
        (HOSTS, (ip_network("10.0.0.0/8"),)),
        (HOSTS, (ip_address("fd00::1"),)),
        (HOSTS, ("eth0",)),
        (HOSTS, (ip_address("10.0.0.1"), 80)),
        (NETS, (ip_network("fd00::/8"),)),
        (DEVICES, ("eth0",)),
        (PAIRS, (6, 65536)),
        (PAIRS, (6, -1)),
        (PAIRS, (6, Span(80, 90))),
        (Set(TABLE, "names", (KeyType.DEVICE,)), ("x" * 16,)),
    ],
    ids=str,
)
def test_an_element_that_does_not_fit_its_set_is_refused_with_the_sets_name(into, key):
    with pytest.raises(NftError, match=f"set inet t {into.name}") as refused:
        list(nft_elements.requests([Include(into, (Element(key),))]))

    assert refused.value.errno == errno.EINVAL


def test_many_elements_make_messages_whose_lengths_fit_sixteen_bits():
    many = tuple(Element((ip_address(number),)) for number in range(20_000))

    made = list(nft_elements.requests([Include(NETS, many)]))

    assert tuple(element for _, part in made for element in part.elements) == many
    assert all(len(request.body) < 1 << 16 for request, _ in made)


def test_on_demand_each_element_has_a_message_of_its_own():
    some = tuple(Element((ip_address(number),)) for number in range(3))

    made = list(nft_elements.requests([Include(HOSTS, some), Exclude(HOSTS, some[:1])], one_each=True))

    assert [part for _, part in made] == [*(Include(HOSTS, (one,)) for one in some), Exclude(HOSTS, some[:1])]


def test_a_change_without_elements_is_no_message():
    assert list(nft_elements.requests([Include(HOSTS, ()), Exclude(HOSTS, ())])) == []
