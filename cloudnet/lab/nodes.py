"""Machines and pods of a lab: namespaces, veths, addresses. Nothing is ever made in the machine's own namespace.

A veth is made inside the cloud's (or the node's) namespace, and its other end is made where it belongs in the same
step. Pods are wired as Calico wires them: a ``/32``, a gateway 169.254.1.1 that the host answers for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from cloudnet.lab import processes, spec
from cloudnet.lab.errors import LabError
from cloudnet.lab.state import NodeRecord, PodRecord

POD_GATEWAY = IPv4Address("169.254.1.1")
HOST_SIDE_MAC = "ee:ee:ee:ee:ee:ee"  # Calico's, the same for every pod


def add_namespace(name: str) -> None:
    processes.run(["ip", "netns", "add", name])
    in_namespace(name, ["link set lo up"])


def remove_namespace(name: str) -> None:
    """Delete a namespace; that it is gone already is success."""
    try:
        processes.run(["ip", "netns", "delete", name])
    except LabError:
        if (processes.NETNS / name).exists():
            raise


def namespaces(lab: str) -> list[str]:
    """Return the namespaces of a lab that exist now, whoever made them."""
    if not processes.NETNS.is_dir():
        return []
    prefix = spec.namespace_prefix(lab)
    return sorted(entry.name for entry in processes.NETNS.iterdir() if entry.name.startswith(prefix))


def in_namespace(name: str, lines: Sequence[str]) -> None:
    """Run lines of ``ip`` inside a namespace."""
    processes.run(["ip", "-n", name, "-batch", "-"], stdin="\n".join(lines) + "\n")


def set_sysctls(name: str, settings: Mapping[str, str]) -> None:
    pairs = [f"{key}={value}" for key, value in settings.items()]
    processes.run(["nsenter", f"--net={processes.NETNS / name}", "--", "sysctl", "-qw", *pairs])


def build_cloud(lab: str, subnets: Sequence[spec.SubnetPlan], *, mtu: int, flat: bool) -> None:
    """Make the cloud's namespace with a bridge a subnet, and an address for a store that is a server.

    Where a subnet is not ``flat``, its router answers for every address in it and forwards within it.
    """
    name = spec.cloud_namespace(lab)
    add_namespace(name)
    set_sysctls(name, _CLOUD_SYSCTLS)
    if Path("/proc/sys/net/bridge").is_dir():  # br_netfilter is loaded: it would pull bridged packets apart
        set_sysctls(name, dict.fromkeys(_BRIDGE_SYSCTLS, "0"))
    lines = [f"address add {spec.STORE}/32 dev lo"]
    for number, subnet in enumerate(subnets, start=1):
        mac = f"02:63:6e:00:00:{number:02x}"  # given, so that it does not change with the ports
        lines += [
            f"link add {subnet.bridge} mtu {mtu} address {mac} type bridge stp_state 0 mcast_snooping 0",
            f"address add {subnet.gateway}/{subnet.cidr.prefixlen} dev {subnet.bridge}",
            f"link set {subnet.bridge} up",
        ]
    in_namespace(name, lines)
    if not flat:
        set_sysctls(name, {key.format(bridge=s.bridge): value for s in subnets for key, value in _ROUTED_SYSCTLS})


_ROUTED_SYSCTLS = (
    ("net.ipv4.conf.{bridge}.proxy_arp_pvlan", "1"),  # ip-sysctl: answer also where the way leads back
    ("net.ipv4.neigh.{bridge}.proxy_delay", "0"),
)

_CLOUD_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",  # the fabric judges by its own checks
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",  # a subnet's gateway forwards within the subnet without a word
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv6.conf.all.forwarding": "1",
}

_BRIDGE_SYSCTLS = tuple(f"net.bridge.bridge-nf-call-{which}" for which in ("iptables", "ip6tables", "arptables"))


def build_outside(lab: str, *, mtu: int) -> None:
    """Make a host outside the cluster, on a wire of its own to the cloud. It knows a way to the VPC, not to pods."""
    name = spec.outside_namespace(lab)
    add_namespace(name)
    wire = f"link add {spec.OUTSIDE_DEVICE} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}"
    in_namespace(
        spec.cloud_namespace(lab),
        [
            wire,
            f"address add {spec.OUTSIDE_ROUTER} dev {spec.OUTSIDE_DEVICE}",
            f"link set {spec.OUTSIDE_DEVICE} up",
        ],
    )
    in_namespace(
        name,
        [
            f"address add {spec.OUTSIDE_HOST} dev eth0",
            "link set eth0 up",
            f"route add {spec.VPC} via {spec.OUTSIDE_ROUTER.ip}",
        ],
    )


def route_outside(lab: str, prefix: IPv4Network) -> None:
    """Tell the host outside that a prefix lies behind the cloud, as a site's router would have to be told."""
    in_namespace(spec.outside_namespace(lab), [f"route replace {prefix} via {spec.OUTSIDE_ROUTER.ip}"])


def build_node(lab: str, node: NodeRecord, *, gateway: IPv4Address, mtu: int, flat: bool) -> None:
    """Make a node's namespace and its ``eth0``, with the MAC that the cloud gave the interface."""
    namespace = spec.node_namespace(lab, node.name)
    port = spec.port_name(node.name)
    isolated = "off" if flat else "on"  # on: frames pass between a port and the router, never between two ports
    add_namespace(namespace)
    set_sysctls(namespace, {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "0"})
    in_namespace(
        spec.cloud_namespace(lab),
        [  # the fabric knows every MAC
            f"link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} address {node.mac} netns {namespace}",
            f"link set {port} master {spec.bridge_name(node.subnet)}",
            f"link set {port} type bridge_slave learning off flood off isolated {isolated}",
            f"link set {port} up",
        ],
    )
    in_namespace(
        namespace,
        [
            f"address add {node.address} dev eth0",
            "link set eth0 up",
            f"route add default via {gateway} dev eth0",
        ],
    )


def build_pod(lab: str, node: str, pod: PodRecord, *, mtu: int) -> None:
    """Make a pod's namespace and wire it to its node."""
    namespace = spec.pod_namespace(lab, node, pod.name)
    host_side = spec.workload_device(f"{node}-{pod.name}")
    node_namespace = spec.node_namespace(lab, node)
    peer = f"name eth0 mtu {mtu} netns {namespace}"
    add_namespace(namespace)
    in_namespace(
        node_namespace,
        [
            f"link add {host_side} mtu {mtu} address {HOST_SIDE_MAC} type veth peer {peer}",
            f"link set {host_side} up",
        ],
    )
    set_sysctls(
        node_namespace,
        {f"net.ipv4.conf.{host_side}.proxy_arp": "1", f"net.ipv4.neigh.{host_side}.proxy_delay": "0"},
    )
    in_namespace(
        namespace,
        [
            f"address add {pod.address}/32 dev eth0",
            "link set eth0 up",
            f"route add {POD_GATEWAY} dev eth0 scope link",
            f"route add default via {POD_GATEWAY} dev eth0",
        ],
    )
    in_namespace(node_namespace, [f"route add {pod.address}/32 dev {host_side} scope link"])


def power_off(lab: str, node: str) -> None:
    """Let the node's kernel forget what a program set there: our routes, rules and overlay devices."""
    namespace = spec.node_namespace(lab, node)
    script = (
        "ip route flush table all proto 67; ip -6 route flush table all proto 67; "
        "for d in vxlan.calico vxlan-v6.calico; do ip link delete $d; done; "
        "for p in 98 101 102 103; do "
        "while ip rule delete priority $p; do :; done; while ip -6 rule delete priority $p; do :; done; done; true"
    )
    processes.run(["nsenter", f"--net={processes.NETNS / namespace}", "--", "sh", "-c", script])
