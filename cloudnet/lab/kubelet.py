"""What is there in a Kubernetes cluster before cloudnet comes: definitions, a namespace, and the objects of kubelets.

Nodes and pods are Kubernetes' own, and cloudnet only adds to them. So where the lab's store is a Kubernetes API,
somebody has to make them first, and to take them away again.
"""

from __future__ import annotations

import msgspec

from cloudnet.lab.results import Rights
from cloudnet.lab.state import NodeRecord
from cloudnet.manifests import crds, rights
from cloudnet.manifests.options import OVERLAYS, Options
from cloudnet.model.wire import Json
from cloudnet.store.kubernetes_client import Client, Request

NAMESPACE = "lab"
ACCOUNT = "default"
_CORE = "/api/v1"
_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"


class Kubelet:
    """Every kubelet of the lab, and whoever installs the cluster; ``older``: with Calico's older definitions."""

    def __init__(self, client: Client, *, older: bool = False) -> None:
        self._client, self._older = client, older

    def install(self) -> None:
        """Define the kinds of Calico and cloudnet, and make the namespace of the lab's pods."""
        for definition in (*crds.own_crds(), *crds.calico_crds(older=self._older), *crds.policy_crds()):
            self._create(_DEFINITIONS, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        self._create("namespaces", f"{_CORE}/namespaces", _object("Namespace", NAMESPACE))
        account = _object("ServiceAccount", ACCOUNT, namespace=NAMESPACE)
        self._create("serviceaccounts", f"{_CORE}/namespaces/{NAMESPACE}/serviceaccounts", account)
        self._give_rights()

    def _give_rights(self) -> None:
        """Make the accounts of agent and controller, with the rights that the manifests print and no others."""
        options = Options()
        for document in rights.documents(options, OVERLAYS["kubeadm"]):
            group, plural = document["apiVersion"], f"{document['kind'].lower()}s"
            root = f"/apis/{group}" if "/" in group else _CORE
            inside = f"/namespaces/{options.namespace}" if document["metadata"].get("namespace") else ""
            self._create(plural, f"{root}{inside}/{plural}", document)

    def register(self, record: NodeRecord, *, provider_id: str) -> None:
        """Make the Node, with what the kubelet and the cloud's controller say of it."""
        node = _object("Node", record.name)
        node["spec"] = {"providerID": provider_id} if provider_id else {}
        node["status"] = {
            "addresses": [
                {"type": "InternalIP", "address": str(record.address.ip)},
                {"type": "Hostname", "address": record.name},
            ]
        }
        self._create("nodes", f"{_CORE}/nodes", node)

    def forget(self, node: str) -> None:
        self._delete("nodes", f"{_CORE}/nodes/{node}")

    def start(self, pod: str, *, node: str, labels: dict[str, str]) -> None:
        """Make a Pod that is scheduled to a node and has no address yet."""
        document = _object("Pod", pod, namespace=NAMESPACE)
        document["metadata"]["labels"] = labels
        containers = [{"name": "pause", "image": "registry.k8s.io/pause:3.10"}]
        document["spec"] = {"nodeName": node, "serviceAccountName": ACCOUNT, "containers": containers}
        self._create("pods", f"{_CORE}/namespaces/{NAMESPACE}/pods", document)

    def end(self, pod: str) -> None:
        self._delete("pods", f"{_CORE}/namespaces/{NAMESPACE}/pods/{pod}")

    def rights(self) -> Rights:
        """Return what the stand-in saw of accounts (``testing/kube/rbac.py``, which the lab does not import)."""
        said = msgspec.json.decode(self._client.call(Request("get", "what accounts asked for", "/rights")))
        return Rights(*(tuple(_words(*one) for one in said[key]) for key in ("used", "denied")))

    def close(self) -> None:
        self._client.close()

    def _create(self, what: str, path: str, document: Json) -> None:
        self._client.call(Request("create", what, path, body=msgspec.json.encode(document)))

    def _delete(self, what: str, path: str) -> None:
        self._client.call(Request("delete", what, path))


def _words(account: str, verb: str, group: str, resource: str) -> str:
    return f"{account} {verb} {resource}{'.' if group else ''}{group}"


def _object(kind: str, name: str, *, namespace: str = "") -> Json:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}
