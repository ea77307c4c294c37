from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from cloudnet.cni.repair import GRACE, Mend, plan
from cloudnet.kernel.pods import HostEnd, Owner
from cloudnet.model.resources import Metadata
from cloudnet.model.workloads import WorkloadEndpoint

OWN, FOREIGN = ip_network("10.65.1.2/32"), ip_network("10.65.1.9/32")
END = HostEnd("cali1", Owner("net", "c1", "eth0"), up=True, routes=(OWN,))
ENDPOINT = WorkloadEndpoint(
    Metadata("n1-k8s-web-eth0", "shop"), "n1", "k8s", "eth0", "c1", networks=(OWN,), interface="cali1"
)
MEND = Mend("cali1", (ip_address("10.65.1.2"),))


def look(*ends, endpoints=(ENDPOINT,), since=None, now=1000.0):
    return plan({end.name: end for end in ends}, endpoints, since or {}, now)


def test_what_is_well_is_left_alone():
    assert look(END) == plan({}, [], {}, 0.0)


def test_a_missing_route_comes_back():
    assert look(replace(END, routes=())).mends == (MEND,)


def test_a_pods_route_that_the_endpoint_does_not_have_goes():
    assert look(replace(END, routes=(OWN, FOREIGN))).mends == (replace(MEND, unwanted=(FOREIGN,)),)


def test_somebodys_wider_route_through_a_pod_stays():
    assert not look(replace(END, routes=(OWN, ip_network("192.0.2.0/24")))).mends


def test_an_endpoint_without_a_link_is_nothing_to_repair():
    assert look() == plan({}, [], {}, 0.0)


def test_an_endpoint_that_names_no_container_has_the_link_of_its_name():
    """As of a static pod whose mirror was made anew: what the plugin noted on it is gone, and the pod goes on."""
    bare = replace(ENDPOINT, container_id="")

    assert look(END, endpoints=(bare,), since={"cali1": 0.0}) == plan({}, [], {}, 0.0)
    assert look(replace(END, owner=Owner("net", "c1", "net1")), endpoints=(bare,)).since == {"cali1": 1000.0}


def test_a_link_of_nobody_goes_after_a_grace():
    first = look(END, endpoints=())
    early = look(END, endpoints=(), since=first.since, now=1000.0 + GRACE - 1)
    late = look(END, endpoints=(), since=early.since, now=1000.0 + GRACE)

    assert (first.orphans, early.orphans, late.orphans) == ((), (), (END,))


def test_a_link_that_finds_its_endpoint_in_time_begins_anew():
    first = look(END, endpoints=())
    found = look(END, since=first.since, now=1000.0 + GRACE)
    lost = look(END, endpoints=(), since=found.since, now=2000.0)

    assert not lost.orphans


def test_a_link_of_a_pods_last_container_is_not_the_next_ones():
    assert look(END, endpoints=(replace(ENDPOINT, container_id="c2"),)).since == {"cali1": 1000.0}
