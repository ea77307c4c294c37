"""Whatever happens, with crashes between any two steps: pods keep what they have, and everything converges."""

from ipaddress import ip_network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloudnet.addresses.plan import Settings
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.resources import Node
from cloudnet.provider.memory import Fault
from cloudnet.provider.memory_addresses import WRITES
from cloudnet.testing.pools import PoolCluster

QUICK = Settings(warm=4, pod_limit=40, idle=20.0, quarantine=10.0, leak=60.0)
FAULTS = st.sampled_from([Fault.TIMEOUT, Fault.UNAVAILABLE, Fault.THROTTLE, Fault.PERMISSION, Fault.QUOTA])
VERBS = st.sampled_from(sorted(WRITES | {"describe_interfaces"}))
SECONDS = st.sampled_from([0.0, 0.06, 1.0, 15.0, 40.0, 2000.0])


class Crash(Exception):
    """The controller is gone, at once."""


class Life(RuleBasedStateMachine):
    """Three nodes at most, in a subnet of 128 addresses: prefixes run out, single addresses too."""

    @initialize()
    def begin(self):
        self.cluster = PoolCluster(QUICK, size=25)
        self.nodes: set[int] = set()
        self.where: dict[str, int] = {}
        self.started = self.born = 0
        self.others: list[str] = []

    @rule()
    @precondition(lambda self: len(self.nodes) < 3)
    def join(self):
        self.born += 1
        if self.born <= 5:
            self.cluster.join(self.born)
            self.nodes.add(self.born)

    @rule(data=st.data(), machine=st.booleans())
    @precondition(lambda self: self.nodes)
    def leave(self, data, machine):
        k = data.draw(st.sampled_from(sorted(self.nodes)))
        self.nodes.discard(k)
        self.cluster.leave(k, machine=machine)
        for pod in [p for p, at in self.where.items() if at == k and machine]:
            self.stop(pod)

    @rule(data=st.data(), count=st.integers(1, 20))
    @precondition(lambda self: self.nodes)
    def start_pods(self, data, count):
        k = data.draw(st.sampled_from(sorted(self.nodes)))
        for _ in range(count):
            self.started += 1
            assert self.cluster.start_pod(k, f"p{self.started}") is not None
            self.where[f"p{self.started}"] = k

    @rule(data=st.data(), count=st.integers(1, 20))
    @precondition(lambda self: self.where)
    def stop_pods(self, data, count):
        for _ in range(min(count, len(self.where))):
            self.stop(data.draw(st.sampled_from(sorted(self.where))))

    def stop(self, pod):
        self.cluster.stop_pod(pod)
        del self.where[pod]

    @rule(verb=VERBS, fault=FAULTS, times=st.integers(1, 4))
    def fail(self, verb, fault, times):
        self.cluster.cloud.fail(verb, fault, times=times)

    @rule(offset=st.integers(20, 120))
    def others_take(self, offset):
        address = str(ip_network("10.1.0.0/25")[offset])
        if not any(ip_network(address).subnet_of(c) for c in self.everything() if c.version == 4):
            self.cluster.space.take("subnet-1", address)
            self.others.append(address)

    def everything(self):
        return [
            n
            for i in self.cluster.space.interfaces.values()
            for n in (*i.cidrs, *(ip_network(a.ip) for a in i.addresses))
        ]

    @rule()
    @precondition(lambda self: self.others)
    def others_give_back(self):
        self.cluster.space.give_back("subnet-1", self.others.pop())

    @rule(seconds=SECONDS)
    def run(self, seconds):
        self.cluster.run(seconds)

    @rule(seconds=SECONDS, at=st.integers(0, 12))
    def crash(self, seconds, at):
        seen = 0

        def dies(_action):
            nonlocal seen
            seen += 1
            if seen > at:
                raise Crash

        self.cluster.sim.before = dies
        try:
            self.cluster.run(seconds)
        except Crash:
            self.cluster.restart()
        self.cluster.sim.before = lambda _: None

    @invariant()
    def holds(self):
        if hasattr(self, "cluster"):
            self.cluster.check()

    def teardown(self):
        if not hasattr(self, "cluster"):
            return
        cluster = self.cluster
        cluster.cloud.heal()
        for pod in [p for p, k in self.where.items() if k not in self.nodes]:
            self.stop(pod)
        cluster.run(10_000)
        before = writes(cluster)
        cluster.run(7200)
        cluster.check()
        assert writes(cluster) - before <= 8 * 12  # one node at most looks for more in a full subnet
        for k in self.nodes:
            assert set(cluster.held(k)) == cluster.delivered(k) == cluster.blocks(k)
        owners = {i.instance for i in cluster.space.interfaces.values() if i.ours}
        assert owners <= {f"i-{k}" for k in self.nodes}
        records = {s.value.meta.name for s in cluster.store.list(CloudAddresses).items}
        assert records <= {s.value.meta.name for s in cluster.store.list(Node).items}
        assert writes(cluster) < 40 * (self.born + 1) + 40 * cluster.clock.now() / 600


def writes(cluster):
    return cluster.cloud.count(*WRITES)


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase
