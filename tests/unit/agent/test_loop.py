from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudnet.agent import actions
from cloudnet.config import AgentConfig
from cloudnet.ipam import block as blocks
from cloudnet.kernel.api import (
    FdbEntry,
    Gateway,
    Hop,
    KernelError,
    Link,
    Neighbour,
    Remove,
    Route,
    RouteKind,
    Rule,
    VxlanDevice,
)
from cloudnet.kernel.memory import MemoryKernel, Moment
from cloudnet.model.addresses import Family, InstanceId, InterfaceId, NodeName, SubnetId, TableId
from cloudnet.model.cloud_addresses import CloudAddresses, CloudInterface, CloudPrefix
from cloudnet.model.paths import PathKind, Reason
from cloudnet.model.resources import (
    Affinity,
    AffinityState,
    AllocationAttribute,
    BlockAffinity,
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
from cloudnet.routes.probe import PacketKind
from cloudnet.store.api import Event, EventType, Revision
from cloudnet.testing.agent import Host

CONFIG = AgentConfig(node="n1", hold_first=2.0)
TABLE = TableId("rtb-1")
GATEWAY = ip_address("10.0.1.1")
ETH0 = Link("eth0", 2, 9001, up=True, addresses=(ip_interface("10.0.1.11/24"),))


NOT_SUPPORTED = KernelError("operation not supported", errno=95)


def a_kernel(link=ETH0):
    return MemoryKernel([link], [Gateway(Family.IPV4, "eth0", GATEWAY)])


def node(k, *, subnet=None, address=None):
    address = address or f"10.0.{subnet or k}.{10 + k}"
    return Node(
        Metadata(f"n{k}"),
        addresses=(ip_interface(f"{address}/24"),),
        vteps=(Vtep(ip_address(f"10.65.{k}.0"), ""),),
    )


def block(k, i=0):
    return ip_network(f"10.65.{k}.{64 * i}/26")


def affinity(k, i=0, *, of=None, state=AffinityState.CONFIRMED):
    owner = f"n{of or k}"
    return BlockAffinity(Metadata(f"{owner}-{block(k, i)}"), NodeName(owner), block(k, i), state)


def cloud(k, *, subnet=None, forwarding=True):
    name = f"n{k}"
    return CloudNode(
        Metadata(name),
        InstanceId(f"i-{k}"),
        InterfaceId(f"eni-{k}"),
        SubnetId(f"subnet-{subnet or k}"),
        tables=(TABLE,),
        forwarding=forwarding,
        l2_adjacent=True,
        mtu=9001,
    )


def route(k, state=RouteState.PROGRAMMED, cause=Cause.NONE, *, i=0):
    name = str(block(k, i)).replace(".", "-").replace("/", "-")
    return CloudRoute(Metadata(name), block(k, i), NodeName(f"n{k}"), (TableStatus(TABLE, state, cause),))


def ground(k, i=0):
    return Route(block(k, i), "vxlan.calico", ip_address(f"10.65.{k}.0"), onlink=True)


def native(k, i=0):
    return Route(block(k, i), "eth0", GATEWAY, metric=512)


OWN = (node(1), affinity(1), cloud(1))
SECOND = (node(2), affinity(2), cloud(2))


def start(*resources, kernel=None, now=0.0):
    host = Host(CONFIG, kernel or a_kernel(), now=now)
    host.act()
    host.put(*resources)
    return host


def goes_native(host, k):
    host.put(route(k))
    host.run(1.5)
    assert host.path(block(k)).kind is PathKind.NATIVE
    return host


def objects(host):
    return host.kernel.read()


def holds(host, value):
    return objects(host).get(value.key) == value


def test_the_ground_is_laid_in_one_step():
    host = start(*OWN, *SECOND)

    mac = "66:49:7c:2a:17:06"
    second = next(v for v in objects(host).values() if isinstance(v, FdbEntry))
    assert set(objects(host).values()) == {
        VxlanDevice(
            "vxlan.calico", 4096, 4789, "eth0", ip_address("10.0.1.11"),
            next(v.mac for v in objects(host).values() if isinstance(v, VxlanDevice)), 8951,
            (ip_interface("10.65.1.0/32"),),
        ),
        FdbEntry("vxlan.calico", second.mac, ip_address("10.0.2.12")),
        Neighbour("vxlan.calico", ip_address("10.65.2.0"), second.mac),
        ground(2),
        Rule(Family.IPV4, 98, 4793, 17, 4793),
        Route(block(1), kind=RouteKind.BLACKHOLE),
        Route(block(1), "lo", table=4793, kind=RouteKind.LOCAL),
    }  # fmt: skip
    assert second.mac != mac
    assert host.reports[-1].ready


PROBES = Rule(Family.IPV4, 98, 4793, 17, 4793)


def pool_of_mode(mode, cidr="10.65.0.0/16"):
    return IPPool(Metadata("default"), ip_network(cidr), vxlan_mode=mode)


def test_probes_have_a_rule_only_while_a_block_may_be_native():
    host = start(*OWN, *SECOND, pool_of_mode(EncapMode.ALWAYS))
    assert not holds(host, PROBES)

    host.put(pool_of_mode(EncapMode.CROSS_SUBNET))
    assert holds(host, PROBES)

    host.put(pool_of_mode(EncapMode.ALWAYS))
    assert not holds(host, PROBES)


def test_a_block_outside_all_pools_may_be_native_whatever_they_say():
    host = start(*OWN, pool_of_mode(EncapMode.ALWAYS, cidr="10.65.1.0/24"))
    assert not holds(host, PROBES)

    host.put(*SECOND)

    assert holds(host, PROBES)


def test_device_entries_and_neighbours_come_before_the_routes_that_need_them():
    host = start(*OWN, *SECOND)

    kinds = [type(change.value) for change in host.applied[0].changes]

    assert kinds.index(VxlanDevice) < kinds.index(FdbEntry) < kinds.index(Neighbour) < kinds.index(Route)


def test_nothing_is_written_before_the_stores_first_full_answer():
    host = Host(CONFIG, start(*OWN, *SECOND).kernel)
    host.act()

    host.hear(synced=False)
    host.run(200.0)

    assert host.applied == []
    assert holds(host, ground(2))
    assert host.loop.not_ready() == "waiting for the store"


def test_stale_routes_of_ours_are_swept_after_it():
    earlier = goes_native(start(*OWN, *SECOND, node(9), affinity(9), cloud(9)), 9)

    host = start(*OWN, *SECOND, kernel=earlier.kernel)

    assert not holds(host, ground(9))
    assert not holds(host, native(9))
    assert holds(host, ground(2))


def test_a_programmed_route_is_taken_after_a_second_of_answers():
    host = start(*OWN, *SECOND, route(2))

    host.run(0.9)
    assert host.path(block(2)).reason is Reason.PROVING
    host.run(0.6)

    assert host.path(block(2)).reason is Reason.PROVEN
    assert holds(host, native(2))
    assert holds(host, ground(2))


def test_probes_leave_from_our_tunnel_end_to_the_block_by_a_table_of_their_own():
    host = start(*OWN, *SECOND, route(2))
    host.run(0.3)

    probe = host.probes[0]

    assert (probe.source, probe.destination in block(2)) == (ip_address("10.65.1.0"), True)
    assert holds(host, replace(native(2), table=4793))


def test_a_block_without_a_native_way_is_not_probed():
    host = start(*OWN, *SECOND, route(2, RouteState.REFUSED, Cause.QUOTA))
    host.run(5.0)

    assert host.probes == []
    assert host.path(block(2)).reason is Reason.QUOTA


def test_lost_probes_move_the_block_to_vxlan_in_less_than_a_second():
    host = goes_native(start(*OWN, *SECOND), 2)

    host.answers = lambda _block: False
    host.run(0.8)

    path = host.path(block(2))
    assert (path.kind, path.reason) == (PathKind.VXLAN, Reason.PROBES_LOST)
    assert not holds(host, native(2))
    assert host.reports[-1].lost == (block(2),)
    assert host.loop.counts.flaps == 1


def test_an_agent_that_restarts_moves_nobodys_path():
    host = goes_native(start(*OWN, *SECOND), 2)
    before = len(host.changes)

    host.answers = host.present = lambda _block: False
    host.run(4.0)
    host.answers = host.present = lambda _block: True
    host.run(4.0)

    assert host.changes[before:] == []
    assert holds(host, native(2))
    assert all(report.lost == () for report in host.reports)


def test_a_node_that_stays_silent_is_reported_and_keeps_its_path():
    host = goes_native(start(*OWN, *SECOND), 2)

    host.answers = host.present = lambda _block: False
    host.run(8.0)

    assert host.reports[-1].lost == (block(2),)
    assert holds(host, native(2))
    assert "does not answer" in host.path(block(2)).detail


def test_calls_go_from_node_to_node():
    host = goes_native(start(*OWN, *SECOND), 2)

    host.answers = lambda _block: False
    host.run(0.4)

    calls = [p for p in host.probes if p.kind is PacketKind.CALL]
    assert {(c.source, c.destination) for c in calls} == {(ip_address("10.0.1.11"), ip_address("10.0.2.12"))}


def test_after_the_hold_down_it_returns_by_proof():
    host = goes_native(start(*OWN, *SECOND), 2)
    host.answers = lambda _block: False
    host.run(1.0)

    host.answers = lambda _block: True
    host.run(1.2)
    assert host.path(block(2)).reason is Reason.HELD
    host.run(1.5)

    assert host.path(block(2)).kind is PathKind.NATIVE
    assert host.reports[-1].lost == ()


def test_a_withdrawn_route_is_left_before_it_is_acknowledged():
    host = goes_native(start(*OWN, *SECOND), 2)

    host.put(route(2, RouteState.WITHDRAWING), revision=77)

    assert not holds(host, native(2))
    assert host.reports[-1].observed == 77


def test_a_withdrawal_is_not_acknowledged_while_the_kernel_refuses_to_leave():
    host = goes_native(start(*OWN, *SECOND), 2)
    host.kernel.refuse(lambda change: change.value.key == native(2).key, NOT_SUPPORTED)

    host.put(route(2, RouteState.WITHDRAWING), revision=77)
    before = host.reports[-1].observed
    host.kernel.refuse_nothing()
    host.run(2.0)

    assert before < 77
    assert host.reports[-1].observed == 77


def test_a_withdrawal_of_an_unused_route_is_acknowledged_at_once():
    host = start(*OWN, *SECOND)

    host.put(route(2, RouteState.WITHDRAWING), revision=50)

    assert host.reports[-1].observed == 50


def test_a_withdrawal_in_a_table_that_we_do_not_use_holds_nobody_up():
    host = goes_native(start(*OWN, *SECOND), 2)
    elsewhere = TableStatus(TableId("rtb-9"), RouteState.WITHDRAWING)

    host.put(replace(route(2), tables=(*route(2).tables, elsewhere)), revision=60)

    assert host.path(block(2)).kind is PathKind.NATIVE
    assert host.reports[-1].observed == 60


def test_a_restart_adopts_native_routes_and_changes_nothing():
    kernel = goes_native(start(*OWN, *SECOND), 2).kernel

    again = start(*OWN, *SECOND, route(2), kernel=kernel, now=100.0)
    again.run(5.0)

    assert again.applied == []
    assert again.path(block(2)).reason is Reason.PROVEN


def test_an_adopted_route_that_is_a_black_hole_is_left_in_less_than_a_second():
    kernel = goes_native(start(*OWN, *SECOND), 2).kernel

    again = start(*OWN, *SECOND, route(2), kernel=kernel, now=100.0)
    again.answers = lambda _block: False
    again.run(0.9)

    assert not holds(again, native(2))


def test_a_native_route_that_the_cloud_no_longer_has_is_not_adopted():
    kernel = goes_native(start(*OWN, *SECOND), 2).kernel

    again = start(*OWN, *SECOND, route(2, RouteState.BLACK_HOLED), kernel=kernel, now=100.0)

    assert not holds(again, native(2))
    assert holds(again, ground(2))


def test_a_neighbour_is_reached_directly_once_proven():
    host = start(*OWN, node(2, subnet=1), affinity(2), cloud(2, subnet=1))
    host.run(1.5)

    assert host.path(block(2)).kind is PathKind.DIRECT
    assert holds(host, Route(block(2), "eth0", ip_address("10.0.1.12"), metric=512))


def test_a_gateway_outside_the_nodes_subnet_is_reached_on_link():
    kernel = a_kernel(replace(ETH0, addresses=(ip_interface("10.0.1.11/32"),)))

    host = goes_native(start(*OWN, *SECOND, kernel=kernel), 2)

    assert holds(host, replace(native(2), onlink=True))


def test_a_node_that_goes_takes_everything_of_its_with_it():
    host = start(*OWN)
    alone = dict(objects(host))
    host.put(*SECOND)
    goes_native(host, 2)

    host.delete(*SECOND, route(2))

    assert objects(host) == alone
    assert host.loop.paths == ()


def test_a_node_with_a_new_address_is_proven_anew():
    host = goes_native(start(*OWN, *SECOND), 2)

    host.put(node(2, address="10.0.2.99"))

    assert host.path(block(2)).reason is Reason.PROVING
    assert ip_address("10.0.2.99") in {v.address for v in objects(host).values() if isinstance(v, FdbEntry)}
    host.run(1.5)
    assert host.path(block(2)).kind is PathKind.NATIVE


def test_a_node_made_anew_with_another_block_leaves_nothing_of_the_old_one():
    host = goes_native(start(*OWN, *SECOND), 2)

    host.delete(affinity(2), route(2))
    host.put(affinity(3, of=2))

    assert not any(isinstance(v, Route) and v.destination == block(2) for v in objects(host).values())
    assert objects(host)[ground(3).key].gateway == ip_address("10.65.2.0")


def test_a_new_address_of_our_own_makes_the_tunnel_anew_with_everything_upon_it():
    host = goes_native(start(*OWN, *SECOND), 2)
    before = objects(host)

    host.kernel.add_link(replace(ETH0, addresses=(ip_interface("10.0.1.99/24"),)))
    host.put(node(1, address="10.0.1.99"))
    host.stir()
    host.run(3.0)

    device = next(v for v in objects(host).values() if isinstance(v, VxlanDevice))
    assert device.local == ip_address("10.0.1.99")
    assert objects(host).keys() == before.keys()
    assert host.reports[-1].ready


def test_own_blocks_may_come_and_go():
    host = start(*OWN)

    host.put(affinity(1, 1))
    host.delete(affinity(1))

    assert holds(host, Route(block(1, 1), kind=RouteKind.BLACKHOLE))
    assert not holds(host, Route(block(1), kind=RouteKind.BLACKHOLE))


def test_a_single_address_block_of_ours_gets_no_black_hole():
    single = BlockAffinity(Metadata("n1-one"), NodeName("n1"), ip_network("10.65.200.7/32"))
    host = start(*OWN, single)

    assert not holds(host, Route(single.cidr, kind=RouteKind.BLACKHOLE))
    assert holds(host, Route(single.cidr, "lo", table=4793, kind=RouteKind.LOCAL))


@pytest.mark.parametrize("state", [AffinityState.PENDING, AffinityState.PENDING_DELETION])
def test_a_block_whose_affinity_is_not_confirmed_is_not_routed(state):
    host = start(*OWN, *SECOND, affinity(2, 1, state=state))

    assert not holds(host, ground(2, 1))


def test_a_block_that_two_nodes_claim_has_no_path_and_names_both():
    host = goes_native(start(*OWN, *SECOND), 2)

    host.put(node(3), cloud(3), affinity(2, of=3))

    path = host.path(block(2))
    assert (path.kind, path.reason) == (PathKind.NONE, Reason.DUPLICATE)
    assert "'n2'" in path.detail
    assert "'n3'" in path.detail
    assert not holds(host, native(2))


def test_a_dispute_that_is_settled_brings_the_block_back():
    host = start(*OWN, *SECOND, node(3), affinity(2, of=3))

    host.delete(affinity(2, of=3))

    assert holds(host, ground(2))


def test_a_block_of_a_node_nobody_has_described_has_no_path_yet():
    host = start(*OWN, affinity(2))
    assert host.path(block(2)).reason is Reason.NO_VTEP

    host.put(node(2))

    assert holds(host, ground(2))


def test_without_the_own_node_the_kernel_is_left_alone():
    host = goes_native(start(*OWN, *SECOND), 2)
    before = dict(objects(host))

    host.delete(OWN[0])
    host.run(200.0)

    assert objects(host) == before
    assert not host.reports[-1].ready
    assert "'n1' is not in the store" in host.reports[-1].message


def test_an_own_address_that_no_device_carries_is_named():
    host = start(node(1, address="10.0.1.99"), affinity(1))

    assert "10.0.1.99" in host.reports[-1].message


def test_what_somebody_else_deletes_is_repaired_at_his_notice():
    host = goes_native(start(*OWN, *SECOND), 2)
    host.run(5.0)

    host.kernel.lose(ground(2))
    host.stir()
    host.run(0.1)

    assert holds(host, ground(2))
    assert host.loop.counts.repairs == 1


def test_what_nobody_tells_of_is_repaired_by_the_resync():
    host = start(*OWN, *SECOND)
    host.kernel.lose(ground(2))

    host.run(CONFIG.resync_seconds + 1)

    assert holds(host, ground(2))


def test_notices_without_end_cost_a_read_in_two_seconds_at_most():
    host = start(*OWN, *SECOND)
    before = host.kernel.reads

    for _ in range(100):
        host.stir()
        host.run(0.1)

    assert host.kernel.reads - before <= 6


def test_a_refused_change_is_tried_again_ever_more_slowly():
    kernel = a_kernel()
    kernel.refuse(lambda change: change.value.key == ground(2).key, NOT_SUPPORTED)
    host = start(*OWN, *SECOND, kernel=kernel)
    host.run(60.0)

    assert 5 <= host.loop.counts.failures <= 8
    assert not host.reports[-1].ready
    assert "operation not supported" in host.reports[-1].message
    kernel.refuse_nothing()
    host.run(31.0)

    assert host.reports[-1].ready


def test_a_node_that_is_made_anew_in_the_same_moment_is_reported_anew():
    """The controller took the report away with the former node."""
    host = goes_native(start(*OWN, *SECOND), 2)
    written = len(host.reports)

    host.hear(
        Event(EventType.DELETED, OWN[0], Revision(900)),
        Event(EventType.PUT, replace(OWN[0], meta=Metadata("n1", uid="other")), Revision(901)),
    )

    assert len(host.reports) == written + 1
    assert host.reports[-1].ready


def test_a_report_is_written_only_when_it_changes():
    host = goes_native(start(*OWN, *SECOND), 2)
    written = len(host.reports)

    host.run(300.0)
    host.put(*SECOND)

    assert len(host.reports) == written


def test_settings_of_the_kernel_follow_the_device():
    host = start(*OWN)

    assert host.sysctls == {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.eth0.rp_filter": "2",
        "net.ipv4.conf.vxlan.calico.rp_filter": "2",
    }


def test_only_known_tunnel_ends_are_answered():
    host = start(*OWN, *SECOND)

    assert host.peers == {ip_address("10.65.2.0"): (ip_address("10.0.1.11"), ip_address("10.0.2.12"))}


def test_a_tunnel_end_that_goes_is_answered_no_longer():
    host = start(*OWN, *SECOND)

    host.delete(SECOND[0])

    assert host.peers == {}


def test_an_answer_from_elsewhere_proves_nothing():
    host = start(*OWN, *SECOND, route(2))
    host.answers_from = lambda _block: ip_address("10.0.9.9")

    host.run(5.0)

    assert host.path(block(2)).kind is PathKind.VXLAN


def test_one_change_among_thousands_costs_one_change():
    others = [(node(k, address=f"10.0.{k}.12"), cloud(k)) for k in range(2, 200)]
    blocks = [affinity(k, i) for k in range(2, 200) for i in range(4)]
    host = start(*OWN, *(r for pair in others for r in pair), *blocks)
    host.applied.clear()

    host.delete(affinity(7, 3))

    assert [a.changes for a in host.applied] == [(Remove(ground(7, 3)),)]


def _worlds():
    """Yield resources with a final version each, and a stale version that may be seen before."""
    state = st.sampled_from(
        [(RouteState.PROGRAMMED, Cause.NONE), (RouteState.REFUSED, Cause.QUOTA), (RouteState.WITHDRAWING, Cause.NONE)]
    )
    remote = st.tuples(st.integers(2, 5), state, state, st.booleans(), st.booleans(), st.booleans())
    return st.lists(remote, max_size=4, unique_by=lambda r: r[0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_worlds(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_kernel_depends_on_the_state_never_on_the_way_there(world, rng, size):
    final, stale, gone = [*OWN], [*OWN], []
    for k, (state, cause), (old_state, old_cause), forwards, renumbered, disputed in world:
        final += [node(k), affinity(k), cloud(k, forwarding=forwards), route(k, state, cause)]
        stale += [
            node(k, address="10.0.2.77") if renumbered else node(k),
            affinity(k),
            cloud(k, forwarding=not forwards),
            route(k, old_state, old_cause),
        ]
        gone += [node(9), affinity(9), route(9), *([affinity(k, of=9)] if disputed else [])]

    straight = start(*final)
    straight.run(20.0)

    winding = Host(CONFIG, a_kernel())
    rng.shuffle(stale)
    before = stale + gone
    rng.shuffle(before)
    for at in range(0, len(before), size):
        winding.put(*before[at : at + size])
        winding.run(rng.choice([0.0, 0.5, 2.0]))
    after = final * rng.choice([1, 2])
    rng.shuffle(after)
    removals = list(gone)
    rng.shuffle(removals)
    for at in range(0, len(after), size):
        winding.put(*after[at : at + size])
        winding.run(rng.choice([0.0, 0.3]))
        winding.delete(*removals[at : at + size])
    winding.delete(*removals)
    winding.run(20.0)

    assert objects(winding) == objects(straight)
    assert {(p.block, p.kind, p.reason, p.detail) for p in winding.loop.paths} == {
        (p.block, p.kind, p.reason, p.detail) for p in straight.loop.paths
    }


HAPPENINGS = [
    "programmed", "refused", "withdrawing", "deleted", "black hole", "healed", "forwarding", "stirred", "restart",
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(2, 4), st.floats(0.0, 2.0)), max_size=30))
def test_at_every_moment_each_destination_has_ground_and_native_only_upon_it(story):
    """The model: once laid, the ground of a block stays until its node or block goes."""
    remotes = [r for k in (2, 3, 4) for r in (node(k), affinity(k), cloud(k))]
    host = start(*OWN, *remotes)
    dead = set()
    host.answers = lambda b: b not in dead

    def restart():
        again = Host(CONFIG, host.kernel, now=host.now)
        again.answers = host.answers
        again.act()
        again.put(*OWN, *remotes)
        return again

    happenings = {
        "programmed": lambda k, _: host.put(route(k)),
        "refused": lambda k, _: host.put(route(k, RouteState.REFUSED, Cause.QUOTA)),
        "withdrawing": lambda k, _: host.put(route(k, RouteState.WITHDRAWING)),
        "deleted": lambda k, _: host.delete(route(k)),
        "black hole": lambda k, _: dead.add(block(k)),
        "healed": lambda k, _: dead.discard(block(k)),
        "forwarding": lambda k, pause: host.put(cloud(k, forwarding=pause < 1.0)),
        "stirred": lambda _k, _: host.stir(),
        "restart": lambda _k, _: restart(),
    }
    for what, k, pause in story:
        outcome = happenings[what](k, pause)
        host = outcome if what == "restart" else host
        host.run(pause)

    for k in (2, 3, 4):
        ways = list(host.kernel.ways(ip_address(f"10.65.{k}.5")))
        assert all(way in (ground(k), native(k)) for way in ways[ways.index(ground(k)) :])
        assert Moment(ground(k), came=False) not in host.kernel.history
    for path in host.loop.paths:
        assert path.kind is not PathKind.NONE
        native_there = native(int(str(path.block).split(".")[2])).key in objects(host)
        assert native_there == (path.kind is PathKind.NATIVE)


def stray(k, ordinal):
    return ip_network(f"10.65.{k}.{ordinal}/32")


def lent(k, *nodes):
    """Return the block of node ``k`` whose first addresses these nodes have."""
    made = blocks.new(block(k), Affinity(NodeName(f"n{k}")), now=datetime(2025, 1, 1, tzinfo=UTC), sequence=1)
    attributes = tuple(AllocationAttribute(owner={"node": name}) for name in nodes)
    taken = tuple(range(len(nodes)))
    return replace(made, allocations=(*taken, *made.allocations[len(taken) :]), attributes=attributes)


def hear_blocks(host, *values, gone=False):
    kind = EventType.DELETED if gone else EventType.PUT
    host.loop.receive([actions.BlocksChanged(tuple(Event(kind, value, Revision(1)) for value in values))])
    host.act()


def cluster(*numbers):
    host = Host(CONFIG, a_kernel())
    host.put(*(value for k in (1, *numbers) for value in (node(k), affinity(k))))
    return host


def main_route(host, destination):
    found = (v for v in host.kernel.read().values() if isinstance(v, Route) and v.destination == destination)
    return next((route for route in found if route.table == 254), None)


def test_a_borrowed_address_is_a_destination_of_its_own_until_it_is_released():
    host = cluster(2, 3)

    hear_blocks(host, lent(2, "n2", "n3"))
    borrowed = main_route(host, stray(2, 1))
    host.put(cloud(1), cloud(2), cloud(3), CloudRoute(Metadata("x"), block(2), NodeName("n2"), ()))
    path = next(path for path in host.loop.paths if path.block == stray(2, 1))
    hear_blocks(host, lent(2, "n2"))

    assert (borrowed.device, borrowed.gateway) == ("vxlan.calico", ip_address("10.65.3.0"))
    assert (path.node, path.kind) == ("n3", PathKind.VXLAN)
    assert main_route(host, stray(2, 1)) is None
    assert main_route(host, block(2)).gateway == ip_address("10.65.2.0")


def test_the_node_that_lent_an_address_sends_its_packets_on():
    host = cluster(3)

    hear_blocks(host, lent(1, "n1", "n3"))

    assert main_route(host, stray(1, 1)).gateway == ip_address("10.65.3.0")
    assert main_route(host, block(1)).kind is RouteKind.BLACKHOLE


def test_the_node_that_borrowed_an_address_routes_it_nowhere_else():
    host = cluster(2)

    hear_blocks(host, lent(2, "n1"))

    assert main_route(host, stray(2, 0)) is None
    assert main_route(host, block(2)).gateway == ip_address("10.65.2.0")
    assert all(path.block != stray(2, 0) for path in host.loop.paths)


def test_a_pod_of_a_block_that_nobody_owns_any_more_is_still_reached():
    host = cluster(3)

    hear_blocks(host, replace(lent(2, "n3"), affinity=None))

    assert main_route(host, stray(2, 0)).gateway == ip_address("10.65.3.0")


def test_when_the_borrowers_tunnel_end_moves_the_route_follows():
    host = cluster(2, 3)
    hear_blocks(host, lent(2, "n3"))

    host.put(replace(node(3), vteps=(Vtep(ip_address("10.65.3.9"), ""),)))

    assert main_route(host, stray(2, 0)).gateway == ip_address("10.65.3.9")


def test_after_a_restart_routes_to_borrowed_addresses_stand_until_the_blocks_are_known():
    host = cluster(2, 3)
    hear_blocks(host, lent(2, "n3"))
    again = Host(CONFIG, host.kernel)

    again.put(*(value for k in (1, 2, 3) for value in (node(k), affinity(k))))
    before = main_route(again, stray(2, 0))
    hear_blocks(again, lent(2, "n2"))

    assert before is not None
    assert main_route(again, stray(2, 0)) is None


# --- native addresses ---------------------------------------------------------------------------------------

PREFIX = ip_network("10.0.2.32/28")
DELIVERED = BlockAffinity(Metadata("n2-10-0-2-32-28", labels={"cloudnet.io/native": "eni-2"}), NodeName("n2"), PREFIX)


def test_a_native_block_needs_no_cloud_route_and_goes_by_the_subnets_router():
    host = start(*OWN, *SECOND, DELIVERED)

    host.run(1.5)

    assert host.path(PREFIX).kind is PathKind.NATIVE
    assert holds(host, Route(PREFIX, "eth0", GATEWAY, metric=512))
    assert holds(host, Route(PREFIX, "vxlan.calico", ip_address("10.65.2.0"), onlink=True))


def test_a_native_block_of_the_same_subnet_goes_by_the_router_too():
    same = (node(2, subnet=1), affinity(2), cloud(2, subnet=1))
    host = start(*OWN, *same, DELIVERED)

    host.run(1.5)

    assert (host.path(PREFIX).kind, host.path(PREFIX).next_hop) == (PathKind.NATIVE, GATEWAY)


def test_a_native_block_whose_probes_are_lost_goes_over_vxlan():
    host = start(*OWN, *SECOND, DELIVERED)
    host.run(1.5)
    host.answers = lambda block: block != PREFIX

    host.run(1.5)

    assert host.path(PREFIX).kind is PathKind.VXLAN
    assert not holds(host, Route(PREFIX, "eth0", GATEWAY, metric=512))


def test_a_block_that_is_native_no_more_waits_for_its_cloud_route():
    host = start(*OWN, *SECOND, DELIVERED)
    host.run(1.5)

    host.put(replace(DELIVERED, meta=Metadata(DELIVERED.meta.name)))

    assert host.path(PREFIX).reason is Reason.PENDING


def test_a_further_interface_is_set_up_and_then_answers_leave_by_it():
    eth1 = Link("eth1", 3, 9001, up=False, mac="02:00:00:00:00:20")
    kernel = a_kernel()
    kernel.add_link(eth1)
    record = CloudAddresses(
        Metadata("n1"),
        (CloudInterface("eni-9", 1, eth1.mac, "subnet-1", (ip_interface("10.0.1.20/24"),)),),
        (CloudPrefix(ip_network("10.0.1.64/28"), "eni-9"),),
    )
    host = start(*OWN, record, kernel=kernel)

    host.run(3.0)

    assert kernel.links()["eth1"].up
    assert holds(host, Route(ip_network("0.0.0.0/0"), "eth1", GATEWAY, table=4801, onlink=True))
    assert holds(host, Rule(Family.IPV4, 103, 4801, source=ip_network("10.0.1.64/28")))
    assert host.sysctls["net.ipv4.conf.eth1.rp_filter"] == "2"


def test_a_native_block_has_its_ground_in_the_table_of_a_further_interface_until_it_is_proven():
    eth1 = Link("eth1", 3, 9001, up=True, mac="02:00:00:00:00:20", addresses=(ip_interface("10.0.1.20/32"),))
    kernel = a_kernel()
    kernel.add_link(eth1)
    own = (ip_interface("10.0.1.20/24"),)
    record = CloudAddresses(Metadata("n1"), (CloudInterface("eni-9", 1, eth1.mac, "subnet-1", own),))
    host = start(*OWN, *SECOND, record, DELIVERED, kernel=kernel)
    over_vxlan = Route(PREFIX, "vxlan.calico", ip_address("10.65.2.0"), onlink=True, table=4801)

    early = holds(host, over_vxlan)
    host.run(3.0)
    proven = holds(host, over_vxlan)
    host.answers = lambda block: block != PREFIX
    host.run(1.5)

    assert [early, proven, holds(host, over_vxlan)] == [True, False, True]


POOL = IPPool(Metadata("pods"), ip_network("10.65.0.0/16"))
FROM_POOL = Rule(Family.IPV4, 104, 4794, source=POOL.cidr)
OVER_VXLAN = Route(PREFIX, "vxlan.calico", ip_address("10.65.2.0"), onlink=True, table=4794)


def test_where_the_fabric_takes_own_addresses_alone_those_of_pools_keep_to_the_overlay():
    host = start(node(1), affinity(1), cloud(1, forwarding=False), *SECOND, DELIVERED, POOL)

    host.run(3.0)

    assert host.path(PREFIX).kind is PathKind.NATIVE
    assert holds(host, Route(PREFIX, "eth0", GATEWAY, metric=512))
    assert holds(host, FROM_POOL)
    assert holds(host, OVER_VXLAN)
    assert host.path(block(2)).reason is Reason.FORWARDING
    sources = {sent.source for sent in host.probes if sent.block == PREFIX}
    assert sources == {ip_address("10.0.1.11")}, "a probe from a pool's address would be dropped"


def test_once_the_fabric_takes_all_nothing_keeps_to_the_overlay():
    host = start(node(1), affinity(1), cloud(1, forwarding=False), *SECOND, DELIVERED, POOL)
    host.run(3.0)
    host.probes.clear()

    host.put(cloud(1))
    host.run(3.0)

    assert not holds(host, FROM_POOL)
    assert not holds(host, OVER_VXLAN)
    assert {sent.source for sent in host.probes if sent.block == PREFIX} >= {ip_address("10.65.1.0")}


def test_without_a_block_that_the_cloud_delivers_no_rule_is_asked():
    host = start(node(1), affinity(1), cloud(1, forwarding=False), *SECOND, POOL)
    before = holds(host, FROM_POOL)

    host.put(DELIVERED)
    between = holds(host, FROM_POOL)
    host.delete(DELIVERED)

    assert [before, between, holds(host, FROM_POOL)] == [False, True, False]


def test_rules_of_an_interface_go_when_it_goes():
    eth1 = Link("eth1", 3, 9001, up=True, mac="02:00:00:00:00:20", addresses=(ip_interface("10.0.1.20/32"),))
    kernel = a_kernel()
    kernel.add_link(eth1)
    record = CloudAddresses(
        Metadata("n1"),
        (CloudInterface("eni-9", 1, eth1.mac, "subnet-1", (ip_interface("10.0.1.20/24"),)),),
        (CloudPrefix(ip_network("10.0.1.64/28"), "eni-9"),),
    )
    host = start(*OWN, record, kernel=kernel)
    host.run(3.0)
    before = holds(host, Rule(Family.IPV4, 103, 4801, source=ip_network("10.0.1.64/28")))

    host.put(replace(record, interfaces=(), prefixes=()))

    assert before
    assert [v for v in objects(host).values() if isinstance(v, Rule)] == [Rule(Family.IPV4, 98, 4793, 17, 4793)]


# --- BGP ----------------------------------------------------------------------------------------------------


ROUTER = Hop(ip_address("10.0.1.254"), "eth0")


def speaking(*resources, kernel=None):
    kernel = kernel or a_kernel()
    host = Host(replace(CONFIG, bgp=True), kernel)
    host.act()
    host.put(node(1), affinity(1), node(2), affinity(2), *resources)
    return host


def learns(host, prefix, hop):
    host.kernel.learn(prefix, hop)
    host.stir()
    host.run(5.0)


def by_bgp(k, i=0):
    return Route(block(k, i), "eth0", ROUTER.gateway, metric=512)


def test_a_way_that_bgp_peers_told_is_taken_once_it_is_proven_and_left_when_they_take_it_back():
    host = speaking()
    alone = host.path(block(2))

    learns(host, block(2), ROUTER)
    while_told = host.path(block(2)), holds(host, by_bgp(2)), holds(host, ground(2))
    learns(host, block(2), None)

    assert (alone.kind, alone.reason) == (PathKind.VXLAN, Reason.NOT_LEARNED)
    assert (while_told[0].kind, while_told[0].next_hop, *while_told[1:]) == (PathKind.BGP, ROUTER.gateway, True, True)
    assert host.path(block(2)).reason is Reason.NOT_LEARNED
    assert not holds(host, by_bgp(2))
    assert holds(host, ground(2))


def test_a_way_by_bgp_over_which_probes_are_lost_is_left_and_is_nothing_for_the_controller():
    host = speaking()
    learns(host, block(2), ROUTER)

    host.answers = lambda _block: False
    host.run(1.0)

    assert (host.path(block(2)).kind, host.path(block(2)).reason) == (PathKind.VXLAN, Reason.PROBES_LOST)
    assert host.reports[-1].lost == ()


def test_another_way_by_bgp_is_proven_anew():
    host = speaking()
    learns(host, block(2), ROUTER)
    host.kernel.learn(block(2), replace(ROUTER, gateway=ip_address("10.0.1.253")))
    host.stir()
    host.run(3.0)
    before_answers = [change.after.kind for change in host.changes[-2:]]

    assert before_answers == [PathKind.VXLAN, PathKind.BGP]
    assert host.path(block(2)).next_hop == ip_address("10.0.1.253")


def test_one_prefix_may_lead_to_many_blocks_also_to_those_that_come_later():
    host = speaking(affinity(2, 1))
    learns(host, ip_network("10.65.2.0/24"), ROUTER)
    host.put(affinity(2, 2))
    host.run(3.0)
    led = [host.path(block(2, i)).kind for i in range(3)]
    learns(host, ip_network("10.65.2.0/24"), None)

    assert led == [PathKind.BGP] * 3
    assert [host.path(block(2, i)).kind for i in range(3)] == [PathKind.VXLAN] * 3


def test_an_agent_that_restarts_goes_on_by_bgp_without_a_gap():
    first = speaking()
    learns(first, block(2), ROUTER)
    mark = len(first.kernel.history)

    again = speaking(kernel=first.kernel)

    assert again.path(block(2)).kind is PathKind.BGP
    assert first.kernel.history[mark:] == []


def test_a_way_by_bgp_may_leave_by_another_device_than_the_nodes_own_address_is_on():
    kernel = a_kernel()
    kernel.add_link(Link("eth1", 3, 1500, up=True, addresses=(ip_interface("10.9.0.11/24"),)))
    host = speaking(kernel=kernel)

    learns(host, block(2), Hop(ip_address("10.9.0.1"), "eth1"))

    assert host.path(block(2)).kind is PathKind.BGP
    assert holds(host, Route(block(2), "eth1", ip_address("10.9.0.1"), metric=512))
    assert holds(host, Route(block(2), "eth1", ip_address("10.9.0.1"), metric=512, table=4793))
