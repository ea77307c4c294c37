"""Policy with its doors: what ``policy.py`` needs of this host, put together for the programs that keep policy."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial

from cloudnet.agent.policy import PolicyKeeper, PolicyThread
from cloudnet.agent.policy_log import PolicyLog
from cloudnet.clock import Clock
from cloudnet.config import AgentConfig
from cloudnet.kernel import connections
from cloudnet.kernel.netlink import NetlinkKernel
from cloudnet.kernel.nflog import NflogSocket
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.model.addresses import Address
from cloudnet.model.cluster_events import Tell
from cloudnet.policy import convert
from cloudnet.policy.options import Options
from cloudnet.store import records
from cloudnet.store.informer import Informer

_IPVS = "kube-ipvs0"


@contextmanager
def enforcing(config: AgentConfig, wanted: Options, clock: Clock, tell: Tell) -> Iterator[PolicyThread]:
    """Keep policy in force until the block ends, and tell what it denies; what stands in the kernel stays.

    The thread opens its door when the node has its first endpoint.
    """
    keeper = PolicyKeeper(
        config.node,
        wanted,
        lambda: NftLibrary(allow_host_network=config.allow_host_network),
        lambda: addresses_of_interfaces(config),
        resync=config.resync_seconds,
        forget=partial(connections.forget, allow_host_network=config.allow_host_network),
        bypassed=lambda: bypassed_by(name for _, name in socket.if_nameindex()),
        tell=tell,
    )
    with closing(PolicyThread(keeper, clock)) as thread:
        if not config.log_denied:
            yield thread
            return
        with closing(PolicyLog(lambda: NflogSocket(wanted.log_group), thread.names)):
            yield thread


def bypassed_by(devices: Iterable[str]) -> str:
    """Return who on a host with such devices sends packets past policy; nothing where nobody does. Pure.

    IPVS takes a packet for a service in at the node and sends it on as the node's own, which may always speak to its
    pods (Kubernetes ``pkg/proxy/ipvs/proxier.go``: its device has all services' addresses).
    """
    if _IPVS not in devices:
        return ""
    return (
        f"kube-proxy runs in IPVS mode here (device {_IPVS}): who reaches pods of this node by a service meets no "
        "ingress policy; let kube-proxy run in its nftables or iptables mode, and remove the device"
    )


def addresses_of_interfaces(config: AgentConfig) -> Mapping[Address, str]:
    """Return which interface has which address, by a door for the calling thread alone."""
    with closing(NetlinkKernel(allow_host_network=config.allow_host_network)) as kernel:
        return {address.ip: link.name for link in kernel.links().values() for address in link.addresses}


def unreadable_policies(informer: Informer) -> Iterator[str]:
    """Yield a sentence for each policy that cannot be read; what it said last, if anything, is still in force."""
    for (kind, (namespace, name)), why in informer.unreadable.items():
        if kind in convert.POLICY_KINDS:
            title = records.title(kind.__name__, name, namespace)
            problems = "; ".join(why.splitlines())
            yield f"{title} cannot be read, what it said last stays in force: {problems}: mend or delete it"
