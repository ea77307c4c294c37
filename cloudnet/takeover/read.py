"""Gather the facts of one node: its network configurations, devices, host-local's books, and what the store says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cloudnet.model.addresses import NodeName
from cloudnet.model.calico_ipam import CONFIGURATION
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPAMConfiguration, IPPool, Node
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.api import NotFound, Store
from cloudnet.takeover import hostlocal
from cloudnet.takeover.facts import Configuration, Facts, Plugin
from cloudnet.takeover.hands import Hands

_READ = frozenset({".conf", ".conflist", ".json"})  # what go-cni, CRI-O and libcni look at


def facts(hands: Hands, node: NodeName) -> Facts:
    """Return what there is of a node.

    Raises:
        NotFound: the store knows no such node.
        KernelError: the kernel cannot be read.
    """
    store = hands.store
    answers, agent = hands.agent()
    return Facts(
        node=store.get(Node, node).value,
        configurations=tuple(configurations(hands.place.configurations)),
        links=hands.kernel.links(),
        books=str(hands.networks),
        held=hostlocal.networks(hands.networks),
        pools=tuple(item.value for item in store.list(IPPool).items),
        affinities=tuple(item.value for item in store.list(BlockAffinity).items),
        blocks=tuple(item.value for item in store.list(IPAMBlock).items),
        rules=_rules(store),
        endpoints=tuple(i.value for i in store.list(WorkloadEndpoint).items if i.value.node == node),
        agent_answers=answers,
        agent=agent,
        calico_runs=hands.remains.runs(),
        calico_nftables=hands.remains.has_nftables(),
    )


def _rules(store: Store) -> IPAMConfiguration | None:
    try:
        return store.get(IPAMConfiguration, CONFIGURATION).value
    except NotFound:
        return None


def configurations(folder: Path) -> Iterator[Configuration]:
    """Yield the files that a runtime would read, in the order of their names; those without sense have no plugins."""
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir()):
        if file.suffix in _READ:
            yield _configuration(file.name, file.read_bytes())


def _configuration(name: str, text: bytes) -> Configuration:
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
        plugins = document.get("plugins", [document])
        return Configuration(name, str(document.get("name", "")), tuple(map(_plugin, plugins)))
    except (msgspec.MsgspecError, TypeError, AttributeError, KeyError):
        return Configuration(name)


def _plugin(document: Mapping[str, Any]) -> Plugin:  # Any: plugins of others have keys of their own
    within = {**document, **(document.get("delegate") or {})}
    ipam = within.get("ipam") or {}
    return Plugin(
        document["type"], str(within.get("bridge", "")), str(ipam.get("type", "")), str(ipam.get("dataDir", ""))
    )
