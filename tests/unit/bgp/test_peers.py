"""Whom a node speaks with, by tables."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.bgp import peers
from cloudnet.bgp.picture import Picture
from cloudnet.bgp.speaker import NextHopMode, Origin
from cloudnet.errors import BadInput
from cloudnet.model import calico
from cloudnet.model.resources import Metadata, Node

KEY = ("bgp", "password")
REF = {"secretKeyRef": {"name": "bgp", "key": "password"}}


def node(k, *, six=False, labels=None, **other):
    addresses = [ip_interface(f"10.0.1.{k}/24"), *([ip_interface(f"fd00:1::{k}/64")] if six else [])]
    return Node(Metadata(f"n{k}", labels=labels or {}), tuple(addresses), **other)


def document(kind, name, spec):
    return calico.parse(
        {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}
    )


def peer(name="p", **spec):
    return document("BGPPeer", name, spec)


def mesh(**spec):
    return document("BGPConfiguration", "default", spec)


OFF = mesh(nodeToNodeMeshEnabled=False)


def picture(own, *others, configurations=(), known=(), filters=()):
    nodes = {each.name: each for each in (own, *others)}
    return Picture(
        node=own,
        nodes=nodes,
        configurations={one.meta.name: one for one in configurations},
        peers={one.meta.name: one for one in known},
        filters={one.meta.name: one for one in filters},
    )


def found(own, *others, secrets=None, **rest):
    answer = peers.sessions(picture(own, *others, **rest), secrets or {})
    assert answer.problems == ()
    return answer.sessions


def refused(own, *others, secrets=None, **rest):
    answer = peers.sessions(picture(own, *others, **rest), secrets or {})
    (problem,) = answer.problems
    return answer.sessions, problem


def ends(sessions):
    return [(str(one.address), one.origin) for one in sessions]


# --- the mesh -----------------------------------------------------------------------------------------------


def test_every_node_speaks_with_every_other_in_every_family_that_both_have():
    sessions = found(node(11, six=True), node(12, six=True), node(13))

    assert ends(sessions) == [
        ("10.0.1.12", Origin.MESH), ("10.0.1.13", Origin.MESH), ("fd00:1::12", Origin.MESH),
    ]  # fmt: skip
    assert [str(one.source) for one in sessions] == ["10.0.1.11", "10.0.1.11", "fd00:1::11"]
    assert {one.as_number for one in sessions} == {one.local_as for one in sessions} == {64512}


@given(st.integers(1, 254), st.integers(1, 254))
def test_of_two_nodes_of_the_mesh_exactly_one_calls(one, other):
    if one == other:
        return
    (here,), (there,) = found(node(one), node(other)), found(node(other), node(one))

    assert here.passive is not there.passive


def test_there_is_no_mesh_where_it_is_off():
    assert found(node(11), node(12), configurations=[OFF]) == ()


def test_who_reflects_routes_is_no_part_of_the_mesh():
    reflector = node(12, route_reflector=IPv4Address("1.0.0.1"))

    assert found(node(11), reflector, node(13)) == found(node(11), node(13))
    assert found(reflector, node(11), node(13)) == ()


def test_nodes_have_as_numbers_of_their_own_that_of_their_configuration_or_that_of_all():
    own, named, other = node(11, as_number=65001), node(12), node(13)
    configurations = [mesh(asNumber="1.10"), document("BGPConfiguration", "node.n12", {"asNumber": 65002})]

    sessions = found(own, named, other, configurations=configurations)

    assert [(one.local_as, one.as_number, one.external) for one in sessions] == [
        (65001, 65002, True),
        (65001, 65546, True),
    ]


def test_the_mesh_has_a_password_a_restart_time_and_the_port_of_the_other_end():
    configurations = [
        mesh(nodeMeshPassword=REF, nodeMeshMaxRestartTime="2m30s"),
        document("BGPConfiguration", "node.n12", {"listenPort": 1790}),
    ]
    wanted = peers.wanted_secrets(picture(node(11), node(12), configurations=configurations))

    (session,) = found(node(11), node(12), configurations=configurations, secrets={KEY: "secret"})

    assert wanted == {KEY}
    assert (session.password, session.restart_time, session.port) == ("secret", 150, 1790)
    assert "secret" not in repr(session)


# --- peers by BGPPeer ---------------------------------------------------------------------------------------


def test_a_global_peer_is_a_peer_of_every_node():
    tor = peer(peerIP="10.0.1.1", asNumber=65000)

    (session,) = found(node(11), known=[tor], configurations=[OFF])

    assert ends([session]) == [("10.0.1.1", Origin.GLOBAL)]
    assert (session.as_number, session.external, session.passive, session.client) == (65000, True, False, False)
    assert session.peer == "BGPPeer 'p'"


@pytest.mark.parametrize(
    ("spec", "is_peer"),
    [
        ({"node": "n11"}, True),
        ({"node": "n12"}, False),
        ({"nodeSelector": "rack == 'a'"}, True),
        ({"nodeSelector": "rack == 'b'"}, False),
        ({"nodeSelector": "all()"}, True),
    ],
    ids=["node", "other node", "selected", "not selected", "all"],
)
def test_a_peer_may_be_one_of_certain_nodes(spec, is_peer):
    tor = peer(peerIP="10.0.1.1", asNumber=65000, **spec)

    sessions = found(node(11, labels={"rack": "a"}), known=[tor], configurations=[OFF])

    assert ends(sessions) == ([("10.0.1.1", Origin.NODE)] if is_peer else [])


def test_of_several_words_about_one_address_that_of_certain_nodes_counts_then_that_of_all_then_the_mesh():
    general, special = (
        peer("a", peerIP="10.0.1.12", asNumber=1),
        peer("b", node="n11", peerIP="10.0.1.12", asNumber=2),
    )

    assert found(node(11), node(12), known=[general, special])[0].as_number == 2
    assert found(node(11), node(12), known=[general])[0].as_number == 1
    assert found(node(11), node(12))[0].as_number == 64512


def test_peers_that_a_selector_finds_are_nodes_with_numbers_and_ports_of_their_own():
    reflectors = peer(peerSelector="route-reflector == 'true'")
    label = {"route-reflector": "true"}
    others = node(12, labels=label, as_number=65001), node(13, labels=label), node(14)

    sessions = found(node(11), *others, known=[reflectors], configurations=[OFF])

    assert [(one.peer, one.as_number) for one in sessions] == [("node 'n12'", 65001), ("node 'n13'", 64512)]


def test_a_peer_that_is_a_node_speaks_back_unless_it_is_left_to_the_people():
    label = {"route-reflector": "true"}
    reflector, client = node(12, labels=label), node(11)
    by_selector, by_address = (
        peer(nodeSelector="!has(route-reflector)", peerSelector="has(route-reflector)"),
        peer(node="n11", peerIP="10.0.1.12", asNumber=64512),
    )

    for one in (by_selector, by_address):
        (back,) = found(reflector, client, known=[one], configurations=[OFF])
        assert (str(back.address), back.peer) == ("10.0.1.11", "node 'n11'")

    manual = replace(by_selector, spec=peer(peerSelector="has(route-reflector)", reversePeering="Manual").spec)
    sessions = found(reflector, client, known=[manual], configurations=[OFF])
    assert sessions == ()


def test_a_node_is_no_peer_of_itself():
    everybody = peer(peerSelector="all()")

    assert found(node(11), known=[everybody, peer("q", peerIP="10.0.1.11")], configurations=[OFF]) == ()


@pytest.mark.parametrize(
    ("own_id", "their_id", "their_number", "is_client"),
    [
        (None, None, 64512, False),
        ("1.0.0.1", None, 64512, True),
        ("1.0.0.1", "1.0.0.1", 64512, False),
        ("1.0.0.1", "1.0.0.2", 64512, True),
        ("1.0.0.1", None, 65001, False),
    ],
    ids=["no reflector", "client", "same cluster", "other cluster", "external"],
)
def test_who_is_a_client_of_a_reflector(own_id, their_id, their_number, is_client):
    own = node(11, route_reflector=own_id and IPv4Address(own_id))
    other = node(12, route_reflector=their_id and IPv4Address(their_id), as_number=their_number)

    (session,) = found(own, other, known=[peer(peerSelector="all()")], configurations=[OFF])

    assert session.client is is_client


def test_all_that_a_peer_may_ask_for():
    asked = peer(
        peerIP="10.0.1.1:1790",
        asNumber=65000,
        localASNumber=65010,
        password=REF,
        sourceAddress="None",
        maxRestartTime="90s",
        keepaliveTime="20s",
        numAllowedLocalASNumbers=2,
        ttlSecurity=3,
        reachableBy="10.0.1.254",
        filters=["f"],
        nextHopMode="Self",
    )
    passing = document("BGPFilter", "f", {"exportV4": [{"action": "Accept"}]})

    (session,) = found(node(11), known=[asked], configurations=[OFF], filters=[passing], secrets={KEY: "pass word"})

    assert (session.port, session.local_as, session.source, session.password) == (1790, 65010, None, "pass word")
    assert (session.restart_time, session.keepalive, session.own_as_allowed) == (90, 20, 2)
    assert (session.ttl_security, session.gateway, session.filters) == (3, ip_address("10.0.1.254"), ("f",))
    assert session.next_hop is NextHopMode.SELF


@pytest.mark.parametrize(
    ("spec", "mode"),
    [
        ({}, NextHopMode.AUTO),
        ({"keepOriginalNextHop": True}, NextHopMode.KEEP),
        ({"nextHopMode": "Keep"}, NextHopMode.KEEP),
        ({"nextHopMode": "Auto"}, NextHopMode.AUTO),
    ],
    ids=str,
)
def test_the_older_and_the_newer_word_for_next_hops(spec, mode):
    (session,) = found(node(11), known=[peer(peerIP="10.0.1.1", asNumber=1, **spec)], configurations=[OFF])

    assert session.next_hop is mode


def test_peers_of_ipv6_are_spoken_with_from_an_ipv6_address():
    tor = peer(peerIP="[fd00:1::1]:1790", asNumber=65000)

    (session,) = found(node(11, six=True), known=[tor], configurations=[OFF])

    assert (str(session.address), session.port, str(session.source)) == ("fd00:1::1", 1790, "fd00:1::11")


# --- sessions that are not made -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "secrets", "why"),
    [
        ({"password": REF}, {}, "key 'password' of secret 'bgp' cannot be read: put it in the folder"),
        ({"password": REF}, {KEY: 'a"; }'}, "no password with a double quote or a control character"),
        ({"password": REF}, {KEY: "a\nb"}, "no password with a double quote or a control character"),
        ({"password": REF}, {KEY: "é" * 41}, "no password of more than 80 bytes"),
        ({"filters": ["nowhere"]}, {}, "there is no BGPFilter 'nowhere': create it, or take it from spec.filters"),
        ({"filters": ["bad"]}, {}, "BGPFilter 'bad': spec.exportV4[0].priority"),
        ({"maxRestartTime": "2h"}, {}, "spec.maxRestartTime: expected a duration of 0 to 4095 seconds"),
        ({"keepaliveTime": "100ms"}, {}, "spec.keepaliveTime: expected a duration of 1 to 21845 seconds"),
        ({"peerIP": "fd00:1::1"}, {}, "node 'n11' has no IPv6 address to speak from"),
        ({"asNumber": 0}, {}, "expected an AS number above 0, found 0"),
        ({"peerIP": "fe80::1%eth0", "sourceAddress": "None"}, {}, "spec.peerIP: expected an address without a zone"),
    ],
    ids=[
        "no password", "quote", "control", "long", "no filter", "bad filter", "restart", "keepalive", "family",
        "zero", "zone",
    ],
)  # fmt: skip
def test_a_session_of_which_something_is_missing_is_not_made_and_no_other_suffers(spec, secrets, why):
    tor = peer(**{"peerIP": "10.0.1.1", "asNumber": 65000, **spec})
    bad = document("BGPFilter", "bad", {"exportV4": [{"action": "Accept", "priority": 7}]})

    sessions, problem = refused(node(11), node(12), known=[tor], filters=[bad], secrets=secrets)

    assert ends(sessions) == [("10.0.1.12", Origin.MESH)]
    assert problem.startswith("BGPPeer 'p': no session: ")
    assert why in problem
    assert not any(found and found in problem for found in secrets.values())


def test_peers_that_are_pods_are_not_supported_and_said_so():
    sessions, problem = refused(node(11), node(12), known=[peer(localWorkloadSelector="all()", asNumber=1)])

    assert len(sessions) == 1
    assert problem == ("BGPPeer 'p': no session: spec.localWorkloadSelector: peers that are pods are not supported")


def test_a_mesh_whose_password_is_missing_is_one_problem_not_one_a_node():
    _, problem = refused(node(11), node(12), node(13), configurations=[mesh(nodeMeshPassword=REF)])

    assert problem.startswith("the mesh of nodes: no session: key 'password' of secret 'bgp'")


def test_an_own_as_number_of_zero_is_refused_as_nobody_may_use_it():
    with pytest.raises(BadInput, match="node 'n11': expected an AS number above 0, found 0"):
        picture(node(11, as_number=0)).as_number(node(11, as_number=0))
