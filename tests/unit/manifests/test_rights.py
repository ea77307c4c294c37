"""The rights that are printed: none missing, none too many, each seen where the table of tests/cases says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml

from cloudnet.controller.addresses import Collector
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.leases import ColdLeases
from cloudnet.manifests import crds, rights
from cloudnet.manifests.options import OVERLAYS, Options
from cloudnet.model import cluster_events
from cloudnet.model.addresses import Family, InstanceId, InterfaceId, NodeName, SubnetId
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.cluster_events import ClusterEvent, Subject
from cloudnet.model.kubernetes import Namespace
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    CloudNode,
    CloudRoute,
    IPPool,
    Metadata,
    Node,
    NodeCondition,
    Vtep,
)
from cloudnet.model.workloads import EndpointId, WorkloadEndpoint, endpoint_name
from cloudnet.policy.selectors import Matches
from cloudnet.store.api import Create, Delete, StoreUnavailable, change
from cloudnet.store.event_series import Series
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.kubernetes_credentials import Fixed, Proof
from cloudnet.testing.kube.server import ApiServer

POD = endpoint_name(EndpointId("n1", "k8s", "p", "eth0"))
AGENT, CONTROLLER = "cloudnet-agent", "cloudnet-controller"
RULES = {AGENT: rights.agent_rules(), CONTROLLER: [*rights.controller_rules(), *rights.lease_rules()]}
SEEN = yaml.safe_load((Path(__file__).parents[2] / "cases" / "kubernetes_rights.yaml").read_text())
NEWER, OLDER = "projectcalico.org", "crd.projectcalico.org"
WORDS_OF_THE_OLDER = {"ipamconfigurations": "ipamconfigs"}

THEIRS = (
    AgentReport(Metadata("n2")),
    CloudNode(Metadata("n2"), InstanceId("i"), InterfaceId("eni"), SubnetId("s")),
    CloudAddresses(Metadata("n2")),
    CloudRoute(Metadata("r"), ip_network("10.65.1.0/26"), NodeName("n2")),
    NodeCondition(Metadata("n2"), ready=True, reason="GroundReady"),
)
"""What the controller takes away with a node."""

account = pytest.mark.parametrize("account", RULES)


def granted(rules, *groups):
    """Return what rules grant as {"verb resource.group"}; of some groups alone, if any are named."""
    return {
        f"{verb} {resource}{'.' if group else ''}{group}"
        for rule in rules
        for group in rule["apiGroups"]
        if not groups or group in groups
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def listed(table):
    return {f"{verb} {resource}" for resource, verbs in table.items() for verb in verbs}


def older(right):
    verb, _, what = right.partition(" ")
    plural = what.removesuffix(f".{NEWER}")
    return f"{verb} {WORDS_OF_THE_OLDER.get(plural, plural)}.{OLDER}"


# --- the table ----------------------------------------------------------------------------------------------


@account
def test_what_is_printed_is_what_is_seen_to_be_needed(account):
    evidence = [listed(table) for table in SEEN[account].values()]

    assert granted(RULES[account]) - granted(RULES[account], OLDER) == set().union(*evidence)
    assert sum(map(len, evidence)) == len(set().union(*evidence)), "one evidence each"


@account
def test_both_of_calicos_groups_are_given_the_same_rights(account):
    assert granted(RULES[account], OLDER) == {older(right) for right in granted(RULES[account], NEWER)}


@account
def test_only_who_writes_a_kind_reads_it_again(account):
    for right in listed(SEEN[account]["again"]):
        verb, _, what = right.partition(" ")
        assert verb == "get"
        assert {f"update {what}", f"delete {what}"} & granted(RULES[account])


@account
def test_no_right_is_a_wildcard_concerns_secrets_or_takes_pods_away(account):
    rules = granted(RULES[account])

    assert not [right for right in rules if "*" in right or "secret" in right]
    assert not rules & {"update pods", "patch pods", "delete pods", "delete nodes"}


# --- what single tests see ----------------------------------------------------------------------------------


@pytest.fixture
def api():
    with ApiServer() as api:
        for document in (*crds.own_crds(), *crds.calico_crds(), *crds.policy_crds()):
            api.create(document)
        for document in rights.documents(Options(), OVERLAYS["kubeadm"]):
            api.create(document)
        for name in ("n1", "n2"):
            api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        spec = {"nodeName": "n1", "containers": [{"name": "c"}]}
        api.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": spec}
        )
        yield api


@pytest.fixture
def opened(api):
    """Return what opens the store with an account's rights; without one, an administrator's."""
    stores = []

    def opened(account=""):
        token = f"Bearer system:serviceaccount:cloudnet-system:{account}" if account else ""
        stores.append(KubernetesStore(Client(api.settings(credentials=Fixed(Proof(token))))))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


def used(api, account):
    said = api.rights.said()
    assert not [one for one in said["denied"] if one[0] == account]
    return {
        f"{verb} {plural}{'.' if group else ''}{group}" for who, verb, group, plural in said["used"] if who == account
    }


def allocator(store):
    return Allocator(store, now=lambda: datetime.now(tz=UTC), matches=Matches())


def pod(addresses):
    networks = (ip_network(addresses[0]),)
    return WorkloadEndpoint(Metadata(POD, "default"), NodeName("n1"), "k8s", "eth0", pod="p", networks=networks)


def twice(events):
    """Write an event, and count it up."""
    event = ClusterEvent(cluster_events.ROUTE_REFUSED, Subject("Node", "n1"), "because")
    first = Series(event, "n1.1", 1, 0.0, 0.0)
    events.write(first, instance="n1")
    events.write(replace(first, count=2), instance="n1")


def test_an_agents_rights_are_enough_for_what_it_does_now_and_then(api, opened):
    opened().create(IPPool(Metadata("pool"), ip_network("10.65.0.0/16"), block_size=30))
    store = opened(AGENT)
    cold = ColdLeases(allocator(store), store)
    wanted = [Request(NodeName("n1"), "h")]

    cold.take([Family.IPV4], wanted, lambda addresses: [Create(pod(addresses))])
    allocator(store).auto_assign(Family.IPV4, 4, wanted[0])
    cold.give_back("h", [Delete(WorkloadEndpoint, POD, "default")])
    for affinity in store.list(BlockAffinity).items:
        allocator(store).release_block(NodeName("n1"), affinity.value.cidr)
    store.get(Namespace, "default")
    vtep = Vtep(ip_address("10.65.0.9"), "")
    change(store, Node, "n1", lambda node: replace(node, vteps=(vtep,)))
    twice(store.events)

    assert listed(SEEN[AGENT]["unit"]) <= used(api, AGENT)
    with pytest.raises(StoreUnavailable, match="forbids us to create cloudroutes"):
        store.create(CloudRoute(Metadata("r"), ip_network("10.65.1.0/26"), NodeName("n1")))


def test_a_controllers_rights_are_enough_for_what_it_does_now_and_then(api, opened):
    admin, store = opened(), opened(CONTROLLER)
    admin.create(IPPool(Metadata("pool"), ip_network("10.65.0.0/16"), block_size=30))
    allocator(admin).auto_assign(Family.IPV4, 6, Request(NodeName("gone"), "h", {"pod": "p", "node": "gone"}))
    collector = Collector(store, grace=1.0, period=1.0)

    for now in range(5):
        collector.step(10.0 * now, leads=True)
    for value in THEIRS:
        admin.create(value)
        store.delete(type(value), value.meta.name)
    twice(store.events)

    assert listed(SEEN[CONTROLLER]["unit"]) <= used(api, CONTROLLER)
