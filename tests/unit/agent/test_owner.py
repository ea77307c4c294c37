import contextlib
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.agent import actions
from cloudnet.agent.answers import answer
from cloudnet.agent.enforcing import unreadable_policies
from cloudnet.agent.owner import Agent, Stop
from cloudnet.clock import SystemClock
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput
from cloudnet.kernel.api import Gateway, KernelError, Link
from cloudnet.kernel.memory import MemoryKernel
from cloudnet.model import policies as documents
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import BlockAffinity, Metadata, Node, Vtep
from cloudnet.store.api import Event, EventType, Revision
from cloudnet.store.informer import Informer
from cloudnet.store.sqlite import SqliteStore

CONFIG = AgentConfig(node="n1")
BLOCK = ip_network("10.65.2.0/26")


@dataclass
class Recorder:
    """Both ends that an agent speaks to besides the kernel."""

    reports: list = field(default_factory=list)
    probes: list = field(default_factory=list)

    def report(self, report):
        self.reports.append(report)

    def send(self, probes):
        self.probes += probes
        return 0

    def answer_peers(self, peers):
        self.peers = peers


def node(k):
    return Node(Metadata(f"n{k}"), (ip_interface(f"10.0.{k}.1{k}/24"),), (Vtep(ip_address(f"10.65.{k}.0"), ""),))


RESOURCES = (node(1), node(2), BlockAffinity(Metadata("n2-block"), NodeName("n2"), BLOCK))


@pytest.fixture
def kernel():
    eth0 = Link("eth0", 2, 1500, up=True, addresses=(ip_interface("10.0.1.11/24"),))
    return MemoryKernel([eth0], [Gateway(Family.IPV4, "eth0", ip_address("10.0.1.1"))])


@pytest.fixture
def agent(kernel):
    ends = Recorder()
    agent = Agent(CONFIG, queue.SimpleQueue(), SystemClock(), kernel=kernel, sockets=ends, reporter=ends)
    agent.ends = ends
    thread = threading.Thread(target=agent.run)
    thread.start()
    yield agent
    agent.inbox.put(Stop())
    thread.join(5)
    assert not thread.is_alive()


def hear(agent, *resources):
    events = tuple(Event(EventType.PUT, value, Revision(i)) for i, value in enumerate(resources, 1))
    agent.inbox.put(actions.ResourcesChanged(events))


def eventually(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_what_the_store_says_reaches_kernel_report_and_snapshot(agent, kernel):
    assert answer(CONFIG, agent, {"verb": "status"})["ready"] is False

    hear(agent, *RESOURCES)
    eventually(lambda: agent.ends.reports)

    assert kernel.lookup(ip_address("10.65.2.9")).device == "vxlan.calico"
    assert kernel.sysctls["net.ipv4.conf.eth0.rp_filter"] == "2"
    assert agent.ends.reports[-1].ready
    eventually(lambda: answer(CONFIG, agent, {"verb": "status"})["ready"])
    status = answer(CONFIG, agent, {"verb": "status"})
    assert (status["pod_mtu"], status["destinations"]) == (1450, {"vxlan/no-cloud": 1})
    (path,) = answer(CONFIG, agent, {"verb": "paths"})["paths"]
    assert path["since"] > 1_600_000_000
    del path["since"]
    assert path == {
        "block": "10.65.2.0/26",
        "node": "n2",
        "kind": "vxlan",
        "reason": "no-cloud",
        "next_hop": "10.65.2.0",
        "mtu": 1450,
        "detail": "no cloud provider speaks for node 'n1'",
    }


def test_a_policy_that_cannot_be_read_is_named_with_the_remedy_and_nodes_are_not(tmp_path):
    store = SqliteStore(tmp_path / "store.sqlite")
    store.create(Node(Metadata("n1")))
    store.create(documents.NetworkPolicy(Metadata("web", "shop")))
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection, connection:
        connection.execute("""UPDATE resources SET document = '{"spec": 7}'""")
    informer = Informer(store, [Node, documents.NetworkPolicy], lambda _: None)

    informer.step()

    (said,) = unreadable_policies(informer)
    assert said.startswith("NetworkPolicy 'shop/web' cannot be read, what it said last stays in force: ")
    assert said.endswith("mend or delete it")
    store.close()


def test_an_agent_with_such_a_policy_is_not_ready(agent):
    hear(agent, *RESOURCES)
    agent.inbox.put(actions.ResourcesChanged((), synced=True))
    eventually(lambda: not agent.not_ready())

    agent.unreadable = lambda: ("NetworkPolicy shop/web cannot be read",)

    assert agent.not_ready() == "NetworkPolicy shop/web cannot be read"


def test_an_unknown_verb_is_refused(agent):
    with pytest.raises(BadInput, match="verb: expected bgp, paths, policy or status, found 'fly'"):
        answer(CONFIG, agent, {"verb": "fly"})


def test_a_refused_change_is_logged_once_by_its_name(agent, kernel, caplog):
    kernel.refuse(lambda change: getattr(change.value, "destination", None) == BLOCK, KernelError("no room"))

    hear(agent, *RESOURCES)
    eventually(lambda: agent.ends.reports)

    assert "no room" in agent.ends.reports[-1].message
    assert sum("no room" in record.getMessage() for record in caplog.records) == 1


def test_a_kernel_that_cannot_be_read_is_asked_again(kernel, caplog):
    class Deaf:
        asked = 0

        def __getattr__(self, name):
            return getattr(kernel, name)

        def links(self):
            self.asked += 1
            if self.asked == 1:
                raise KernelError("busy")
            return kernel.links()

    ends = Recorder()
    agent = Agent(CONFIG, queue.SimpleQueue(), SystemClock(), kernel=Deaf(), sockets=ends, reporter=ends)
    thread = threading.Thread(target=agent.run)
    thread.start()
    hear(agent, *RESOURCES)

    eventually(lambda: ends.reports)

    agent.inbox.put(Stop())
    thread.join(5)
    assert "busy" in caplog.text
