"""What ``cloudnet manifests --set takeover=true`` grants beside an agent's rights is what a takeover asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import pytest

from cloudnet.manifests import crds, rights
from cloudnet.manifests.options import OVERLAYS, Options
from cloudnet.model.resources import IPAMConfiguration, Metadata
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.kubernetes_credentials import Fixed, Proof
from cloudnet.testing.kube.server import ApiServer
from tests.unit.takeover.test_crashes import BLOCK, NODE, World

ACCOUNT = "system:serviceaccount:cloudnet-system:cloudnet-agent"
GROUPS = {"newer": "projectcalico.org", "older": "crd.projectcalico.org"}


@contextmanager
def cluster(group: str) -> Iterator[tuple[ApiServer, KubernetesStore]]:
    """Give an API server with the printed rights, and the agent's store."""
    options = replace(Options(), takeover=True)
    meta = {"name": NODE, "annotations": {"projectcalico.org/IPv4Address": "10.0.0.11/24"}}
    spec = {"podCIDR": str(BLOCK), "podCIDRs": [str(BLOCK)]}
    with ApiServer() as api, ExitStack() as stack:
        api.install([*crds.own_crds(), *crds.calico_crds(older=group == "older")])
        for document in rights.documents(options, OVERLAYS["kubeadm"]):
            api.create(document)
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec})
        client = Client(api.settings(credentials=Fixed(Proof(f"Bearer {ACCOUNT}"))))
        yield api, stack.enter_context(closing(KubernetesStore(client)))


def granted(rules, group: str) -> set[tuple[str, str]]:
    return {
        (verb, resource)
        for rule in rules
        if group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def there_and_back(world: World) -> None:
    assert world.forth()
    world.agent = (False, "stopped")
    assert world.back()
    assert not world.journal().is_begun


@pytest.mark.parametrize("group", GROUPS)
def test_a_takeover_and_its_way_back_need_all_of_them_and_no_others(tmp_path, group):
    with cluster(group) as (api, store):
        there_and_back(World(tmp_path / "first", store))
        with closing(KubernetesStore(Client(api.settings()))) as admin:
            admin.create(IPAMConfiguration(Metadata("default"), strict_affinity=False))
        there_and_back(World(tmp_path / "second", store))
        said = api.rights.said()

    name = GROUPS[group]
    more = granted(rights.agent_rules(takeover=True), name) - granted(rights.agent_rules(), name)
    used = {(verb, resource) for _, verb, of, resource in said["used"] if of == name}
    assert said["denied"] == []
    assert more - used == set()
