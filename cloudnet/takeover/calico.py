"""Calico: what it stores is what we store, and its pods are wired as ours, so that both go on as they are.

What hands over is who acts. Felix's routes go below ours, its device goes on, and its iptables chains, which drop
pods that they do not know, go when our rules are in force. On the way back ours stay until Felix has written its own.
"""

from __future__ import annotations

from cloudnet.takeover.facts import Facts, Found

KIND = "calico"
LINKS = "cali"
DEVICE = "vxlan.calico"


def recognise(facts: Facts, ours: str) -> Found | None:
    """Return what says that Calico serves this node."""
    for one in facts.foreign(ours):
        if one.plugin("calico"):
            links = sum(name.startswith(LINKS) for name in facts.links)
            evidence = [f"{one.file} has plugin calico, network {one.network!r}", f"{links} pods have links {LINKS}…"]
            evidence += [f"device {DEVICE} is there"] if DEVICE in facts.links else []
            return Found(KIND, one.file, one.network, chain=one.chained(), evidence=tuple(evidence))
    return None
