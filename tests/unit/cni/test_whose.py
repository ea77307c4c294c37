"""Sandboxes of pods that were deleted and made anew, on Kubernetes: the name is the same, the UID is not."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from cloudnet.manifests import crds
from cloudnet.model.kubernetes import Pod
from cloudnet.model.resources import Metadata
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.testing.cni import POD, CniNode
from cloudnet.testing.kube.server import ApiServer

_HASH = "f0e1d2c3b4a5968778695a4b3c2d1e0f"


@pytest.fixture
def api():
    with ApiServer() as api:
        api.install(crds.own_crds())
        api.install(crds.calico_crds())
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        yield api


@pytest.fixture
def node(api, tmp_path):
    with ExitStack() as stack:
        store = KubernetesStore(Client(api.settings()))
        stack.callback(store.close)
        yield CniNode(tmp_path / "journal", stack, store)


def pod(**annotations):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {},
    }


def made(document):
    """Return what a kubelet says of a pod that was made."""
    return f"{POD};K8S_POD_UID={document['metadata']['uid']}"


def state(node):
    return node.endpoints(), node.addresses(), node.pods.owners()


def test_a_late_sandbox_of_the_last_pod_takes_nothing_from_its_namesake(api, node):
    old, new = made(api.create(pod())), made(api.renew(pod()))
    node.add(container="new", args=new)
    before = state(node)

    code, answer = node.add(container="old", args=old)

    assert code == 11
    assert "pod 'shop/web' was deleted and made anew" in answer["msg"]
    assert state(node) == before
    assert node.ask("DEL", container="old", args=old)[0] == 0
    assert state(node) == before


def test_a_sandbox_of_a_pod_that_is_gone_gets_nothing(node):
    code, answer = node.add(args=f"{POD};K8S_POD_UID=u-1")

    assert code == 11
    assert "Kubernetes has no pod 'shop/web'" in answer["msg"]
    assert node.is_empty()


def when_read(node, then):
    """Let something happen just after the pod was read."""
    read = node.cluster.pod

    def pod(namespace, name):
        seen = read(namespace, name)
        node.cluster.pod = read
        then()
        return seen

    node.cluster.pod = pod


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda api: api.renew(pod()), "pod 'shop/web' was deleted and made anew"),
        (lambda api: api.delete(pod()), "Kubernetes has no pod 'shop/web'"),
    ],
    ids=["made anew", "deleted"],
)
def test_a_pod_that_goes_while_its_sandbox_is_added_leaves_nothing(api, node, happens, said):
    old = made(api.create(pod()))
    when_read(node, lambda: happens(api))

    code, answer = node.add(args=old)

    assert code == 11
    assert said in answer["msg"]
    assert node.is_empty()


def test_a_link_is_cut_for_the_pod_alone_that_is_there_now(api, node):
    old = made(api.create(pod()))
    node.add(container="first", args=old)
    before = node.pods.owners()
    when_read(node, lambda: api.renew(pod(**{"cni.projectcalico.org/podIP": "10.65.0.77/32"})))

    code, _ = node.add(container="second", args=old)

    assert code == 11
    assert node.pods.owners() == before
    assert [str(one.networks[0]) for one in node.endpoints().values()] == ["10.65.0.77/32"]


def test_a_static_pod_goes_by_the_hash_of_its_file(api, node):
    api.create(pod(**{"kubernetes.io/config.mirror": _HASH}))

    assert node.add(args=f"{POD};K8S_POD_UID={_HASH}")[0] == 0
    assert node.add(container="c2", args=f"{POD};K8S_POD_UID=another")[0] == 11


def test_a_runtime_that_tells_no_uid_is_believed(api, node):
    api.create(pod())

    assert node.add(args=POD)[0] == 0


def test_where_pods_are_not_the_kubelets_own_their_uids_say_nothing(tmp_path):
    with ExitStack() as stack:
        node = CniNode(tmp_path / "journal", stack)
        node.store.create(Pod(Metadata("web", "shop", uid="of-the-store")))

        assert node.add(args=f"{POD};K8S_POD_UID=u-1")[0] == 0
