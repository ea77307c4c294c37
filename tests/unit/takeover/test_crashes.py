"""A takeover that is killed between any two writes goes on, or goes back, and no address is ever two pods'."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.cni.install import OURS, Place
from cloudnet.config import AgentConfig
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.kernel.api import Link
from cloudnet.kernel.memory import MemoryKernel
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import (
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    IPReservation,
    Metadata,
    Node,
)
from cloudnet.policy.selectors import Matches
from cloudnet.store.memory import MemoryStore
from cloudnet.takeover import checks, detect, hostlocal, plan, read, run
from cloudnet.takeover.facts import Held, Wanted
from cloudnet.takeover.hands import Hands
from cloudnet.takeover.journal import Journal, Phase
from cloudnet.takeover.leavings import LeavingsMemory

NODE = NodeName("n1")
BLOCK = ip_network("10.244.1.0/29")
POOL = ip_network("10.244.0.0/16")
PODS = {"10.244.1.2": "c2", "10.244.1.3": "c3"}
FILE = "05-kubenet.conflist"
LIST = {
    "cniVersion": "0.3.1",
    "name": "kubenet",
    "plugins": [{"type": "bridge", "bridge": "cbr0", "ipam": {"type": "host-local"}}, {"type": "portmap"}],
}
SETTINGS = {"net.ipv4.conf.cbr0.proxy_arp": "0", "net.ipv4.neigh.cbr0.proxy_delay": "80"}
SOON = 5000  # writes; a takeover of this range makes some dozens


class Nothing:
    """No trace of Calico."""

    def runs(self):
        return False

    def has_nftables(self):
        return False


class Killed(BaseException):
    """What a kill looks like from inside: nothing may catch it."""


class World:
    """A node of kubenet with two pods, and hands that die after so many writes."""

    def __init__(self, folder, store=None):
        self.folder, self.left = folder, SOON
        self.agent = (True, "")
        self.store = MemoryStore() if store is None else store
        self.kernel = MemoryKernel(
            [
                Link("eth0", 2, 1500, up=True, addresses=(ip_interface("10.0.0.11/24"),)),
                Link("cbr0", 3, 1500, up=True, addresses=(ip_interface("10.244.1.1/29"),)),
            ]
        )
        self.kernel.sysctls |= SETTINGS
        self.place = Place(folder / "bin", folder / "net.d")
        self.networks = folder / "networks"
        self.books = self.networks / "kubenet"
        for one in (self.place.programs, self.place.configurations, self.books):
            one.mkdir(parents=True)
        (self.place.configurations / FILE).write_text(json.dumps(LIST))
        for address, container in PODS.items():
            (self.books / address).write_bytes(f"{container}\r\neth0".encode())
        if store is None:
            self.store.create(Node(Metadata(NODE), (ip_interface("10.0.0.11/24"),), pod_cidrs=(BLOCK,)))

    def hands(self):
        return Hands(
            config=AgentConfig(NODE),
            store=Dying(self.store, self),
            kernel=Dying(self.kernel, self),
            place=self.place,
            executable=OURS,
            matches=Matches(),
            agent=lambda: self.agent,
            clock=ManualClock(),
            remains=Nothing(),
            leavings=LeavingsMemory(),
            networks=self.networks,
        )

    def journal(self):
        return Journal(self.folder / "state" / "takeover.jsonl")

    def job(self):
        facts = read.facts(self.hands(), NODE)
        wanted = Wanted(POOL)
        found = detect.predecessor(facts, ours="cloudnet")
        assert not checks.blocked(checks.before(facts, found, wanted)), checks.before(facts, found, wanted)
        return plan.job(facts, found, wanted)

    def forth(self, writes=SOON):
        return self.work(writes, lambda hands, journal: run.forth(hands, journal, journal.job or self.job()))

    def back(self, writes=SOON):
        return self.work(writes, run.back)

    def work(self, writes, go):
        """Work until it is done or killed; tell whether it was done."""
        self.left = SOON
        journal = self.journal()
        steps = go(self.hands(), journal)
        self.left = writes
        try:
            for _ in steps:
                self.die_or_go_on()  # the journal was written
        except Killed:
            return False
        return True

    def die_or_go_on(self):
        if self.left <= 0:
            raise Killed
        self.left -= 1

    def start(self, name):
        """Start a pod with an address of ours, as the agent would."""
        request = Request(NODE, f"kubenet.{name}", {"pod": name, "namespace": "a", "node": NODE})
        return allocator(self.store).auto_assign(Family.IPV4, 1, request)[0].ip

    def given(self):
        """Return host-local's books without our marks: {address: container}."""
        return {str(h.address): h.container for h in hostlocal.networks(self.networks)["kubenet"]}

    def everything(self):
        kinds = (BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMHandle, IPPool, IPReservation, Node)
        store = {kind: [replace_uid(i.value) for i in self.store.list(kind).items] for kind in kinds}
        files = {f.relative_to(self.folder): f.read_bytes() for f in sorted(self.folder.rglob("*")) if f.is_file()}
        files = {k: v for k, v in files.items() if k.name != "lock" and k.parts[0] != "bin"}
        return store, dict(self.kernel.sysctls), files


def replace_uid(value):
    return replace(value, meta=Metadata(value.meta.name, value.meta.namespace))


def allocator(store):
    return Allocator(store, now=lambda: datetime.now(tz=UTC), matches=Matches())


class Dying:
    """A door that lets so many writes through and then kills, after the write or before it."""

    WRITES = frozenset({"create", "update", "delete", "write", "apply", "set_sysctl"})

    def __init__(self, door, world):
        self._door, self._world = door, world

    def __getattr__(self, name):
        found = getattr(self._door, name)
        if name not in self.WRITES:
            return found

        def write(*args, **kwargs):
            self._world.die_or_go_on()
            answer = found(*args, **kwargs)
            self._world.die_or_go_on()
            return answer

        return write


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def writes_of(tmp_path, name, *before):
    """Return how many writes a way has, kills included."""
    world = World(tmp_path / name)
    for go in before:
        assert go(world)
    assert world.forth() if not before else world.back()
    return SOON - world.left


def addresses(world):
    """Return what our books say: {address: handle}."""
    (block,) = [i.value for i in world.store.list(IPAMBlock).items]
    found = {}
    for ordinal, index in enumerate(block.allocations):
        if index is not None and block.attributes[index].released_at is None:
            found[str(block.cidr[ordinal])] = block.attributes[index].handle
    return found


def test_a_takeover_takes_the_addresses_of_pods_into_our_books_and_gives_none_of_them(world):
    assert world.forth()

    new = world.start("new")
    counted = addresses(world)

    assert {a: counted[a] for a in PODS} == {a: f"kubenet.{c}" for a, c in PODS.items()}
    assert str(new) not in {*PODS, "10.244.1.0", "10.244.1.1", "10.244.1.7"}
    assert [h for h in hostlocal.close(world.books, BLOCK) if h.container != hostlocal.OURS] == [
        Held(ip_address(a), c) for a, c in PODS.items()
    ]


def test_a_takeover_killed_anywhere_goes_on_to_the_same_end(tmp_path):
    number = writes_of(tmp_path, "whole")
    whole = World(tmp_path / "again")
    assert whole.forth()
    expected = comparable(whole)

    for at in range(number):
        killed = World(tmp_path / str(at))
        assert not killed.forth(at)
        assert killed.forth()
        assert comparable(killed) == expected, f"killed after {at} writes"


def comparable(world):
    """Return what the end must be alike in: everything but sequence numbers, which count the writes."""
    store, settings, files = world.everything()
    blocks = [(b.cidr, b.affinity, addresses(world)) for b in store[IPAMBlock]]
    journal = {name: entry.phase for name, entry in world.journal().steps.items()}
    others = {k: v for k, v in store.items() if k is not IPAMBlock}
    return blocks, others, settings, {k: v for k, v in files.items() if k.suffix != ".jsonl"}, journal


def test_a_takeover_killed_anywhere_goes_back_to_what_was(tmp_path):
    number = writes_of(tmp_path, "whole")
    before = World(tmp_path / "before").everything()

    for at in range(number):
        killed = World(tmp_path / str(at))
        assert not killed.forth(at)
        killed.agent = (False, "stopped")
        assert killed.back()
        assert killed.everything() == before, f"killed after {at} writes"


def test_a_way_back_killed_anywhere_goes_on_to_what_was(tmp_path):
    number = writes_of(tmp_path, "whole", lambda w: w.forth() and stop(w))
    before = World(tmp_path / "before").everything()

    for at in range(number):
        killed = World(tmp_path / str(at))
        assert killed.forth()
        stop(killed)
        assert not killed.back(at)
        assert killed.back()
        assert killed.everything() == before, f"killed after {at} writes"


def stop(world):
    world.agent = (False, "stopped")
    return True


def test_a_way_back_killed_anywhere_gives_no_address_of_a_new_pod_to_host_local(tmp_path):
    number = writes_of(tmp_path, "whole", lambda w: w.forth() and bool(w.start("new")))

    for at in range(number):
        killed = World(tmp_path / str(at))
        assert killed.forth()
        new = killed.start("new")
        assert not killed.back(at)
        assert killed.back()
        assert killed.given() == {**PODS, str(new): "new"}, f"killed after {at} writes"


def test_what_leads_to_a_new_pod_stays_until_it_has_ended(world):
    world.forth()
    new = world.start("new")
    stop(world)

    world.back()
    kept = {name for name, entry in world.journal().steps.items() if entry.phase is Phase.KEPT}
    proxy = world.kernel.sysctls["net.ipv4.conf.cbr0.proxy_arp"]
    (world.books / str(new)).unlink()  # the predecessor's DEL
    world.back()

    assert kept == {"set net.ipv4.conf.cbr0.proxy_arp", "set net.ipv4.neigh.cbr0.proxy_delay", "reserve", "pool"}
    assert proxy == "1"
    assert world.kernel.sysctls == SETTINGS
    assert not world.journal().is_begun
    assert not world.store.list(IPAMBlock).items


def test_a_pod_that_ended_while_the_node_was_ours_is_not_counted_by_host_local_afterwards(world):
    world.forth()
    allocator(world.store).release_by_handle("kubenet.c3")
    stop(world)

    world.back()

    assert world.given() == {"10.244.1.2": "c2"}


def test_a_node_that_was_given_back_with_a_new_pod_on_it_can_be_taken_again(world):
    world.forth()
    new = world.start("new")
    world.back()

    assert world.forth()

    assert addresses(world)[str(new)] == "kubenet.new"
    assert set(addresses(world)) >= {*PODS, str(new)}


def test_the_rules_of_the_books_stay_while_another_node_is_taken(world):
    world.forth()
    other = BlockAffinity(
        Metadata("n2-10-244-2-0-29", labels={"cloudnet.io/takeover": "kubenet"}),
        NodeName("n2"),
        ip_network("10.244.2.0/29"),
    )
    world.store.create(other)
    stop(world)

    world.back()

    (rules,) = [i.value for i in world.store.list(IPAMConfiguration).items]
    assert (rules.strict_affinity, rules.auto_allocate_blocks) == (True, False)
    assert [i.value.meta.name for i in world.store.list(IPPool).items] == ["takeover"]


def test_a_takeover_waits_for_the_agent_and_goes_on_when_it_is_ready(world):
    world.agent = (True, "the ground is not laid")
    with pytest.raises(run.act.Stopped, match="the ground is not laid"):
        world.forth()
    assert (world.place.configurations / FILE).exists()
    world.agent = (True, "")

    assert world.forth()

    assert not (world.place.configurations / FILE).exists()
