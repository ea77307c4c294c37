"""The lab's IBM Cloud: its calls are the SDK's, what it says the models accept, and packets follow its zones."""

import copy
import inspect
import json
import re
from ipaddress import IPv4Address, IPv4Network

import pytest
from ibm_vpc import VpcV1, vpc_v1

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.ibm import bodies, judge
from cloudnet.lab.clouds.ibm.contract import ENDPOINTS
from cloudnet.lab.clouds.ibm.fabric import fabric_state
from cloudnet.lab.clouds.ibm.plane import IbmPlane
from cloudnet.lab.clouds.ibm.state import Route

BLOCK = IPv4Network("10.65.1.0/26")
QUERY = "version=2026-01-01&generation=2"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def plane(clock):
    """A VPC with a subnet in each of two zones, both at one routing table, and a machine in each."""
    made = IbmPlane(Conditions(routes_per_table=5), clock)
    made.simulator.judge = judge.judge
    table = made.vpc.add_table("t")
    for k in (1, 2):
        subnet = made.vpc.add_subnet(f"s{k}", f"eu-de-{k}", IPv4Network(f"10.0.{k}.0/24"), table.id)
        made.vpc.add_machine(f"n{k}", subnet.id, IPv4Address(f"10.0.{k}.11"))
    return made


@pytest.fixture
def table(plane):
    return next(iter(plane.vpc.tables.values()))


def send(plane, method, path, body=None, *, query=QUERY, kind="application/json"):
    raw = b"" if body is None else json.dumps(body).encode()
    return plane.simulator.handle(method, f"/v1{path}?{query}", {"Content-Type": kind}, raw, outsider=False)


def create(plane, table, **more):
    wanted = {
        "destination": str(BLOCK),
        "zone": {"name": "eu-de-1"},
        "next_hop": {"address": "10.0.1.11"},
        **more,
    }
    return send(plane, "POST", f"/vpcs/{plane.vpc.id}/routing_tables/{table.id}/routes", wanted)


def code(answer):
    return answer.body["errors"][0]["code"]


# --- held to the SDK ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.name)
def test_each_call_is_the_sdks_own(endpoint):
    source = inspect.getsource(getattr(VpcV1, endpoint.name))
    url = re.search(r"url = '([^']+)'", source).group(1)
    method = re.search(r"method='(\w+)'", source).group(1)

    assert (endpoint.method, endpoint.path) == (method, url)


@pytest.mark.parametrize("call", judge.ANSWERS)
def test_each_answer_is_of_the_model_that_the_sdk_names(call):
    told = re.search(r"representing a `(\w+)` object", getattr(VpcV1, call).__doc__).group(1)

    assert judge.ANSWERS[call] == told


@pytest.mark.parametrize("call", judge.PATCHES)
def test_each_patch_is_of_the_model_that_the_sdk_names(call):
    assert judge.PATCHES[call] in {f.type for f in judge.fields_of(getattr(VpcV1, call)).values()}


def test_every_answer_is_what_the_models_describe(plane, table):
    create(plane, table)
    next(iter(table.routes.values())).service = True
    base = f"/vpcs/{plane.vpc.id}/routing_tables"
    machine = next(iter(plane.vpc.machines))
    for path in (
        *(
            "/instances",
            "/virtual_network_interfaces",
            "/subnets",
            "/security_groups",
            base,
            f"{base}/{table.id}/routes",
        ),
        f"/instances/{machine}/network_interfaces",
    ):
        assert send(plane, "GET", path).status == 200

    assert plane.simulator.violations == []


def test_the_models_themselves_read_every_answer(plane, table):
    create(plane, table)
    now = 0.0

    for model, body in (
        (vpc_v1.Route, bodies.route(plane.vpc, table.id, next(iter(table.routes.values())), now)),
        (vpc_v1.RoutingTable, bodies.table(plane.vpc, table, now)),
        (vpc_v1.Subnet, bodies.subnet(plane.vpc, next(iter(plane.vpc.subnets.values())))),
        (vpc_v1.Instance, bodies.machine(plane.vpc, next(iter(plane.vpc.machines.values())))),
        (
            vpc_v1.VirtualNetworkInterface,
            bodies.virtual_interface(plane.vpc, *list(plane.vpc.interfaces.values())[:1]),
        ),
    ):
        assert set(model.from_dict(body).to_dict()) == set(body)


DAMAGES = {
    "missing": lambda route: route.pop("lifecycle_state"),
    "misspelt": lambda route: route.update(lifecyle_state=route.pop("lifecycle_state")),
    "wrong type": lambda route: route.update(priority="4"),
    "a bool for a number": lambda route: route.update(priority=True),
    "wrong word": lambda route: route.update(lifecycle_state="fine"),
    "no moment": lambda route: route.update(created_at="yesterday"),
    "missing inside": lambda route: route["zone"].pop("name"),
    "unknown inside": lambda route: route["next_hop"].update(port=1),
    "no object": lambda route: route.update(zone="eu-de-1"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_answer_is_found(plane, table, damage):
    create(plane, table)
    good = bodies.route(plane.vpc, table.id, next(iter(table.routes.values())), 0.0)
    bad = copy.deepcopy(good)
    damage(bad)

    assert list(judge.check("Route", good, "answer")) == []
    assert list(judge.check("Route", bad, "answer")) != []


def test_a_request_with_an_unknown_key_is_a_violation(plane, table):
    create(plane, table, nexthop={"address": "10.0.1.11"})

    assert plane.simulator.violations == ["create_vpc_routing_table_route: request.nexthop: no such key"]


# --- what it refuses ----------------------------------------------------------------------------------------------


def test_every_call_names_the_version_of_the_api(plane):
    assert code(send(plane, "GET", "/instances", query="limit=1")) == "bad_field"


def test_a_patch_says_that_it_is_one(plane):
    interface = next(iter(plane.vpc.interfaces))
    path, patch = f"/virtual_network_interfaces/{interface}", {"allow_ip_spoofing": True}

    assert send(plane, "PATCH", path, patch).status == 415
    assert send(plane, "PATCH", path, patch, kind="application/merge-patch+json").status == 200
    assert plane.vpc.interfaces[interface].spoofing


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"destination": "10.65.1.7/26"}, "bad_field"),
        ({"zone": {"name": "eu-de-9"}}, "not_found"),
        ({"name": "ibm-mine"}, "bad_field"),
        ({"next_hop": {"address": "0.0.0.0"}}, "bad_field"),
        ({"priority": 7}, "bad_field"),
        ({"action": "drop", "next_hop": {"address": "0.0.0.0"}, "name": "taken"}, "validation_unique_failed"),
        ({"action": "drop"}, "conflict_field"),
    ],
)
def test_what_the_api_does_not_make(plane, table, more, refusal):
    create(plane, table, name="taken")

    assert code(create(plane, table, **more)) == refusal


def test_two_routes_share_the_packets_to_one_place_and_a_third_is_refused(plane, table):
    statuses = [create(plane, table, next_hop={"address": f"10.0.1.{k}"}).status for k in (11, 12, 13)]

    assert statuses == [201, 201, 400]


def test_a_table_holds_no_more_than_its_quota(plane, table):
    answers = [create(plane, table, destination=f"10.66.{k}.0/26") for k in range(6)]

    assert [a.status for a in answers] == [201] * 5 + [400]
    assert code(answers[-1]) == "over_quota"


def test_a_table_holds_fourteen_prefix_lengths(plane, table):
    plane.conditions = Conditions(routes_per_table=50)
    answers = [create(plane, table, destination=f"10.0.0.0/{n}") for n in range(9, 24)]

    assert [a.status for a in answers] == [201] * 14 + [400]


def test_a_route_that_a_service_made_is_not_deleted(plane, table):
    create(plane, table)
    route = next(iter(table.routes.values()))
    route.service = True

    assert send(plane, "DELETE", f"/vpcs/{plane.vpc.id}/routing_tables/{table.id}/routes/{route.id}").status == 409
    assert route.id in table.routes


# --- what packets do ----------------------------------------------------------------------------------------------


def ways(plane, clock):
    """Return ``{bridge: {prefix: device, or nothing for a black hole}}``."""
    state = fabric_state(plane.vpc, clock.now())
    return {s.bridge: {r.destination: r.via.device if r.via else None for r in s.routes} for s in state.subnets}


def put(plane, table, zone, address, *, priority=2, destination=BLOCK):
    made = Route(plane.vpc.new("r010-"), "r", destination, zone, "deliver", IPv4Address(address), priority)
    table.routes[made.id] = made
    return made


def test_a_route_holds_in_its_zone_alone(plane, table, clock):
    put(plane, table, "eu-de-1", "10.0.1.11")

    assert ways(plane, clock) == {"br-s1": {BLOCK: "p-n1"}, "br-s2": {}}


def test_a_next_hop_in_another_zone_leads_nowhere(plane, table, clock):
    put(plane, table, "eu-de-1", "10.0.2.11")

    assert ways(plane, clock)["br-s1"] == {BLOCK: None}


def test_a_route_to_a_machine_that_stands_still_leads_nowhere(plane, table, clock):
    put(plane, table, "eu-de-1", "10.0.1.11")
    next(iter(plane.vpc.machines.values())).status = "stopped"

    assert ways(plane, clock)["br-s1"] == {BLOCK: None}


def test_the_most_urgent_route_is_taken(plane, table, clock):
    put(plane, table, "eu-de-1", "10.0.1.11", priority=4)
    put(plane, table, "eu-de-1", "10.0.1.99", priority=2)

    assert ways(plane, clock)["br-s1"] == {BLOCK: None}


def test_packets_follow_a_route_once_it_is_in_force(plane, table, clock):
    plane.conditions = Conditions(read_delay=2.0)
    told = create(plane, table).body["lifecycle_state"]
    before = ways(plane, clock)["br-s1"]
    clock.advance(2.0)

    assert (told, before) == ("pending", {})
    assert ways(plane, clock)["br-s1"] == {BLOCK: "p-n1"}


def test_an_interface_is_checked_until_spoofing_is_allowed(plane, clock):
    next(iter(plane.vpc.interfaces.values())).spoofing = True

    assert [p.check for p in fabric_state(plane.vpc, clock.now()).ports] == [False, True]
