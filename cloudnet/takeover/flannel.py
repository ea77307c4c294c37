"""flannel: a bridge with host-local as kubenet has it, and between nodes VXLAN of its own, or routes.

flanneld has nothing to do with pods: it watches nodes and keeps ``flannel.1`` and the routes to other nodes' ranges.
It stays while nodes are taken over, so that both kinds of nodes reach each other, nodes that join included, and goes
when the last has been taken. What puts its configuration back on a restart comes after ours by name.
"""

from __future__ import annotations

from cloudnet.takeover.facts import Facts, Found

KIND = "flannel"
BRIDGE = "cni0"  # of the plugin bridge, to which the plugin flannel delegates
DEVICE = "flannel.1"  # the VXLAN backend's, flannel.VNI


def recognise(facts: Facts, ours: str) -> Found | None:
    """Return what says that flannel serves this node."""
    for one in facts.foreign(ours):
        plugin = one.plugin("flannel")
        if plugin is None:
            continue
        bridge = plugin.bridge or BRIDGE
        evidence = [f"{one.file} has plugin flannel, network {one.network!r}"]
        evidence += [f"device {name} is there" for name in (DEVICE, bridge) if name in facts.links]
        if facts.held.get(one.network):
            evidence.append(f"host-local has given {len(facts.held[one.network])} addresses")
        return Found(KIND, one.file, one.network, bridge, plugin.folder, one.chained(), tuple(evidence))
    return None
