from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from cloudnet.agent.enforcing import bypassed_by
from cloudnet.agent.policy import Admission, NotInForce, PolicyKeeper, PolicyThread
from cloudnet.clock import SystemClock
from cloudnet.kernel.api import KernelError
from cloudnet.kernel.nft import Traffic
from cloudnet.kernel.nft_memory import MemoryNft
from cloudnet.model.policies import GlobalNetworkPolicy, HostEndpoint, PolicySpec
from cloudnet.model.resources import Metadata
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy.elements import TABLE
from cloudnet.policy.options import Options
from cloudnet.store.api import Event, EventType

NODE = "n1"


def keeper(nft, *, addresses=None):
    return PolicyKeeper(NODE, Options(), lambda: nft, lambda: addresses or {}, resync=90.0)


def pod(name="w1", interface="cali1", node=NODE, container=""):
    return WorkloadEndpoint(
        Metadata(name, "default", labels={"app": "web"}),
        node=node,
        orchestrator="k8s",
        workload="web",
        endpoint="eth0",
        networks=(ip_network("10.0.0.1/32"),),
        profiles=("kns.default",),
        interface=interface,
        container_id=container,
    )


def put(*values):
    return [Event(EventType.PUT, value, number) for number, value in enumerate(values, 1)]


def closed(name="closed"):
    return GlobalNetworkPolicy(Metadata(name), PolicySpec(selector="app == 'web'"))


def ways(nft, name="pods-in"):
    return {element.key[0] for element in nft.list(TABLE).sets[name].elements}


def test_a_node_without_endpoints_has_no_table():
    nft = MemoryNft()
    kept = keeper(nft)
    kept.hear(put(closed(), pod(node="another")), synced=True)

    kept.work(0.0)

    assert nft.tables() == frozenset()


def test_a_pod_is_admitted_when_its_rules_are_in_the_kernel_and_not_before_the_store_has_told_all():
    nft = MemoryNft()
    kept = keeper(nft)
    asked = Admission(pod(), leaves=False)
    kept.admit(asked)
    kept.work(0.0)
    assert not asked.answer.done()

    kept.hear(put(closed()), synced=True)
    kept.work(1.0)

    assert asked.answer.done()
    assert asked.answer.exception() is None
    assert ways(nft) == {"cali1"}


def test_a_pod_that_is_dismissed_has_no_way_any_more():
    nft = MemoryNft()
    kept = keeper(nft)
    kept.hear(put(pod(), pod("w2", "cali2")), synced=True)
    kept.work(0.0)

    kept.admit(Admission(pod(), leaves=True))
    kept.work(1.0)

    assert ways(nft) == {"cali2"}


def forgetful_keeper(nft):
    """Return a keeper, and a list of what it forgot, with the ways that were left in the kernel by then."""
    forgotten = []

    def forget(addresses):
        forgotten.append((set(map(str, addresses)), ways(nft)))

    return PolicyKeeper(NODE, Options(), lambda: nft, dict, resync=90.0, forget=forget), forgotten


def test_with_a_pod_goes_what_it_had_open_after_its_ways():
    nft = MemoryNft()
    kept, forgotten = forgetful_keeper(nft)
    kept.hear(put(pod(), pod("w2", "cali2")), synced=True)
    kept.work(0.0)
    assert forgotten == []

    kept.hear([Event(EventType.DELETED, pod(), 3)], synced=False)
    kept.work(1.0)
    kept.work(2.0)

    assert forgotten == [({"10.0.0.1"}, {"cali2"})]


def test_what_a_pod_had_open_is_forgotten_before_its_heir_is_admitted_even_one_of_the_same_name():
    nft = MemoryNft()
    kept, forgotten = forgetful_keeper(nft)
    kept.hear(put(pod()), synced=True)
    kept.work(0.0)
    heir = Admission(pod(), leaves=False)
    answered = []
    heir.answer.add_done_callback(lambda _: answered.append(len(forgotten)))

    kept.admit(Admission(pod(), leaves=True))
    kept.admit(heir)
    kept.work(1.0)

    assert answered == [1]
    assert forgotten == [({"10.0.0.1"}, {"cali1"})]


def test_connections_that_cannot_be_forgotten_hold_up_nobody_and_are_tried_again(caplog):
    nft = MemoryNft()
    refusals = [KernelError("no such subsystem"), KernelError("no such subsystem"), None]

    def forget(addresses):
        if (refusal := refusals.pop(0)) is not None:
            raise refusal

    kept = PolicyKeeper(NODE, Options(), lambda: nft, dict, resync=90.0, forget=forget)
    kept.hear(put(pod(), pod("w2", "cali2")), synced=True)
    kept.work(0.0)
    kept.hear([Event(EventType.DELETED, pod(), 3)], synced=False)

    for now in (1.0, 2.0, 3.0, 4.0):
        kept.work(now)

    assert refusals == []
    assert kept.problem == ""
    assert caplog.text.count("no such subsystem") == 1


def test_news_of_the_last_sandbox_takes_no_rules_from_the_one_that_was_admitted():
    nft = MemoryNft()
    kept = keeper(nft)
    kept.hear(put(pod(container="old")), synced=True)
    kept.admit(Admission(pod(container="new"), leaves=False))
    kept.work(0.0)

    kept.hear([Event(EventType.DELETED, pod(container="old"), 3)], synced=False)
    kept.work(1.0)

    assert ways(nft) == {"cali1"}


def test_a_kernel_in_trouble_is_told_to_the_waiting_pod_and_in_readiness_and_tried_again():
    nft = MemoryNft()
    nft.refuse = lambda _: "no memory"
    kept = keeper(nft)
    kept.hear([], synced=True)
    asked = Admission(pod(), leaves=False)
    kept.admit(asked)

    again = kept.work(0.0)

    with pytest.raises(NotInForce, match="no memory"):
        asked.answer.result(0)
    assert "no memory" in kept.problem
    assert kept.is_out_of_force
    assert again == 1.0

    nft.refuse = lambda _: None
    kept.work(again)

    assert kept.problem == ""
    assert not kept.is_out_of_force
    assert ways(nft) == {"cali1"}


def test_a_policy_that_the_kernel_refuses_keeps_its_pods_out_and_is_named():
    nft = MemoryNft()
    nft.refuse = lambda line: "no memory" if "policy-in" in line else None
    kept = keeper(nft)
    kept.hear(put(closed()), synced=True)
    asked = Admission(pod(), leaves=False)
    kept.admit(asked)

    kept.work(0.0)

    with pytest.raises(NotInForce, match="no memory"):
        asked.answer.result(0)
    assert "GlobalNetworkPolicy closed" in kept.problem
    assert not kept.is_out_of_force


def told_keeper(nft, bypassed=str):
    told = []

    def tell(reason, note):
        told.append((reason.name, note))

    kept = PolicyKeeper(NODE, Options(), lambda: nft, dict, resync=90.0, bypassed=bypassed, tell=tell)
    return kept, told


def test_a_service_proxy_that_goes_past_policy_is_told_at_the_node_once():
    devices = ["lo", "kube-ipvs0"]
    kept, told = told_keeper(MemoryNft(), lambda: bypassed_by(devices))
    kept.hear(put(pod()), synced=True)
    due = 0.0
    for _ in range(3):
        due = kept.work(due)
    assert [reason for reason, _ in told] == ["PolicyBypassed"]
    assert "IPVS mode" in told[0][1]

    devices.pop()
    due = kept.work(due)
    devices.append("kube-ipvs0")
    kept.work(due)

    assert [reason for reason, _ in told] == ["PolicyBypassed"] * 2


def test_a_policy_that_the_kernel_refuses_is_told_at_the_node_once():
    nft = MemoryNft()
    nft.refuse = lambda line: "no memory" if "policy-in" in line else None
    kept, told = told_keeper(nft)
    kept.hear(put(closed(), pod()), synced=True)

    for now in (0.0, 1.0, 200.0, 400.0):
        kept.work(now)

    assert [reason for reason, _ in told] == ["PolicyRefused"]
    assert "GlobalNetworkPolicy closed" in told[0][1]
    assert "no memory" in told[0][1]


def test_that_policy_stands_still_is_told_at_the_node_and_that_it_goes_on_again():
    nft = MemoryNft()
    kept, told = told_keeper(nft)
    nft.refuse = lambda _line: "no memory"
    kept.hear(put(closed(), pod()), synced=True)
    due = kept.work(0.0)
    due = kept.work(due)
    nft.refuse = lambda _line: None

    kept.work(due)

    assert [reason for reason, _ in told] == ["PolicyNotInForce", "PolicyInForce"]


def test_a_host_endpoint_without_interface_is_found_by_its_address_also_when_that_comes_later():
    nft = MemoryNft()
    addresses = {}
    kept = PolicyKeeper(NODE, Options(), lambda: nft, lambda: addresses, resync=90.0)
    host = HostEndpoint(Metadata("h1"), node=NODE, expected_addresses=(ip_address("10.9.9.254"),))
    kept.hear(put(pod(), host), synced=True)
    due = kept.work(0.0)
    assert ways(nft, "host-in") == set()

    addresses[ip_address("10.9.9.254")] = "eth0"
    kept.work(due)

    assert ways(nft, "host-in") == {"eth0"}


def test_counters_are_told_in_the_words_of_policy():
    nft = MemoryNft()
    kept = keeper(nft)
    kept.hear(put(pod(), closed()), synced=True)
    kept.work(0.0)
    (counter,) = (name for name in nft.counters(TABLE) if name.startswith("deny-in"))
    nft.count(TABLE, counter, Traffic(3, 180))

    kept.count()

    told = [one for one in kept.traffic if one.traffic.packets]
    assert [(one.kind, one.name, one.direction, one.action) for one in told] == [
        ("Tier", "default", "ingress", "deny")
    ]


def test_the_thread_admits_dismisses_and_counts_and_ends():
    nft = MemoryNft()
    thread = PolicyThread(keeper(nft), SystemClock())
    try:
        thread.hear(tuple(put(closed())), synced=True)
        thread.admit(pod())
        assert ways(nft) == {"cali1"}
        assert thread.traffic()
        thread.dismiss(pod())
        assert thread.problem == ""
    finally:
        thread.close()
