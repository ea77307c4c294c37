from ipaddress import ip_network

import pytest

from cloudnet.addresses.plan import Settings
from cloudnet.model.addresses import Family
from cloudnet.model.cloud_addresses import PrefixState
from cloudnet.model.resources import Cause, CloudRoute
from cloudnet.provider.api import Wanted
from cloudnet.provider.memory import Fault
from cloudnet.testing.pools import PoolCluster

QUICK = Settings(warm=8, idle=30.0, quarantine=20.0, leak=100.0)


@pytest.fixture
def cluster():
    return PoolCluster(QUICK)


def test_a_node_that_joins_gets_one_prefix_and_its_block(cluster):
    cluster.join(1)

    cluster.run()

    assert len(cluster.held(1)) == 1
    assert cluster.blocks(1) == cluster.delivered(1) == set(cluster.held(1))
    assert cluster.calls()["assign_addresses"] == 1


def test_a_native_block_asks_for_no_cloud_route(cluster):
    cluster.join(1)

    cluster.run(60)

    assert cluster.blocks(1)
    assert cluster.store.list(CloudRoute).items == ()
    assert cluster.cloud.count("create_route") == 0


def test_capacity_is_published_up_to_the_pod_limit(cluster):
    cluster.join(1)
    cluster.join(2, limit=30)

    cluster.run()

    assert cluster.record(1).capacity == {Family.IPV4: 110}
    assert cluster.record(2).capacity == {Family.IPV4: 30}


def test_a_wrong_pod_limit_is_told_and_the_default_holds(cluster):
    cluster.join(1, limit="many")

    cluster.run()

    assert cluster.record(1).capacity == {Family.IPV4: 110}
    assert any("'many', expected a number" in said for said in cluster.sim.said)


def test_fifty_pods_at_once_cost_one_more_request(cluster):
    cluster.join(1)
    cluster.run()
    for k in range(50):
        assert cluster.start_pod(1, f"p{k}") is not None

    cluster.run()

    assert sum(c.num_addresses for c in cluster.held(1)) >= 58
    assert cluster.calls()["assign_addresses"] == 2


def test_pods_have_pool_addresses_until_the_cloud_has_given_more(cluster):
    cluster.join(1)
    cluster.run()
    early = [cluster.start_pod(1, f"early{k}") for k in range(20)]
    cluster.run()

    late = cluster.start_pod(1, "late")

    assert [cluster.is_native(a) for a in early] == [True] * 16 + [False] * 4
    assert cluster.is_native(late)


def test_a_node_never_holds_more_than_its_pod_limit_asks_for(cluster):
    cluster.join(1, limit=20)
    cluster.run()
    for k in range(40):
        cluster.start_pod(1, f"p{k}")

    cluster.run(60)

    assert sum(c.num_addresses for c in cluster.held(1)) == 32


def test_another_interface_is_attached_when_one_is_full(cluster):
    cluster = PoolCluster(QUICK, size=20)
    cluster.join(1, limit=200)
    cluster.run()
    for k in range(150):
        cluster.start_pod(1, f"p{k}")

    cluster.run()

    assert cluster.interfaces(1) == 2
    assert [i.number for i in cluster.record(1).interfaces] == [0, 1]
    assert sum(c.num_addresses for c in cluster.held(1)) >= 158
    assert cluster.blocks(1) == cluster.delivered(1)


def test_a_fragmented_subnet_gives_single_addresses(cluster):
    cluster.space.fragment("subnet-1")
    cluster.join(1)

    cluster.run()

    assert {c.prefixlen for c in cluster.held(1)} == {32}
    assert len(cluster.held(1)) == 8
    assert cluster.is_native(cluster.start_pod(1, "p"))


def test_an_empty_subnet_leaves_pods_on_the_overlay_and_says_why(cluster):
    cluster.join(1)
    cluster.space.take("subnet-1", *(str(a) for a in ip_network("10.1.0.0/24")))

    cluster.run()

    assert cluster.held(1) == ()
    assert cluster.record(1).cause is Cause.EXHAUSTED
    assert "subnet-1" in cluster.record(1).detail
    assert not cluster.is_native(cluster.start_pod(1, "p"))


def test_an_empty_subnet_is_asked_again_ever_more_slowly(cluster):
    cluster.join(1)
    cluster.space.take("subnet-1", *(str(a) for a in ip_network("10.1.0.0/24")))

    cluster.run(3600)

    assert 4 <= sum(cluster.calls().values()) <= 30


def test_a_subnet_that_has_room_again_is_used_again(cluster):
    cluster.join(1)
    everything = [str(a) for a in ip_network("10.1.0.0/24")]
    cluster.space.take("subnet-1", *everything)
    cluster.run(60)
    cluster.space.give_back("subnet-1", *everything[64:])

    cluster.run(2000)

    assert len(cluster.held(1)) == 1
    assert cluster.record(1).cause is Cause.NONE


def test_another_subnet_of_the_zone_is_used_when_the_own_one_is_out():
    cluster = PoolCluster(QUICK, subnets=2)
    cluster.join(1)
    cluster.space.take("subnet-1", *(str(a) for a in ip_network("10.1.0.0/24")))

    cluster.run()

    assert cluster.interfaces(1) == 2
    assert all(c.subnet_of(ip_network("10.2.0.0/24")) for c in cluster.held(1))


def test_many_nodes_in_an_empty_subnet_share_what_one_found_out(cluster):
    cluster.space.take("subnet-1", *(str(a) for a in ip_network("10.1.0.64/26")))
    for k in range(1, 31):
        cluster.join(k)

    cluster.run(60)

    assert sum(cluster.calls().values()) < 30 * 4


@pytest.mark.parametrize("fault", [Fault.PERMISSION, Fault.THROTTLE, Fault.UNAVAILABLE], ids=lambda f: f.value)
def test_a_refusal_is_recorded_and_one_call_at_a_time_tries_again(cluster, fault):
    for k in range(1, 11):
        cluster.join(k)
    cluster.cloud.fail("assign_addresses", fault)

    cluster.run(300)

    assert cluster.record(1).cause is not Cause.NONE
    assert sum(cluster.calls().values()) < 300
    cluster.cloud.heal()
    cluster.run(300)
    assert all(cluster.held(k) and cluster.record(k).cause is Cause.NONE for k in range(1, 11))


def test_what_a_lost_answer_gave_is_found_and_used(cluster):
    cluster.join(1)
    cluster.cloud.fail("assign_addresses", Fault.TIMEOUT, times=1)
    cluster.cloud.fail("assign_addresses", Fault.UNAVAILABLE, times=20)

    cluster.run(120)

    assert set(cluster.held(1)) == cluster.delivered(1) == cluster.blocks(1)
    assert len(cluster.held(1)) >= 1


# --- giving back --------------------------------------------------------------------------------------------


def grown(cluster, pods=50):
    cluster.join(1)
    cluster.run()
    for k in range(pods):
        cluster.start_pod(1, f"p{k}")
    cluster.run()


def test_prefixes_that_nobody_needs_go_back_after_idle_and_quarantine(cluster):
    grown(cluster)
    for k in range(50):
        cluster.stop_pod(f"p{k}")

    cluster.run(29)
    before = cluster.held(1)
    cluster.run(15)
    leaving = cluster.held(1, PrefixState.LEAVING)
    delivered = cluster.delivered(1)
    cluster.run(60)

    assert len(before) == 4
    assert len(leaving) == 3
    assert set(leaving) <= delivered
    assert len(cluster.held(1)) == 1
    assert cluster.delivered(1) == set(cluster.held(1)) == cluster.blocks(1)


def test_a_prefix_with_a_pod_never_leaves(cluster):
    grown(cluster)
    kept = next(p for p, a in cluster.pods.items() if cluster.is_native(a))
    for pod in [p for p in cluster.pods if p != kept]:
        cluster.stop_pod(pod)

    cluster.run(600)

    assert any(cluster.pods[kept] in c for c in cluster.delivered(1))
    assert len(cluster.held(1)) == 1


def test_a_pod_that_starts_while_a_prefix_leaves_keeps_its_address(cluster):
    grown(cluster)
    for k in range(50):
        cluster.stop_pod(f"p{k}")
    started = []

    def start(action):
        if type(action).__name__ == "LetBlocksGo" and not started:
            started.extend(cluster.start_pod(1, f"late{k}") for k in range(40))

    cluster.sim.before = start
    cluster.run(300)

    assert len(started) == 40
    cluster.check()


def test_an_interface_that_delivers_nothing_goes(cluster):
    cluster = PoolCluster(QUICK, size=20)
    cluster.join(1, limit=200)
    cluster.run()
    for k in range(150):
        cluster.start_pod(1, f"p{k}")
    cluster.run()
    for k in range(150):
        cluster.stop_pod(f"p{k}")

    cluster.run(600)

    assert cluster.interfaces(1) == 1
    assert len(cluster.record(1).interfaces) == 1


def test_need_that_comes_back_before_the_quarantine_costs_no_call(cluster):
    grown(cluster)
    for k in range(50):
        cluster.stop_pod(f"p{k}")
    cluster.run(25)
    before = cluster.calls()
    for k in range(50):
        cluster.start_pod(1, f"again{k}")

    cluster.run(600)

    assert cluster.calls() == before | {"describe_interfaces": cluster.calls()["describe_interfaces"]}


def test_a_node_that_is_gone_leaves_nothing_behind(cluster):
    grown(cluster, pods=3)
    for k in range(3):
        cluster.stop_pod(f"p{k}")
    cluster.leave(1)

    cluster.run(200)

    assert cluster.record(1) is None
    assert cluster.blocks(1) == frozenset()


def test_a_machine_that_stays_without_its_node_gives_everything_back_once_no_pod_uses_it(cluster):
    grown(cluster, pods=3)
    cluster.leave(1, machine=False)
    cluster.run(200)
    kept = cluster.delivered(1)
    for k in range(3):
        cluster.stop_pod(f"p{k}")

    cluster.run(200)

    assert kept
    assert cluster.delivered(1) == frozenset()
    assert cluster.record(1) is None


def test_an_interface_of_ours_that_no_node_has_is_collected_after_its_time(cluster):
    cluster.join(1)
    cluster.cloud.fail("attach_interface", Fault.PERMISSION, times=1)
    cluster.cloud.fail("delete_interface", Fault.PERMISSION, times=1)
    provider = cluster.sim._provider
    machine = cluster.cloud.instance("i-1")
    with pytest.raises(Exception, match="attach_interface"):
        provider.addresses.add_interface(machine, "subnet-1", Wanted(Family.IPV4, 28))

    cluster.run(90)
    before = len(cluster.space.interfaces)
    cluster.run(4000)

    assert before == 2
    assert len(cluster.space.interfaces) == 1


def test_an_interface_that_a_pod_still_uses_is_not_collected():
    cluster = PoolCluster(QUICK, size=20)
    cluster.join(1, limit=200)
    cluster.run()
    for k in range(150):
        cluster.start_pod(1, f"p{k}")
        cluster.run(1)
    cluster.leave(1, machine=False)

    cluster.run(4000)
    kept = cluster.interfaces(1)
    for pod in list(cluster.pods):
        cluster.stop_pod(pod)
    cluster.run(10_000)

    assert kept == 2
    assert cluster.interfaces(1) == 1


def test_an_idle_cluster_is_read_once_an_hour(cluster):
    for k in range(1, 4):
        cluster.join(k)
    cluster.run(3600)
    before = sum(cluster.calls().values())

    cluster.run(3600)

    assert sum(cluster.calls().values()) - before == 1


def test_ipv6_takes_one_prefix_and_blocks_of_it():
    cluster = PoolCluster(Settings(families=frozenset({Family.IPV6}), warm=8))
    cluster.join(1)
    cluster.run()
    for k in range(80):
        assert cluster.is_native(cluster.start_pod(1, f"p{k}", Family.IPV6)) or k >= 64
        if k % 20 == 0:
            cluster.run()

    cluster.run()

    assert [c.prefixlen for c in cluster.held(1)] == [80]
    assert {b.prefixlen for b in cluster.blocks(1)} == {122}
    assert cluster.calls()["assign_addresses"] == 1
