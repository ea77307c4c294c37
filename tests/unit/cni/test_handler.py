from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.cni import release
from cloudnet.cni.handler import Handler
from cloudnet.errors import CloudnetError
from cloudnet.kernel.api import KernelError
from cloudnet.model.cluster_events import Subject
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.resources import IPPool, Metadata
from cloudnet.testing.cni import POD, CniNode


@pytest.fixture
def node(tmp_path):
    with ExitStack() as stack:
        yield CniNode(tmp_path / "journal", stack)


# --- ADD and DEL ----------------------------------------------------------------------------------------------------


def test_a_pod_that_was_added_has_address_endpoint_link_and_policy(node):
    code, answer = node.add(args=POD)

    (endpoint,) = node.endpoints().values()
    assert code == 0
    assert answer["ips"] == [{"address": str(endpoint.networks[0]), "interface": 1}]
    assert node.addresses() == {"net.c1": 1}
    assert node.pods.owners() == {endpoint.interface: node.site.pods.find(endpoint.interface).owner}
    assert [one.networks for one in node.gate.admitted] == [endpoint.networks]


def test_the_endpoint_says_what_the_cluster_knows_of_the_pod(node):
    node.store.create(Namespace(Metadata("shop", labels={"team": "a"})))
    node.store.create(Pod(Metadata("web", "shop", labels={"app": "web"}), service_account="till"))

    node.add(args=POD, policy={"type": "k8s"})

    endpoint = node.endpoints()["n1-k8s-web-eth0"]
    assert endpoint.meta.labels == {
        "app": "web",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "till",
    }
    assert endpoint.profiles == ("kns.shop", "ksa.shop.till")
    assert (endpoint.container_id, endpoint.pod, endpoint.mac) == ("c1", "web", "02:00:00:00:00:01")


def test_nothing_is_left_of_a_pod_that_was_deleted(node):
    node.add(args=POD)

    code, _ = node.ask("DEL", args=POD)

    assert code == 0
    assert node.is_empty()


def test_deleting_what_never_was_is_success(node):
    assert node.ask("DEL")[0] == 0
    assert node.ask("DEL", args=POD)[0] == 0


def test_a_pod_added_again_after_a_crash_has_what_it_has_once(node):
    pod = node.namespace()
    node.add(pod, args=POD)

    code, _ = node.add(pod, args=POD)

    assert code == 0
    assert node.addresses() == {"net.c1": 1}
    assert len(node.endpoints()) == len(node.pods.wired) == 1


@pytest.mark.parametrize("args", ["", POD], ids=["container", "pod"])
@pytest.mark.parametrize("lost", ["link", "endpoint", "both"])
def test_whatever_a_crash_took_away_the_next_add_makes_it_whole(node, lost, args):
    pod = node.namespace()
    node.add(pod, args=args)
    (endpoint,) = node.endpoints().values()
    if lost != "endpoint":
        node.pods.cut(endpoint.interface)
    if lost != "link":
        node.store.delete(type(endpoint), endpoint.meta.name, endpoint.meta.namespace)

    code, _ = node.add(pod, args=args)

    assert code == 0
    assert len(node.endpoints()) == len(node.pods.wired) == 1
    node.ask("DEL", args=args)
    assert node.is_empty()


def test_two_runtimes_with_one_container_id_are_told_and_the_first_is_left_alone(node):
    node.add(container="c1")
    before = node.endpoints(), node.addresses(), node.pods.owners()

    code, answer = node.add(container="c1")

    assert (code, answer["code"]) == (101, 101)
    assert "container 'c1' is attached already" in answer["msg"]
    assert (node.endpoints(), node.addresses(), node.pods.owners()) == before


def test_a_pod_made_anew_takes_over_from_its_last_container_whose_delete_then_takes_nothing_from_it(node):
    node.add(container="old", args=POD)

    code, _ = node.add(container="new", args=POD)
    late, _ = node.ask("DEL", container="old", args=POD)

    assert (code, late) == (0, 0)
    assert node.endpoints()["n1-k8s-web-eth0"].container_id == "new"
    assert node.addresses() == {"net.new": 1}
    assert [owner.container for owner in node.pods.owners().values()] == ["new"]


def test_two_interfaces_of_one_container_come_and_go_by_themselves(node):
    pod = node.namespace()
    node.add(pod, interface="eth0")
    node.add(pod, interface="net1")

    node.ask("DEL", interface="net1")

    assert [owner.interface for owner in node.pods.owners().values()] == ["eth0"]
    assert node.addresses() == {"net.c1": 1}


def test_both_families_come_together_or_not_at_all(node):
    wanted = {"type": "calico-ipam", "assign_ipv6": "true"}
    refused, answer = node.add(ipam=wanted)
    assert refused == 7
    assert node.is_empty()

    node.store.create(IPPool(Metadata("six"), ip_network("fd00::/112"), block_size=122))
    code, answer = node.add(ipam=wanted)

    assert code == 0
    assert [ip["address"].rpartition("/")[2] for ip in answer["ips"]] == ["32", "128"]


# --- what goes wrong ------------------------------------------------------------------------------------------------


def refuse(problem):
    def raise_it(_):
        raise problem

    return raise_it


@pytest.mark.parametrize(
    ("problem", "code"),
    [(KernelError("no"), 5), (CloudnetError("no"), 100), (ValueError("a defect"), 100), (MemoryError(), 100)],
    ids=["kernel", "ours", "defect", "memory"],
)
@pytest.mark.parametrize("where", ["link", "gate"])
def test_an_add_that_fails_leaves_nothing(node, where, problem, code):
    if where == "link":
        node.pods.refuse = refuse(problem)
    else:
        node.gate.problem = problem

    assert node.add(args=POD)[0] == code
    assert node.is_empty()


def test_an_agent_that_is_not_ready_says_try_again(node):
    node.problem = "waiting for the store"

    code, answer = node.add()

    assert code == 11
    assert "waiting for the store" in answer["msg"]
    assert node.is_empty()


def test_a_namespace_that_could_not_be_opened_is_no_container(node):
    assert node.ask("ADD")[0] == 3


def test_another_nodes_configuration_is_refused(node):
    assert node.add(nodename="n2")[0] == 7
    assert node.add(nodename="N1 ")[0] == 0


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        (
            {"ipam": {"type": "calico-ipam", "ipv4_pools": ["nosuch"]}},
            7,
            "no IPv4 pool 'nosuch': there are 'default'",
        ),
        ({"ipam": {"type": "calico-ipam", "addresses": ["192.0.2.1"]}}, 7, "192.0.2.1 lies in no pool"),
        ({"args": "IP=10.65"}, 4, "IP in CNI_ARGS: expected an address"),
        ({"ipam": {"type": "nosuch"}, "path": "/nonexistent"}, 7, "no plugin 'nosuch' in CNI_PATH"),
        ({"cniVersion": "9.9.9"}, 1, "cniVersion: expected one of"),
        ({"name": "../x"}, 7, "name: expected letters"),
        ({"container": "a/b"}, 4, "CNI_CONTAINERID is 'a/b'"),
    ],
)
def test_bad_input_is_refused_by_name_and_leaves_nothing(node, keys, code, message):
    found, answer = node.add(**keys)

    assert found == answer["code"] == code
    assert message in answer["msg"]
    assert node.is_empty()


def test_an_address_that_is_taken_is_not_given_again(node):
    wanted = {"type": "calico-ipam", "addresses": ["10.65.0.7"]}
    node.add(container="c1", ipam=wanted)

    code, answer = node.add(container="c2", ipam=wanted)

    assert code == 103
    assert "10.65.0.7" in answer["msg"]
    assert node.addresses() == {"net.c1": 1}


def test_no_free_address_is_try_again(node):
    node.store.delete(IPPool, "default")
    node.store.create(IPPool(Metadata("tiny"), ip_network("10.66.0.0/32"), block_size=32))
    node.add(container="c1")

    code, answer = node.add(container="c2")

    assert code == 11
    assert "no free address" in answer["msg"]
    assert node.addresses() == {"net.c1": 1}


def test_an_unknown_command_names_the_known_ones(node):
    code, answer = node.ask("DESTROY")

    assert code == 4
    assert "'ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'" in answer["msg"]


# --- a store that is away -------------------------------------------------------------------------------------------


def test_a_delete_while_the_store_is_away_cuts_the_pod_and_is_made_good_later(node):
    node.add(args=POD)
    node.data.outage = "asleep"

    code, _ = node.ask("DEL", args=POD)

    assert code == 0
    assert not node.pods.wired
    node.data.outage = ""
    release.finish_all(node.site)
    assert node.is_empty()


def test_a_pod_that_comes_again_first_has_released_what_it_had(node):
    node.add(args=POD)
    node.data.outage = "asleep"
    node.ask("DEL", args=POD)
    node.data.outage = ""

    code, _ = node.add(args=POD)
    release.finish_all(node.site)

    assert code == 0
    assert node.addresses() == {"net.c1": 1}
    assert len(node.endpoints()) == 1


def test_an_add_while_the_store_is_away_is_try_again_and_leaves_nothing(node):
    node.data.outage = "asleep"

    code, _ = node.add()

    node.data.outage = ""
    release.finish_all(node.site)
    assert code == 11
    assert node.is_empty()


# --- CHECK ----------------------------------------------------------------------------------------------------------


def test_a_pod_that_is_well_passes_the_check(node):
    pod = node.namespace()
    _, result = node.add(pod, args=POD)

    assert node.ask("CHECK", pod, args=POD, prevResult=result) == (0, {})


def test_a_check_names_every_difference(node):
    pod = node.namespace()
    _, result = node.add(pod, args=POD)
    (link,) = node.pods.wired
    node.pods.spoilt[link] = ["eth0 of the pod is down"]
    node.pods.routes[link].clear()

    code, answer = node.ask("CHECK", pod, args=POD, prevResult=result)

    assert code == 104
    assert "eth0 of the pod is down" in answer["msg"]
    assert "the host has no route to" in answer["details"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda result: result | {"ips": []}, "prevResult lacks the address"),
        (lambda result: result | {"interfaces": []}, "prevResult lacks the interface"),
    ],
)
def test_a_result_that_is_not_what_is_here_is_a_difference(node, edit, message):
    pod = node.namespace()
    _, result = node.add(pod, args=POD)

    code, answer = node.ask("CHECK", pod, args=POD, prevResult=edit(result))

    assert code == 104
    assert message in answer["msg"]


def test_a_check_of_what_is_not_there_says_so(node):
    code, answer = node.ask("CHECK", node.namespace(), prevResult={"ips": []})

    assert code == 104
    assert "is not in the store" in answer["msg"]


def test_a_check_without_a_result_is_refused(node):
    assert node.ask("CHECK", node.namespace())[0] == 7


# --- GC and STATUS --------------------------------------------------------------------------------------------------


def valid(*containers):
    return {"cni.dev/valid-attachments": [{"containerID": one, "ifname": "eth0"} for one in containers]}


def test_everything_that_is_not_valid_goes_and_all_else_stays(node):
    for container in ("c1", "c2", "c3"):
        node.add(container=container)
    node.add(container="c4", name="other")

    code, _ = node.ask("GC", **valid("c2"))

    assert code == 0
    assert node.addresses() == {"net.c2": 1, "other.c4": 1}
    assert {owner.container for owner in node.pods.owners().values()} == {"c2", "c4"}
    assert len(node.endpoints()) == 2


@pytest.mark.parametrize("left", ["link", "address", "endpoint"])
def test_a_single_remnant_of_a_crash_is_collected(node, left):
    node.add()
    (endpoint,) = node.endpoints().values()
    if left != "link":
        node.pods.cut(endpoint.interface)
    if left != "endpoint":
        node.store.delete(type(endpoint), endpoint.meta.name, endpoint.meta.namespace)
    if left != "address":
        node.site.leases.give_back("net.c1", ())
    node.gate.admitted.clear()

    code, _ = node.ask("GC", **valid())

    assert code == 0
    assert node.is_empty()


def test_another_nodes_endpoints_are_not_collected(node):
    node.add()
    (endpoint,) = node.endpoints().values()
    other = replace(
        endpoint, meta=replace(endpoint.meta, name="n2-cni-c9-eth0", uid=""), node="n2", container_id="c9"
    )
    node.store.create(other)

    node.ask("GC", **valid())

    assert set(node.endpoints()) == {"n2-cni-c9-eth0"}


def test_a_node_that_can_add_says_nothing(node):
    assert node.ask("STATUS") == (0, {})


def test_a_node_whose_pods_may_be_cut_off_says_so_and_adds_all_the_same_where_it_can(node):
    node.impairment = "outgoing NAT is not in force: no memory"

    code, answer = node.ask("STATUS")

    assert code == 51
    assert answer["msg"] == "pods of this node may be cut off: outgoing NAT is not in force: no memory"
    assert node.add()[0] == 0


def test_a_node_that_cannot_add_says_why(node):
    node.problem = "waiting for the kernel"
    assert node.ask("STATUS")[0] == 50
    node.problem = ""
    node.data.outage = "asleep"
    assert node.ask("STATUS")[0] == 50
    node.data.outage = ""
    node.store.delete(IPPool, "default")

    code, answer = node.ask("STATUS")

    assert code == 50
    assert "there is no IPv4 pool" in answer["msg"]


# --- what is told at the pod ----------------------------------------------------------------------------------------


def told(node):
    """Return a list that fills with what the node tells."""
    events = []
    node.handler = Handler(replace(node.site, record=events.append))
    return events


def test_a_pod_that_gets_no_network_is_told_why_and_what_its_uid_is(node):
    events = told(node)
    node.problem = "the ground is not laid"

    code, _ = node.add(args=f"{POD};K8S_POD_UID=u-7")

    (event,) = events
    assert (event.reason.name, event.about) == ("PodNetworkFailed", Subject("Pod", "web", "shop", "u-7"))
    assert "the ground is not laid" in event.note
    assert f"CNI code {code}" in event.note


def test_a_request_that_goes_well_or_is_about_no_pod_is_told_nowhere(node):
    events = told(node)
    node.add(args=POD)
    node.ask("DEL", args=POD)
    node.problem = "the ground is not laid"

    node.add(container="c2")
    node.ask("STATUS")
    node.add(container="c3", args="K8S_POD_NAME")

    assert events == []
