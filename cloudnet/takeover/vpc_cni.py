"""The AWS VPC CNI: pods with addresses of the cloud's subnets, a link ``eni…`` each, and routing rules by address.

Nothing of that needs its daemon once it is there, so pods that run go on while it is gone; new pods have addresses of
a pool of ours. Back on the node, ipamd forgets pods that ended meanwhile by itself: it looks for their links, and
removes their rules (amazon-vpc-cni-k8s ``datastore/data_store.go``, normalizeCheckpointDataByPodVethExistence).
"""

from __future__ import annotations

from cloudnet.takeover.facts import Facts, Found

KIND = "vpc-cni"
LINKS = "eni"  # AWS_VPC_K8S_CNI_VETHPREFIX


def recognise(facts: Facts, ours: str) -> Found | None:
    """Return what says that the AWS VPC CNI serves this node."""
    for one in facts.foreign(ours):
        if one.plugin("aws-cni"):
            links = sum(name.startswith(LINKS) for name in facts.links)
            evidence = (
                f"{one.file} has plugin aws-cni, network {one.network!r}",
                f"{links} pods have links {LINKS}…",
            )
            return Found(KIND, one.file, one.network, chain=one.chained(), evidence=evidence)
    return None
