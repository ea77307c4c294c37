"""Azure CNI: pods with addresses of the cloud's network, a link ``azv…`` and a route each, or a bridge ``azure0``.

As with the AWS VPC CNI, what is laid stays as long as the pod, and new pods have addresses of a pool of ours. Its
state files are left as they are: what they say of pods that ended while the node was ours, Azure's agents have to
clear.
"""

from __future__ import annotations

from cloudnet.takeover.facts import Facts, Found

KIND = "azure-cni"
LINKS = "azv"
BRIDGE = "azure0"


def recognise(facts: Facts, ours: str) -> Found | None:
    """Return what says that Azure CNI serves this node."""
    for one in facts.foreign(ours):
        if one.plugin("azure-vnet"):
            links = sum(name.startswith(LINKS) for name in facts.links)
            evidence = [f"{one.file} has plugin azure-vnet, network {one.network!r}"]
            evidence.append(
                f"bridge {BRIDGE} is there" if BRIDGE in facts.links else f"{links} pods have links {LINKS}…"
            )
            return Found(KIND, one.file, one.network, chain=one.chained(), evidence=tuple(evidence))
    return None
