"""A routing table is one table a zone; a route is ours by its name, and there once it is in force."""

from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.trouble import Trouble
from cloudnet.model.addresses import Family
from cloudnet.provider.api import Owner, Verb
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Unavailable,
    Unsupported,
)
from cloudnet_ibm.errors import Refusal, classify
from cloudnet_ibm.routes import rooms, route_name

BLOCK = ip_network("10.65.1.0/26")
OTHER = ip_network("10.65.2.0/26")


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_routing_table_is_a_table_for_each_zone_of_its_subnets(vpc):
    vpc.read()

    found = {t.id: (t.zone, t.subnets, t.name) for t in vpc.provider.routes.read().tables}
    assert found == {
        vpc.table("t-a", 1): ("eu-de-1", {vpc.subnets["s1"]}, "t-a"),
        vpc.table("t-a", 2): ("eu-de-2", {vpc.subnets["s2"]}, "t-a"),
        vpc.table("t-b", 1): ("eu-de-1", {vpc.subnets["s3"]}, "t-b"),
    }


def test_a_route_stands_in_the_table_of_its_zone_only(vpc):
    vpc.put(None, zone=2, address="10.0.2.13")

    seen = vpc.read()

    assert list(seen[vpc.table(zone=2)]) == [BLOCK]
    assert seen[vpc.table(zone=1)] == {}


def test_what_other_zones_hold_takes_room_from_a_table(make_vpc):
    vpc = make_vpc(routes_per_table=10)
    for k in range(3):
        vpc.put(f"r{k}", ip_network(f"10.66.{k}.0/26"), zone=2)
    vpc.read()

    limits = {t.zone: t.limits[Family.IPV4] for t in vpc.provider.routes.read().tables if t.name == "t-a"}
    assert limits == {"eu-de-1": 7, "eu-de-2": 10}


@pytest.mark.parametrize(
    ("held", "quota", "wanted"),
    [
        ((0, 0), 10, (10, 10)),
        ((3, 4), 10, (6, 7)),
        ((3, 4), 7, (3, 4)),
        ((3, 4), 6, (3, 3)),
        ((3, 4), 2, (2, 0)),
        ((3, 4), 0, (0, 0)),
    ],
)
def test_zones_are_offered_what_is_left_and_the_last_gives_way(vpc, held, quota, wanted):
    for zone, count in enumerate(held, start=1):
        for k in range(count):
            vpc.put(f"r{zone}-{k}", ip_network(f"10.66.{k}.0/26"), zone=zone)
    routes = vpc.provider.routes._client.routes(vpc.tables["t-a"])

    assert rooms(routes, ["eu-de-1", "eu-de-2"], quota) == {f"eu-de-{z}": n for z, n in enumerate(wanted, start=1)}


def test_tables_that_serve_no_node_are_not_read(vpc):
    vpc.provider.instances([vpc.nodes["n2"]])

    assert [t.id for t in vpc.provider.routes.read().tables] == [vpc.table("t-b")]


def test_the_configured_tables_are_the_only_ones(make_vpc):
    vpc = make_vpc()
    narrowed = make_vpc(routing_table_ids=(vpc.tables["t-b"],))

    assert list(narrowed.read()) == [narrowed.table("t-b")]


def test_subnets_are_asked_for_again_only_when_one_is_new(vpc):
    vpc.read()
    vpc.read()
    made = vpc.state.add_subnet("s4", "eu-de-3", ip_network("10.0.4.0/24"), vpc.tables["t-b"])
    vpc.subnets["s4"] = made.id
    vpc.add_node("n4", "s4")
    seen = vpc.read()

    assert vpc.simulator.counts["list_subnets"] == 2
    assert vpc.table("t-b", 3) in seen


def test_lists_are_read_to_their_last_page(vpc):
    for k in range(230):
        vpc.put(f"r{k}", ip_network(f"10.66.{k}.0/26"), zone=1)

    seen = vpc.read()

    assert len(seen[vpc.table()]) == 230
    assert vpc.simulator.counts["list_vpc_routing_table_routes"] == 3 + 1


@pytest.mark.parametrize("state", ["pending", "updating", "deleting"])
def test_a_route_of_ours_is_there_once_it_is_in_force(vpc, state):
    made = vpc.put(None, changed=state == "updating")
    made.stable_at = 5.0
    if state == "deleting":
        made.gone_at = 5.0

    before = vpc.read()
    vpc.clock.advance(5.0)
    after = vpc.read()

    assert BLOCK not in before[vpc.table()]
    assert (BLOCK in after[vpc.table()]) is (state != "deleting")


def test_somebody_elses_route_that_is_on_its_way_is_in_the_way_already(vpc):
    vpc.put("theirs").stable_at = 5.0

    assert vpc.read()[vpc.table()][BLOCK].owner is Owner.FOREIGN


@pytest.mark.parametrize(
    ("fields", "owner", "target"),
    [
        ({"name": None}, Owner.OURS, "interface 02b7-"),
        ({"name": "theirs"}, Owner.FOREIGN, "(route theirs)"),
        ({"name": route_name("c2", str(BLOCK), "eu-de-1")}, Owner.FOREIGN, "cloudnet-c2-"),
        ({"name": route_name("c1", str(OTHER), "eu-de-1")}, Owner.FOREIGN, "10-65-2-0"),
        ({"name": None, "service": True}, Owner.FOREIGN, "made by a service"),
        ({"name": None, "action": "drop", "address": "0.0.0.0"}, Owner.FOREIGN, "the action drop"),
        ({"name": "theirs", "address": "10.9.9.9"}, Owner.FOREIGN, "address 10.9.9.9"),
    ],
    ids=["ours", "theirs", "another-cluster", "another-route", "service", "drop", "unknown-address"],
)
def test_a_route_is_ours_by_the_name_that_it_should_bear(vpc, fields, owner, target):
    vpc.put(fields.pop("name"), **fields)

    route = vpc.read()[vpc.table()][BLOCK]

    assert route.owner is owner
    assert target in route.target


@pytest.mark.parametrize(("ours", "theirs", "shown"), [(4, 2, Owner.FOREIGN), (2, 4, Owner.OURS)])
def test_of_two_routes_to_one_place_the_one_that_packets_take_is_shown(vpc, ours, theirs, shown):
    vpc.put(None, priority=ours)
    vpc.put("theirs", priority=theirs, address="10.9.9.9")

    assert vpc.read()[vpc.table()][BLOCK].owner is shown


def test_of_two_equal_routes_somebody_elses_is_shown(vpc):
    vpc.put(None, priority=4)
    vpc.put("theirs", priority=4, address="10.9.9.9")

    assert vpc.read()[vpc.table()][BLOCK].target == "address 10.9.9.9 (route theirs)"


def test_a_route_to_a_machine_that_stands_still_is_a_black_hole(vpc):
    vpc.put(None)
    alive = vpc.read()[vpc.table()][BLOCK].black_hole
    next(m for m in vpc.state.machines.values() if m.name == "n1").status = "stopped"

    assert not alive
    assert vpc.read()[vpc.table()][BLOCK].black_hole


# --- writing ------------------------------------------------------------------------------------------------------


def test_a_route_is_made_with_our_name_in_the_tables_zone_and_the_least_urgent(vpc):
    assert vpc.apply() is None

    (made,) = vpc.held()
    assert (made.name, made.zone, made.priority) == ("cloudnet-c1-10-65-1-0-26-eu-de-1", "eu-de-1", 4)
    assert str(made.address) == "10.0.1.11"


def test_a_next_hop_is_changed_in_place(vpc):
    before = vpc.put(None)

    assert vpc.apply(Verb.REPLACE, address="10.0.3.12") is None
    assert [r.id for r in vpc.held()] == [before.id]
    assert str(before.address) == "10.0.3.12"


def test_only_the_zones_own_route_is_deleted(vpc):
    vpc.put(None, zone=1)
    other = vpc.put(None, zone=2)

    assert vpc.apply(Verb.DELETE) is None
    assert vpc.held() == [other]


def test_what_is_being_deleted_is_deleted(vpc):
    vpc.put(None).gone_at = 60.0

    assert vpc.apply(Verb.DELETE) is None
    assert vpc.simulator.counts["delete_vpc_routing_table_route"] == 0


def test_nothing_is_made_beside_somebody_elses_route(vpc):
    vpc.put("theirs", priority=0)

    error = vpc.apply()

    assert isinstance(error, Conflict)
    assert "route theirs" in str(error)
    assert vpc.simulator.counts["create_vpc_routing_table_route"] == 0


def test_our_own_route_on_its_way_counts_as_made(vpc):
    vpc.put(None).stable_at = 60.0

    assert vpc.apply() is None
    assert len(vpc.held()) == 1


def test_a_full_routing_table_is_a_quota(make_vpc):
    vpc = make_vpc()
    vpc.plane.conditions = vpc.plane.conditions.__class__(routes_per_table=1)
    vpc.put("theirs", OTHER)

    error = vpc.apply()

    assert isinstance(error, QuotaExceeded)
    assert "raise the quota of routes per routing table" in str(error)


def test_a_fifteenth_prefix_length_is_refused_before_it_is_sent(vpc):
    for length in range(10, 24):
        vpc.put(f"r{length}", ip_network(f"10.0.0.0/{length}", strict=False))

    error = vpc.apply()

    assert isinstance(error, Unsupported)
    assert "takes no more than 14" in str(error)
    assert vpc.simulator.counts["create_vpc_routing_table_route"] == 0


def test_a_prefix_length_that_is_there_already_takes_no_more_room(vpc):
    for length in range(10, 23):
        vpc.put(f"r{length}", ip_network(f"10.0.0.0/{length}", strict=False))
    vpc.put("r26", OTHER)

    assert vpc.apply() is None


def test_a_block_of_ipv6_cannot_be_routed(vpc):
    assert isinstance(vpc.apply(destination=ip_network("fd00::/122")), Unsupported)


def test_a_routing_table_that_does_not_exist_is_not_found(vpc):
    assert isinstance(vpc.apply(table="r010-none/eu-de-1"), NotFound)


def test_a_route_that_fails_after_it_was_accepted_never_shows(vpc):
    vpc.fail("create_vpc_routing_table_route", Trouble.OPERATION_FAILED, times=1)

    assert vpc.apply() is None
    assert BLOCK not in vpc.read()[vpc.table()]


@pytest.mark.parametrize(
    ("destination", "zone"), [("10.65.1.0/26", "eu-de-1"), ("255.255.255.255/32", "a-region-with-a-very-long-name-1")]
)
def test_a_name_fits_and_tells_routes_apart(destination, zone):
    name = route_name("a-cluster-with-a-nam", destination, zone)

    assert len(name) <= 63
    assert name != route_name("a-cluster-with-a-nam", "255.255.255.254/32", zone)
    assert not name.startswith("ibm-")


# --- every trouble, at every verb ---------------------------------------------------------------------------------

TROUBLES = {
    Trouble.THROTTLE: "Throttled",
    Trouble.PERMISSION: "PermissionDenied",
    Trouble.AUTHENTICATION: "PermissionDenied",
    Trouble.QUOTA: "QuotaExceeded",
    Trouble.UNAVAILABLE: "Unavailable",
    Trouble.INTERNAL: "Unavailable",
    Trouble.PRECONDITION: "Conflict",
    Trouble.GARBAGE: "Unavailable",
    Trouble.SLOW: "Unavailable",
    Trouble.TIMEOUT: "Unavailable",
}
CALLS = {
    Verb.CREATE: "create_vpc_routing_table_route",
    Verb.REPLACE: "update_vpc_routing_table_route",
    Verb.DELETE: "delete_vpc_routing_table_route",
}


@pytest.mark.parametrize("verb", Verb, ids=lambda v: v.value)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: t.value)
def test_every_trouble_of_every_write_lands_in_its_class_and_touches_nothing_foreign(vpc, trouble, verb):
    foreign = vpc.put("theirs", OTHER)
    if verb is not Verb.CREATE:
        vpc.put(None)
    vpc.fail(CALLS[verb], trouble)

    error = vpc.apply(verb, address="10.0.3.12" if verb is Verb.REPLACE else "10.0.1.11")

    assert type(error).__name__ == TROUBLES[trouble]
    assert foreign in vpc.held()
    assert len([r for r in vpc.held() if r.destination == BLOCK]) <= 1
    assert "the-token" not in str(error)


@pytest.mark.parametrize("trouble", [*TROUBLES, Trouble.NOT_FOUND], ids=lambda t: t.value)
@pytest.mark.parametrize("call", ["list_vpc_routing_tables", "list_vpc_routing_table_routes", "list_subnets"])
def test_every_trouble_of_every_read_lands_in_its_class(vpc, call, trouble):
    vpc.fail(call, trouble)

    with pytest.raises(ProviderError) as caught:
        vpc.read()

    assert type(caught.value).__name__ == {**TROUBLES, Trouble.NOT_FOUND: "NotFound"}[trouble]


@pytest.mark.parametrize("status", [400, 403, 409])
def test_the_code_of_a_quota_is_believed_whatever_the_status(status):
    assert classify(Refusal("create_vpc_routing_table_route", status, "over_quota")) is QuotaExceeded


def test_a_denied_write_names_the_role(vpc):
    vpc.fail("create_vpc_routing_table_route", Trouble.PERMISSION)

    error = vpc.apply()

    assert isinstance(error, PermissionDenied)
    assert "grant the role Editor" in str(error)


def test_an_answer_that_is_not_ibms_says_so(vpc):
    vpc.fail("list_vpc_routing_tables", Trouble.GARBAGE)

    with pytest.raises(Unavailable, match="something that is not IBM Cloud, at http://vpc"):
        vpc.read()
