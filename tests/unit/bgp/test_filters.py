"""What a BGPFilter says, by a table of rules."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloudnet.bgp import filters
from cloudnet.bgp.speaker import Match, Rule
from cloudnet.errors import BadInput
from cloudnet.model import calico
from cloudnet.model.addresses import Family

BLOCK = ip_network("10.65.0.0/16")


def document(**spec):
    return calico.parse(
        {"apiVersion": "projectcalico.org/v3", "kind": "BGPFilter", "metadata": {"name": "f"}, "spec": spec}
    )


def rule(**said):
    (found,) = filters.read(document(importV4=[said])).imports[Family.IPV4]
    return found


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"action": "Accept"}, Rule(accept=True)),
        ({"action": "Reject"}, Rule(accept=False)),
        (
            {"action": "Reject", "cidr": "10.65.0.0/16", "matchOperator": "NotIn"},
            Rule(accept=False, prefix=BLOCK, match=Match.NOT_IN),
        ),
        (
            {"action": "Accept", "cidr": "10.65.0.0/16", "matchOperator": "In", "prefixLength": {"min": 24}},
            Rule(accept=True, prefix=BLOCK, lengths=(24, 32)),
        ),
        (
            {"action": "Accept", "cidr": "10.65.0.0/16", "matchOperator": "In", "prefixLength": {"max": 26}},
            Rule(accept=True, prefix=BLOCK, lengths=(16, 26)),
        ),
        ({"action": "Accept", "source": "RemotePeers"}, Rule(accept=True, from_peers=True)),
        ({"action": "Accept", "interface": "eth*"}, Rule(accept=True, interface="eth*")),
        ({"action": "Accept", "peerType": "eBGP"}, Rule(accept=True, external=True)),
        ({"action": "Accept", "peerType": "iBGP"}, Rule(accept=True, external=False)),
        ({"action": "Accept", "communities": {"values": ["64512:7"]}}, Rule(accept=True, community=(64512, 7))),
        (
            {"action": "Accept", "communities": {"values": ["64512:100000:7"]}},
            Rule(accept=True, community=(64512, 100000, 7)),
        ),
        ({"action": "Accept", "asPathPrefix": ["1.10", 65000]}, Rule(accept=True, path_begins=(65546, 65000))),
        (
            {
                "action": "Accept",
                "operations": [
                    {"addCommunity": {"value": "64512:7"}},
                    {"prependASPath": {"prefix": [1, 2]}},
                    {"prependASPath": {"prefix": [3]}},
                ],
            },
            Rule(accept=True, add_communities=((64512, 7),), prepend=(3, 1, 2)),
        ),
    ],
    ids=[
        "accept", "reject", "not in", "at least", "at most", "from peers", "interface", "external", "internal",
        "community", "large community", "path", "operations",
    ],
)  # fmt: skip
def test_what_a_rule_says(said, expected):
    assert rule(**said) == expected


def test_each_list_is_for_its_family_and_direction_in_its_order():
    accept, reject = {"action": "Accept"}, {"action": "Reject"}

    found = filters.read(document(exportV4=[accept, reject], importV6=[reject]))

    assert found.name == "f"
    assert found.exports == {Family.IPV4: (Rule(accept=True), Rule(accept=False))}
    assert found.imports == {Family.IPV6: (Rule(accept=False),)}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"priority": 100}, r"spec\.importV4\[0\]\.priority: comparing a route's priority is not supported"),
        (
            {"operations": [{"setPriority": {"value": 100}}]},
            r"spec\.importV4\[0\]\.operations: setting a route's priority is not supported",
        ),
    ],
    ids=["compared", "set"],
)
def test_priorities_are_refused(said, why):
    with pytest.raises(BadInput, match=f"BGPFilter 'f': {why}"):
        rule(action="Accept", **said)


@pytest.mark.parametrize("text", ["", "7", "a:b", "64512:65536", "-1:7", "1:2:4294967296", "1:2:3:4", "1:2; }"])
def test_what_is_no_community(text):
    with pytest.raises(BadInput, match="expected a community such as"):
        filters.community(text)


def test_a_filter_that_is_missing_makes_the_others_useless_too():
    with pytest.raises(BadInput, match=r"there is no BGPFilter 'g': create it, or take it from spec\.filters"):
        filters.usable(["f", "g"], {"f": document()})

    assert filters.usable(["f"], {"f": document()}) == ("f",)
