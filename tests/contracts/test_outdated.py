"""Definitions that are missing, or older than agent and controller: both go on, say it once, and all heals.

The API server is the stand-in, for both of Calico's API groups. What a definition does to a single write stands in
``tests/unit/store``; here the whole programs live through it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.leases import ColdLeases
from cloudnet.manifests import crds
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import AgentReport, IPAMBlock, IPAMHandle, IPPool, Metadata, Node, NodeCondition
from cloudnet.policy.selectors import Matches
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.testing import programs
from cloudnet.testing.kube import outdated
from cloudnet.testing.kube.server import ApiServer

DROPPED = "drops what it does not know"
MISSING = "this cluster has no"

both_groups = pytest.mark.parametrize("older", [False, True], ids=["newer", "older"])


class Cluster:
    """An API server, and who speaks to it. ``definitions`` are {name: document}."""

    def __init__(self, api: ApiServer, stack: ExitStack, *, older: bool) -> None:
        self.api, self._stack = api, stack
        every = [*crds.own_crds(), *crds.calico_crds(older=older)]
        self.definitions = {document["metadata"]["name"]: document for document in every}

    def open(self) -> KubernetesStore:
        return self._stack.enter_context(closing(KubernetesStore(Client(self.api.settings()))))

    def install(self, **changed) -> None:
        self.api.install({**self.definitions, **changed}.values())

    def update(self, name: str) -> None:
        """Write the newest definition over an older one; what lies there stays."""
        self.api.replace(self.definitions[name])

    def start(self, directory) -> None:
        """Start a controller, and the agent of the first node."""
        self._stack.enter_context(programs.running_controller(self.open(), programs.cloud_of(2)))
        self._stack.enter_context(programs.running_agent(self.open(), "n1", directory))


@pytest.fixture
def cluster(request) -> Iterator[Cluster]:
    with _cluster(older=getattr(request, "param", False)) as made:
        yield made


@contextmanager
def _cluster(*, older: bool) -> Iterator[Cluster]:
    with ApiServer() as api, ExitStack() as stack:
        yield Cluster(api, stack, older=older)


def fill(store) -> None:
    store.create(IPPool(Metadata("pool"), programs.POOL))
    for number in (1, 2):
        programs.join(store, number)


def said(caplog, text: str) -> list[str]:
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    return [line for line in lines if text in line]


@both_groups
def test_programs_that_start_before_any_definition_work_once_they_are_applied(older, tmp_path, caplog):
    with _cluster(older=older) as cluster:
        cluster.start(tmp_path)
        programs.eventually(lambda: len(said(caplog, MISSING)) == 2)

        cluster.install()
        people = cluster.open()
        fill(people)

        programs.eventually(lambda: programs.programmed(people) == 2)
        programs.eventually(lambda: len(people.list(AgentReport).items) == 1)
    assert len(said(caplog, MISSING)) == 2, "once in each program"


def test_a_field_that_people_read_and_routes_do_not_need_is_said_and_missed_by_nobody(cluster, tmp_path, caplog):
    name = "cloudroutes.cloudnet.io"
    cluster.install(**{name: outdated.without(cluster.definitions[name], "status.summary")})
    cluster.start(tmp_path)
    people = cluster.open()

    fill(people)

    programs.eventually(lambda: programs.programmed(people) == 2)
    assert [line.partition(" what=")[2] for line in said(caplog, DROPPED)] == [f"{name} fields=status.summary"]


def test_a_verdict_that_an_older_definition_refuses_holds_up_no_route_and_comes_with_the_newer_one(
    cluster, tmp_path, caplog
):
    name, field = "nodeconditions.cloudnet.io", "status.reason"
    outdated_one = outdated.taking(cluster.definitions[name], field, {"type": "string", "enum": ["Unknown"]})
    cluster.install(**{name: outdated_one})
    cluster.start(tmp_path)
    people = cluster.open()
    fill(people)
    programs.eventually(lambda: programs.programmed(people) == 2)
    before = people.list(NodeCondition).items

    cluster.update(name)

    programs.eventually(lambda: len(people.list(NodeCondition).items) == 2)
    assert before == ()
    assert len(said(caplog, field)) == 1
    assert f"definition of {name}: apply a newer one" in said(caplog, field)[0]


@both_groups
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("ipamblocks", "spec.affinityClaimTime"),
        ("ipamblocks", "spec.sequenceNumberForAllocation"),
        ("ipamblocks", "spec.attributes.releasedAt"),
        ("ipamhandles", "spec.deleted"),
        ("blockaffinities", "spec.type"),
    ],
)
def test_addresses_are_nobodys_twice_and_come_back_with_calicos_older_definitions(older, kind, field, caplog):
    with _cluster(older=older) as cluster:
        name = next(name for name in cluster.definitions if name.startswith(f"{kind}."))
        cluster.install(**{name: outdated.without(cluster.definitions[name], field)})
        store = cluster.open()
        store.create(IPPool(Metadata("pool"), ip_network("10.65.0.0/24"), block_size=30))
        store.create(Node(Metadata("n1")))
        cold = ColdLeases(Allocator(store, now=lambda: datetime.now(tz=UTC), matches=Matches()), store)

        def take(handle):
            return cold.take([Family.IPV4], [Request(NodeName("n1"), handle)], lambda _: [])[0].ip

        first = [take(f"h{i}") for i in range(6)]
        cold.give_back("h0", [])
        cold.give_back("h3", [])
        second = [take(f"g{i}") for i in range(6)]

        given = [*(a for i, a in enumerate(first) if i not in {0, 3}), *second]
        taken = sum(one is not None for b in store.list(IPAMBlock).items for one in b.value.allocations)
        assert len(set(given)) == len(given) == taken == 10
        assert len(store.list(IPAMHandle).items) == 10
    assert len(said(caplog, DROPPED)) <= 1
