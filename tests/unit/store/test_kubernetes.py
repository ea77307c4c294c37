from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.errors import BadInput
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.leases import ColdLeases
from cloudnet.manifests import crds
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.cluster_policies import ClusterNetworkPolicy, ClusterTier
from cloudnet.model.kubernetes import Pod
from cloudnet.model.kubernetes_labels import LabelSelector
from cloudnet.model.policies import GlobalNetworkPolicy, NetworkPolicy, PolicySpec, Profile
from cloudnet.model.resources import (
    AllowedUse,
    BlockAffinity,
    CloudRoute,
    IPAMBlock,
    IPPool,
    Lease,
    Metadata,
    Node,
    NodeCondition,
    Vtep,
)
from cloudnet.model.workloads import EndpointId, WorkloadEndpoint, endpoint_labels, endpoint_name
from cloudnet.policy.selectors import Matches
from cloudnet.store import kubernetes_forms
from cloudnet.store.api import Compacted, Conflict, Create, EventType, NotFound, Revision, StoreUnavailable, change
from cloudnet.store.informer import Informer
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.testing.batches import SOON, collect, lease
from cloudnet.testing.kube.server import ApiServer

POOL = IPPool(Metadata("pool"), ip_network("10.65.0.0/16"))
CALICO = "projectcalico.org/v3"


@pytest.fixture
def api():
    with ApiServer() as api:
        api.install(crds.own_crds())
        api.install(crds.calico_crds())
        yield api


@pytest.fixture
def older():
    with ApiServer() as api:
        api.install(crds.own_crds())
        api.install(crds.calico_crds(older=True))
        yield api


@pytest.fixture
def open_at():
    opened = []

    def open_at(api, *, node="", page=500, silent=90.0, clock=time.monotonic, **settings):
        client = Client(api.settings(**settings))
        opened.append(KubernetesStore(client, node=node, page=page, silent=silent, clock=clock))
        return opened[-1]

    yield open_at
    for store in opened:
        store.close()


@pytest.fixture
def store(api, open_at):
    return open_at(api)


def pod(name="web", *, node="n1", annotations=None, **status):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": "web"},
            "annotations": annotations or {},
        },
        "spec": {
            "nodeName": node,
            "serviceAccountName": "builder",
            "containers": [{"name": "c", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}]}],
        },
        "status": status,
    }


def endpoint(name="web", node="n1", address="10.65.1.2"):
    return WorkloadEndpoint(
        Metadata(
            endpoint_name(EndpointId(node, "k8s", name, "eth0")),
            "default",
            labels=endpoint_labels(
                {"app": "web"}, namespace="default", orchestrator="k8s", service_account="builder"
            ),
        ),
        NodeName(node),
        "k8s",
        "eth0",
        container_id="c1",
        pod=name,
        service_account="builder",
        networks=(ip_network(address),),
        profiles=("kns.default", "ksa.default.builder"),
        interface="caliabc",
        mac="ee:ee:ee:00:00:01",
    )


def edit(store):
    change(store, IPPool, "pool", lambda pool: replace(pool, nat_outgoing=True))


def name_node(store):
    change(store, Node, "n1", lambda node: replace(node, addresses=(ip_interface("10.0.0.1/24"),)))


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_an_api_that_is_gone_is_named_and_used_again_when_it_is_back(api, store):
    store.create(POOL)
    api.stop()

    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{api.port}.*see that it runs"):
        store.get(IPPool, "pool")

    api.start()
    assert store.get(IPPool, "pool").value.cidr == POOL.cidr


def test_a_watch_goes_on_where_it_was_after_the_api_was_gone(api, store):
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        store.create(lease("a"))
        assert [event.value.meta.name for event in collect(watch, 1)] == ["a"]
        api.stop()
        with pytest.raises(StoreUnavailable):
            until(watch)
        api.start()
        store.create(lease("b"))

        assert [event.value.meta.name for event in patiently(watch, 1)] == ["b"]


def until(watch):
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        watch.next(0.05)


def patiently(watch, number):
    """Collect events from a watch that may say that its store does not answer yet."""
    found, end = [], time.monotonic() + 2 * SOON
    while len(found) < number and time.monotonic() < end:
        try:
            found += watch.next(0.1)
        except StoreUnavailable:
            time.sleep(0.05)
    return found


def test_streams_that_break_again_and_again_lose_and_double_nothing(api, store):
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        found = []
        for i in range(6):
            store.create(lease(f"l{i}"))
            found += watch.next(0.02)
            api.drop_connections()
        found += patiently(watch, 6 - len(found))

        assert [event.value.meta.name for event in found] == [f"l{i}" for i in range(6)]
        assert watch.next(0.3) == ()


def test_a_watch_that_goes_silent_is_opened_anew(api, open_at):
    api.faults.bookmark_every = 0.1
    store = open_at(api, silent=0.4)
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        assert watch.next(0.3) == ()
        api.faults.silent = True
        time.sleep(0.1)
        store.create(lease("a"))
        assert watch.next(0.1) == ()
        timer = threading.Timer(0.4, lambda: setattr(api.faults, "silent", False))
        timer.start()

        assert [event.value.meta.name for event in patiently(watch, 1)] == ["a"]
        timer.join()
    assert [seen.verb for seen in api.seen if seen.what == "leases.coordination.k8s.io"].count("watch") >= 2


def test_bookmarks_keep_a_quiet_watch_from_falling_behind(api, open_at):
    api.faults.bookmark_every = 0.05
    store = open_at(api)
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        for i in range(5):
            store.create(Node(Metadata(f"n{i}")))
        watch.next(0.5)
        api.objects.compact(keep=1)
        api.drop_connections()
        store.create(lease("a"))

        assert [event.value.meta.name for event in patiently(watch, 1)] == ["a"]


def test_a_cluster_that_went_back_in_time_is_noticed(api, open_at):
    store = open_at(api)
    store.create(lease("a"))
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        watch.next(0)
        api.objects.changes.clear()
        api.objects.revision = 1
        api.faults.bookmark_every = 0.05
        api.drop_connections()

        with pytest.raises(Compacted, match="went back"):
            until(watch)


def test_an_informer_lists_again_after_a_compaction_and_makes_up_what_it_missed(api, store):
    batches = []
    store.create(lease("gone"))
    informer = Informer(store, [Lease], batches.append)
    informer.step()
    watch = informer._watch
    store.delete(Lease, "gone")
    store.create(lease("new"))
    api.objects.compact()

    informer.step(0.1)
    informer.step()

    assert {(event.type, event.value.meta.name) for event in batches[-1].events} == {
        (EventType.PUT, "new"),
        (EventType.DELETED, "gone"),
    }
    assert informer._watch is not watch
    informer.close()


def test_who_is_asked_to_wait_waits_and_asks_again(api, store):
    api.faults.too_many, api.faults.retry_after = 2, 0

    assert store.create(POOL).value.cidr == POOL.cidr


def test_who_is_asked_to_wait_too_long_says_that_there_is_too_much_to_do(api, open_at):
    store = open_at(api, patience=0.5)
    store.list(IPPool)
    api.faults.too_many, api.faults.retry_after = 1, 30

    with pytest.raises(StoreUnavailable, match="too much to do to list ippools"):
        store.list(IPPool)


def test_a_broken_api_is_said_when_reading(api, store):
    store.list(IPPool)
    api.faults.broken = 1

    with pytest.raises(StoreUnavailable, match=r"fails to list ippools.projectcalico.org: .*request timed out"):
        store.list(IPPool)


def test_a_broken_api_leaves_open_whether_a_write_was_made(api, store):
    store.list(IPPool)
    api.faults.broken = 1

    with pytest.raises(StoreUnavailable, match=r"did not say whether it has written .*read again"):
        store.create(POOL)


def test_a_write_whose_answer_is_lost_is_not_tried_again(api, store):
    store.list(IPPool)
    api.faults.unanswered = 1

    with pytest.raises(StoreUnavailable, match="did not say whether it has written"):
        store.create(POOL)

    assert store.get(IPPool, "pool").value.cidr == POOL.cidr
    assert [seen.verb for seen in api.seen].count("create") == 1


def test_a_read_whose_answer_is_lost_is_tried_again(api, store):
    store.create(POOL)
    api.faults.unanswered = 1

    assert store.get(IPPool, "pool").value.cidr == POOL.cidr


def test_a_slow_api_is_given_up_in_time(api, open_at):
    store = open_at(api, timeout=0.3)
    store.list(IPPool)
    api.faults.latency = 4.0
    began = time.monotonic()

    with pytest.raises(StoreUnavailable, match="does not answer in time"):
        store.list(IPPool)
    assert time.monotonic() - began < 3.5


@pytest.mark.parametrize(
    ("verb", "what", "act"),
    [
        ("get", "ippools.projectcalico.org", lambda store: store.get(IPPool, "pool")),
        ("list", "ippools.projectcalico.org", lambda store: store.list(IPPool)),
        ("create", "ippools.projectcalico.org", lambda store: store.create(replace(POOL, meta=Metadata("p2")))),
        ("update", "ippools.projectcalico.org", edit),
        ("delete", "ippools.projectcalico.org", lambda store: store.delete(IPPool, "pool")),
        ("watch", "ippools.projectcalico.org", lambda store: store.watch([IPPool], since=Revision(1)).next(0)),
        ("list", "pods", lambda store: store.list(WorkloadEndpoint)),
        ("patch", "nodes/status", name_node),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_verb_that_we_lack_is_named(api, store, verb, what, act):
    store.create(POOL)
    store.create(Node(Metadata("n1")))
    api.faults.forbidden.add((verb, what))

    with pytest.raises(StoreUnavailable, match=rf"forbids us to {verb} {what} .*ClusterRole the verb '{verb}'"):
        act(store)


def test_a_missing_definition_is_named_with_what_to_install(open_at):
    with ApiServer() as api:
        store = open_at(api)

        with pytest.raises(
            StoreUnavailable, match=r"has no ippools\.projectcalico\.org: install what 'cloudnet manifes"
        ):
            store.list(IPPool)
        with pytest.raises(StoreUnavailable, match=r"has no cloudroutes\.cloudnet\.io"):
            store.create(CloudRoute(Metadata("r"), ip_network("10.65.1.0/24"), NodeName("n1")))
        store.close()


def test_of_a_kind_that_a_cluster_need_not_know_there_are_none(api, store):
    assert store.list(ClusterNetworkPolicy).items == ()
    with store.watch([ClusterNetworkPolicy, Lease], since=store.list(Lease).revision) as watch:
        store.create(lease("a"))

        assert [event.value.meta.name for event in collect(watch, 1)] == ["a"]


def test_an_agent_is_told_of_its_own_nodes_cloud_addresses_alone(api, open_at):
    everybody, agent = open_at(api), open_at(api, node="n1")
    for name in ("n1", "n2"):
        everybody.create(CloudAddresses(Metadata(name)))

    listed = agent.list(CloudAddresses)
    watch = agent.watch([CloudAddresses], since=listed.revision)
    for name in ("n2", "n1"):
        change(everybody, CloudAddresses, name, lambda seen: replace(seen, detail="news"))
    heard = collect(watch, 1)
    watch.close()

    assert [item.value.meta.name for item in listed.items] == ["n1"]
    assert [event.value.meta.name for event in heard] == ["n1"]
    assert len(everybody.list(CloudAddresses).items) == 2


def test_a_kind_that_is_installed_later_is_listed_and_watched_from_then_on(api, open_at):
    """What a cluster has is asked for every few minutes, and when a stream is opened anew."""
    now = [0.0]
    store = open_at(api, silent=0.3, clock=lambda: now[0])
    policy = ClusterNetworkPolicy(Metadata("late"), ClusterTier.ADMIN, 1, namespaces=LabelSelector())
    heard = queue.SimpleQueue()
    with closing(Informer(store, [ClusterNetworkPolicy, Lease], heard.put)) as informer:
        informer.start()
        first = heard.get(timeout=SOON)
        api.install(crds.policy_crds())
        now[0] = 400.0
        again = heard.get(timeout=SOON)
        open_at(api).create(policy)
        last = heard.get(timeout=SOON)

    assert (first.synced, again.synced) == (True, True)
    assert [event.value.meta.name for event in last.events] == ["late"]


def test_what_breaks_the_schema_of_an_older_definition_names_the_field(api, store):
    definition = api.find("apiextensions.k8s.io/v1", "customresourcedefinitions", "ippools.projectcalico.org")
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["vxlanMode"] = {"type": "string", "enum": ["Always"]}

    with pytest.raises(BadInput, match=r"spec.vxlanMode: Unsupported value"):
        store.create(POOL)


def test_an_object_in_a_namespace_that_is_not_there_says_so(store):
    with pytest.raises(BadInput, match='namespaces "nowhere" not found: create it first'):
        store.create(NetworkPolicy(Metadata("p", "nowhere"), PolicySpec()))


# --- listings -----------------------------------------------------------------------------------------------


def test_a_listing_comes_in_pages_of_one_moment(api, open_at):
    store = open_at(api, page=2)
    for i in range(7):
        store.create(lease(f"l{i}"))
    api.seen.clear()

    listing = store.list(Lease)

    assert [item.value.meta.name for item in listing.items] == [f"l{i}" for i in range(7)]
    assert [seen.query.get("limit") for seen in api.seen] == ["2"] * 4
    assert listing.revision == api.objects.revision


def test_a_listing_whose_pages_expire_is_begun_anew(api, open_at):
    store = open_at(api, page=2)
    for i in range(5):
        store.create(lease(f"l{i}"))
    api.api.expire_pages()
    once = api.api._resume
    expired = []

    def expire(token):
        if not expired:
            expired.append(token)
            api.api.expire_pages()
        return once(token)

    api.api._resume = expire

    assert len(store.list(Lease).items) == 5
    assert expired


def test_an_object_that_makes_no_sense_is_left_out_and_said(api, store, caplog):
    store.create(POOL)
    api.create({"apiVersion": CALICO, "kind": "IPPool", "metadata": {"name": "bad"}, "spec": {"cidr": "nonsense"}})

    assert [item.value.meta.name for item in store.list(IPPool).items] == ["pool"]
    assert "name=bad" in caplog.text


# --- what others wrote stays --------------------------------------------------------------------------------


def test_an_update_keeps_what_others_wrote(api, store):
    made = store.create(POOL)
    api.patch(CALICO, "ippools", "pool", {"metadata": {"finalizers": ["x/y"]}, "spec": {"future": 1}})

    with pytest.raises(Conflict):
        store.update(replace(made.value, disabled=True), expected=made.revision)
    edit(store)

    stored = api.find(CALICO, "ippools", "pool")
    assert stored["spec"] == {"cidr": "10.65.0.0/16", "blockSize": 26, "natOutgoing": True, "future": 1} | {
        key: stored["spec"][key] for key in stored["spec"] if key.endswith("Mode")
    }
    assert stored["metadata"]["finalizers"] == ["x/y"]


def test_a_node_is_patched_by_annotations_and_nothing_else_of_it_changes(api, store):
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n1", "labels": {"zone": "a"}, "annotations": {"other": "1"}},
            "spec": {"podCIDRs": ["10.1.0.0/24"], "providerID": "aws:///z/i-1", "taints": [{"key": "x"}]},
            "status": {"conditions": [{"type": "Ready"}]},
        }
    )

    vtep = Vtep(ip_address("10.65.1.0"), "66:00:00:00:00:01")
    change(
        store,
        Node,
        "n1",
        lambda node: replace(node, addresses=(ip_interface("10.0.0.1/24"),), vteps=(vtep,)),
    )

    stored = api.find("v1", "nodes", "n1")
    assert stored["metadata"]["annotations"] == {
        "other": "1",
        "projectcalico.org/IPv4Address": "10.0.0.1/24",
        "projectcalico.org/IPv4VXLANTunnelAddr": "10.65.1.0",
        "projectcalico.org/VXLANTunnelMACAddr": "66:00:00:00:00:01",
    }
    assert stored["spec"]["taints"] == [{"key": "x"}]
    assert stored["status"]["conditions"] == [{"type": "Ready"}]
    node = store.get(Node, "n1").value
    assert node.provider_id == "aws:///z/i-1"
    assert node.pod_cidrs == (ip_network("10.1.0.0/24"),)
    assert {seen.what for seen in api.seen if seen.verb == "patch"} == {"nodes/status"}


def test_calicos_own_labels_of_a_node_are_shown_and_stay_where_they_are(api, store):
    labels = {"projectcalico.org/labels": '{"rack": "r1"}'}
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "annotations": labels}})

    assert store.get(Node, "n1").value.meta.labels == {"rack": "r1"}
    name_node(store)

    assert api.find("v1", "nodes", "n1")["metadata"]["annotations"]["projectcalico.org/labels"] == '{"rack":"r1"}'
    assert "rack" not in api.find("v1", "nodes", "n1")["metadata"]["labels"]


def test_a_verdict_on_a_nodes_network_is_shown_where_the_scheduler_looks(api, store):
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    api.patch_status("v1", "nodes", "n1", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    made = store.create(NodeCondition(Metadata("n1"), ready=False, reason="NoRoute", since=60.0))

    ready, network = api.find("v1", "nodes", "n1")["status"]["conditions"]
    assert ready == {"type": "Ready", "status": "True"}
    assert (network["type"], network["status"], network["reason"]) == ("NetworkUnavailable", "True", "NoRoute")
    assert network["lastTransitionTime"] == "1970-01-01T00:01:00Z"

    store.update(replace(made.value, ready=True, reason="RouteCreated"), expected=made.revision)

    ready, network = api.find("v1", "nodes", "n1")["status"]["conditions"]
    assert (network["status"], network["reason"]) == ("False", "RouteCreated")


def test_the_capacity_for_native_addresses_is_shown_on_the_node_and_said_again_only_when_it_changes(api, store):
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "annotations": {"other": "stays"}}})

    def shown():
        return api.find("v1", "nodes", "n1")["metadata"]["annotations"]

    made = store.create(CloudAddresses(Metadata("n1"), capacity={Family.IPV6: 80, Family.IPV4: 110}))
    first, patches = shown(), sum(seen.verb == "patch" for seen in api.seen)
    made = store.update(replace(made.value, detail="other"), expected=made.revision)
    again = sum(seen.verb == "patch" for seen in api.seen)
    store.update(replace(made.value, capacity={Family.IPV4: 20}), expected=made.revision)
    less = shown()
    store.delete(CloudAddresses, "n1")

    assert first == {"other": "stays", "cloudnet.io/native-capacity": "ipv4=110,ipv6=80"}
    assert again == patches
    assert less["cloudnet.io/native-capacity"] == "ipv4=20"
    assert shown() == {"other": "stays"}


def test_the_capacity_is_said_again_when_another_controller_said_something_else_meanwhile(api, store, open_at):
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    other = open_at(api)

    first = store.create(CloudAddresses(Metadata("n1"), capacity={Family.IPV4: 110}))
    less = other.update(replace(first.value, capacity={Family.IPV4: 20}), expected=first.revision)
    store.update(replace(less.value, capacity={Family.IPV4: 110}), expected=less.revision)

    assert api.find("v1", "nodes", "n1")["metadata"]["annotations"] == {"cloudnet.io/native-capacity": "ipv4=110"}


def test_a_verdict_on_a_node_that_is_gone_is_kept_all_the_same(store):
    store.create(NodeCondition(Metadata("n1"), ready=False, reason="NoRoute"))

    assert store.get(NodeCondition, "n1").value.reason == "NoRoute"


# --- pods ---------------------------------------------------------------------------------------------------


def test_an_endpoint_is_a_pod_with_annotations(api, store):
    api.create(pod())

    made = store.create(endpoint())

    annotations = api.find("v1", "pods", "web", "default")["metadata"]["annotations"]
    assert annotations["cni.projectcalico.org/podIP"] == "10.65.1.2/32"
    assert annotations["cni.projectcalico.org/podIPs"] == "10.65.1.2/32"
    assert annotations["cni.projectcalico.org/containerID"] == "c1"
    assert store.get(WorkloadEndpoint, made.value.meta.name, "default") == made
    assert (made.value.mac, made.value.interface) == ("ee:ee:ee:00:00:01", "caliabc")
    assert [port.name for port in made.value.ports] == ["http"]


def test_an_endpoint_of_a_pod_just_read_is_one_request(api, store):
    api.create(pod())
    store.list(WorkloadEndpoint)  # what the API serves has been asked
    store.get(Pod, "web", "default")
    before = len(api.seen)

    store.create(endpoint())

    assert [(seen.verb, seen.what) for seen in list(api.seen)[before:]] == [("patch", "pods/status")]


def test_an_endpoint_of_a_pod_that_changed_since_it_was_read_keeps_the_change(api, store):
    api.create(pod())
    store.get(Pod, "web", "default")
    api.patch("v1", "pods", "web", {"metadata": {"annotations": {"of": "another"}}}, "default")

    store.create(endpoint())

    annotations = api.find("v1", "pods", "web", "default")["metadata"]["annotations"]
    assert (annotations["of"], annotations["cni.projectcalico.org/podIP"]) == ("another", "10.65.1.2/32")


def test_an_endpoint_is_its_pod_s_even_if_that_was_made_anew_since_it_was_read(api, store):
    api.create(pod())
    store.create(endpoint())
    api.renew(pod())

    store.create(endpoint(address="10.65.1.3"))

    annotations = api.find("v1", "pods", "web", "default")["metadata"]["annotations"]
    assert annotations["cni.projectcalico.org/podIP"] == "10.65.1.3/32"


def test_an_endpoint_that_is_deleted_is_gone_while_its_pod_stays(api, store):
    api.create(pod())
    made = store.create(endpoint())
    with store.watch([WorkloadEndpoint], since=made.revision) as watch:
        store.delete(WorkloadEndpoint, made.value.meta.name, "default")

        assert [(event.type, event.value.meta.name) for event in collect(watch, 1)] == [
            (EventType.DELETED, made.value.meta.name)
        ]
    assert store.list(WorkloadEndpoint).items == ()
    with pytest.raises(NotFound):
        store.delete(WorkloadEndpoint, made.value.meta.name, "default")
    annotations = api.find("v1", "pods", "web", "default")["metadata"]["annotations"]
    assert annotations["cni.projectcalico.org/podIP"] == ""
    assert annotations["cni.projectcalico.org/containerID"] == "c1"


def test_an_endpoint_without_its_pod_cannot_be(store):
    with pytest.raises(NotFound):
        store.create(endpoint())


def test_an_endpoint_of_a_bare_container_has_no_place_in_kubernetes(store):
    with pytest.raises(BadInput, match="called"):
        store.create(replace(endpoint(), orchestrator="cni", meta=Metadata("n1-cni-abc-eth0", "default")))


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        (pod(podIPs=[{"ip": "10.65.1.2"}, {"ip": "fd00::2"}]), ["10.65.1.2/32", "fd00::2/128"]),
        (pod(podIP="10.65.1.2"), ["10.65.1.2/32"]),
        (pod(annotations={"vpc.amazonaws.com/pod-ips": "10.0.1.5"}), ["10.0.1.5/32"]),
        (pod(annotations={"cni.projectcalico.org/podIPs": "10.1.1.1/32"}, podIP="10.65.1.2"), ["10.1.1.1/32"]),
        (pod(annotations={"cni.projectcalico.org/podIP": ""}, podIP="10.65.1.2"), None),
        (pod(podIP="10.65.1.2", phase="Succeeded"), None),
        (pod(node="", podIP="10.65.1.2"), None),
        (pod(), None),
    ],
    ids=["two families", "one", "of the cloud", "annotation first", "taken back", "ended", "unscheduled", "none yet"],
)
def test_the_addresses_of_a_pod_are_the_newest_account_of_them(api, store, document, shown):
    api.create(document)
    api.patch_status("v1", "pods", "web", {"status": document["status"]}, "default")

    found = [[str(network) for network in item.value.networks] for item in store.list(WorkloadEndpoint).items]

    assert found == ([shown] if shown else [])


def test_profiles_are_namespaces_and_service_accounts(api, store):
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}})
    api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa", "namespace": "shop"}})

    of_namespace = store.get(Profile, "kns.shop").value
    of_account = store.get(Profile, "ksa.shop.sa").value

    assert of_namespace.labels_to_apply["pcns.team"] == "a"
    assert of_namespace.labels_to_apply["pcns.projectcalico.org/name"] == "shop"
    assert of_account.labels_to_apply == {"pcsa.projectcalico.org/name": "sa"}
    assert {"kns.shop", "kns.default", "ksa.shop.sa"} <= {one.value.meta.name for one in store.list(Profile).items}


@pytest.mark.parametrize("kind", [Pod, Profile])
def test_what_kubernetes_makes_itself_is_not_deleted(api, store, kind):
    api.create(pod())

    with pytest.raises(BadInput, match="Kubernetes makes"):
        store.delete(kind, "kns.default" if kind is Profile else "web", "default")


# --- Calico's older group -----------------------------------------------------------------------------------


def test_the_older_group_is_used_where_the_cluster_has_only_that(older, open_at):
    store = open_at(older)

    store.create(IPPool(Metadata("pool", labels={"a": "b"}), POOL.cidr))

    stored = older.find("crd.projectcalico.org/v1", "ippools", "pool")
    assert stored["metadata"]["labels"] == {}
    assert '"labels":{"a":"b"}' in stored["metadata"]["annotations"]["projectcalico.org/metadata"]
    assert store.get(IPPool, "pool").value.meta.labels == {"a": "b"}


def test_policies_of_the_older_group_carry_their_tier_in_front(older, open_at):
    store = open_at(older)

    store.create(GlobalNetworkPolicy(Metadata("deny"), PolicySpec()))

    assert older.find("crd.projectcalico.org/v1", "globalnetworkpolicies", "default.deny")
    assert store.get(GlobalNetworkPolicy, "deny").value.meta.name == "deny"
    assert [one.value.meta.name for one in store.list(GlobalNetworkPolicy).items] == ["deny"]


def test_affinities_of_the_older_group_say_in_a_word_that_they_are_deleted(older, open_at):
    store = open_at(older)
    made = store.create(BlockAffinity(Metadata("n1-10-65-1-0-26"), NodeName("n1"), ip_network("10.65.1.0/26")))

    store.update(replace(made.value, deleted=True), expected=made.revision)

    assert older.find("crd.projectcalico.org/v1", "blockaffinities", "n1-10-65-1-0-26")["spec"]["deleted"] == "true"
    assert store.get(BlockAffinity, "n1-10-65-1-0-26").value.deleted


def test_calicos_api_server_is_not_mistaken_for_the_newer_group(older, open_at):
    view = [crd for crd in crds.calico_crds() if not crd["metadata"]["name"].startswith("ipam")]
    older.install(view)
    store = open_at(older)

    store.create(POOL)

    assert older.find("crd.projectcalico.org/v1", "ippools", "pool")


def test_the_user_may_say_which_group_it_is(older, open_at):
    older.install(crds.calico_crds())

    open_at(older, group=kubernetes_forms.OLDER).create(POOL)

    assert older.find("crd.projectcalico.org/v1", "ippools", "pool")


def test_the_newer_group_is_used_where_the_cluster_has_both(older, open_at):
    older.install(crds.calico_crds())

    open_at(older).create(POOL)

    assert older.find(CALICO, "ippools", "pool")


# --- leases, and writing together ---------------------------------------------------------------------------


def test_kubectl_sees_who_leads(api, store):
    made = store.create(Lease(Metadata("cloudnet-controller"), "one", 7.5, 3))
    store.update(replace(made.value, holder="two", renewals=4), expected=made.revision)

    stored = api.find("coordination.k8s.io/v1", "leases", "cloudnet-controller", "cloudnet-system")

    assert stored["spec"]["holderIdentity"] == "two"
    assert stored["spec"]["leaseDurationSeconds"] == 8
    assert stored["spec"]["leaseTransitions"] == 1
    assert store.get(Lease, "cloudnet-controller").value.duration == 7.5


def test_addresses_given_out_by_several_nodes_at_once_are_nobodys_twice(api, open_at):
    open_at(api).create(IPPool(Metadata("pool"), ip_network("10.65.0.0/24"), block_size=28))
    open_at(api).create(Node(Metadata("n1")))
    open_at(api).create(Node(Metadata("n2")))

    def work(number):
        store = open_at(api)
        node = NodeName(f"n{number % 2 + 1}")
        cold = ColdLeases(Allocator(store, now=lambda: datetime.now(tz=UTC), matches=Matches()), store)
        found = []
        for i in range(5):
            handle = f"h-{number}-{i}"
            request = Request(node, handle, owner={"pod": handle}, use=AllowedUse.WORKLOAD)
            found += cold.take([Family.IPV4], [request], lambda _, handle=handle: [Create(lease(handle))])
        return found

    with ThreadPoolExecutor(4) as pool:
        given = [interface.ip for found in pool.map(work, range(4)) for interface in found]

    assert len(set(given)) == 20
    blocks = open_at(api).list(IPAMBlock).items
    assert sum(one is not None for block in blocks for one in block.value.allocations) == 20
