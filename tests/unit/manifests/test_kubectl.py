"""The install pages, walked word by word with the real kubectl against the stand-in for an API server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import CloudRoute, Metadata, RouteState, TableStatus
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.testing.kube.server import ApiServer

DOCS = Path(__file__).parents[3] / "docs"
BIN = Path(sys.executable).parent
NOT_OURS = {"az", "eksctl", "gcloud", "kubeadm", "terraform"}  # who makes the cluster and its rights
ESTABLISHING = 0.3  # seconds until the server knows what was defined
ROUTE = {
    "apiVersion": "cloudnet.io/v1",
    "kind": "CloudRoute",
    "metadata": {"name": "r"},
    "spec": {"cidr": "10.65.0.0/26", "node": "n1"},
}

pytestmark = pytest.mark.server

page = pytest.mark.parametrize("page", ["aks", "eks", "gke", "kubeadm"])


def commands(page: str, *, folder: str = "install") -> list[str]:
    """Return what a page tells people to type, in order."""
    joined = (DOCS / folder / f"{page}.md").read_text().replace("\\\n", " ").replace("NODE", "n1")
    found = re.findall(r"^ {4,}(\S.*)$", joined, re.MULTILINE)
    return [line for line in found if line.split()[0] not in NOT_OURS and "cloudnet preflight" not in line]


class Person:
    """Somebody with a kubeconfig and a shell."""

    def __init__(self, api: ApiServer, home: Path) -> None:
        self.home = home
        cluster = {"server": f"http://{api.host}:{api.port}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        (home / "config").write_text(json.dumps(config))

    @property
    def _surroundings(self) -> dict[str, Any]:
        variables = {"CLIENT_ID": "0000", "SERVICE_ACCOUNT": "cloudnet@project.iam", "HOME": str(self.home)}
        path = f"{BIN}:{os.environ['PATH']}"
        environment = {"PATH": path, "KUBECONFIG": str(self.home / "config"), **variables}
        return {"cwd": self.home, "env": environment, "text": True}

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        words = ["bash", "-euc", line]
        return subprocess.run(words, **self._surroundings, capture_output=True, timeout=60, check=False)

    def starts(self, line: str) -> subprocess.Popen[str]:
        return subprocess.Popen(["bash", "-euc", f"exec {line}"], **self._surroundings)

    def must(self, line: str) -> str:
        done = self.types(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with ApiServer(namespaces=("default", "kube-system")) as server:
        server.api.establishing = ESTABLISHING
        server.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        spec = {"template": {"spec": {"containers": [{"name": "aws-node", "image": "vpc-cni"}]}}}
        metadata = {"name": "aws-node", "namespace": "kube-system"}
        server.create({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})
        yield server


@pytest.fixture
def person(api, tmp_path) -> Person:
    assert shutil.which("kubectl", path=f"{BIN}:{os.environ['PATH']}"), "there is no kubectl: run scripts/host"
    (tmp_path / "provider.json").write_text('{"a": 1}')
    return Person(api, tmp_path)


@page
def test_every_step_of_a_page_works_as_it_stands(page, api, person):
    lines = commands(page)

    for line in lines:
        person.must(line)

    assert len(lines) >= 5
    assert api.find("apps/v1", "daemonsets", "cloudnet-agent", "cloudnet-system")
    assert api.find("projectcalico.org/v3", "ippools", "default-ipv4-ippool")


def test_every_step_can_be_taken_again(person):
    for line in [*commands("eks"), *commands("eks")]:
        person.must(line)


def test_the_vpc_cni_stays_on_todays_nodes_alone(api, person):
    for line in commands("eks"):
        person.must(line)

    plugin = api.find("apps/v1", "daemonsets", "aws-node", "kube-system")
    assert plugin["spec"]["template"]["spec"]["nodeSelector"].items() <= (
        api.find("v1", "nodes", "n1")["metadata"]["labels"].items()
    )


def test_without_waiting_for_the_definitions_a_pool_is_refused(api, person):
    """So the wait on the pages is needed, and the stand-in as slow as an API server."""
    api.api.establishing = 30.0
    first, second, _wait, *rest = (line for line in commands("gke") if "manifests" in line or "-f" in line)
    person.must(first)
    person.must(second)

    done = [person.types(line) for line in rest]

    assert done[-1].returncode != 0
    assert "IPPool" in done[-1].stderr or "could not find the requested resource" in done[-1].stderr


def test_taking_all_away_leaves_what_people_wrote(api, person):
    for line in commands("kubeadm"):
        person.must(line)
    policy = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "mine"}}
    (person.home / "mine.json").write_text(json.dumps(policy | {"spec": {"selector": "all()", "types": ["Ingress"]}}))
    person.must("kubectl apply -f mine.json")

    api.create(ROUTE)

    *leaving, gone, last = commands("take-cloudnet-off-a-node", folder="howto")
    for line in leaving:
        person.must(line)
    waiting = person.starts(gone)
    person.must("kubectl delete cloudroutes --all")  # as the controller does, once the cloud has them no more
    assert waiting.wait(timeout=60) == 0
    person.must(last)

    assert "mine" in person.must("kubectl get globalnetworkpolicies -o name")
    assert person.must("kubectl get daemonsets -A -o name").split() == ["daemonset.apps/aws-node"]


def test_a_field_that_no_definition_knows_is_refused_by_name(person):
    for line in commands("kubeadm")[:3]:
        person.must(line)
    (person.home / "route.json").write_text(json.dumps(ROUTE | {"spec": {**ROUTE["spec"], "nodes": "n1"}}))

    done = person.types("kubectl apply -f route.json")

    assert done.returncode != 0
    assert 'unknown field "spec.nodes"' in done.stderr


def test_routes_are_shown_with_the_columns_of_their_definition(api, person):
    for line in commands("kubeadm")[:3]:
        person.must(line)
    states = (RouteState.PROGRAMMED, RouteState.REFUSED, RouteState.PROGRAMMED)
    tables = tuple(TableStatus(f"rtb-{i}", state) for i, state in enumerate(states))
    with closing(KubernetesStore(Client(api.settings()))) as store:
        store.create(CloudRoute(Metadata("r"), ip_network("10.65.0.0/26"), NodeName("n1"), tables))

    header, row = person.must("kubectl get cloudroutes").splitlines()

    assert re.split(r"  +", header)[:4] == ["NAME", "CIDR", "NODE", "TABLES"]
    assert re.split(r"  +", row)[:4] == ["r", "10.65.0.0/26", "n1", "2 programmed, 1 refused"]
