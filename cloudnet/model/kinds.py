"""The kinds that a store can hold: their names, and the way from value to document and back.

kinds.of(Node).encode(node)        value → JSON bytes
kinds.of(Node).decode(document)    JSON bytes → value
kinds.decode(document)             the same, the kind taken from the document itself
kinds.named("blockaffinities")     what a person typed → the kind
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import calico, calico_ipam, calico_workloads, kubernetes, own, wire
from cloudnet.model.kubernetes import Namespace, Pod, ServiceAccount
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    CloudNode,
    CloudRoute,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPPool,
    IPReservation,
    Lease,
    Node,
    NodeCondition,
    Resource,
)
from cloudnet.model.workloads import WorkloadEndpoint

R = TypeVar("R", bound=Resource)
D = TypeVar("D", bound=msgspec.Struct)

_to_json = msgspec.json.Encoder().encode


class Kind(Generic[R]):
    """One kind: what it is called, and its codec."""

    __slots__ = ("_read", "_write", "api_version", "name", "namespaced", "plural", "type")

    def __init__(
        self,
        type_: type[R],
        plural: str,
        api_version: str,
        *,
        document: type[D],
        read: Callable[[D], R],
        write: Callable[[R], D],
        namespaced: bool = False,
    ) -> None:
        decoder = msgspec.json.Decoder(document)
        self.type = type_
        self.name = type_.__name__
        self.plural = plural
        self.api_version = api_version
        self.namespaced = namespaced
        self._read: Callable[[bytes], R] = lambda data: read(wire.parse(decoder, data))
        self._write: Callable[[R], msgspec.Struct] = write

    def decode(self, document: bytes) -> R:
        """Return the value in a document.

        Raises:
            BadInput: the document is none of this kind; ``path`` names the field.
        """
        value = self._read(document)
        self._check_namespace(value)
        return value

    def encode(self, value: R, *, onto: bytes | None = None) -> bytes:
        """Return the document of a value.

        With ``onto``, the stored document that the value replaces, only the fields that differ are changed in
        it: what somebody else wrote, and what a newer program knows, stays.

        Raises:
            BadInput: the value, or ``onto``, is none that the kind allows.
        """
        wire.check_name(value.meta.name)
        self._check_namespace(value)
        document = self._write(value)
        if onto is None:
            return _to_json(document)
        before = msgspec.to_builtins(self._write(self.decode(onto)))
        return _to_json(wire.overlay(msgspec.json.decode(onto), before, msgspec.to_builtins(document)))

    def _check_namespace(self, value: R) -> None:
        if value.meta.namespace and not self.namespaced:
            raise BadInput(
                f"expected nothing, for a {self.name} belongs to the whole cluster, found {value.meta.namespace!r}",
                path="metadata.namespace",
            )


# Any: the rows differ in their type; `of` gives each caller the right one.
ALL: tuple[Kind[Any], ...] = (
    Kind(
        Node,
        "nodes",
        calico.API_VERSION,
        document=calico.NodeDocument,
        read=calico.read_node,
        write=calico.write_node,
    ),
    Kind(
        IPPool,
        "ippools",
        calico.API_VERSION,
        document=calico.IPPoolDocument,
        read=calico.read_ippool,
        write=calico.write_ippool,
    ),
    Kind(
        BlockAffinity,
        "blockaffinities",
        calico.API_VERSION,
        document=calico.BlockAffinityDocument,
        read=calico.read_block_affinity,
        write=calico.write_block_affinity,
    ),
    Kind(
        IPAMBlock,
        "ipamblocks",
        calico.API_VERSION,
        document=calico_ipam.IPAMBlockDocument,
        read=calico_ipam.read_block,
        write=calico_ipam.write_block,
    ),
    Kind(
        IPAMHandle,
        "ipamhandles",
        calico.API_VERSION,
        document=calico_ipam.IPAMHandleDocument,
        read=calico_ipam.read_handle,
        write=calico_ipam.write_handle,
    ),
    Kind(
        IPAMConfiguration,
        "ipamconfigurations",
        calico.API_VERSION,
        document=calico_ipam.IPAMConfigurationDocument,
        read=calico_ipam.read_configuration,
        write=calico_ipam.write_configuration,
    ),
    Kind(
        IPReservation,
        "ipreservations",
        calico.API_VERSION,
        document=calico_ipam.IPReservationDocument,
        read=calico_ipam.read_reservation,
        write=calico_ipam.write_reservation,
    ),
    Kind(
        CloudNode,
        "cloudnodes",
        own.API_VERSION,
        document=own.CloudNodeDocument,
        read=own.read_cloud_node,
        write=own.write_cloud_node,
    ),
    Kind(
        CloudRoute,
        "cloudroutes",
        own.API_VERSION,
        document=own.CloudRouteDocument,
        read=own.read_cloud_route,
        write=own.write_cloud_route,
    ),
    Kind(
        AgentReport,
        "agentreports",
        own.API_VERSION,
        document=own.AgentReportDocument,
        read=own.read_agent_report,
        write=own.write_agent_report,
    ),
    Kind(
        Lease,
        "leases",
        own.API_VERSION,
        document=own.LeaseDocument,
        read=own.read_lease,
        write=own.write_lease,
    ),
    Kind(
        NodeCondition,
        "nodeconditions",
        own.API_VERSION,
        document=own.NodeConditionDocument,
        read=own.read_node_condition,
        write=own.write_node_condition,
    ),
    Kind(
        WorkloadEndpoint,
        "workloadendpoints",
        calico.API_VERSION,
        document=calico_workloads.WorkloadEndpointDocument,
        read=calico_workloads.read_endpoint,
        write=calico_workloads.write_endpoint,
        namespaced=True,
    ),
    Kind(
        Namespace,
        "namespaces",
        kubernetes.API_VERSION,
        document=kubernetes.NamespaceDocument,
        read=kubernetes.read_namespace,
        write=kubernetes.write_namespace,
    ),
    Kind(
        Pod,
        "pods",
        kubernetes.API_VERSION,
        document=kubernetes.PodDocument,
        read=kubernetes.read_pod,
        write=kubernetes.write_pod,
        namespaced=True,
    ),
    Kind(
        ServiceAccount,
        "serviceaccounts",
        kubernetes.API_VERSION,
        document=kubernetes.ServiceAccountDocument,
        read=kubernetes.read_service_account,
        write=kubernetes.write_service_account,
        namespaced=True,
    ),
)

_BY_TYPE = {kind.type: kind for kind in ALL}
_BY_NAME = {kind.name: kind for kind in ALL}
_BY_WORD = {word: kind for kind in ALL for word in (kind.name.lower(), kind.plural)}


def of(type_: type[R]) -> Kind[R]:
    """Return the kind of a class of resources."""
    return _BY_TYPE[type_]


def named(word: str) -> Kind[Any]:
    """Return the kind that a person means: its name or plural, in any case.

    Raises:
        BadInput: there is none such.
    """
    try:
        return _BY_WORD[word.lower()]
    except KeyError:
        raise BadInput(f"unknown kind {word!r}: use one of {', '.join(_BY_NAME)}") from None


def encode(value: Resource) -> bytes:
    """Return the document of any resource."""
    return of(type(value)).encode(value)


class _Header(msgspec.Struct, rename="camel"):
    kind: str
    api_version: str


_header = msgspec.json.Decoder(_Header)


def decode(document: bytes) -> Resource:
    """Return the resource in a document that says itself what it is.

    Raises:
        BadInput: it is no document of a kind we know.
    """
    header = wire.parse(_header, document)
    kind: Kind[Any] = wire.choice(header.kind, _BY_NAME, "kind")
    value: Resource = kind.decode(document)
    return value
