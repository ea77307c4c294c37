"""Who has left which address, and which of the store's news is older than what the CNI plugin told."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from cloudnet.agent.local_pods import LocalPods
from cloudnet.model.resources import Metadata
from cloudnet.model.workloads import WorkloadEndpoint

A, B = ip_address("10.65.0.1"), ip_address("10.65.0.2")


def pod(*addresses, container="c1", uid="", name="web", node="n1"):
    return WorkloadEndpoint(
        Metadata(name, "shop", uid=uid),
        node=node,
        orchestrator="k8s",
        endpoint="eth0",
        container_id=container,
        networks=tuple(ip_network(address) for address in addresses or (A,)),
    )


def known(*values):
    pods = LocalPods("n1")
    for value in values:
        pods.heard(value, gone=False)
    assert pods.take_left() == frozenset()
    return pods


def test_whoever_goes_leaves_its_addresses_once():
    for go in (lambda pods: pods.dismissed(pod()), lambda pods: pods.heard(pod(), gone=True)):
        pods = known(pod(A, B), pod(name="other"))

        go(pods)

        assert pods.take_left() == {A, B}
        assert pods.take_left() == frozenset()


def test_nobody_leaves_anything_by_being_told_of_again_or_of_elsewhere():
    pods = known(pod())

    pods.heard(pod(), gone=False)
    pods.admitted(pod())
    pods.heard(pod(B, node="n2", name="far"), gone=False)
    pods.heard(pod(B, node="n2", name="far"), gone=True)
    pods.dismissed(pod(B, name="never was"))

    assert pods.take_left() == frozenset()


def test_an_address_that_a_pod_loses_is_left():
    pods = known(pod(A, B))

    pods.heard(pod(B), gone=False)

    assert pods.take_left() == {A}


def test_a_pod_made_anew_leaves_what_it_had_even_to_itself():
    for again in (pod(container="c2"), pod(uid="u-2")):
        pods = known(pod(uid="u-1"))

        pods.admitted(again)

        assert pods.take_left() == {A}


def test_what_the_store_tells_of_the_last_sandbox_is_no_news_until_it_tells_of_this_one():
    pods = known(pod(container="old"))
    pods.admitted(pod(B, container="new"))
    pods.take_left()

    assert not pods.heard(pod(container="old"), gone=False)
    assert not pods.heard(pod(container="old"), gone=True)
    assert not pods.heard(pod(container=""), gone=True), "a pod that has no network yet"
    assert pods.take_left() == frozenset()

    assert pods.heard(pod(B, container="new"), gone=False)
    assert pods.heard(pod(B, container="new"), gone=True)
    assert pods.take_left() == {B}


def test_a_pod_that_goes_before_the_store_told_of_it_goes():
    pods = known()
    pods.admitted(pod(container="new"))

    assert pods.heard(pod(container="new"), gone=True)

    assert pods.take_left() == {A}


def test_another_nodes_pods_are_always_news():
    assert LocalPods("n1").heard(pod(node="n2"), gone=True)
