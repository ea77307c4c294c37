"""The rules that kube-proxy writes on a node, for tests of what pods meet in a real cluster. Pure.

Sources: Kubernetes ``pkg/proxy/nftables/proxier.go`` and ``pkg/proxy/iptables/proxier.go``: which hooks and
priorities, the mark for masquerading, hairpins, and what ``externalTrafficPolicy`` changes. Balancing is left out: a
service has its first endpoint, and with ``Local`` the first one of the node.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cloudnet.model.addresses import Address, Network

MARK: Final = 0x4000


@dataclass(frozen=True, slots=True)
class Backend:
    """A pod that serves, and its port."""

    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class Service:
    """A service of one port. ``node_port`` 0: none; ``local``: its traffic policy from outside is Local."""

    name: str
    address: Address
    port: int
    backends: tuple[Backend, ...]
    node_port: int = 0
    local: bool = False
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class Node:
    """What kube-proxy knows of its node: its own addresses, and the range of all pods."""

    addresses: tuple[Address, ...]
    pods: Network
    own_pods: Collection[Address] = ()

    def backends(self, service: Service) -> Sequence[Backend]:
        """Return the backends for traffic from outside."""
        return [one for one in service.backends if not service.local or one.address in self.own_pods]


@dataclass(frozen=True, slots=True)
class Script:
    """A command, and what it reads."""

    command: tuple[str, ...]
    text: str


def nftables(node: Node, services: Sequence[Service]) -> Script:
    """Return what kube-proxy's nftables mode writes."""
    lines = [
        "add table ip kube-proxy",
        "add chain ip kube-proxy mark-for-masquerade",
        f"add rule ip kube-proxy mark-for-masquerade mark set mark or {MARK:#x}",
        "add chain ip kube-proxy services",
        "add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat; }",
        "add rule ip kube-proxy nat-prerouting jump services",
        "add chain ip kube-proxy nat-output { type nat hook output priority -100; }",
        "add rule ip kube-proxy nat-output jump services",
        "add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority srcnat; }",
        f"add rule ip kube-proxy nat-postrouting mark and {MARK:#x} == 0 return",
        f"add rule ip kube-proxy nat-postrouting mark set mark xor {MARK:#x}",
        "add rule ip kube-proxy nat-postrouting masquerade fully-random",
        *(line for service in services for line in _service_in_nft(node, service)),
    ]
    return Script(("nft", "-f", "-"), "\n".join(lines) + "\n")


def _service_in_nft(node: Node, service: Service) -> list[str]:
    here, say = f"service-{service.name}", "add rule ip kube-proxy"
    target, proto = f"{service.address} {service.protocol} dport {service.port}", service.protocol
    lines = [
        f"add chain ip kube-proxy {here}",
        f"{say} {here} ip daddr {target} ip saddr != {node.pods} jump mark-for-masquerade",
    ]
    lines += _backends_in_nft(here, service.backends[:1], proto)
    lines += [f"{say} services ip daddr {target} goto {here}"]
    if service.node_port:
        outside = f"external-{service.name}"
        addresses = ", ".join(map(str, node.addresses))
        lines += [f"add chain ip kube-proxy {outside}"]
        if service.local:
            lines += [f"{say} {outside} ip saddr {node.pods} goto {here}"]
            lines += [f"{say} {outside} fib saddr type local jump mark-for-masquerade"]
            lines += [f"{say} {outside} fib saddr type local goto {here}"]
        else:
            lines += [f"{say} {outside} jump mark-for-masquerade"]
        lines += _backends_in_nft(outside, node.backends(service)[:1], proto)
        lines += [f"{say} services ip daddr {{ {addresses} }} {proto} dport {service.node_port} goto {outside}"]
    return lines


def _backends_in_nft(chain: str, backends: Sequence[Backend], protocol: str) -> list[str]:
    say = f"add rule ip kube-proxy {chain}"
    return [
        line
        for one in backends
        for line in (
            f"{say} ip saddr {one.address} jump mark-for-masquerade",  # a hairpin
            f"{say} meta l4proto {protocol} dnat to {one.address}:{one.port}",
        )
    ]


def iptables(node: Node, services: Sequence[Service]) -> Script:
    """Return what kube-proxy's iptables mode writes."""
    nat = [
        "*nat",
        *(f":{name} - [0:0]" for name in ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ")),
        *(f":{prefix}-{service.name} - [0:0]" for service in services for prefix in ("KUBE-SVC", "KUBE-EXT")),
        "-A PREROUTING -j KUBE-SERVICES",
        "-A OUTPUT -j KUBE-SERVICES",
        "-A POSTROUTING -j KUBE-POSTROUTING",
        f"-A KUBE-MARK-MASQ -j MARK --or-mark {MARK:#x}",
        f"-A KUBE-POSTROUTING -m mark ! --mark {MARK:#x}/{MARK:#x} -j RETURN",
        f"-A KUBE-POSTROUTING -j MARK --xor-mark {MARK:#x}",
        "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
        *(line for service in services for line in _service_in_iptables(node, service)),
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
        "COMMIT",
        "*filter",
        ":KUBE-FORWARD - [0:0]",
        "-A FORWARD -j KUBE-FORWARD",
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
        f"-A KUBE-FORWARD -m mark --mark {MARK:#x}/{MARK:#x} -j ACCEPT",
        "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "COMMIT",
    ]
    return Script(("iptables-restore", "--noflush"), "\n".join(nat) + "\n")


def _service_in_iptables(node: Node, service: Service) -> list[str]:
    proto, here, outside = service.protocol, f"KUBE-SVC-{service.name}", f"KUBE-EXT-{service.name}"
    target = f"-d {service.address}/32 -p {proto} --dport {service.port}"
    lines = [f"-A KUBE-SERVICES {target} -j {here}", f"-A {here} ! -s {node.pods} {target} -j KUBE-MARK-MASQ"]
    lines += _backends_in_iptables(here, service.backends[:1], proto)
    if service.node_port:
        lines += [f"-A KUBE-NODEPORTS -p {proto} --dport {service.node_port} -j {outside}"]
        if service.local:
            lines += [f"-A {outside} -s {node.pods} -j {here}"]
            lines += [f"-A {outside} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"]
            lines += [f"-A {outside} -m addrtype --src-type LOCAL -j {here}"]
        else:
            lines += [f"-A {outside} -j KUBE-MARK-MASQ"]
        lines += _backends_in_iptables(outside, node.backends(service)[:1], proto)
    return lines


def _backends_in_iptables(chain: str, backends: Sequence[Backend], protocol: str) -> list[str]:
    return [
        line
        for one in backends
        for line in (
            f"-A {chain} -s {one.address}/32 -j KUBE-MARK-MASQ",
            f"-A {chain} -p {protocol} -m {protocol} -j DNAT --to-destination {one.address}:{one.port}",
        )
    ]


MODES: Final = MappingProxyType({"nftables": nftables, "iptables": iptables})
