"""Who is translated, by tables; and that every way from one state to another ends in the same."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.errors import BadInput
from cloudnet.kernel.nft_memory import MemoryNft
from cloudnet.kernel.ruleset import Element
from cloudnet.model.addresses import Family
from cloudnet.model.resources import AllowedUse, IPPool, Metadata, Node
from cloudnet.nat import plan
from cloudnet.nat.plan import HOSTS, POOLS, SOURCES, Options

V4, V6 = Family.IPV4, Family.IPV6


def pool(cidr, *, nat=False, disabled=False, uses=frozenset({AllowedUse.WORKLOAD})):
    network = ip_network(cidr)
    return IPPool(Metadata(f"p-{cidr}"), network, nat_outgoing=nat, disabled=disabled, allowed_uses=uses)


def networks(desired, of):
    return {str(element.key[0]) for element in desired.members[of]}


def test_pools_and_sources_are_kept_by_family():
    pools = [pool("10.65.0.0/16", nat=True), pool("10.66.0.0/16"), pool("fd00:65::/48", nat=True)]

    wanted = plan.desired(pools, [], Options())

    assert networks(wanted, POOLS[V4]) == {"10.65.0.0/16", "10.66.0.0/16"}
    assert networks(wanted, SOURCES[V4]) == {"10.65.0.0/16"}
    assert networks(wanted, POOLS[V6]) == networks(wanted, SOURCES[V6]) == {"fd00:65::/48"}


def test_a_disabled_pool_is_inside_and_its_remaining_pods_are_translated():
    wanted = plan.desired([pool("10.65.0.0/16", nat=True, disabled=True)], [], Options())

    assert networks(wanted, POOLS[V4]) == networks(wanted, SOURCES[V4]) == {"10.65.0.0/16"}


def test_a_pool_for_load_balancers_alone_does_not_count():
    pools = [
        pool("10.65.0.0/16", nat=True, uses=frozenset({AllowedUse.LOAD_BALANCER})),
        pool("10.66.0.0/16", uses=frozenset({AllowedUse.LOAD_BALANCER, AllowedUse.WORKLOAD})),
    ]

    wanted = plan.desired(pools, [], Options())

    assert networks(wanted, POOLS[V4]) == {"10.66.0.0/16"}
    assert networks(wanted, SOURCES[V4]) == set()


def test_a_pool_within_another_is_no_member_of_its_own():
    pools = [pool("10.65.1.0/24", nat=True), pool("10.65.0.0/16"), pool("10.65.7.1/32")]

    wanted = plan.desired(pools, [], Options())

    assert networks(wanted, POOLS[V4]) == {"10.65.0.0/16"}
    assert networks(wanted, SOURCES[V4]) == {"10.65.1.0/24"}


def test_a_pool_of_one_address_is_that_address():
    wanted = plan.desired([pool("10.65.7.1/32")], [], Options())

    assert wanted.members[POOLS[V4]] == {Element((ip_address("10.65.7.1"),))}


@pytest.mark.parametrize(("exclude", "expected"), [(False, set()), (True, {"10.0.1.11", "10.0.2.12"})])
def test_nodes_are_members_only_when_they_are_excluded(exclude, expected):
    nodes = [
        Node(Metadata("n1"), (ip_interface("10.0.1.11/24"), ip_interface("fd00::11/64"))),
        Node(Metadata("n2"), (ip_interface("10.0.2.12/24"),)),
    ]

    wanted = plan.desired([], nodes, Options(exclude_hosts=exclude))

    assert networks(wanted, HOSTS[V4]) == expected


OWN = "udp dport { 4789, 4793 } fib saddr type local return"
INSIDE4, INSIDE6 = "ip saddr @sources4 ip daddr != @pools4", "ip6 saddr @sources6 ip6 daddr != @pools6"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(
            Options(own_ports=(4789, 4793)),
            [OWN, f"{INSIDE4} masquerade fully-random", f"{INSIDE6} masquerade fully-random"],
            id="as it comes",
        ),
        pytest.param(
            Options(exclude_hosts=True),
            [
                f"{INSIDE4} ip daddr != @hosts4 masquerade fully-random",
                f"{INSIDE6} ip6 daddr != @hosts6 masquerade fully-random",
            ],
            id="nodes excluded",
        ),
        pytest.param(
            Options(device="eth+"),
            [
                f'{INSIDE4} oifname "eth*" masquerade fully-random',
                f'{INSIDE6} oifname "eth*" masquerade fully-random',
            ],
            id="by some devices",
        ),
        pytest.param(
            Options(address=ip_address("192.0.2.1"), device="eth0"),
            [
                f'{INSIDE4} oifname "eth0" snat ip to 192.0.2.1 fully-random',
                f'{INSIDE6} oifname "eth0" masquerade fully-random',
            ],
            id="fixed address",
        ),
        pytest.param(
            Options(ports=(1000, 2000), address=ip_address("2001:db8::1")),
            [
                f"meta l4proto tcp {INSIDE4} masquerade to :1000-2000 fully-random",
                f"meta l4proto udp {INSIDE4} masquerade to :1000-2000 fully-random",
                f"{INSIDE4} masquerade fully-random",
                f"meta l4proto tcp {INSIDE6} snat ip6 to [2001:db8::1]:1000-2000 fully-random",
                f"meta l4proto udp {INSIDE6} snat ip6 to [2001:db8::1]:1000-2000 fully-random",
                f"{INSIDE6} snat ip6 to 2001:db8::1 fully-random",
            ],
            id="ports",
        ),
    ],
)
def test_the_rules_follow_from_the_settings(options, expected):
    assert list(plan.rules(options)) == expected


POOLS_DRAWN = st.lists(
    st.builds(
        pool,
        st.sampled_from(
            ["10.0.0.0/8", "10.65.0.0/16", "10.65.0.0/17", "10.65.128.0/17", "10.66.0.0/16", "fd00::/48"]
        ),
        nat=st.booleans(),
        disabled=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.cidr,
)


@given(first=POOLS_DRAWN, second=POOLS_DRAWN)
def test_changes_lead_where_a_fresh_start_leads(first, second):
    options = Options()
    before, after = (plan.desired(pools, [], options) for pools in (first, second))
    changed, fresh = MemoryNft(), MemoryNft()
    changed.run(plan.transaction(before, None))
    fresh.run(plan.transaction(after, None))

    changed.change(plan.changes(before, after))

    assert changed.list(plan.TABLE) == fresh.list(plan.TABLE)


@given(before=POOLS_DRAWN, after=POOLS_DRAWN)
def test_only_what_differs_is_changed(before, after):
    was, will_be = (plan.desired(pools, [], Options()) for pools in (before, after))

    changes = plan.changes(was, will_be)

    assert sum(len(change.elements) for change in changes) == sum(
        len(was.members[one] ^ will_be.members[one]) for one in plan.SETS
    )


@given(
    cidrs=st.lists(
        st.builds(
            lambda n, length: ip_network((n << 24, length), strict=False), st.integers(0, 255), st.integers(0, 12)
        ),
        max_size=12,
    )
)
def test_the_outermost_networks_cover_the_same_and_do_not_overlap(cidrs):
    kept = plan.outermost(cidrs)

    assert all(any(one.subnet_of(outer) for outer in kept) for one in cidrs)
    assert not any(a.overlaps(b) for a in kept for b in kept if a is not b)
    assert set(kept) <= set(cidrs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", None), ("0", None), ("1000:2000", (1000, 2000)), ("53", (53, 53)), ("1:65535", (1, 65535))],
)
def test_a_port_range_is_read_as_calico_writes_it(text, expected):
    assert plan.port_range(text, path="x") == expected


@pytest.mark.parametrize("text", ["x", "1000-2000", ":", "1:", "2000:1000", "0:5", "1:65536", "-1:5", "1:2:3", "٣"])
def test_another_port_range_is_refused_by_name(text):
    with pytest.raises(BadInput, match=r"^nat_port_range: "):
        plan.port_range(text, path="nat_port_range")


@pytest.mark.parametrize("text", ['a"b', "+", "x" * 16, "a b", "eth*"])
def test_another_device_is_refused_by_name(text):
    with pytest.raises(BadInput, match=r"^nat_outgoing_interface: "):
        plan.device_pattern(text, path="nat_outgoing_interface")
