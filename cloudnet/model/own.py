"""The spelling of our own kinds, group ``cloudnet.io/v1``: CloudNode, CloudRoute, AgentReport, Lease, NodeCondition.

Intent stands in ``spec``; what somebody observed stands in ``status``, as everywhere in Kubernetes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import wire
from cloudnet.model.addresses import InstanceId, InterfaceId, NodeName, SubnetId, TableId
from cloudnet.model.resources import (
    AgentReport,
    Cause,
    CloudNode,
    CloudRoute,
    Lease,
    NextHop,
    NodeCondition,
    RouteState,
    TableStatus,
)

API_VERSION: Final = "cloudnet.io/v1"

_MTU = 1500  # what an unsaid MTU means: Ethernet's
_DURATION = 15.0  # what an unsaid lease means, as Lease has it

# Defaults of the structs are None, 0, "" or empty throughout: msgspec leaves a field out when it *is* its
# default, and only of these there is one object.


# --- CloudNode ----------------------------------------------------------------------------------------------


class _CloudNodeSpec(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    instance: str
    interface: str
    subnet: str
    zone: str = ""


class _CloudNodeStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    tables: list[str] = []
    forwarding: bool = False
    l2_adjacent: bool = False
    mtu: int = 0
    problem: str = ""


class CloudNodeDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A CloudNode on the wire."""

    metadata: wire.Meta
    spec: _CloudNodeSpec
    status: _CloudNodeStatus = msgspec.field(default_factory=_CloudNodeStatus)
    api_version: Literal["cloudnet.io/v1"] | None = None
    kind: Literal["CloudNode"] | None = None


def read_cloud_node(document: CloudNodeDocument) -> CloudNode:
    spec, status = document.spec, document.status
    return CloudNode(
        meta=wire.metadata(document.metadata),
        instance=InstanceId(spec.instance),
        interface=InterfaceId(spec.interface),
        subnet=SubnetId(spec.subnet),
        zone=spec.zone,
        tables=tuple(TableId(table) for table in status.tables),
        forwarding=status.forwarding,
        l2_adjacent=status.l2_adjacent,
        mtu=status.mtu or _MTU,
        problem=status.problem,
    )


def write_cloud_node(node: CloudNode) -> CloudNodeDocument:
    return CloudNodeDocument(
        metadata=wire.meta(node.meta),
        spec=_CloudNodeSpec(node.instance, node.interface, node.subnet, node.zone),
        status=_CloudNodeStatus(list(node.tables), node.forwarding, node.l2_adjacent, node.mtu, node.problem),
        api_version=API_VERSION,
        kind="CloudNode",
    )


# --- CloudRoute ---------------------------------------------------------------------------------------------


class _CloudRouteSpec(msgspec.Struct, omit_defaults=True, gc=False):
    cidr: str
    node: str


class _NextHop(msgspec.Struct, omit_defaults=True, gc=False):
    interface: str | None = None
    instance: str | None = None
    address: str | None = None


class _TableStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    table: str
    state: RouteState
    cause: Cause = Cause.NONE
    detail: str = ""
    next_hop: _NextHop | None = None
    since: float | None = None
    previous: _NextHop | None = None


class _CloudRouteStatus(msgspec.Struct, omit_defaults=True):
    tables: list[_TableStatus] = []
    summary: str = ""  # for people, and for kubectl, which shows of a list its first item


class CloudRouteDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A CloudRoute on the wire."""

    metadata: wire.Meta
    spec: _CloudRouteSpec
    status: _CloudRouteStatus = msgspec.field(default_factory=_CloudRouteStatus)
    api_version: Literal["cloudnet.io/v1"] | None = None
    kind: Literal["CloudRoute"] | None = None


def read_cloud_route(document: CloudRouteDocument) -> CloudRoute:
    return CloudRoute(
        meta=wire.metadata(document.metadata),
        cidr=wire.network(document.spec.cidr, "spec.cidr"),
        node=NodeName(document.spec.node),
        tables=tuple(_read_table(status, i) for i, status in enumerate(document.status.tables)),
    )


def _read_table(status: _TableStatus, index: int) -> TableStatus:
    return TableStatus(
        table=TableId(status.table),
        state=status.state,
        cause=status.cause,
        detail=status.detail,
        next_hop=_read_next_hop(status.next_hop, index) if status.next_hop else None,
        since=status.since or 0.0,
        previous=_read_next_hop(status.previous, index) if status.previous else None,
    )


def _read_next_hop(hop: _NextHop, index: int) -> NextHop:
    return NextHop(
        interface=InterfaceId(hop.interface) if hop.interface is not None else None,
        instance=InstanceId(hop.instance) if hop.instance is not None else None,
        address=wire.address(hop.address, f"status.tables[{index}].nextHop.address") if hop.address else None,
    )


def write_cloud_route(route: CloudRoute) -> CloudRouteDocument:
    return CloudRouteDocument(
        metadata=wire.meta(route.meta),
        spec=_CloudRouteSpec(str(route.cidr), route.node),
        status=_CloudRouteStatus([_write_table(status) for status in route.tables], _summary(route.tables)),
        api_version=API_VERSION,
        kind="CloudRoute",
    )


def _summary(tables: Sequence[TableStatus]) -> str:
    """Return how many tables are in which state, and why: ``2 programmed, 1 refused (quota)``."""
    causes = ("" if status.cause is Cause.NONE else f" ({status.cause.value})" for status in tables)
    return counted(status.state.value + cause for status, cause in zip(tables, causes, strict=True))


def counted(words: Iterable[str]) -> str:
    """Return how often each word comes, the most frequent first."""
    return ", ".join(f"{number} {word}" for word, number in Counter(words).most_common())


def _write_table(status: TableStatus) -> _TableStatus:
    return _TableStatus(
        table=status.table,
        state=status.state,
        cause=status.cause,
        detail=status.detail,
        next_hop=_write_next_hop(status.next_hop) if status.next_hop else None,
        since=status.since or None,
        previous=_write_next_hop(status.previous) if status.previous else None,
    )


def _write_next_hop(hop: NextHop) -> _NextHop:
    return _NextHop(hop.interface, hop.instance, str(hop.address) if hop.address else None)


# --- AgentReport --------------------------------------------------------------------------------------------


class _AgentReportStatus(msgspec.Struct, omit_defaults=True):
    ready: bool = False
    observed: int = 0
    lost: list[str] = []
    message: str = ""


class AgentReportDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """An AgentReport on the wire."""

    metadata: wire.Meta
    status: _AgentReportStatus = msgspec.field(default_factory=_AgentReportStatus)
    api_version: Literal["cloudnet.io/v1"] | None = None
    kind: Literal["AgentReport"] | None = None


def read_agent_report(document: AgentReportDocument) -> AgentReport:
    status = document.status
    return AgentReport(
        meta=wire.metadata(document.metadata),
        ready=status.ready,
        observed=status.observed,
        lost=tuple(wire.network(text, f"status.lost[{i}]") for i, text in enumerate(status.lost)),
        message=status.message,
    )


def write_agent_report(report: AgentReport) -> AgentReportDocument:
    return AgentReportDocument(
        metadata=wire.meta(report.meta),
        status=_AgentReportStatus(report.ready, report.observed, [str(b) for b in report.lost], report.message),
        api_version=API_VERSION,
        kind="AgentReport",
    )


# --- Lease --------------------------------------------------------------------------------------------------


class _LeaseSpec(msgspec.Struct, omit_defaults=True, gc=False):
    holder: str = ""
    duration: float | None = None
    renewals: int = 0


class LeaseDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A Lease on the wire."""

    metadata: wire.Meta
    spec: _LeaseSpec = msgspec.field(default_factory=_LeaseSpec)
    api_version: Literal["cloudnet.io/v1"] | None = None
    kind: Literal["Lease"] | None = None


def read_lease(document: LeaseDocument) -> Lease:
    spec = document.spec
    duration = _DURATION if spec.duration is None else spec.duration
    if duration <= 0:
        raise BadInput(f"expected seconds above 0, found {duration}", path="spec.duration")
    return Lease(wire.metadata(document.metadata), spec.holder, duration, spec.renewals)


def write_lease(lease: Lease) -> LeaseDocument:
    return LeaseDocument(
        metadata=wire.meta(lease.meta),
        spec=_LeaseSpec(lease.holder, lease.duration, lease.renewals),
        api_version=API_VERSION,
        kind="Lease",
    )


# --- NodeCondition ------------------------------------------------------------------------------------------


class _NodeConditionStatus(msgspec.Struct, omit_defaults=True, gc=False):
    ready: bool
    reason: str
    message: str = ""
    since: float | None = None
    node_uid: str = msgspec.field(default="", name="nodeUID")


class NodeConditionDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A NodeCondition on the wire."""

    metadata: wire.Meta
    status: _NodeConditionStatus
    api_version: Literal["cloudnet.io/v1"] | None = None
    kind: Literal["NodeCondition"] | None = None


def read_node_condition(document: NodeConditionDocument) -> NodeCondition:
    status = document.status
    return NodeCondition(
        meta=wire.metadata(document.metadata),
        ready=status.ready,
        reason=status.reason,
        message=status.message,
        since=status.since or 0.0,
        node_uid=status.node_uid,
    )


def write_node_condition(condition: NodeCondition) -> NodeConditionDocument:
    return NodeConditionDocument(
        metadata=wire.meta(condition.meta),
        status=_NodeConditionStatus(
            condition.ready, condition.reason, condition.message, condition.since or None, condition.node_uid
        ),
        api_version=API_VERSION,
        kind="NodeCondition",
    )
