"""Values that a Kubernetes store can hold, where those differ from any store's, and what they stand on there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudnet.model.kubernetes import Namespace
from cloudnet.model.kubernetes_endpoints import link_name
from cloudnet.model.resources import Metadata, Resource
from cloudnet.model.workloads import (
    KUBERNETES,
    EndpointId,
    WorkloadEndpoint,
    endpoint_labels,
    endpoint_name,
    kubernetes_profiles,
)
from cloudnet.testing import strategies

Json = dict[str, Any]


@st.composite
def endpoints(draw: st.DrawFn) -> WorkloadEndpoint:
    """Endpoints of pods: name, labels and profiles follow from the pod."""
    drawn = draw(strategies.workload_endpoints())
    pod, account, namespace = draw(strategies.names()), drawn.service_account, drawn.meta.namespace
    labels = endpoint_labels(drawn.meta.labels, namespace=namespace, orchestrator=KUBERNETES, service_account=account)
    networks = drawn.networks or (draw(strategies.addresses().map(ip_network)),)
    return replace(
        drawn,
        meta=Metadata(
            endpoint_name(EndpointId(drawn.node, KUBERNETES, pod, "eth0")),
            namespace,
            labels=labels,
            annotations=drawn.meta.annotations,
        ),
        orchestrator=KUBERNETES,
        pod=pod,
        workload="",
        networks=networks,
        profiles=kubernetes_profiles(namespace, account),
        interface=draw(st.just(link_name(namespace, pod)) | st.just(drawn.interface)),
    )


def _named(namespace: Namespace) -> Namespace:
    """The API labels every namespace with its name."""
    labels = {**namespace.meta.labels, "kubernetes.io/metadata.name": namespace.meta.name}
    return replace(namespace, meta=replace(namespace.meta, labels=labels))


OF: Mapping[type[Resource], SearchStrategy[Resource]] = {
    WorkloadEndpoint: endpoints(),
    Namespace: st.builds(Namespace, strategies.metadata()).map(_named),
}


def grounds(value: Resource) -> Iterator[Json]:
    """Give what must be there before a value can be stored: its namespace, and the pod of an endpoint."""
    if value.meta.namespace:
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": value.meta.namespace}}
    if isinstance(value, WorkloadEndpoint):
        yield pod_of(value)


def pod_of(endpoint: WorkloadEndpoint) -> Json:
    """Return the pod whose endpoint that is, before it has any address."""
    ports = [
        {
            "containerPort": port.port,
            "name": port.name,
            "protocol": port.protocol,
            "hostPort": port.host_port,
            "hostIP": str(port.host_address or ""),
        }
        for port in endpoint.ports
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": endpoint.pod,
            "namespace": endpoint.meta.namespace,
            "labels": {k: v for k, v in endpoint.meta.labels.items() if not k.startswith("projectcalico.org/")},
        },
        "spec": {
            "nodeName": endpoint.node,
            "serviceAccountName": endpoint.service_account,
            "containers": [{"name": "one", "image": "example.com/one", "ports": ports}],
        },
    }
