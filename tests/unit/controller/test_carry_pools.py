"""What is asked for is carried out, and what cloud or store refuse comes back as an outcome."""

from ipaddress import ip_network

from cloudnet.addresses.plan import Settings
from cloudnet.controller import carry_pools
from cloudnet.controller.pool_actions import AdoptBlocks, GiveAddresses, LetBlocksGo
from cloudnet.ipam.errors import ClaimLost
from cloudnet.model.addresses import Family, NodeName
from cloudnet.provider.api import Wanted
from cloudnet.testing.pools import PoolCluster

N1, N2 = NodeName("n1"), NodeName("n2")
BLOCK = ip_network("10.1.0.32/28")


def store(cluster, action):
    return carry_pools.store(action, cluster.store, lambda: True, cluster.clock.wall)


def test_who_leads_no_longer_changes_nothing_in_the_cloud():
    cluster = PoolCluster(Settings())
    cluster.join(1)
    interface = cluster.space.interfaces["eni-1"]
    action = GiveAddresses(N1, interface, Wanted(Family.IPV4, 28))

    outcome = carry_pools.cloud(action, cluster.sim._provider.addresses, lambda: False)

    assert (outcome.interface, outcome.error) == (None, None)
    assert cluster.delivered(1) == frozenset()


def test_a_block_of_another_node_is_an_error_of_that_block_alone():
    cluster, other = PoolCluster(Settings()), ip_network("10.1.0.48/28")
    store(cluster, AdoptBlocks(N2, {BLOCK: "eni-2"}))

    outcome = store(cluster, AdoptBlocks(N1, {BLOCK: "eni-1", other: "eni-1"}))

    assert {block: type(error) for block, error in outcome.errors.items()} == {BLOCK: ClaimLost}
    assert cluster.blocks(1) == {other}


def test_a_block_with_a_pod_does_not_go():
    cluster = PoolCluster(Settings())
    store(cluster, AdoptBlocks(N1, {BLOCK: "eni-1"}))
    cluster.start_pod(1, "p")

    kept = store(cluster, LetBlocksGo(N1, BLOCK, (BLOCK,)))
    cluster.stop_pod("p")
    gone = store(cluster, LetBlocksGo(N1, BLOCK, (BLOCK,)))

    assert (kept.gone, gone.gone) == (False, True)
    assert cluster.blocks(1) == frozenset()
