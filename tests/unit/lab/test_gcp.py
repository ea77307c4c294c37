"""The lab's Google by itself: what it refuses, when writes take effect, and what they mean for packets."""

import json
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.gcp import aliases, forwarding, hand, lists
from cloudnet.lab.clouds.gcp.calls import Manners
from cloudnet.lab.clouds.gcp.plane import PROJECT, Google
from cloudnet.lab.clouds.gcp.state import fingerprint
from cloudnet.lab.spec import POOL, VPC

NETWORK = f"projects/{PROJECT}/global/networks/vpc"


class Cloud:
    def __init__(self, **conditions):
        self.clock = ManualClock()
        self.google = Google(Conditions(**conditions), clock=self.clock, manners=Manners(operation_seconds=1.0))
        self.set("POST", "global/networks", name="vpc")
        ranges = [{"rangeName": "pods", "ipCidrRange": "10.200.0.0/24"}]
        for name, cidr in (("s1", "10.0.1.0/24"), ("s2", "10.0.2.0/24")):
            self.set(
                "POST",
                "regions/r/subnetworks",
                name=name,
                network=NETWORK,
                ipCidrRange=cidr,
                secondaryIpRanges=ranges,
            )
        self.launch("n1", "s1", "10.0.1.11")
        self.launch("n2", "s2", "10.0.2.12")
        self.google.network = "vpc"

    def call(self, method, path, body=None, *, outsider=False):
        sent = json.dumps(body).encode() if body is not None else b""
        target = f"/compute/v1/projects/{PROJECT}/{path}".rstrip("/")
        return self.google.simulator.handle(method, target, {}, sent, outsider=outsider)

    def set(self, method, path, **body):
        answer = self.call(method, path, body or None, outsider=True)
        assert answer.status == 200, answer.body
        return answer.body

    def launch(self, name, subnet, address, *, forwards=True):
        nic = {"subnetwork": f"projects/{PROJECT}/regions/r/subnetworks/{subnet}", "networkIP": address}
        self.set("POST", "zones/z/instances", name=name, canIpForward=forwards, networkInterfaces=[nic])

    def route(self, destination="10.65.1.0/26", name="r1", to="n1", **changes):
        hop = {"nextHopInstance": f"projects/{PROJECT}/zones/z/instances/{to}"} if to else {}
        return {"name": name, "network": NETWORK, "destRange": destination, "priority": 1000} | hop | changes

    def refusal(self, method, path, body=None):
        answer = self.call(method, path, body)
        return answer.status, answer.body["error"]["errors"][0]["reason"]

    def operation(self, answer):
        return self.call("GET", f"global/operations/{answer.body['name']}").body


@pytest.fixture
def cloud():
    return Cloud()


# --- writes and their operations --------------------------------------------------------------------------------


def test_a_write_takes_effect_when_its_operation_ends(cloud):
    answer = cloud.call("POST", "global/routes", cloud.route())

    assert (answer.body["status"], answer.body["progress"]) == ("RUNNING", 0)
    assert cloud.refusal("GET", "global/routes/r1") == (404, "notFound")
    cloud.clock.advance(1.0)
    ended = cloud.operation(answer)
    assert (ended["status"], ended["progress"]) == ("DONE", 100)
    assert cloud.call("GET", "global/routes/r1").body["destRange"] == "10.65.1.0/26"


def test_an_outsiders_write_takes_effect_at_once(cloud):
    cloud.set("POST", "global/routes", **cloud.route())

    assert cloud.call("GET", "global/routes/r1").status == 200


def test_a_second_attempt_with_the_same_request_id_is_the_first_ones_operation(cloud):
    first = cloud.call("POST", "global/routes?requestId=x", cloud.route())
    again = cloud.call("POST", "global/routes?requestId=x", cloud.route())

    assert first.body["name"] == again.body["name"]
    assert first.body["clientOperationId"] == "x"


def test_a_quota_fails_the_operation():
    cloud = Cloud(routes_per_table=1)
    first = cloud.call("POST", "global/routes", cloud.route())
    second = cloud.call("POST", "global/routes", cloud.route("10.65.2.0/26", "r2"))

    cloud.clock.advance(1.0)

    assert "error" not in cloud.operation(first)
    failed = cloud.operation(second)
    assert (failed["httpErrorStatusCode"], failed["error"]["errors"][0]["code"]) == (403, "QUOTA_EXCEEDED")
    assert cloud.refusal("GET", "global/routes/r2") == (404, "notFound")


def test_the_quota_is_told_as_it_is(cloud):
    cloud.set("POST", "global/routes", **cloud.route())

    told = cloud.call("GET", "").body["quotas"]

    quotas = {quota["metric"]: (quota["limit"], quota["usage"]) for quota in told}
    assert quotas["ROUTES"] == (50.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"name": "Upper"}, (400, "invalid")),
        ({"destination": "10.65.1.7/26"}, (400, "invalid")),
        ({"destination": "nonsense"}, (400, "invalid")),
        ({"destination": "10.0.1.0/25"}, (400, "invalid")),
        ({"destination": "10.200.0.0/24"}, (400, "invalid")),
        ({"to": ""}, (400, "invalid")),
        ({"nextHopIp": "10.0.1.1"}, (400, "invalid")),
        ({"to": "gone"}, (404, "notFound")),
        ({"network": f"projects/{PROJECT}/global/networks/gone"}, (404, "notFound")),
        ({"network": ""}, (400, "required")),
    ],
    ids=str,
)
def test_a_route_that_cannot_be_is_refused_at_once(cloud, changes, refusal):
    assert cloud.refusal("POST", "global/routes", cloud.route(**changes)) == refusal


def test_a_name_is_taken_once(cloud):
    cloud.call("POST", "global/routes", cloud.route())

    assert cloud.refusal("POST", "global/routes", cloud.route()) == (409, "alreadyExists")
    cloud.clock.advance(1.0)
    assert cloud.refusal("POST", "global/routes", cloud.route()) == (409, "alreadyExists")


def test_what_is_changing_is_not_ready_for_another_change(cloud):
    cloud.call("POST", "global/routes", cloud.route())

    assert cloud.refusal("DELETE", "global/routes/r1") == (400, "resourceNotReady")


def test_a_reader_lags_behind_writers():
    cloud = Cloud(read_delay=5.0)
    cloud.set("POST", "global/routes", **cloud.route())

    assert "items" not in cloud.call("GET", "global/routes").body
    cloud.clock.advance(5.0)
    assert len(cloud.call("GET", "global/routes").body["items"]) == 1


def test_an_unknown_call_is_a_violation(cloud):
    assert cloud.call("PATCH", "global/routes/r1", {}).status == 501
    assert cloud.google.simulator.violations


# --- interfaces and their alias ranges ---------------------------------------------------------------------------


def update(cloud, body):
    return cloud.call("PATCH", "zones/z/instances/n1/updateNetworkInterface?networkInterface=nic0", body)


def nic(cloud):
    return cloud.call("GET", "zones/z/instances/n1").body["networkInterfaces"][0]


@pytest.mark.parametrize(
    ("body", "expected"), [({}, (400, "required")), ({"fingerprint": "AAAA"}, (412, "conditionNotMet"))], ids=str
)
def test_an_interface_is_changed_with_its_fingerprint_only(cloud, body, expected):
    answer = update(cloud, body)

    assert (answer.status, answer.body["error"]["errors"][0]["reason"]) == expected


def test_an_absent_list_changes_nothing_and_an_empty_one_clears(cloud):
    alias = {"ipCidrRange": "/28", "subnetworkRangeName": "pods"}
    update(cloud, {"fingerprint": nic(cloud)["fingerprint"], "aliasIpRanges": [alias]})
    cloud.clock.advance(1.0)
    assert nic(cloud)["aliasIpRanges"] == [alias | {"ipCidrRange": "10.200.0.0/28"}]

    update(cloud, {"fingerprint": nic(cloud)["fingerprint"]})
    cloud.clock.advance(1.0)
    assert len(nic(cloud)["aliasIpRanges"]) == 1

    update(cloud, {"fingerprint": nic(cloud)["fingerprint"], "aliasIpRanges": []})
    cloud.clock.advance(1.0)
    assert nic(cloud)["aliasIpRanges"] == []


def test_two_machines_that_ask_at_once_get_different_ranges(cloud):
    cloud.launch("n3", "s1", "10.0.1.13")
    alias = {"ipCidrRange": "/28", "subnetworkRangeName": "pods"}
    for name in ("n1", "n3"):
        path = f"zones/z/instances/{name}"
        before = cloud.call("GET", path).body["networkInterfaces"][0]["fingerprint"]
        body = {"fingerprint": before, "aliasIpRanges": [alias]}
        cloud.call("PATCH", f"{path}/updateNetworkInterface?networkInterface=nic0", body)
    cloud.clock.advance(1.0)

    found = [cloud.call("GET", f"zones/z/instances/{n}").body["networkInterfaces"][0] for n in ("n1", "n3")]
    assert [n["aliasIpRanges"][0]["ipCidrRange"] for n in found] == ["10.200.0.0/28", "10.200.0.16/28"]


def test_every_change_has_another_fingerprint(cloud):
    before = nic(cloud)["fingerprint"]
    update(cloud, {"fingerprint": before, "aliasIpRanges": [{"ipCidrRange": "/28", "subnetworkRangeName": "pods"}]})
    cloud.clock.advance(1.0)

    assert nic(cloud)["fingerprint"] != before
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


@pytest.mark.parametrize(
    ("wanted", "taken", "found"),
    [
        ("/28", [], "10.200.0.0/28"),
        ("/28", ["10.200.0.3/32"], "10.200.0.16/28"),
        ("/24", ["10.200.0.3/32"], None),
        ("10.200.0.32/28", [], "10.200.0.32/28"),
        ("10.200.0.32/28", ["10.200.0.40/32"], None),
        ("10.9.0.0/28", [], None),
    ],
)
def test_a_range_is_given_once(wanted, taken, found):
    given = aliases.allot(wanted, ip_network("10.200.0.0/24"), [ip_network(t) for t in taken])

    assert given == (ip_network(found) if found else None)


# --- filters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "through"),
    [
        ("", True),
        ('name eq "a|b"', True),
        ("name eq a", True),
        ('name eq "a.+"', False),
        ("name = a", True),
        ('(name = "b")', False),
        ('network eq ".*/networks/vpc"', False),
    ],
)
def test_a_filter_lets_through_what_it_says(text, through):
    assert lists.parse(text)({"name": "a"}) is through


@pytest.mark.parametrize("text", ["name", "name eq [", "(a = b) (c = d)"])
def test_a_filter_that_is_not_understood_is_refused(cloud, text):
    assert lists.parse(text) is None
    assert cloud.refusal("GET", f"global/routes?filter={text.replace(' ', '%20')}") == (400, "invalid")


# --- packets --------------------------------------------------------------------------------------------------------


def ways(cloud):
    """Return where each subnet's table sends each destination: ``{bridge: {destination: device}}``."""
    return {
        s.bridge: {str(r.destination): r.via.device if r.via else None for r in s.routes}
        for s in cloud.google.fabric_state().subnets
    }


def test_every_subnet_follows_the_networks_routes(cloud):
    cloud.set("POST", "global/routes", **cloud.route())

    assert ways(cloud) == {"br-s1": {"10.65.1.0/26": "p-n1"}, "br-s2": {"10.65.1.0/26": "p-n1"}}


def test_the_lowest_priority_number_wins(cloud):
    cloud.set("POST", "global/routes", **cloud.route())
    cloud.set("POST", "global/routes", **cloud.route(name="r2", to="n2", priority=999))

    assert ways(cloud)["br-s1"] == {"10.65.1.0/26": "p-n2"}


def test_packets_for_a_stopped_machine_go_nowhere_and_the_route_says_so(cloud):
    cloud.set("POST", "global/routes", **cloud.route())
    cloud.set("POST", "zones/z/instances/n1/stop")

    assert ways(cloud)["br-s1"] == {"10.65.1.0/26": None}
    (route,) = cloud.call("GET", "global/routes").body["items"]
    assert route["warnings"][0]["code"] == "NEXT_HOP_NOT_RUNNING"
    assert not next(p for p in cloud.google.fabric_state().ports if p.device == "p-n1").up


def test_a_machine_that_may_not_forward_gets_nothing_and_is_checked(cloud):
    cloud.launch("n3", "s1", "10.0.1.13", forwards=False)
    cloud.set("POST", "global/routes", **cloud.route(to="n3"))

    (port,) = (p for p in cloud.google.fabric_state().ports if p.device == "p-n3")
    assert port.check
    assert ways(cloud)["br-s1"] == {"10.65.1.0/26": None}
    (route,) = cloud.call("GET", "global/routes").body["items"]
    assert route["warnings"][0]["code"] == "NEXT_HOP_CANNOT_IP_FORWARD"


def test_a_port_has_googles_mac_and_its_own_address(cloud):
    port = next(p for p in cloud.google.fabric_state().ports if p.device == "p-n1")

    assert (port.mac, port.addresses, port.check) == ("42:01:0a:00:01:0b", (ip_address("10.0.1.11"),), False)
    assert forwarding.mac("10.128.0.2") == "42:01:0a:80:00:02"


def test_alias_ranges_belong_to_their_port(cloud):
    alias = {"ipCidrRange": "/28", "subnetworkRangeName": "pods"}
    update(cloud, {"fingerprint": nic(cloud)["fingerprint"], "aliasIpRanges": [alias]})
    cloud.clock.advance(1.0)
    cloud.google.handler.advance()

    ranges = {p.device: p.ranges for p in cloud.google.fabric_state().ports}

    assert ranges == {"p-n1": (ip_network("10.200.0.0/28"),), "p-n2": ()}


def test_the_outsider_is_told_in_googles_words(cloud):
    with pytest.raises(BadInput, match="was not found"):
        cloud.google.verbs["api"]({"method": "GET", "path": "global/routes/gone"})


def test_no_two_subnets_of_a_lab_share_a_range_for_pods():
    ranges = [hand.pod_range(ip_network(f"10.0.{k}.0/24")) for k in range(1, 27)]

    assert str(ranges[0]) == "10.201.0.0/20"
    assert not any(a.overlaps(b) for a in ranges for b in ranges if a is not b)
    assert not any(a.overlaps(b) for a in ranges for b in (VPC, POOL))
