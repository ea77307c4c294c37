"""Random lives of three allocators on one store: each killed at any call, or overtaken by another one there."""

from __future__ import annotations

import contextlib
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from cloudnet.errors import CloudnetError
from cloudnet.ipam import block as blocks
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.block import Release
from cloudnet.ipam.errors import IpamError
from cloudnet.ipam.known import KINDS
from cloudnet.ipam.warm import Warm
from cloudnet.model.addresses import Family
from cloudnet.model.resources import (
    AffinityState,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    Lease,
    Metadata,
)
from cloudnet.store.api import Create, Event, EventType
from cloudnet.store.memory import MemoryStore
from cloudnet.store.records import one_by_one

POOL = ip_network("10.65.0.0/28")
BLOCKS = list(POOL.subnets(new_prefix=30))
ADDRESSES = list(POOL)
WRITES = {"create", "update", "delete", "write"}


class Killed(Exception):
    """The process ends here."""


class Hazard:
    """A store that does something before and after each call; a batch is one call only if the store is atomic."""

    def __init__(self, store, before, after):
        self._store, self._before, self._after = store, before, after
        self.atomic = store.atomic

    def __getattr__(self, verb):
        if verb == "write" and not self.atomic:
            return partial(one_by_one, self)

        def call(*args, **kwargs):
            self._before()
            result = getattr(self._store, verb)(*args, **kwargs)
            self._after(verb)
            return result

        return call


class Turns:
    """Runs deeds in threads of which one moves at a time, from one store call to the next, in the order given."""

    def __init__(self):
        self._moved = threading.Semaphore(0)
        self._may_move = {}

    def take(self, name, deed):
        self._may_move[name].acquire()
        try:
            deed()
        finally:
            del self._may_move[name]
            self._moved.release()

    def wait(self, name):
        """Let others move; called by the deed itself."""
        self._moved.release()
        self._may_move[name].acquire()

    def run(self, deeds, order):
        """Move whom the order names, so many calls, wrapping round those that are left; then each to the end."""
        self._may_move = {name: threading.Semaphore(0) for name in range(len(deeds))}
        with ThreadPoolExecutor(len(deeds)) as pool:
            ends = [pool.submit(self.take, name, deed) for name, deed in enumerate(deeds)]
            named = itertools.chain.from_iterable(itertools.repeat(*stretch) for stretch in order)
            for number in itertools.chain(named, itertools.repeat(0)):
                if not self._may_move:
                    break
                names = list(self._may_move)
                self._may_move[names[number % len(names)]].release()
                self._moved.acquire()
        for end in ends:
            end.result()


HANDLES = st.sampled_from(["h1", "h2", "h3"])
NODES = st.sampled_from(["n1", "n2"])
DEEDS = st.one_of(
    st.tuples(st.just("auto_assign"), NODES, HANDLES, st.integers(1, 5)),
    st.tuples(st.just("auto_assign"), NODES, HANDLES, st.just(1)),
    st.tuples(st.just("assign_ip"), NODES, HANDLES, st.integers(0, 15)),
    st.tuples(st.just("release_by_handle"), NODES, HANDLES, st.just(0)),
    st.tuples(st.just("release_ips"), NODES, HANDLES, st.integers(0, 15)),
    st.tuples(st.just("release_block"), NODES, HANDLES, st.integers(0, 3)),
    st.tuples(st.just("force_block"), NODES, HANDLES, st.integers(0, 3)),
)
CALLS = st.integers(1, 14)


class Life(RuleBasedStateMachine):
    """``owners`` is what callers were told is theirs, and nobody began to give back: {address: (handle, pod)}."""

    atomic = True

    def __init__(self):
        super().__init__()
        self.store = MemoryStore(atomic=self.atomic)
        self.now = datetime(2026, 1, 2, 12, tzinfo=UTC)
        self.owners, self.left = {}, []
        self.pods = itertools.count()
        self.store.create(IPPool(Metadata("default"), POOL, block_size=30))

    # --- deeds ------------------------------------------------------------------------------------------

    @rule(deed=DEEDS)
    def undisturbed(self, deed):
        self.run(deed)

    @rule(deed=DEEDS, calls=CALLS)
    def killed_before_a_call(self, deed, calls):
        self.run(deed, kill_before=calls)

    @rule(deed=DEEDS, calls=CALLS)
    def killed_after_a_call(self, deed, calls):
        self.run(deed, kill_after=calls)

    @rule(deed=DEEDS, other=DEEDS, calls=CALLS, further=st.none() | CALLS)
    def overtaken(self, deed, other, calls, further):
        self.run(deed, at=calls, then=lambda: self.run(other, kill_after=further or 0))

    @rule(deed=DEEDS, other=DEEDS, third=DEEDS, calls=CALLS, further=CALLS)
    def overtaken_by_one_that_is_overtaken(self, deed, other, third, calls, further):
        self.run(deed, at=calls, then=lambda: self.run(other, at=further, then=lambda: self.run(third)))

    @rule(deed=DEEDS, one=DEEDS, two=DEEDS, first=CALLS, gap=CALLS)
    def overtaken_twice(self, deed, one, two, first, gap):
        deeds = [one, two]
        self.run(deed, at=first, gap=gap, then=lambda: deeds and self.run(deeds.pop(0)))

    @rule(
        deeds=st.lists(st.tuples(DEEDS, st.none() | CALLS), min_size=2, max_size=3),
        order=st.lists(st.tuples(st.integers(0, 2), CALLS), max_size=6),
    )
    def interleaved(self, deeds, order):
        turns = Turns()
        runs = [
            partial(self.run, deed, kill_after=killed or 0, before_each=partial(turns.wait, name))
            for name, (deed, killed) in enumerate(deeds)
        ]
        turns.run(runs, order)

    @rule(seconds=st.sampled_from([1, 61]))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule(cooldown=st.sampled_from([0, 5]))
    def configure(self, cooldown):
        if self.store.list(IPAMConfiguration).items:
            self.store.delete(IPAMConfiguration, "default")
        self.store.create(IPAMConfiguration(Metadata("default"), cooldown=cooldown))

    def run(self, deed, *, kill_before=0, kill_after=0, at=0, gap=0, then=None, before_each=lambda: None):
        calls = 0

        def before():
            nonlocal calls, at
            before_each()
            calls += 1
            if calls == at:
                at += gap
                then()
            if calls == kill_before:
                raise Killed

        def after(verb):
            if verb in WRITES:
                self.check()
            if 0 < kill_after <= calls:
                raise Killed

        ipam = Allocator(Hazard(self.store, before, after), now=lambda: self.now, matches=lambda *_: True)
        with contextlib.suppress(Killed, IpamError):
            self.do(ipam, *deed)
        self.check()

    def do(self, ipam, verb, node, handle, number):
        pod = str(next(self.pods))
        request = Request(node, handle, {"pod": pod})
        match verb:
            case "auto_assign":
                self.told([a.ip for a in ipam.auto_assign(Family.IPV4, number, request)], (handle, pod))
            case "assign_ip":
                self.told([ipam.assign_ip(ADDRESSES[number], request).ip], (handle, pod))
            case "release_by_handle":
                with self.leaving(lambda _, holder: holder[0] == handle):
                    ipam.release_by_handle(handle)
            case "release_ips":
                with self.leaving(lambda a, _: a == ADDRESSES[number]):
                    ipam.release_ips([Release(ADDRESSES[number])])
            case "release_block":
                ipam.release_block(node, BLOCKS[number])
            case "force_block":
                ipam.release_block(node, BLOCKS[number], in_use=True)

    def told(self, addresses, holder):
        assert len(set(addresses)) == len(addresses)
        # What somebody released between the write and the answer, or is releasing now, is not the caller's.
        fresh = [
            a for a in addresses if self.holder(a) == holder and not any(which(a, holder) for which in self.left)
        ]
        assert not self.owners.keys() & set(fresh)
        self.owners |= dict.fromkeys(fresh, holder)

    @contextlib.contextmanager
    def leaving(self, which):
        """Expect nothing of these addresses from now on, and of those that somebody takes in the meantime."""
        self.owners = {a: holder for a, holder in self.owners.items() if not which(a, holder)}
        self.left.append(which)
        try:
            yield
        finally:
            self.left.remove(which)

    # --- what always holds ------------------------------------------------------------------------------

    def values(self, kind):
        return [item.value for item in self.store.list(kind).items]

    def holder(self, address):
        found = [blocks.attribute(b, address) for b in self.values(IPAMBlock) if address in b.cidr]
        return (found[0].handle, found[0].owner["pod"]) if found and found[0] else None

    def check(self):
        assert {a: self.holder(a) for a in self.owners} == self.owners
        counts = {h.handle: h.blocks for h in self.values(IPAMHandle)}
        by_cidr = {b.cidr: b for b in self.values(IPAMBlock)}
        for cidr, block in by_cidr.items():
            assert sorted(block.unallocated) == [o for o, index in enumerate(block.allocations) if index is None]
            for handle, held in blocks.held(block).items():
                assert counts.get(handle, {}).get(cidr, 0) >= held
        for mark in self.values(BlockAffinity):
            if mark.state is AffinityState.CONFIRMED:
                assert mark.cidr in by_cidr
                assert by_cidr[mark.cidr].affinity.host == mark.node

    def teardown(self):
        """Everything can be released, whatever was killed; and counts are exact then."""
        self.now += timedelta(seconds=61)
        ipam = Allocator(self.store, now=lambda: self.now, matches=lambda *_: True)
        for handle in ("h1", "h2", "h3"):
            ipam.release_by_handle(handle)
        assert self.values(IPAMHandle) == []
        assert not any(blocks.held(block) for block in self.values(IPAMBlock))
        self.now += timedelta(seconds=61)
        for node in ("n1", "n2"):
            for cidr in BLOCKS:
                assert ipam.release_block(node, cidr)
        assert self.values(BlockAffinity) == []
        # A block that is nobody's and whose last address cooled down is taken by whoever needs it.
        assert len(ipam.auto_assign(Family.IPV4, 16, Request("n3", "h"))) == 16


class LifeWithoutTransactions(Life):
    """On a store that may stop between any two writes of a batch."""

    atomic = False


class Switch:
    """A store whose calls go wherever one says."""

    def __init__(self, *, atomic):
        self.to, self.atomic = None, atomic

    def __getattr__(self, verb):
        return getattr(self.to, verb)


class WarmNode:
    """One node's memory, until its process is killed; what the store tells it comes when it comes."""

    def __init__(self, life, node):
        self.life, self.switch, self.busy = life, Switch(atomic=life.atomic), False
        self.warm = Warm(self.switch, node, now=lambda: life.now, matches=lambda *_: True)
        items = [item for kind in KINDS for item in life.store.list(kind).items]
        self.warm.heard([Event(EventType.PUT, item.value, item.revision) for item in items], synced=True)
        self.watch = life.store.watch(KINDS, since=life.store.list(IPPool).revision)

    def hear(self):
        self.warm.heard(self.watch.next(0), synced=False)


class WarmLife(Life):
    """Two nodes that remember, and an allocator that knows nothing, on one store."""

    def __init__(self):
        super().__init__()
        self.nodes = {node: WarmNode(self, node) for node in ("n1", "n2")}

    @rule(node=NODES)
    def something_is_heard(self, node):
        self.nodes[node].hear()

    @rule(node=NODES)
    def claims_ahead_of_need(self, node):
        with self.turn(node, self.store) as warm:
            request = Request(node)
            for of in warm.lacking(request):
                claimed = warm.claim(of, request)
                if claimed is not None:
                    warm.keep(claimed)
        self.check()

    @contextlib.contextmanager
    def turn(self, node, store):
        """Have a node's memory for oneself; who is killed meanwhile loses it."""
        mine = self.nodes[node]
        mine.busy, mine.switch.to = True, store
        try:
            yield mine.warm
        except Killed:
            self.nodes[node] = WarmNode(self, node)
            raise
        finally:
            mine.busy = False

    def do(self, ipam, verb, node, handle, number):
        store = ipam._store
        if self.nodes[node].busy or verb not in {"auto_assign", "assign_ip", "release_by_handle"}:
            super().do(ipam, verb, node, handle, number)
            return
        with self.turn(node, store) as warm, contextlib.ExitStack() as stack:
            jobs = list(self.jobs(warm, stack, (verb, node, handle, number)))
            warm.carry_out([job for _, job in jobs])
            errors = [self.finish(job, holder) for holder, job in jobs]
            for error in filter(None, errors):
                if not isinstance(error, CloudnetError):
                    raise error

    def jobs(self, warm, stack, deed):
        """Yield what is asked for in one write, each with its holder."""
        verb, node, handle, number = deed
        for i in range(number if verb == "auto_assign" else 1):
            pod = str(next(self.pods))
            own = handle if i == 0 else f"h{i % 3 + 1}"
            request = Request(node, own, {"pod": pod})
            extra = partial(self.endpoint, own if number == 1 else pod)
            match verb:
                case "auto_assign":
                    yield (own, pod), warm.taking([Family.IPV4], [request], extra)
                case "assign_ip":
                    yield (own, pod), warm.taking_named([ADDRESSES[number]], request, lambda _: [])
                case _:
                    stack.enter_context(self.leaving(lambda _, holder: holder[0] == handle))
                    yield None, warm.giving_back(handle, [])

    def endpoint(self, name, addresses):
        return [Create(Lease(Metadata(f"lease-{name}"), holder=str(addresses[0])))]

    def finish(self, job, holder):
        """Return the job's error; what failed left nothing behind."""
        error, given = job.error, job.given
        if job.cold and error is None:
            try:
                given = job.the_long_way()
            except (CloudnetError, Killed) as e:
                error = e
        if error is None and holder is not None:
            self.told([one.ip for one in given], holder)
        if isinstance(error, CloudnetError) and holder is not None:
            found = [a for block in self.values(IPAMBlock) for a in block.cidr if self.holder(a) == holder]
            assert found == []
        return error

    def teardown(self):
        for node in self.nodes.values():
            node.watch.close()
        super().teardown()


class WarmLifeWithoutTransactions(WarmLife):
    """The same on a store that may stop between any two writes."""

    atomic = False


TestWarmLife = WarmLife.TestCase
TestWarmLifeWithoutTransactions = WarmLifeWithoutTransactions.TestCase
TestLife, TestLifeWithoutTransactions = Life.TestCase, LifeWithoutTransactions.TestCase
_SETTINGS = settings(
    max_examples=100,
    stateful_step_count=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking deeds inside deeds takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
TestLife.settings = TestLifeWithoutTransactions.settings = _SETTINGS
TestWarmLife.settings = TestWarmLifeWithoutTransactions.settings = _SETTINGS


@pytest.mark.parametrize("kind", [Life, LifeWithoutTransactions])
def test_a_hazard_kills_where_it_should(kind):
    life = kind()
    life.run(("assign_ip", "n1", "h1", 3), kill_after=1)
    assert life.holder(ip_address("10.65.0.3")) is None
    life.run(("assign_ip", "n1", "h1", 3))
    assert life.owners == {ip_address("10.65.0.3"): ("h1", "1")}


def test_a_kill_between_handle_and_block_is_only_seen_without_transactions():
    left = set()
    for kind in (Life, LifeWithoutTransactions):
        for calls in range(1, 15):
            life = kind()
            life.run(("assign_ip", "n1", "h1", 3), kill_after=calls)
            held = life.holder(ip_address("10.65.0.3")) is not None
            left.add((kind.atomic, bool(life.values(IPAMHandle)), held))

    assert left == {(True, False, False), (True, True, True)} | {
        (False, False, False),
        (False, True, False),
        (False, True, True),
    }
