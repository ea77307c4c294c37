from __future__ import annotations

from contextlib import closing
from ipaddress import ip_network

import pytest

from cloudnet.agent.policy import PolicyKeeper, PolicyThread
from cloudnet.agent.policy_only import PolicyAgent, options, renamed
from cloudnet.clock import SystemClock
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput
from cloudnet.kernel.nft_memory import MemoryNft
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Metadata, Node
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy.elements import TABLE
from cloudnet.store.api import Event, EventType, Revision
from cloudnet.store.informer import Batch, Informer
from cloudnet.store.memory import MemoryStore

CONFIG = AgentConfig(node="n1", interface_prefix="eni", policy_only=True)


def pod(interface):
    return WorkloadEndpoint(
        Metadata("n1-k8s-web-eth0", "shop"),
        node=NodeName("n1"),
        orchestrator="k8s",
        workload="web",
        endpoint="eth0",
        networks=(ip_network("10.0.0.1/32"),),
        interface=interface,
    )


@pytest.fixture
def nft():
    return MemoryNft()


@pytest.fixture
def agent(nft):
    keeper = PolicyKeeper("n1", options(CONFIG), lambda: nft, dict, resync=90.0)
    with closing(PolicyThread(keeper, SystemClock())) as policing:
        yield PolicyAgent(CONFIG, policing, SystemClock())


def test_links_are_called_as_the_other_plugin_calls_them():
    node = Node(Metadata("n1"))
    events = [Event(EventType.PUT, value, Revision(1)) for value in (pod("cali0123456789a"), pod("eth7"), node)]

    seen = [event.value for event in renamed(events, "eni")]

    assert [seen[0].interface, seen[1].interface, seen[2]] == ["eni0123456789a", "eth7", node]


def test_its_pods_are_policed_by_those_names(agent, nft):
    store = MemoryStore()
    store.create(pod("cali0123456789a"))
    Informer(store, [WorkloadEndpoint], agent.hear).step()

    agent.answer({"verb": "policy"})  # comes behind what was heard

    assert {element.key[0] for element in nft.list(TABLE).sets["pods-in"].elements} == {"eni0123456789a"}


def test_nothing_is_said_of_anybodys_vxlan(agent, nft):
    agent.hear(Batch((Event(EventType.PUT, pod("cali0123456789a"), Revision(1)),), synced=True))
    agent.answer({"verb": "policy"})

    said = "".join(nft.scripts)

    assert "pods-in" in said
    assert "notrack" not in said
    assert "4789" not in said


def test_it_is_ready_when_the_store_has_told_all(agent):
    before = agent.not_ready()
    agent.hear(Batch((), synced=True))

    assert before == "waiting for the store"
    assert agent.not_ready() == ""
    assert agent.laid.is_set()
    assert agent.answer({"verb": "status"}) == {
        "node": "n1",
        "mode": "policy only",
        "ready": True,
        "message": "",
        "store_problem": "",
    }


def test_it_knows_nothing_of_paths(agent):
    with pytest.raises(BadInput, match="expected policy or status of an agent that keeps policy only, found 'paths'"):
        agent.answer({"verb": "paths"})
