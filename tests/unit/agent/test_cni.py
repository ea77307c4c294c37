from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cloudnet.agent.addresses import SharedLeases
from cloudnet.agent.cni import CachedCluster, Caretaker, new_mac
from cloudnet.cni.handler import Handler
from cloudnet.cni.repair import GRACE
from cloudnet.ipam import picture
from cloudnet.ipam.audit import problems
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.warm import Warm
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import IPAMBlock, Metadata, Node
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import Event, EventType, Revision
from cloudnet.testing.cni import POD, CniNode

RESYNC = 30.0
AT_ONCE = 8
PODS = 64


class Agent(CniNode):
    """A node whose addresses are warm, and its caretaker."""

    def __init__(self, journal, stack):
        super().__init__(journal, stack)
        self.store.create(Node(Metadata("n1")))
        self.leases = SharedLeases(
            Warm(
                self.store,
                NodeName("n1"),
                now=lambda: datetime.fromtimestamp(self.clock.wall(), UTC),
                matches=Matches(),
            )
        )
        items = [item for kind in KINDS for item in self.store.list(kind).items]
        self.leases.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)
        self.site = replace(self.site, leases=self.leases)
        self.handler = Handler(self.site)
        self.caretaker = Caretaker(self.site, self.leases, RESYNC)

    def look_after(self, seconds):
        self.clock.advance(seconds)
        self.caretaker.look()


@pytest.fixture
def agent(tmp_path):
    with ExitStack() as stack:
        yield Agent(tmp_path / "journal", stack)


def test_addresses_are_at_hand_before_the_first_pod_comes(agent):
    agent.caretaker.look()

    (block,) = agent.store.list(IPAMBlock).items
    assert str(block.value.affinity) == "host:n1"


def test_what_was_noted_is_released_when_the_store_is_back(agent):
    agent.add(args=POD)
    agent.data.outage = "asleep"
    agent.ask("DEL", args=POD)
    agent.caretaker.look()
    noted = len(agent.site.journal.all())
    agent.data.outage = ""

    agent.look_after(1)

    assert noted == 1
    assert agent.is_empty()


def test_a_lost_route_is_back_after_a_resync_and_not_before(agent):
    agent.add(args=POD)
    (link,) = agent.pods.wired
    before = list(agent.pods.routes[link])
    agent.caretaker.look()
    agent.pods.routes[link].clear()

    agent.look_after(RESYNC / 2)
    early = list(agent.pods.routes[link])
    agent.look_after(RESYNC / 2)

    assert early == []
    assert agent.pods.routes[link] == before


def test_an_agent_that_starts_mends_links_as_soon_as_it_knows_the_endpoints(agent):
    """Not a resync later: what it looked at before it was told is no look at all."""
    agent.add(args=POD)
    (link,) = agent.pods.wired
    before = list(agent.pods.routes[link])
    agent.pods.routes[link].clear()
    cache = CachedCluster("n1", agent.store)
    caretaker = Caretaker(replace(agent.site, cluster=cache), agent.leases, RESYNC)
    caretaker.look()

    cache.hear([Event(EventType.PUT, one, Revision(1)) for one in agent.endpoints().values()], synced=True)
    agent.clock.advance(1)
    caretaker.look()

    assert agent.pods.routes[link] == before


def test_a_link_that_no_endpoint_owns_goes_after_its_grace(agent):
    agent.add(args=POD)
    (endpoint,) = agent.endpoints().values()
    agent.store.delete(type(endpoint), endpoint.meta.name, endpoint.meta.namespace)

    agent.look_after(0)
    agent.look_after(GRACE - 1)
    kept = set(agent.pods.wired)
    agent.look_after(RESYNC)

    assert kept == {endpoint.interface}
    assert not agent.pods.wired


def test_a_link_of_an_endpoint_that_only_the_cache_does_not_know_stays(agent):
    agent.add(args=POD)
    (endpoint,) = agent.endpoints().values()
    agent.cluster.behind = frozenset({endpoint.meta.name})

    for seconds in (0, GRACE, GRACE):
        agent.look_after(seconds)

    assert set(agent.pods.wired) == {endpoint.interface}


def test_the_cache_knows_the_endpoints_of_its_node_and_says_nothing_before_it_knows_all(agent):
    agent.add(args=POD)
    (mine,) = agent.endpoints().values()
    other = replace(mine, meta=replace(mine.meta, name="other"), node=NodeName("n2"))
    cache = CachedCluster("n1", agent.store)
    put = [Event(EventType.PUT, value, Revision(1)) for value in (mine, other)]

    cache.hear(put, synced=False)
    early = cache.endpoints()
    cache.hear((), synced=True)
    known = cache.endpoints()
    cache.hear([Event(EventType.DELETED, mine, Revision(2))], synced=False)

    assert early is None
    assert known == (mine,)
    assert cache.endpoints() == ()


def test_a_caretaker_that_was_started_looks_and_ends(agent):
    agent.caretaker.start()

    agent.caretaker.close()

    assert agent.store.list(IPAMBlock).items


def test_many_pods_at_once_get_an_address_each_and_give_all_of_them_back(agent):
    names = [f"c{number}" for number in range(PODS)]
    places = {name: agent.namespace() for name in names}
    together = threading.Barrier(AT_ONCE)

    def come(name):
        together.wait(10)
        return agent.add(places[name], container=name)[0]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        added = list(pool.map(come, names))
        there = len({one.networks for one in agent.endpoints().values()})
        troubles = problems(picture.take(agent.store))
        deleted = list(pool.map(lambda name: agent.ask("DEL", container=name)[0], names))

    assert (set(added), set(deleted)) == ({0}, {0})
    assert there == PODS
    assert troubles == ()
    assert agent.is_empty()


def test_one_pod_that_comes_and_goes_many_times_at_once_ends_whole_or_gone(agent):
    place = agent.namespace()
    agent.pods.refuse = lambda _: time.sleep(0.002)
    deeds = [lambda: agent.add(place, args=POD)[0], lambda: agent.ask("DEL", args=POD)[0]] * PODS

    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = set(pool.map(lambda deed: deed(), deeds))
    last = agent.ask("DEL", args=POD)[0]

    assert (codes, last) == ({0}, 0)
    assert agent.is_empty()


def test_a_new_mac_is_of_one_device_and_locally_administered():
    assert {int(new_mac()[:2], 16) & 3 for _ in range(10)} == {2}
    assert len({new_mac() for _ in range(10)}) == 10
