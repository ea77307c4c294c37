"""Events of Kubernetes that tell a person, at the node or pod in question, what happened and what to do. Pure.

``kubectl describe node`` and ``kubectl describe pod`` show them. The table below is every event that there is;
docs/reference/events.md is written from it. A sentence never carries a secret: errors do not either.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias


class Severity(enum.Enum):
    """Kubernetes' two types of events."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Reporter(enum.Enum):
    """The program that writes the event; its value is ``reportingController``."""

    CONTROLLER = "cloudnet.io/controller"
    AGENT = "cloudnet.io/agent"


@dataclass(frozen=True, slots=True)
class Reason:
    """One sort of event. ``name`` and ``action`` are for programs, ``meaning`` and ``remedy`` for the reference."""

    name: str
    severity: Severity
    reporter: Reporter
    about: str
    action: str
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an event is shown at."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """What happened to whom. ``note`` is one sentence with the cause and the next step."""

    reason: Reason
    about: Subject
    note: str


Record: TypeAlias = Callable[[ClusterEvent], None]
"""Takes an event; returns at once, whatever becomes of it."""

Tell: TypeAlias = Callable[[Reason, str], None]
"""The same for events of one node: takes the reason and the sentence."""


def ignore(_event: ClusterEvent) -> None:
    """Record nothing."""


def at_own_node(record: Record, name: str) -> Tell:
    """Return what tells things at a program's own node, by the uid that a kubelet would use: the node's name.

    ``kubectl describe node`` looks for both (``pkg/kubelet/kubelet.go``: nodeRef).
    """
    return lambda reason, note: record(of_node(reason, name, name, note))


def of_node(reason: Reason, name: str, uid: str, note: str) -> ClusterEvent:
    return ClusterEvent(reason, Subject("Node", name, uid=uid), note)


ROUTE_REFUSED: Final = Reason(
    "RouteRefused",
    Severity.WARNING,
    Reporter.CONTROLLER,
    "Node",
    "ProgramRoute",
    "the cloud does not take a route to a block of this node, by quota, permission or for another cause; "
    "VXLAN carries the block",
    "the sentence names the table and what to raise, grant or remove; it is tried again by itself",
)
ROUTE_CONFLICT: Final = Reason(
    "RouteConflict",
    Severity.WARNING,
    Reporter.CONTROLLER,
    "Node",
    "ProgramRoute",
    "somebody else's route stands where a route to a block of this node should; it is left alone, VXLAN carries "
    "the block",
    "remove the other route, or keep the block out of its range",
)
ROUTE_BLACK_HOLED: Final = Reason(
    "RouteBlackHoled",
    Severity.WARNING,
    Reporter.CONTROLLER,
    "Node",
    "ProgramRoute",
    "the cloud says that its route to a block of this node leads nowhere; VXLAN carries the block",
    "see that the node's machine runs and has its network interface",
)
ROUTE_PROGRAMMED: Final = Reason(
    "RouteProgrammed",
    Severity.NORMAL,
    Reporter.CONTROLLER,
    "Node",
    "ProgramRoute",
    "every table has its route to a block of this node, for the first time or after trouble; agents leave VXLAN for "
    "it once probes come back",
    "nothing to do",
)
MACHINE_IMPAIRED: Final = Reason(
    "MachineImpaired",
    Severity.WARNING,
    Reporter.CONTROLLER,
    "Node",
    "PrepareMachine",
    "the node's machine is stopped, or drops packets of pods and the cloud does not let us change that; VXLAN "
    "carries its pods",
    "the sentence says what to start, which right the controller lacks, or that the machine has to be made anew",
)
NATIVE_ADDRESSES_SHORT: Final = Reason(
    "NativeAddressesShort",
    Severity.WARNING,
    Reporter.CONTROLLER,
    "Node",
    "AssignAddresses",
    "the cloud gives the node fewer addresses than its pods need; further pods have addresses of pools",
    "the sentence says what ran out: raise the quota, enlarge the subnet, or use a larger machine type",
)
NATIVE_ADDRESSES_ENOUGH: Final = Reason(
    "NativeAddressesEnough",
    Severity.NORMAL,
    Reporter.CONTROLLER,
    "Node",
    "AssignAddresses",
    "after a shortage the node has as many of the cloud's addresses as its pods need",
    "nothing to do",
)
NETWORK_READY: Final = Reason(
    "NetworkReady",
    Severity.NORMAL,
    Reporter.CONTROLLER,
    "Node",
    "SetNodeCondition",
    "the node's agent has laid the ground: NetworkUnavailable became False, and pods may be scheduled there",
    "nothing to do",
)
NETWORK_NOT_READY: Final = Reason(
    "NetworkNotReady",
    Severity.WARNING,
    Reporter.CONTROLLER,
    "Node",
    "SetNodeCondition",
    "the node's network worked and does not any more: NetworkUnavailable became True; pods that run keep theirs",
    "the sentence says what the agent misses; see the log of the node's cloudnet-agent",
)
NODE_WITHOUT_ADDRESS: Final = Reason(
    "NodeWithoutAddress",
    Severity.WARNING,
    Reporter.AGENT,
    "Node",
    "FindAddress",
    "the agent finds no address for its node, so that no other node can send to its pods",
    "the sentence says what it looked at; choose another `ip_autodetection_method`, or see that the kubelet or the "
    "cloud's controller sets an InternalIP",
)
POD_NETWORK_FAILED: Final = Reason(
    "PodNetworkFailed",
    Severity.WARNING,
    Reporter.AGENT,
    "Pod",
    "AddPod",
    "the pod was given no network; the kubelet tries again by itself",
    "the sentence says why, with CNI's code: no address left, a wrong annotation, an agent that is not ready",
)
POLICY_REFUSED: Final = Reason(
    "PolicyRefused",
    Severity.WARNING,
    Reporter.AGENT,
    "Node",
    "EnforcePolicy",
    "the node's kernel refuses a policy; its former rules stay in force there, and all other policies are enforced",
    "the sentence names the policy and what the kernel said; change the policy, or update the node's kernel",
)
POLICY_NOT_IN_FORCE: Final = Reason(
    "PolicyNotInForce",
    Severity.WARNING,
    Reporter.AGENT,
    "Node",
    "EnforcePolicy",
    "the node takes no changes of policy; what was in force stays, and new pods wait",
    "the sentence says why; it is tried again by itself",
)
POLICY_IN_FORCE: Final = Reason(
    "PolicyInForce",
    Severity.NORMAL,
    Reporter.AGENT,
    "Node",
    "EnforcePolicy",
    "after trouble the node enforces every policy again",
    "nothing to do",
)

POLICY_BYPASSED: Final = Reason(
    "PolicyBypassed",
    Severity.WARNING,
    Reporter.AGENT,
    "Node",
    "EnforcePolicy",
    "another program of the node sends packets to its pods past policy",
    "the sentence names the program and how to let it run",
)

ALL: Final = (
    ROUTE_REFUSED,
    ROUTE_CONFLICT,
    ROUTE_BLACK_HOLED,
    ROUTE_PROGRAMMED,
    MACHINE_IMPAIRED,
    NATIVE_ADDRESSES_SHORT,
    NATIVE_ADDRESSES_ENOUGH,
    NETWORK_READY,
    NETWORK_NOT_READY,
    NODE_WITHOUT_ADDRESS,
    POD_NETWORK_FAILED,
    POLICY_REFUSED,
    POLICY_NOT_IN_FORCE,
    POLICY_IN_FORCE,
    POLICY_BYPASSED,
)
