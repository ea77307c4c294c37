"""What the operator says of enforcement on this node. Names and defaults follow Calico's FelixConfiguration."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from cloudnet.model.addresses import Network
from cloudnet.policy.rules import TCP, UDP

VXLAN_PORT: Final = 4789  # RFC 7348


class ToHost(enum.Enum):
    """What becomes of a packet from a pod to its own node that the pod's egress policy allows.

    ``RETURN`` leaves it to the policy of a host endpoint on the pod's interface, which nobody has, and to others'
    rules. Calico ``defaultEndpointToHostAction``.
    """

    DROP = "Drop"
    RETURN = "Return"
    ACCEPT = "Accept"


@dataclass(frozen=True, slots=True)
class Failsafe:
    """A port that no policy of a host endpoint closes; towards (or from) ``net``, or everybody."""

    protocol: int
    port: int
    net: Network | None = None


_SHARED = tuple(Failsafe(TCP, port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667))

FAILSAFE_INBOUND: Final = (Failsafe(TCP, 22), *_SHARED, Failsafe(UDP, 68))
FAILSAFE_OUTBOUND: Final = (Failsafe(UDP, 53), Failsafe(UDP, 67), *_SHARED)


@dataclass(frozen=True, slots=True)
class Options:
    """Enforcement on one node.

    ``pod_prefixes``: an interface whose name begins so is a pod's, and nothing passes it before we know the pod.
    ``vxlan_port``: the UDP port by which only nodes reach this one; with 0 VXLAN is like everything else.
    ``overlay_ports``: UDP ports of VXLAN and of path probes, which policy never cuts between nodes.
    ``mark``: the one bit of the packet mark that says "allowed by a doNotTrack or preDNAT policy" to later hooks.
    ``fast_path``: packets that may take it get the bit ``fast_mark`` when all rules have let them through.
    ``log_group``: the NFLOG group for rules with ``log`` and for denials; ``log_rate``: lines a second a policy.
    """

    pod_prefixes: tuple[str, ...] = ("cali",)
    to_host: ToHost = ToHost.DROP
    failsafe_inbound: tuple[Failsafe, ...] = FAILSAFE_INBOUND
    failsafe_outbound: tuple[Failsafe, ...] = FAILSAFE_OUTBOUND
    vxlan_port: int = VXLAN_PORT
    overlay_ports: tuple[int, ...] = (VXLAN_PORT,)
    vxlan_from_pods: bool = False
    ipip_from_pods: bool = False
    spoofing: bool = False
    reject: bool = False
    mark: int = 0x0010_0000
    fast_path: bool = False
    fast_mark: int = 0x0020_0000  # kernel/programs/fastpath.c has it, too
    log_group: int = 17
    log_denied: bool = True
    log_rate: int = 10

    def is_pod(self, interface: str | None) -> bool:
        return interface is not None and interface.startswith(self.pod_prefixes)
