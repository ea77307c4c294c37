from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.kernel.api import Hop
from cloudnet.model.addresses import Family, InstanceId, InterfaceId, NodeName, SubnetId, TableId
from cloudnet.model.paths import PathKind, Reason
from cloudnet.model.resources import (
    Cause,
    CloudNode,
    CloudRoute,
    EncapMode,
    IPPool,
    Metadata,
    Node,
    RouteState,
    TableStatus,
    Vtep,
)
from cloudnet.routes.fallback import State
from cloudnet.routes.path import BY_CAUSE, BY_STATE, Here, There, candidate, choose, encapsulation, refused
from cloudnet.routes.probe import Verdict

A, B = TableId("rtb-a"), TableId("rtb-b")
BLOCK = ip_network("10.65.2.0/26")


def node(name, address, tunnel):
    return Node(Metadata(name), addresses=(ip_interface(f"{address}/24"),), vteps=(Vtep(ip_address(tunnel), ""),))


def cloud_node(name, subnet, *tables, **other):
    given = {"forwarding": True, "l2_adjacent": True, "mtu": 9001, "tables": tables, **other}
    return CloudNode(Metadata(name), InstanceId(f"i-{name}"), InterfaceId(f"eni-{name}"), SubnetId(subnet), **given)


def route(*statuses, of="n2"):
    tables = tuple(TableStatus(table, state, cause, detail) for table, state, cause, detail in statuses)
    return CloudRoute(Metadata("10-65-2-0-26"), BLOCK, NodeName(of), tables)


def programmed(*tables):
    return route(*((table, RouteState.PROGRAMMED, Cause.NONE, "") for table in tables))


HERE = Here(
    node("n1", "10.0.1.11", "10.65.1.0"),
    cloud_node("n1", "subnet-1", A),
    {Family.IPV4: ip_address("10.0.1.1")},
    underlay_mtu=9001,
    vxlan_mtu=8951,
)
THERE = There(BLOCK, node("n2", "10.0.2.12", "10.65.2.0"), cloud_node("n2", "subnet-2", B), programmed(A))
NEIGHBOUR = replace(
    THERE, node=node("n2", "10.0.1.12", "10.65.2.0"), cloud=cloud_node("n2", "subnet-1", A), route=None
)


def pool(mode):
    return IPPool(Metadata("default"), ip_network("10.65.0.0/16"), vxlan_mode=mode)


def take(here, there, state=State.NATIVE, verdict=Verdict.UNKNOWN):
    return choose(here, there, candidate(here, there), state, verdict)


def test_a_node_whose_agent_is_silent_keeps_its_path_and_is_pointed_at():
    path = take(HERE, THERE, verdict=Verdict.SILENT)

    assert (path.kind, path.reason) == (PathKind.NATIVE, Reason.PROVEN)
    assert "does not answer" in path.detail


def test_a_programmed_and_proven_route_is_native_by_the_subnets_gateway():
    path = take(HERE, THERE)

    assert (path.kind, path.reason) == (PathKind.NATIVE, Reason.PROVEN)
    assert path.next_hop == ip_address("10.0.1.1")
    assert path.mtu == 9001


def test_a_neighbour_in_an_l2_subnet_is_direct_without_any_cloud_route():
    path = take(HERE, NEIGHBOUR)

    assert (path.kind, path.reason) == (PathKind.DIRECT, Reason.PROVEN)
    assert path.next_hop == ip_address("10.0.1.12")


def test_a_neighbour_on_a_fabric_without_l2_goes_by_the_table():
    here = replace(HERE, cloud=replace(HERE.cloud, l2_adjacent=False))

    assert candidate(here, replace(NEIGHBOUR, route=programmed(A))).kind is PathKind.NATIVE


def test_the_tunnel_is_to_the_remote_tunnel_end_with_the_overlays_mtu():
    path = take(HERE, THERE, State.PROVING)

    assert (path.kind, path.next_hop, path.mtu) == (PathKind.VXLAN, ip_address("10.65.2.0"), 8951)


@pytest.mark.parametrize(
    ("state", "lost", "reason"),
    [
        (State.GROUND, False, Reason.PROVING),
        (State.PROVING, False, Reason.PROVING),
        (State.PROVING, True, Reason.PROBES_LOST),
        (State.HELD, True, Reason.PROBES_LOST),
        (State.HELD, False, Reason.HELD),
    ],
)
def test_why_an_offered_way_is_not_taken(state, lost, reason):
    path = take(HERE, THERE, state, Verdict.LOST if lost else Verdict.UNKNOWN)

    assert (path.kind, path.reason) == (PathKind.VXLAN, reason)
    assert path.detail


@pytest.mark.parametrize(
    ("state", "cause", "reason"),
    [
        (RouteState.PENDING, Cause.NONE, Reason.PENDING),
        (RouteState.PENDING, Cause.THROTTLED, Reason.THROTTLED),
        (RouteState.REFUSED, Cause.NONE, Reason.UNAVAILABLE),
        (RouteState.REFUSED, Cause.QUOTA, Reason.QUOTA),
        (RouteState.REFUSED, Cause.PERMISSION, Reason.PERMISSION),
        (RouteState.REFUSED, Cause.THROTTLED, Reason.THROTTLED),
        (RouteState.REFUSED, Cause.CONFLICT, Reason.CONFLICT),
        (RouteState.REFUSED, Cause.DUPLICATE, Reason.DUPLICATE),
        (RouteState.REFUSED, Cause.NOT_FOUND, Reason.UNAVAILABLE),
        (RouteState.REFUSED, Cause.UNSUPPORTED, Reason.UNSUPPORTED),
        (RouteState.REFUSED, Cause.UNAVAILABLE, Reason.UNAVAILABLE),
        (RouteState.CONFLICT, Cause.CONFLICT, Reason.CONFLICT),
        (RouteState.BLACK_HOLED, Cause.NONE, Reason.BLACK_HOLED),
        (RouteState.BLACK_HOLED, Cause.NOT_FOUND, Reason.BLACK_HOLED),
        (RouteState.WITHDRAWING, Cause.QUOTA, Reason.WITHDRAWING),
    ],
)
def test_a_table_that_is_not_programmed_keeps_the_path_on_vxlan_and_says_why(state, cause, reason):
    path = take(HERE, replace(THERE, route=route((A, state, cause, "the cloud said so"))))

    assert (path.kind, path.reason) == (PathKind.VXLAN, reason)
    assert path.detail == "table rtb-a: the cloud said so"


def test_every_state_and_cause_has_its_reason():
    assert set(BY_STATE) == set(RouteState)
    assert set(BY_CAUSE) == set(Cause)


def test_every_table_of_this_node_must_have_the_route():
    here = replace(HERE, cloud=cloud_node("n1", "subnet-1", A, B))

    assert candidate(here, THERE).reason is Reason.PENDING
    assert candidate(here, replace(THERE, route=programmed(A, B))).native


def test_tables_that_this_node_does_not_use_do_not_matter():
    elsewhere = route((A, RouteState.PROGRAMMED, Cause.NONE, ""), (B, RouteState.REFUSED, Cause.QUOTA, ""))

    assert candidate(HERE, replace(THERE, route=elsewhere)).native


def test_of_several_obstacles_the_gravest_is_named():
    here = replace(HERE, cloud=cloud_node("n1", "subnet-1", A, B))
    both = route((A, RouteState.PENDING, Cause.NONE, ""), (B, RouteState.BLACK_HOLED, Cause.NONE, "i-2 is gone"))

    offered = candidate(here, replace(THERE, route=both))

    assert (offered.reason, offered.detail) == (Reason.BLACK_HOLED, "table rtb-b: i-2 is gone")


def test_a_block_that_the_cloud_delivers_asks_nobody_to_forward():
    closed = replace(THERE, cloud=cloud_node("n2", "subnet-2", forwarding=False), native=True, route=None)
    here = replace(HERE, cloud=cloud_node("n1", "subnet-1", A, forwarding=False, problem="made without canIpForward"))

    for end in (HERE, here):
        offered = candidate(end, closed)
        assert (offered.kind, offered.next_hop) == (PathKind.NATIVE, ip_address("10.0.1.1"))

    said = choose(here, closed, candidate(here, closed), State.NATIVE).detail
    assert said.startswith("packets from addresses of pools go over VXLAN")
    assert said.endswith("made without canIpForward")
    assert choose(HERE, closed, candidate(HERE, closed), State.NATIVE).detail == ""


@pytest.mark.parametrize(
    ("here", "there", "reason", "words"),
    [
        (HERE, replace(THERE, route=None), Reason.PENDING, "controller"),
        (HERE, replace(THERE, route=replace(programmed(A), node=NodeName("n9"))), Reason.PENDING, "controller"),
        (HERE, replace(THERE, pool=pool(EncapMode.ALWAYS)), Reason.POOL_MODE, "always"),
        (HERE, replace(THERE, pool=pool(EncapMode.CROSS_SUBNET)), Reason.POOL_MODE, "between subnets"),
        (HERE, replace(NEIGHBOUR, pool=pool(EncapMode.ALWAYS)), Reason.POOL_MODE, "always"),
        (HERE, replace(THERE, cloud=None), Reason.NO_CLOUD, "'n2'"),
        (replace(HERE, cloud=None), THERE, Reason.NO_CLOUD, "'n1'"),
        (HERE, replace(THERE, cloud=cloud_node("n2", "subnet-2", forwarding=False)), Reason.FORWARDING, "'n2'"),
        (
            replace(HERE, cloud=cloud_node("n1", "subnet-1", A, forwarding=False, problem="eni-n1 is locked")),
            THERE,
            Reason.FORWARDING,
            "eni-n1 is locked",
        ),
        (replace(HERE, gateways={}), THERE, Reason.UNAVAILABLE, "default route"),
        (replace(HERE, cloud=cloud_node("n1", "subnet-1")), THERE, Reason.PENDING, "subnet-1"),
    ],
    ids=[
        "no cloud route", "route of another node", "pool always", "pool cross subnet", "pool always, neighbour",
        "remote unknown to the cloud", "own node unknown to the cloud", "remote closed", "own node closed",
        "no gateway", "no tables",
    ],
)  # fmt: skip
def test_why_the_cloud_offers_no_way(here, there, reason, words):
    path = take(here, there)

    assert (path.kind, path.reason) == (PathKind.VXLAN, reason)
    assert words in path.detail


HOP = Hop(ip_address("10.0.1.254"), "eth1")
ADJACENT = Hop(ip_address("10.0.2.12"), "eth1")  # the other node itself
ALONE, LONELY = replace(HERE, cloud=None, speaks_bgp=True), replace(THERE, cloud=None, route=None)
LEARNED = replace(LONELY, learned=HOP)
CROSS_SUBNET = pool(EncapMode.CROSS_SUBNET)


@pytest.mark.parametrize(
    ("here", "there", "kind", "next_hop", "reason"),
    [
        (ALONE, LEARNED, PathKind.BGP, HOP.gateway, Reason.PROVEN),
        (ALONE, LONELY, PathKind.VXLAN, None, Reason.NOT_LEARNED),
        (HERE, replace(THERE, learned=HOP), PathKind.NATIVE, ip_address("10.0.1.1"), Reason.PROVEN),
        (HERE, replace(NEIGHBOUR, learned=HOP), PathKind.DIRECT, ip_address("10.0.1.12"), Reason.PROVEN),
        (HERE, replace(THERE, route=None, learned=HOP), PathKind.BGP, HOP.gateway, Reason.PROVEN),
        (replace(HERE, speaks_bgp=True), replace(THERE, route=None), PathKind.VXLAN, None, Reason.PENDING),
        (
            HERE,
            replace(THERE, cloud=cloud_node("n2", "subnet-2", forwarding=False), learned=HOP),
            PathKind.VXLAN,
            None,
            Reason.FORWARDING,
        ),
        (ALONE, replace(LEARNED, pool=pool(EncapMode.ALWAYS)), PathKind.VXLAN, None, Reason.POOL_MODE),
        (ALONE, replace(LEARNED, pool=CROSS_SUBNET), PathKind.VXLAN, None, Reason.POOL_MODE),
        (
            ALONE,
            replace(LEARNED, learned=ADJACENT, pool=CROSS_SUBNET),
            PathKind.BGP,
            ADJACENT.gateway,
            Reason.PROVEN,
        ),
    ],
    ids=[
        "learned", "not learned", "cloud first", "direct first", "where the cloud has none",
        "the cloud's reason stays", "fabric drops", "pool always", "cross subnet by a router",
        "cross subnet, adjacent",
    ],
)  # fmt: skip
def test_when_bgp_is_believed(here, there, kind, next_hop, reason):
    offered = candidate(here, there)
    state = State.NATIVE if offered.native else State.GROUND
    path = choose(here, there, offered, state, Verdict.PROVEN)

    assert (path.kind, path.reason) == (kind, reason)
    assert (offered.next_hop, offered.device) == (next_hop, "eth1" if kind is PathKind.BGP else "")


def test_a_cross_subnet_pool_is_direct_within_the_subnet():
    assert candidate(HERE, replace(NEIGHBOUR, pool=pool(EncapMode.CROSS_SUBNET))).kind is PathKind.DIRECT


def test_ip_in_ip_is_carried_by_vxlan_in_the_same_mode():
    ipip = replace(pool(EncapMode.NEVER), ipip_mode=EncapMode.CROSS_SUBNET)

    assert encapsulation(ipip) is EncapMode.CROSS_SUBNET
    assert encapsulation(None) is EncapMode.NEVER


@pytest.mark.parametrize("state", State)
def test_without_a_tunnel_end_there_is_no_path_whatever_else_holds(state):
    there = replace(THERE, node=replace(THERE.node, vteps=()))

    path = take(HERE, there, state)

    assert (path.kind, path.reason, path.next_hop) == (PathKind.NONE, Reason.NO_VTEP, None)
    assert "'n2'" in path.detail


def test_a_tunnel_end_without_an_address_to_send_to_is_no_path():
    path = take(HERE, replace(THERE, node=replace(THERE.node, addresses=())))

    assert (path.kind, path.reason) == (PathKind.NONE, Reason.NO_VTEP)


def test_a_node_without_its_own_tunnel_end_names_itself():
    path = take(replace(HERE, node=replace(HERE.node, vteps=())), THERE)

    assert "'n1'" in path.detail


def test_a_refused_block_has_no_path():
    path = refused(BLOCK, THERE.node, "10.65.2.0/26 of n2 and n3 overlap")

    assert (path.kind, path.reason, path.detail) == (
        PathKind.NONE,
        Reason.DUPLICATE,
        "10.65.2.0/26 of n2 and n3 overlap",
    )


def test_the_native_mtu_is_the_smallest_on_the_way():
    there = replace(THERE, cloud=replace(THERE.cloud, mtu=1500))

    assert take(HERE, there).mtu == 1500
