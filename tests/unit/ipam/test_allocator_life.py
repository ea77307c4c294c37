"""Random lives of three allocators on one store: each killed at any call, or overtaken by another one there."""

from __future__ import annotations

import contextlib
import itertools
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from cloudnet.ipam import block as blocks
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.block import Release
from cloudnet.ipam.errors import IpamError
from cloudnet.model.addresses import Family
from cloudnet.model.resources import (
    AffinityState,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    Metadata,
)
from cloudnet.store.memory import MemoryStore

POOL = ip_network("10.65.0.0/28")
BLOCKS = list(POOL.subnets(new_prefix=30))
ADDRESSES = list(POOL)
WRITES = {"create", "update", "delete"}


class Killed(Exception):
    """The process ends here."""


class Hazard:
    """A store that does something before and after each call."""

    def __init__(self, store, before, after):
        self._store, self._before, self._after = store, before, after

    def __getattr__(self, verb):
        def call(*args, **kwargs):
            self._before()
            result = getattr(self._store, verb)(*args, **kwargs)
            self._after(verb)
            return result

        return call


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

    def __init__(self):
        super().__init__()
        self.store = MemoryStore()
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

    @rule(seconds=st.sampled_from([1, 61]))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule(cooldown=st.sampled_from([0, 5]))
    def configure(self, cooldown):
        if self.store.list(IPAMConfiguration).items:
            self.store.delete(IPAMConfiguration, "default")
        self.store.create(IPAMConfiguration(Metadata("default"), cooldown=cooldown))

    def run(self, deed, *, kill_before=0, kill_after=0, at=0, gap=0, then=None):
        calls = 0

        def before():
            nonlocal calls, at
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


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking deeds inside deeds takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_hazard_kills_where_it_should():
    life = Life()
    life.run(("assign_ip", "n1", "h1", 3), kill_after=1)
    assert life.holder(ip_address("10.65.0.3")) is None
    life.run(("assign_ip", "n1", "h1", 3))
    assert life.owners == {ip_address("10.65.0.3"): ("h1", "1")}
