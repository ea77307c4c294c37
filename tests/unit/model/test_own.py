from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.errors import BadInput
from cloudnet.model import kinds
from cloudnet.model.addresses import Family
from cloudnet.model.cloud_addresses import CloudAddresses, CloudInterface, CloudPrefix, PrefixState
from cloudnet.model.resources import (
    AgentReport,
    Cause,
    CloudNode,
    CloudRoute,
    Lease,
    Metadata,
    NextHop,
    NodeCondition,
    RouteState,
    TableStatus,
)

ROUTE = CloudRoute(
    Metadata("10-65-1-0-26"),
    ip_network("10.65.1.0/26"),
    "n1",
    (
        TableStatus(
            "rtb-a", RouteState.PROGRAMMED, next_hop=NextHop("eni-1", "i-1", ip_address("10.0.1.11")), since=7.5
        ),
        TableStatus("rtb-b", RouteState.REFUSED, Cause.QUOTA, "ask for more"),
    ),
)


def test_a_route_is_spelt_with_intent_in_spec_and_findings_in_status():
    assert json.loads(kinds.encode(ROUTE)) == {
        "apiVersion": "cloudnet.io/v1",
        "kind": "CloudRoute",
        "metadata": {"name": "10-65-1-0-26"},
        "spec": {"cidr": "10.65.1.0/26", "node": "n1"},
        "status": {
            "tables": [
                {
                    "table": "rtb-a",
                    "state": "programmed",
                    "nextHop": {"interface": "eni-1", "instance": "i-1", "address": "10.0.1.11"},
                    "since": 7.5,
                },
                {"table": "rtb-b", "state": "refused", "cause": "quota", "detail": "ask for more"},
            ],
            "summary": "1 programmed, 1 refused (quota)",
        },
    }


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (
            CloudNode(Metadata("n1"), "i-1", "eni-1", "subnet-1", "a", ("rtb-1",), forwarding=True, l2_adjacent=True),
            {
                "spec": {"instance": "i-1", "interface": "eni-1", "subnet": "subnet-1", "zone": "a"},
                "status": {"tables": ["rtb-1"], "forwarding": True, "l2Adjacent": True, "mtu": 1500},
            },
        ),
        (
            CloudAddresses(
                Metadata("n1"),
                (CloudInterface("eni-2", 1, "06:00:00:00:00:02", "subnet-1", (ip_interface("10.0.1.20/24"),)),),
                (CloudPrefix(ip_network("10.0.1.32/28"), "eni-2", PrefixState.LEAVING, 9.0),),
                {Family.IPV4: 110},
                Cause.EXHAUSTED,
                "subnet-1 is full",
            ),
            {
                "status": {
                    "interfaces": [
                        {
                            "id": "eni-2",
                            "number": 1,
                            "mac": "06:00:00:00:00:02",
                            "subnet": "subnet-1",
                            "addresses": ["10.0.1.20/24"],
                        }
                    ],
                    "prefixes": [{"cidr": "10.0.1.32/28", "interface": "eni-2", "state": "leaving", "since": 9.0}],
                    "summary": "1 leaving",
                    "capacity": {"ipv4": 110},
                    "cause": "exhausted",
                    "detail": "subnet-1 is full",
                }
            },
        ),
        (
            AgentReport(Metadata("n1"), ready=True, observed=9, lost=(ip_network("10.65.1.0/26"),)),
            {"status": {"ready": True, "observed": 9, "lost": ["10.65.1.0/26"]}},
        ),
        (Lease(Metadata("controller"), "me", 2.5, 3), {"spec": {"holder": "me", "duration": 2.5, "renewals": 3}}),
        (
            NodeCondition(
                Metadata("n1"), ready=False, reason="silent", message="no report", since=1.0, node_uid="u-1"
            ),
            {
                "status": {
                    "ready": False,
                    "reason": "silent",
                    "message": "no report",
                    "since": 1.0,
                    "nodeUID": "u-1",
                }
            },
        ),
    ],
    ids=lambda case: type(case).__name__ if not isinstance(case, dict) else "",
)
def test_our_kinds_are_spelt_as_documented(value, document):
    written = json.loads(kinds.encode(value))

    assert {key: written[key] for key in ("spec", "status") if key in written} == document


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.update(state="fine"), "status.tables[1].state: has no meaning here, found 'fine'"),
        (lambda t: t.pop("table"), "status.tables[1].table: missing, and needed"),
        (
            lambda t: t.update(nextHop={"address": "there"}),
            "status.tables[1].nextHop.address: expected an address such as 10.65.1.0, found 'there'",
        ),
        (lambda t: t.update(since="now"), "status.tables[1].since: expected a number, found 'now'"),
    ],
)
def test_a_bad_field_deep_inside_is_named(edit, message):
    document = json.loads(kinds.encode(ROUTE))
    edit(document["status"]["tables"][1])

    with pytest.raises(BadInput) as caught:
        kinds.decode(json.dumps(document).encode())

    assert str(caught.value) == message


def test_a_lease_that_never_lasts_is_refused():
    with pytest.raises(BadInput, match=r"spec\.duration: expected seconds above 0, found 0"):
        kinds.of(Lease).decode(kinds.encode(Lease(Metadata("l"), duration=0)))
