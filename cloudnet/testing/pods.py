"""The contract of the door for pods: what the real side and its twin both promise.

A subclass gives ``pods``, the door; ``namespace``, which opens a new namespace of a pod; ``ordinary_file``, an open
file that is no namespace; and ``own_namespace``, the one that the door is in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.kernel.api import HostNamespace, KernelError, NotANamespace
from cloudnet.kernel.pods import InterfaceTaken, LinkTaken, Owner, PodLink, Pods

OWNER = Owner("net", "c1", "eth0")
BOTH = PodLink("cali0123456789a", OWNER, "02:00:00:00:00:01", 1400, (ip_address("10.65.1.2"), ip_address("fd00::2")))
ONLY4 = replace(BOTH, addresses=BOTH.addresses[:1])
ONLY6 = replace(BOTH, addresses=BOTH.addresses[1:])

Opener = Callable[[], int]


class PodsContract:
    """Every test here holds for each implementation."""

    @pytest.mark.parametrize("link", [BOTH, ONLY4, ONLY6], ids=["both", "IPv4", "IPv6"])
    def test_a_link_is_made_as_it_should_be(self, pods: Pods, namespace: Opener, link: PodLink) -> None:
        pod = namespace()

        pods.wire(link, pod)

        assert not list(pods.differences(link, pod))

    def test_all_links_are_read_with_their_owners_and_routes(self, pods: Pods, namespace: Opener) -> None:
        other = replace(
            ONLY4, name="cali0123456789b", owner=Owner("net", "c2", "eth0"), addresses=(ip_address("10.65.1.3"),)
        )
        pods.wire(BOTH, namespace())
        pods.wire(other, namespace())

        ends = pods.read()

        assert {name: end.owner for name, end in ends.items()} == {BOTH.name: OWNER, other.name: other.owner}
        assert {ip_network("10.65.1.2"), ip_network("fd00::2")} <= set(ends[BOTH.name].routes)

    def test_a_link_is_found_by_its_name(self, pods: Pods, namespace: Opener) -> None:
        pods.wire(ONLY4, namespace())

        found = pods.find(ONLY4.name)

        assert found is not None
        assert (found.owner, found.up) == (OWNER, True)
        assert pods.find("cali0123456789b") is None

    def test_a_link_leads_to_its_own_pod_only(self, pods: Pods, namespace: Opener) -> None:
        pod, other = namespace(), namespace()
        pods.wire(ONLY4, pod)

        assert pods.leads_to(ONLY4.name, pod)
        assert not pods.leads_to(ONLY4.name, other)
        assert not pods.leads_to("cali0123456789b", pod)

    def test_a_taken_name_of_the_host_is_refused_and_its_link_left_alone(self, pods: Pods, namespace: Opener) -> None:
        first, second = namespace(), namespace()
        pods.wire(ONLY4, first)

        with pytest.raises(LinkTaken):
            pods.wire(ONLY4, second)

        assert pods.leads_to(ONLY4.name, first)

    def test_a_taken_interface_of_the_pod_is_refused_and_leaves_nothing(self, pods: Pods, namespace: Opener) -> None:
        pod = namespace()
        pods.wire(ONLY4, pod)

        with pytest.raises(InterfaceTaken, match="'eth0'"):
            pods.wire(replace(ONLY4, name="cali0123456789b"), pod)

        assert set(pods.read()) == {ONLY4.name}

    def test_a_cut_link_is_gone_and_its_names_are_free(self, pods: Pods, namespace: Opener) -> None:
        pod = namespace()
        pods.wire(BOTH, pod)

        assert pods.cut(BOTH.name)

        assert not pods.read()
        assert pods.settle(5.0)
        pods.wire(BOTH, pod)
        assert not list(pods.differences(BOTH, pod))

    def test_a_links_name_is_free_as_soon_as_it_is_cut(self, pods: Pods, namespace: Opener) -> None:
        pods.wire(ONLY4, namespace())
        pods.cut(ONLY4.name)

        pods.wire(ONLY4, namespace())

        assert set(pods.read()) == {ONLY4.name}

    def test_a_link_of_somebody_else_is_not_cut_for_a_former_owner(self, pods: Pods, namespace: Opener) -> None:
        pods.wire(ONLY4, namespace())

        assert not pods.cut(ONLY4.name, Owner("net", "c0", "eth0"))
        assert set(pods.read()) == {ONLY4.name}
        assert pods.cut(ONLY4.name, OWNER)

    def test_cutting_what_is_not_there_is_no_error(self, pods: Pods) -> None:
        assert not pods.cut(BOTH.name)

    def test_a_file_that_is_no_namespace_is_refused(self, pods: Pods, ordinary_file: int) -> None:
        with pytest.raises(NotANamespace):
            pods.wire(BOTH, ordinary_file)

        assert not pods.read()

    def test_the_hosts_own_namespace_is_refused(self, pods: Pods, own_namespace: int) -> None:
        with pytest.raises(HostNamespace):
            pods.wire(BOTH, own_namespace)

        assert not pods.read()

    def test_a_link_to_another_pod_is_a_difference(self, pods: Pods, namespace: Opener) -> None:
        pods.wire(ONLY4, namespace())

        assert list(pods.differences(ONLY4, namespace()))

    def test_a_missing_link_is_a_difference(self, pods: Pods, namespace: Opener) -> None:
        assert f"the host has no device {BOTH.name}" in pods.differences(BOTH, namespace())

    def test_routes_that_are_not_wanted_go_and_missing_ones_come(self, pods: Pods, namespace: Opener) -> None:
        pod, wrong, right = namespace(), ip_address("10.65.1.9"), ONLY4.addresses[0]
        pods.wire(replace(ONLY4, addresses=(wrong,)), pod)

        pods.mend(ONLY4.name, [right], unwanted=[ip_network(wrong)])

        routes = pods.read()[ONLY4.name].routes
        assert ip_network(right) in routes
        assert ip_network(wrong) not in routes

    def test_mending_again_changes_nothing(self, pods: Pods, namespace: Opener) -> None:
        pod = namespace()
        pods.wire(BOTH, pod)

        pods.mend(BOTH.name, BOTH.addresses)

        assert not list(pods.differences(BOTH, pod))

    def test_what_is_not_there_cannot_be_mended(self, pods: Pods) -> None:
        with pytest.raises(KernelError, match=BOTH.name):
            pods.mend(BOTH.name, BOTH.addresses)
