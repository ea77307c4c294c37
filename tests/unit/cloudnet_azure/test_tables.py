from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.model.addresses import Family, InstanceId, InterfaceId, SubnetId, TableId
from cloudnet.model.resources import NextHop
from cloudnet.provider.api import Instance, Owner, RouteChange, Verb
from cloudnet.provider.errors import Unsupported
from cloudnet_azure import tables
from cloudnet_azure.tables import Machines

BLOCK, BLOCK6 = ip_network("10.65.1.0/26"), ip_network("fd65:1::/122")
NETWORKS = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Network"
FOUR, SIX = ip_address("10.0.1.11"), ip_address("fd00::11")
N1 = Instance(InstanceId("rg/n1"), InterfaceId("rg/n1-nic"), SubnetId("rg/v/s"), addresses=(FOUR, SIX))
MACHINES = Machines({FOUR: N1, SIX: N1})


def route(prefix=str(BLOCK), *, name="r", kind="VirtualAppliance", hop="10.0.1.11"):
    properties = {"addressPrefix": prefix, "nextHopType": kind}
    return {"name": name, "properties": {**properties, **({"nextHopIpAddress": hop} if hop else {})}}


def parsed(body, machines=MACHINES):
    return tables.parse_route(body, machines, cluster="c1")


def test_a_route_is_ours_by_its_whole_name_and_never_by_its_beginning():
    assert parsed(route(name="cloudnet-c1-10.65.1.0-26")).owner is Owner.OURS
    assert parsed(route(name="Cloudnet-C1-10.65.1.0-26")).owner is Owner.OURS
    assert parsed(route("10.65.10.0/26", name="cloudnet-c1-10.65.1.0-26")).owner is Owner.UNMARKED
    assert parsed(route(name="cloudnet-c1-10.65.1.0-26-old")).owner is Owner.UNMARKED
    assert parsed(route(name="cloudnet-c10-10.65.1.0-26")).owner is Owner.UNMARKED


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("Internet", "the internet"),
        ("VirtualNetworkGateway", "gateway"),
        ("VnetLocal", "network itself"),
        ("None", "nowhere"),
        ("Hologram", "the kind 'Hologram'"),
    ],
)
def test_what_leads_elsewhere_is_somebody_elses_and_named(kind, says):
    found = parsed(route(kind=kind, hop=""))

    assert found.owner is Owner.FOREIGN
    assert says in found.target
    assert found.next_hop == NextHop()


def test_a_next_hop_is_an_address_and_its_machine_where_that_is_known():
    assert parsed(route()).next_hop == NextHop(N1.interface, N1.id, FOUR)
    assert parsed(route(hop="10.0.9.9")).next_hop == NextHop(address=ip_address("10.0.9.9"))
    assert "rg/n1-nic" in parsed(route()).target


def test_a_route_to_a_machine_that_is_off_is_a_black_hole():
    off = Machines({FOUR: replace(N1, running=False)})

    assert parsed(route(), off).black_hole
    assert not parsed(route()).black_hole


def test_a_service_tag_is_no_route_of_ours_to_know_and_takes_room():
    body = {
        "name": "rt",
        "properties": {
            "routes": [
                route(),
                route("Storage", name="tag", kind="Internet", hop=""),
                route(str(BLOCK6), hop="fd00::11"),
            ],
            "subnets": [
                {"id": "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Network/virtualNetworks/V/subnets/A"}
            ],
        },
    }

    table = tables.parse_table(body, MACHINES, cluster="c1", limit=10)

    assert [r.destination for r in table.routes] == [BLOCK, BLOCK6]
    assert table.limits == {Family.IPV4: 8, Family.IPV6: 8}
    assert table.subnets == {"rg/v/a"}


def test_a_table_without_anything_is_a_table():
    table = tables.parse_table({"name": "rt"}, MACHINES, cluster="c1", limit=10)

    assert (table.routes, table.subnets, table.limits[Family.IPV4]) == ((), frozenset(), 10)


def change(destination=BLOCK, **hop):
    return RouteChange(Verb.CREATE, TableId("rt"), destination, NextHop(**hop))


def test_a_next_hops_address_is_of_its_destinations_family():
    assert MACHINES.address(change(address=FOUR, interface=N1.interface)) == FOUR
    assert MACHINES.address(change(BLOCK6, address=FOUR, interface=N1.interface)) == SIX


@pytest.mark.parametrize("hop", [{"address": FOUR}, {"interface": InterfaceId("rg/other")}, {}])
def test_a_next_hop_without_such_an_address_can_never_work(hop):
    with pytest.raises(Unsupported, match="no IPv6 address"):
        MACHINES.address(change(BLOCK6, **hop))


prefixes = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda parts: ip_network(f"{parts[0]}/{parts[1]}", strict=False))


@given(prefixes, prefixes)
def test_no_two_prefixes_have_one_name_and_azure_takes_every_name(one, other):
    names = tables.route_name("c" * 25, one), tables.route_name("c" * 25, other)

    assert (names[0] == names[1]) == (one == other)
    assert all(re.fullmatch(r"[A-Za-z0-9][\w.-]{0,78}\w", name) for name in names)
