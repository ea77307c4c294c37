from __future__ import annotations

import math
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from cloudnet.agent.addresses import SharedLeases
from cloudnet.cni import release
from cloudnet.cni.handler import Handler
from cloudnet.cni.journal import Journal
from cloudnet.cni.locks import Locks
from cloudnet.ipam import picture
from cloudnet.ipam.allocator import Allocator
from cloudnet.ipam.audit import Trouble, problems
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.leases import ColdLeases
from cloudnet.ipam.warm import Warm
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.policy.selectors import Matches
from cloudnet.store import records
from cloudnet.store.api import Event, EventType, StoreUnavailable
from cloudnet.store.memory import MemoryStore
from cloudnet.testing.cni import POD, CniNode, Notes

BOTH = {"type": "calico-ipam", "assign_ipv6": "true"}
MOST_CALLS = 60
MENDED_BY_THE_CONTROLLER = {Trouble.LEAKED, Trouble.EMPTY_HANDLE, Trouble.HIGH_COUNT}


class Killed(BaseException):
    """The agent ends here."""


class Fate:
    """What becomes of an agent at its call number ``at``: ``killed``, or the store answers no more.

    ``late`` store calls do their work, and only the answer is lost. ``lasting`` failures go on until the deed ends.
    """

    def __init__(self, at=math.inf, *, killed=True, late=False, lasting=False):
        self.at, self.killed, self.late, self.lasting = at, killed, late, lasting
        self.calls = 0

    @property
    def came(self):
        return self.calls > self.at

    def carry_out(self, work, *, of_store):
        if not self.killed and not of_store:
            return work()
        self.calls += 1
        if self.calls <= self.at or (self.calls > self.at + 1 and not self.lasting and not self.killed):
            return work()
        if self.killed:
            raise Killed
        if self.late:
            work()
        raise StoreUnavailable("asleep")


class Fateful:
    """A door of the agent's, or its journal."""

    def __init__(self, inner, fate):
        self._inner, self._fate = inner, fate
        self._of_store = isinstance(inner, MemoryStore)

    def __getattr__(self, verb):
        found = getattr(self._inner, verb)
        if not callable(found):
            return found
        if verb == "write" and not self._inner.atomic:
            return lambda writes: records.one_by_one(self, writes)
        return lambda *args, **kwargs: self._fate.carry_out(lambda: found(*args, **kwargs), of_store=self._of_store)


class Host:
    """A node whose agent is started anew whenever it was killed. ``way`` is how it manages addresses."""

    def __init__(self, folder, stack, way):
        self.folder, self.way = folder, way
        self.node = CniNode(folder, stack)
        self.store = MemoryStore(self.node.data, atomic=way != "without transactions")
        self.at = datetime(2026, 1, 2, tzinfo=UTC)
        self.places = {}
        self.args, self.ipam = POD, {"type": "calico-ipam"}
        self.node.store.create(Node(Metadata("n1")))
        self.node.store.create(IPPool(Metadata("six"), ip_network("fd00::/112"), block_size=122))
        self.start(Fate())

    def now(self):
        self.at += timedelta(milliseconds=1)
        return self.at

    def start(self, fate):
        store = Fateful(self.store, fate)
        self.node.gate = Notes()
        self.node.site = replace(
            self.node.site,
            store=store,
            pods=Fateful(self.node.pods, fate),
            leases=self.leases(store),
            journal=Fateful(Journal(self.folder), fate),
            gate=Fateful(self.node.gate, fate),
            locks=Locks(),
        )
        self.node.handler = Handler(self.node.site)

    def leases(self, store):
        if self.way != "warm":
            return ColdLeases(Allocator(store, now=self.now, matches=Matches()), store)
        made = SharedLeases(Warm(store, NodeName("n1"), now=self.now, matches=Matches()))
        items = [item for kind in KINDS for item in self.node.store.list(kind).items]
        made.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)
        return made

    def ask(self, command, container="c1", **keys):
        place = self.places.setdefault(container, self.node.namespace())
        return self.node.ask(command, place, container=container, args=self.args, ipam=self.ipam, **keys)[0]

    def suffer(self, fate, deed):
        """Do a deed under a fate, and start the agent again; return the deed's code, or nothing if it was killed."""
        self.start(fate)
        code = None
        with suppress(Killed):
            code = deed(self)
        self.start(Fate())
        return code

    def catch_up(self):
        release.finish_all(self.node.site)

    def troubles(self, *containers):
        """Return what is amiss if just these containers have an endpoint and a link each, of the same addresses."""
        node = self.node
        ends = sorted((one.container_id, set(one.networks)) for one in node.endpoints().values())
        links = sorted(
            (link.owner.container, set(node.pods.routes[name])) for name, (link, _) in node.pods.wired.items()
        )
        given = node.addresses()
        expected = {f"net.{name}": len(networks) for name, networks in ends}
        found = problems(picture.take(node.store))
        if self.way != "warm":
            given = {handle: min(number, expected.get(handle, 0)) for handle, number in given.items()}
            found = [one for one in found if one.trouble not in MENDED_BY_THE_CONTROLLER]
        return [
            *([] if [name for name, _ in ends] == sorted(containers) else [f"endpoints {ends}"]),
            *([] if links == ends else [f"links {links}, endpoints {ends}"]),
            *([] if given == expected else [f"addresses {given}, expected {expected}"]),
            *found,
        ]


def add(host):
    return host.ask("ADD")


def want_both(host):
    host.ipam = BOTH
    return 0


def want_no_pod(host):
    host.args = ""
    return 0


def delete(host):
    return host.ask("DEL")


def collect(host):
    return host.ask("GC", **{"cni.dev/valid-attachments": []})


def nothing(host):
    return 0


DEEDS = {
    "the first ADD": (nothing, add),
    "an ADD of both families": (want_both, add),
    "another ADD": (add, add),
    "an ADD of the pod's next container": (lambda host: host.ask("ADD", "old"), add),
    "the first ADD of a container": (want_no_pod, add),
    "DEL": (add, delete),
    "GC": (add, collect),
}


@pytest.fixture(params=["warm", "cold", "without transactions"])
def hosts(request, tmp_path):
    """Return a maker of hosts."""
    with ExitStack() as stack:
        made = []

        def make():
            made.append(Host(tmp_path / str(len(made)), stack, request.param))
            return made[-1]

        yield make


def fates(**kind):
    return [Fate(at, **kind) for at in range(MOST_CALLS)]


def outcomes(hosts, deed, doomed):
    """Yield a host after the deed met each fate, with the deed's code, until one came too late to matter."""
    before, doing = DEEDS[deed]
    for fate in doomed:
        host = hosts()
        assert before(host) == 0
        code = host.suffer(fate, doing)
        if not fate.came:
            assert code == 0
            assert fate.at > 2
            return
        yield host, code
    pytest.fail("the deed takes more calls than there are fates")


@pytest.mark.parametrize("deed", DEEDS)
def test_wherever_the_agent_dies_a_delete_leaves_nothing(hosts, deed):
    for host, _ in outcomes(hosts, deed, fates()):
        assert host.ask("DEL") == 0
        assert host.ask("DEL", "old") == 0
        assert host.node.is_empty()


@pytest.mark.parametrize("deed", DEEDS)
def test_wherever_the_agent_dies_the_next_add_makes_the_pod_whole(hosts, deed):
    for host, _ in outcomes(hosts, deed, fates()):
        assert host.ask("ADD") == 0
        assert host.ask("DEL", "old") == 0
        assert host.troubles("c1") == []


@pytest.mark.parametrize("deed", DEEDS)
def test_wherever_the_agent_dies_the_pods_next_container_is_whole_and_the_late_delete_takes_nothing(hosts, deed):
    for host, _ in outcomes(hosts, deed, fates()):
        assert host.ask("ADD", "next") == 0
        assert host.ask("DEL", "old") == 0
        assert host.ask("DEL") == 0
        assert host.troubles("next") == []


@pytest.mark.parametrize("deed", DEEDS)
def test_wherever_the_agent_dies_a_collection_finds_what_is_left(hosts, deed):
    for host, _ in outcomes(hosts, deed, fates()):
        assert collect(host) == 0
        assert (host.node.endpoints(), host.node.addresses(), host.node.pods.wired) == ({}, {}, {})


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("late", [False, True], ids=["unheard", "unanswered"])
@pytest.mark.parametrize("deed", DEEDS)
def test_a_store_that_falls_silent_at_any_call_loses_nothing(hosts, deed, late, lasting):
    for host, code in outcomes(hosts, deed, fates(killed=False, late=late, lasting=lasting)):
        assert code in {0, 11}
        host.catch_up()
        assert host.ask("ADD") == 0
        assert host.ask("DEL", "old") == 0
        assert host.troubles("c1") == []
        assert host.ask("DEL") == 0
        assert host.node.is_empty()


@pytest.mark.parametrize("late", [False, True], ids=["unheard", "unanswered"])
@pytest.mark.parametrize("deed", ["the first ADD", "an ADD of both families"])
def test_an_add_that_the_store_let_fail_leaves_nothing_once_it_is_back(hosts, deed, late):
    for host, code in outcomes(hosts, deed, fates(killed=False, late=late, lasting=True)):
        if code:
            host.catch_up()
            assert host.node.is_empty()
