"""kubenet: a bridge with all pods of the node on it, and host-local, which counts the node's pod range.

Inside the kubelet it is gone since Kubernetes 1.24; what clouds call kubenet now is a list of the plugins ``bridge``
and ``host-local`` that the runtime writes from a template. Between nodes the cloud's route tables lead, one route a
node, written by the cloud controller manager.
"""

from __future__ import annotations

from cloudnet.takeover.facts import Facts, Found

KIND = "kubenet"
BRIDGE = "cbr0"  # kubenet's own, and that of the lists that took its place


def recognise(facts: Facts, ours: str) -> Found | None:
    """Return what says that kubenet serves this node."""
    for one in facts.foreign(ours):
        plugin = one.plugin("bridge")
        if plugin is None or plugin.ipam != "host-local":
            continue
        bridge = plugin.bridge or "cni0"  # the plugin's own default
        if bridge != BRIDGE and not facts.node.pod_cidrs:
            continue
        evidence = [f"{one.file} has plugin bridge with host-local, network {one.network!r}"]
        if bridge in facts.links:
            evidence.append(f"bridge {bridge} is there")
        if facts.held.get(one.network):
            evidence.append(f"host-local has given {len(facts.held[one.network])} addresses")
        return Found(KIND, one.file, one.network, bridge, plugin.folder, one.chained(), tuple(evidence))
    return None
