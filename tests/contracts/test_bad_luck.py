"""The store has bad luck while agent and controller run on it: the data path stays, it is said once, all heals after.

Servers are real ones: etcd's own, and the stand-in for a Kubernetes API. What a single call says of each trouble
stands in ``tests/unit/store``; here the whole programs live through it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import pytest

from cloudnet.controller.options import Options
from cloudnet.manifests import crds
from cloudnet.model.resources import AgentReport, CloudRoute, IPPool, Lease, Metadata, RouteState
from cloudnet.store.api import StoreError, change
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.registry import open_store
from cloudnet.testing import programs
from cloudnet.testing.etcd import EtcdServer, free_port
from cloudnet.testing.kube.server import ApiServer

LEASE = 1.5  # seconds
TROUBLE = 3.0  # seconds that it lasts: two leases
SILENT = 1.0  # seconds after which a watch that says nothing is opened anew
SAID = "the store does not answer"
HARMLESS = frozenset({"silent", "forgetful"})  # writes go on: only watches have to find out


class Kubernetes:
    def __init__(self) -> None:
        self.api = ApiServer()
        self.api.start()
        self.api.install([*crds.own_crds(), *crds.calico_crds()])

    def open(self):
        settings = self.api.settings(patience=0.5, timeout=1.0)
        return KubernetesStore(Client(settings), silent=SILENT)

    def close(self) -> None:
        self.api.stop()

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.api.stop()
        yield
        self.api.start()

    @contextmanager
    def slow(self) -> Iterator[None]:
        self.api.faults.latency = 1.5  # longer than one request may take
        self.api.drop_connections()
        yield
        self.api.faults.latency = 0.0

    @contextmanager
    def broken(self) -> Iterator[None]:
        self.api.faults.broken = 1_000_000
        self.api.drop_connections()
        yield
        self.api.faults.broken = 0

    @contextmanager
    def too_busy(self) -> Iterator[None]:
        self.api.faults.too_many, self.api.faults.retry_after = 1_000_000, 1
        self.api.drop_connections()
        yield
        self.api.faults.too_many = 0

    @contextmanager
    def flapping(self) -> Iterator[None]:
        with _again_and_again(lambda: (self.api.stop(), time.sleep(0.2), self.api.start())):
            yield

    @contextmanager
    def silent(self) -> Iterator[None]:
        self.api.faults.silent = True
        yield
        self.api.faults.silent = False

    @contextmanager
    def forgetful(self) -> Iterator[None]:
        self.api.objects.compact()
        self.api.drop_connections()
        yield


class Etcd:
    """Three members: one alone is no quorum."""

    def __init__(self, directory) -> None:
        ports = {name: free_port() for name in ("a", "b", "c")}
        quota = ["--quota-backend-bytes=16777216"]
        self.members = [EtcdServer(directory, name=name, cluster=ports, options=quota) for name in ports]
        for member in self.members:
            member.start(wait=False)
        for member in self.members:
            member.wait_until_ready()

    def open(self):
        return open_store("etcd://" + ",".join(member.address for member in self.members), {})

    def close(self) -> None:
        for member in self.members:
            member.stop()

    @contextmanager
    def gone(self) -> Iterator[None]:
        with self._without(self.members):
            yield

    @contextmanager
    def without_quorum(self) -> Iterator[None]:
        with self._without(self.members[:2]):
            yield

    @contextmanager
    def _without(self, members) -> Iterator[None]:
        for member in members:
            member.kill()
        yield
        for member in members:
            member.start(wait=False)
        for member in self.members:
            member.wait_until_ready()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every connection stays open, and nothing comes."""
        for member in self.members:
            member.freeze()
        yield
        for member in self.members:
            member.thaw()

    @contextmanager
    def full(self) -> Iterator[None]:
        one = self.members[0]
        with suppress(OSError):  # NOSPACE: it is full
            while True:
                one.ask("/v3/kv/put", {"key": "Ymln", "value": "A" * 1_000_000})
        yield
        revision = one.ask("/v3/kv/range", {"key": "Ymln", "count_only": True})["header"]["revision"]
        one.ask("/v3/kv/compaction", {"revision": revision, "physical": True})
        for member in self.members:
            member.ask("/v3/maintenance/defragment", {})
        for alarm in one.ask("/v3/maintenance/alarm", {"action": "GET"}).get("alarms", ()):
            one.ask("/v3/maintenance/alarm", {"action": "DEACTIVATE", **alarm})

    @contextmanager
    def forgetful(self) -> Iterator[None]:
        one = self.members[0]
        for _ in range(20):
            put = one.ask("/v3/kv/put", {"key": "Ymln", "value": "QQ=="})
        one.ask("/v3/kv/compaction", {"revision": put["header"]["revision"]})
        yield


@contextmanager
def _again_and_again(do) -> Iterator[None]:
    ending = threading.Event()

    def repeat() -> None:
        while not ending.wait(0.3):
            do()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


TROUBLES = [
    *(
        pytest.param("kubernetes", trouble, id=f"kubernetes-{trouble}")
        for trouble in ("gone", "slow", "broken", "too_busy", "flapping", "silent", "forgetful")
    ),
    *(
        pytest.param("etcd", trouble, id=f"etcd-{trouble}", marks=pytest.mark.server)
        for trouble in ("gone", "without_quorum", "frozen", "full", "forgetful")
    ),
]


@pytest.fixture
def kubernetes():
    with closing(Kubernetes()) as server:
        yield server


@pytest.fixture
def etcd(tmp_path):
    with closing(Etcd(tmp_path)) as server:
        yield server


@pytest.mark.parametrize(("kind", "trouble"), TROUBLES)
def test_the_data_path_stays_it_is_said_once_and_all_is_made_good(request, kind, trouble, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    server, cloud = request.getfixturevalue(kind), programs.cloud_of(3)
    with ExitStack() as stack:
        people, its, hers = (stack.enter_context(closing(server.open())) for _ in range(3))
        people.create(IPPool(Metadata("pool"), programs.POOL))
        programs.join(people, 1)
        programs.join(people, 2)
        stack.enter_context(programs.running_controller(its, cloud, lease=LEASE))
        agent = stack.enter_context(programs.running_agent(hers, "n1", tmp_path))
        programs.eventually(lambda: programs.programmed(people) == 4 and bool(people.list(AgentReport).items))
        programs.eventually(lambda: agent.device_to(programs.block_of(2)) == "vxlan.calico")
        routes, deleted = _tables(cloud), cloud.count("delete_route")

        with getattr(server, trouble)():
            assert trouble in HARMLESS or _refused(people), "there is trouble at all"
            end = time.monotonic() + TROUBLE
            while time.monotonic() < end:
                assert agent.device_to(programs.block_of(2)) == "vxlan.calico"
                assert not agent.agent.not_ready()
                time.sleep(0.05)

        assert (_tables(cloud), cloud.count("delete_route")) == (routes, deleted), "no route was touched"
        programs.eventually(lambda: _joined(server, 3))
        programs.eventually(lambda: _programmed(people) == 6)
        programs.eventually(lambda: agent.device_to(programs.block_of(3)) == "vxlan.calico")
        programs.eventually(lambda: not agent.agent.store_problem())

    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    outages = sum(record.getMessage().startswith("the store answers again") for record in caplog.records)
    assert sum(line.startswith(SAID) for line in said) <= outages + 2, "once an outage in each of two programs"
    assert len(said) <= 2 * (outages + 4), said


def _refused(store) -> bool:
    """Tell whether the store takes no write now."""
    try:
        for _ in range(5):  # a flapping one takes some
            store.create(Lease(Metadata(f"l{time.monotonic_ns()}"), "me", 1.0, 1))
            time.sleep(0.15)
    except StoreError:
        return True
    return False


def _tables(cloud):
    return {table: dict(cloud.routes(table)) for table in ("rtb-1", "rtb-2", "rtb-3")}


def _joined(server, number) -> bool:
    with closing(server.open()) as store, suppress(StoreError):
        programs.join(store, number)
        return True
    return False


def _programmed(store) -> int:
    with suppress(StoreError):
        return programs.programmed(store)
    return 0


def test_a_record_that_another_tool_keeps_overwriting_is_rewritten_at_a_bounded_rate(kubernetes, caplog):
    cloud, ending, fights = programs.cloud_of(2), threading.Event(), []
    with ExitStack() as stack:
        people, its, tool = (stack.enter_context(closing(kubernetes.open())) for _ in range(3))
        people.create(IPPool(Metadata("pool"), programs.POOL))
        for number in (1, 2):
            programs.join(people, number)
        stack.enter_context(programs.running_controller(its, cloud, lease=30.0))
        programs.eventually(lambda: programs.programmed(people) == 2)
        name = people.list(CloudRoute).items[0].value.meta.name

        def overwrite() -> None:
            while not ending.is_set():
                with suppress(StoreError):
                    before = tool.get(CloudRoute, name)
                    after = change(tool, CloudRoute, name, _spoilt)
                    fights.extend([1] if after.revision != before.revision else [])

        thread = threading.Thread(target=overwrite)
        began = time.monotonic()
        thread.start()
        try:
            time.sleep(TROUBLE)
        finally:
            ending.set()
            thread.join()
        lasted = time.monotonic() - began
        programs.eventually(lambda: programs.programmed(people) == 2)

    assert fights, "it was overwritten at all"
    moments = lasted / Options().debounce + 1  # of which the first may have begun before the first overwriting
    assert len(fights) <= moments + 1, "one write for each moment that the controller gathers, and the first"
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) <= 3


def _spoilt(route: CloudRoute) -> CloudRoute:
    return replace(route, tables=tuple(replace(table, state=RouteState.PENDING) for table in route.tables))


def test_a_right_that_is_missing_is_named_with_verb_resource_and_remedy_and_asked_for_slowly(kubernetes, caplog):
    with ExitStack() as stack:
        people, its = (stack.enter_context(closing(kubernetes.open())) for _ in range(2))
        people.create(IPPool(Metadata("pool"), programs.POOL))
        for number in (1, 2):
            programs.join(people, number)
        kubernetes.api.faults.forbidden.add(("create", "cloudroutes.cloudnet.io"))
        cloud = programs.cloud_of(2)
        stack.enter_context(programs.running_controller(its, cloud, lease=LEASE))
        programs.eventually(lambda: any("cloudroutes" in record.getMessage() for record in caplog.records))
        kubernetes.api.seen.clear()
        time.sleep(TROUBLE)
        tries = sum((one.verb, one.what) == ("create", "cloudroutes.cloudnet.io") for one in kubernetes.api.seen)
        said = [r.getMessage() for r in caplog.records if "create cloudroutes.cloudnet.io" in r.getMessage()]

        assert cloud.count("create_route") == 0, "nothing goes into the cloud that the ledger does not know"
        assert len(said) == 1
        assert "give our ClusterRole the verb 'create' on 'cloudroutes.cloudnet.io'" in said[0]
        assert tries <= 10 * TROUBLE
        kubernetes.api.faults.forbidden.clear()
        programs.eventually(lambda: programs.programmed(people) == 2)


def test_clocks_that_disagree_by_hours_neither_steal_nor_lose_the_lease(kubernetes):
    def open_at(time_of_day):
        return KubernetesStore(Client(kubernetes.api.settings()), now=lambda: time_of_day)

    with ExitStack() as stack:
        early, late = (
            stack.enter_context(closing(open_at(clock)))
            for clock in ("2020-01-01T00:00:00.000000Z", "2036-01-01T00:00:00.000000Z")
        )
        cloud = programs.cloud_of(2)
        first = stack.enter_context(programs.running_controller(early, cloud, name="early", lease=LEASE))
        programs.eventually(first.leads)
        with programs.running_controller(late, cloud, name="late", lease=LEASE) as second:
            end = time.monotonic() + TROUBLE
            while time.monotonic() < end:
                assert not second.leads()
                time.sleep(0.02)
            assert late.list(Lease).items[0].value.holder == "early"
