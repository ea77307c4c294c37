"""Which columns a kind is shown with: Calico's where it has any, by the path of a field in the document.

A path may name several fields, the first that is there counts: ``spec.pod|spec.workload``. What is left out of a
document is shown as what it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cloudnet.errors import BadInput


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, where its value stands, and what an absent value means."""

    heading: str
    path: str
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """The columns of a kind; ``wide`` come after the others with ``-o wide``."""

    usual: tuple[Column, ...] = ()
    wide: tuple[Column, ...] = ()


NAME: Final = Column("NAME", "metadata.name")
NAMESPACE: Final = Column("NAMESPACE", "metadata.namespace")

_ORDER = Column("ORDER", "spec.order")
_TIER = Column("TIER", "spec.tier", "default")
_SELECTOR = Column("SELECTOR", "spec.selector")
_NODE = Column("NODE", "spec.node")
_NETS = Column("NETS", "spec.nets")
_CIDR = Column("CIDR", "spec.cidr")
_STAGED = Shown((_TIER, Column("ACTION", "spec.stagedAction", "Set")), (_ORDER, _SELECTOR))
_POLICY = Shown((_TIER,), (_ORDER, _SELECTOR))

OF: Final[Mapping[str, Shown]] = {
    "Node": Shown(
        (),
        (
            Column("ASN", "spec.bgp.asNumber", "(64512)"),
            Column("IPV4", "spec.bgp.ipv4Address"),
            Column("IPV6", "spec.bgp.ipv6Address"),
        ),
    ),
    "IPPool": Shown(
        (_CIDR, Column("SELECTOR", "spec.nodeSelector", "all()")),
        (
            Column("NAT", "spec.natOutgoing", "false"),
            Column("IPIPMODE", "spec.ipipMode", "Never"),
            Column("VXLANMODE", "spec.vxlanMode", "Never"),
            Column("DISABLED", "spec.disabled", "false"),
            Column("DISABLEBGPEXPORT", "spec.disableBGPExport", "false"),
            Column("BLOCKSIZE", "spec.blockSize"),
        ),
    ),
    "IPReservation": Shown((Column("CIDRS", "spec.reservedCIDRs"),)),
    "IPAMConfiguration": Shown(
        (
            Column("STRICTAFFINITY", "spec.strictAffinity", "false"),
            Column("AUTOALLOCATEBLOCKS", "spec.autoAllocateBlocks", "true"),
            Column("MAXBLOCKSPERHOST", "spec.maxBlocksPerHost", "0"),
        )
    ),
    "BlockAffinity": Shown(
        (_CIDR, _NODE, Column("STATE", "spec.state", "confirmed")), (Column("TYPE", "spec.type", "host"),)
    ),
    "IPAMBlock": Shown((_CIDR, Column("AFFINITY", "spec.affinity"))),
    "IPAMHandle": Shown((Column("HANDLE", "spec.handleID"), Column("BLOCKS", "spec.block"))),
    "NetworkPolicy": _POLICY,
    "GlobalNetworkPolicy": _POLICY,
    "StagedNetworkPolicy": _STAGED,
    "StagedGlobalNetworkPolicy": _STAGED,
    "StagedKubernetesNetworkPolicy": Shown((Column("ACTION", "spec.stagedAction", "Set"),)),
    "KubernetesNetworkPolicy": Shown((), (Column("TYPES", "spec.policyTypes"),)),
    "ClusterNetworkPolicy": Shown((Column("TIER", "spec.tier"), Column("PRIORITY", "spec.priority"))),
    "Tier": Shown((_ORDER, Column("DEFAULTACTION", "spec.defaultAction", "Deny"))),
    "NetworkSet": Shown((), (_NETS,)),
    "GlobalNetworkSet": Shown((), (_NETS,)),
    "Profile": Shown((), (Column("LABELS", "spec.labelsToApply"),)),
    "HostEndpoint": Shown(
        (_NODE,),
        (
            Column("INTERFACE", "spec.interfaceName"),
            Column("IPS", "spec.expectedIPs"),
            Column("PROFILES", "spec.profiles"),
        ),
    ),
    "WorkloadEndpoint": Shown(
        (
            Column("WORKLOAD", "spec.pod|spec.workload"),
            _NODE,
            Column("NETWORKS", "spec.ipNetworks"),
            Column("INTERFACE", "spec.interfaceName"),
        ),
        (Column("PROFILES", "spec.profiles"), Column("NATS", "spec.ipNATs")),
    ),
    "BGPConfiguration": Shown(
        (
            Column("LOGSEVERITY", "spec.logSeverityScreen", "Info"),
            Column("MESHENABLED", "spec.nodeToNodeMeshEnabled", "true"),
            Column("ASNUMBER", "spec.asNumber", "64512"),
        )
    ),
    "BGPPeer": Shown(
        (
            Column("PEERIP", "spec.peerIP|spec.peerSelector"),
            Column("NODE", "spec.node|spec.nodeSelector", "(global)"),
            Column("ASN", "spec.asNumber"),
        )
    ),
    "FelixConfiguration": Shown((), (Column("LOGSEVERITY", "spec.logSeverityScreen"),)),
    "ClusterInformation": Shown(
        (
            Column("CLUSTERTYPE", "spec.clusterType"),
            Column("CALICOVERSION", "spec.calicoVersion"),
            Column("READY", "spec.datastoreReady"),
        ),
        (Column("CLUSTERGUID", "spec.clusterGUID"),),
    ),
    "CalicoNodeStatus": Shown((_NODE, Column("CLASSES", "spec.classes"))),
    "CloudNode": Shown(
        (
            Column("INSTANCE", "spec.instance"),
            Column("SUBNET", "spec.subnet"),
            Column("FORWARDING", "status.forwarding", "false"),
        ),
        (Column("ZONE", "spec.zone"), Column("TABLES", "status.tables"), Column("PROBLEM", "status.problem")),
    ),
    "CloudRoute": Shown((_CIDR, _NODE, Column("TABLES", "status.tables.state"))),
    "CloudAddresses": Shown(
        (
            Column("CAPACITY", "status.capacity.ipv4", "0"),
            Column("PREFIXES", "status.prefixes.cidr"),
            Column("CAUSE", "status.cause", "none"),
        ),
        (Column("INTERFACES", "status.interfaces.id"), Column("DETAIL", "status.detail")),
    ),
    "AgentReport": Shown(
        (Column("READY", "status.ready", "false"), Column("LOST", "status.lost")),
        (Column("MESSAGE", "status.message"),),
    ),
    "Lease": Shown((Column("HOLDER", "spec.holder"), Column("RENEWALS", "spec.renewals", "0"))),
    "NodeCondition": Shown(
        (Column("READY", "status.ready", "false"), Column("REASON", "status.reason")),
        (Column("MESSAGE", "status.message"),),
    ),
    "Pod": Shown(
        (Column("NODE", "spec.nodeName"), Column("PHASE", "status.phase")), (Column("IPS", "status.podIPs.ip"),)
    ),
}


def usual(kind: str, *, namespaces: bool, wide: bool) -> tuple[Column, ...]:
    """Return the columns of a kind; ``namespaces``: say which one each is in."""
    shown = OF.get(kind, Shown())
    return (*([NAMESPACE] if namespaces else ()), NAME, *shown.usual, *(shown.wide if wide else ()))


def custom(text: str, kind: str) -> tuple[Column, ...]:
    """Return the columns that a person asks for: headings of the kind's, or ``HEADING:.path.of.a.field``.

    Raises:
        BadInput: there is no such column.
    """
    known = {column.heading: column for column in usual(kind, namespaces=True, wide=True)}
    found = []
    for word in text.split(","):
        heading, colon, path = word.partition(":")
        if colon and path.strip("."):
            found.append(Column(heading, path.strip("{}").lstrip(".")))
        elif not colon and word.upper() in known:
            found.append(known[word.upper()])
        else:
            raise BadInput(
                f"expected columns of {kind} ({', '.join(known)}) or HEADING:.path, found {word!r}", path="--output"
            )
    return tuple(found)


def cell(document: Mapping[str, Any], column: Column) -> str:
    """Return what stands in a column for a document."""
    for path in column.path.split("|"):
        found = _at(document, path.split("."))
        if found not in (None, "", [], {}):
            return _text(found)
    return column.absent


def _at(value: Any, steps: list[str]) -> Any:
    """Return what stands at a path; of a list, what stands there in each of it."""
    for i, step in enumerate(steps):
        if isinstance(value, list):
            return [found for one in value if (found := _at(one, steps[i:])) is not None]
        if not isinstance(value, Mapping):
            return None
        value = _value(value, step)
    return value


def _value(document: Mapping[str, Any], step: str) -> Any:
    name, bracket, index = step.partition("[")
    found = document.get(name)
    number = index.rstrip("]")
    if bracket and isinstance(found, list) and number.isdigit():
        return found[int(number)] if int(number) < len(found) else None
    return found


def _text(found: Any) -> str:
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, Mapping):
        return ",".join(f"{key}={_text(value)}" for key, value in found.items())
    if isinstance(found, Iterable) and not isinstance(found, str):
        return ",".join(_text(one) for one in found)
    return str(found)
