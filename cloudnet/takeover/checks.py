"""What must hold before a node is taken over, and what must hold afterwards. Pure.

Each check answers for itself: nothing, a warning, or a reason to stop, with what to do about it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cloudnet.ipam.choose import pool_of
from cloudnet.model.addresses import Network
from cloudnet.model.resources import EncapMode
from cloudnet.takeover import books, detect, plan, vpc_cni
from cloudnet.takeover.facts import Facts, Found, Wanted
from cloudnet.takeover.plan import Job


class Verdict(enum.StrEnum):
    """How a check ends."""

    OK = "ok"
    WARNING = "warning"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, what was found, and what to do where it stands in the way."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def blocked(checks: Iterable[Check]) -> bool:
    return any(check.verdict is Verdict.BLOCKS for check in checks)


def _ok(name: str, found: str) -> Check:
    return Check(name, Verdict.OK, found)


def _blocks(name: str, found: str, remedy: str) -> Check:
    return Check(name, Verdict.BLOCKS, found, remedy)


# --- before -------------------------------------------------------------------------------------------------


def before(facts: Facts, found: Found | None, wanted: Wanted) -> tuple[Check, ...]:
    """Return what was looked at before anything is changed."""
    if found is None:
        names = ", ".join(one.file for one in facts.configurations) or "no configuration at all"
        return (
            _blocks(
                "predecessor",
                f"no pod network that is known here: there is {names}",
                "name the folder of the runtime's configurations with --conf-dir; without any network there is "
                "nothing to take over: `cloudnet cni install`",
            ),
        )
    return tuple(_before(facts, found, wanted))


def _before(facts: Facts, found: Found, wanted: Wanted) -> Iterator[Check]:
    yield _ok("predecessor", f"{found.kind}: {'; '.join(found.evidence)}")
    yield _in_force(facts, found, wanted)
    yield _agent(facts)
    yield _address(facts)
    if found.kind in detect.BRIDGED:
        yield from _range(facts, found, wanted)
    elif found.kind in detect.APART:
        yield from _apart(facts, found, wanted)
    else:
        yield _calico_stopped(facts)
        yield _calico_pools(facts)
        yield _calico_rules(facts)


def _calico_stopped(facts: Facts) -> Check:
    if facts.calico_runs:
        return _blocks(
            "calico-node",
            "calico-node runs here",
            "stop it on this node first, by its DaemonSet's nodeSelector: it would undo what the agent lays",
        )
    return _ok("calico-node", "none is seen here; what it laid goes on")


def _calico_rules(facts: Facts) -> Check:
    if facts.calico_nftables:
        return _blocks(
            "rules",
            "Calico enforces by nftables tables of its own here",
            "set nftablesMode: Disabled and let calico-node restart first: only iptables chains are removed",
        )
    return _ok("rules", "Calico enforces by iptables chains, if at all")


def _calico_pools(facts: Facts) -> Check:
    """Peers of another mode know this node's blocks by BGP, and forget them when its BIRD has stopped."""
    other = [p.meta.name for p in facts.pools if not p.disabled and p.vxlan_mode is not EncapMode.ALWAYS]
    if not facts.pools or other:
        return _blocks(
            "pools",
            f"{', '.join(other) or 'no pool'}: not vxlanMode Always",
            "let Calico use VXLAN for all of a pool first: what peers know by BGP goes when BIRD stops here",
        )
    return _ok("pools", "all by VXLAN, which needs nothing of calico-node's on this node")


def _apart(facts: Facts, found: Found, wanted: Wanted) -> Iterator[Check]:
    """Look at a predecessor whose addresses are the cloud's, so that ours are others."""
    ranges = [wanted.pool] if wanted.pool else [pool.cidr for pool in facts.pools if not pool.disabled]
    if not ranges:
        yield _blocks("pool", "there is no pool", "name a range for pods that is none of the cloud's with --pool")
        return
    near = [f"{a.network} of {a.ip}" for a in facts.node.addresses if any(_overlap(a.network, r) for r in ranges)]
    if near:
        yield _blocks(
            "pool", f"the range for pods overlaps {', '.join(near)}", "choose one that is none of the cloud's"
        )
    else:
        yield _ok("pool", f"new pods have addresses of {', '.join(map(str, ranges))}")
    if found.kind == vpc_cni.KIND:
        yield Check(
            "source addresses",
            Verdict.WARNING,
            "pods of nodes that are not taken reach ours with the address of their node",
            f"set AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS={','.join(map(str, ranges))} on aws-node where that matters",
        )


def _in_force(facts: Facts, found: Found, wanted: Wanted) -> Check:
    first = next((one for one in facts.configurations if one.plugins), None)
    if first is None or first.file == found.file:
        return _ok("configuration", f"the runtime uses {found.file}")
    if first.plugin(wanted.program):
        return Check(
            "configuration",
            Verdict.WARNING,
            f"{first.file} is ours and comes before {found.file}: new pods come to us already",
            "let no installer put ours there before the takeover: until it is done, addresses may be given twice",
        )
    return _blocks(
        "configuration",
        f"the runtime uses {first.file}, not {found.file} of {found.kind}",
        "remove what is not in use, so that it is clear what is taken over",
    )


def _agent(facts: Facts) -> Check:
    if facts.agent_answers:
        return _ok("agent", "an agent runs here")
    return _blocks("agent", facts.agent, "start the agent of this node first: it must be there when pods come to it")


def _address(facts: Facts) -> Check:
    own = [link.name for link in facts.links.values() if set(link.addresses) & set(facts.node.addresses)]
    if own:
        return _ok("node address", f"{', '.join(map(str, facts.node.addresses))} is on {', '.join(own)}")
    return _blocks(
        "node address",
        f"no device here has an address of node {facts.node.name!r}",
        "correct the addresses of the Node, or name the node that this machine is with --node",
    )


def _range(facts: Facts, found: Found, wanted: Wanted) -> Iterator[Check]:
    block = plan.own_range(facts)
    if block is None:
        yield _blocks(
            "pod range",
            f"node {facts.node.name!r} has no IPv4 pod range",
            "let Kubernetes give nodes ranges (--allocate-node-cidrs), or write podCIDRs into the Node",
        )
        return
    yield _ok("pod range", f"{block}, as Kubernetes gave it")
    if any(cidr.version != block.version for cidr in facts.node.pod_cidrs):
        yield _blocks(
            "families",
            "the node has ranges of both families",
            "pods on a bridge find those of ours by ARP, for which IPv6 has no like: drain such a node instead",
        )
    yield _pool(facts, block, wanted)
    yield _bridge(facts, found, block)
    yield _addresses(facts, found, block)
    yield _owner(facts, block)
    yield _rules(facts)


def _pool(facts: Facts, block: Network, wanted: Wanted) -> Check:
    pool = pool_of(facts.pools, block)
    if pool is None and wanted.pool is None:
        return _blocks(
            "pool",
            f"no pool has the range {block}",
            "name the cluster's range of pod addresses with --pool, and a pool is made of it",
        )
    if pool is None:
        if wanted.pool and wanted.pool.version == block.version and block.subnet_of(wanted.pool):  # type: ignore[arg-type]  # one family
            return _ok("pool", f"{wanted.pool} becomes a pool in blocks of /{block.prefixlen}")
        return _blocks("pool", f"{block} is not in {wanted.pool}", "name the whole cluster's range with --pool")
    if pool.disabled or pool.block_size != block.prefixlen:
        how = "is disabled" if pool.disabled else f"has blocks of /{pool.block_size}"
        return _blocks(
            "pool",
            f"pool {pool.meta.name!r} ({pool.cidr}) {how}, and the node's range is {block}",
            f"make the pool anew with blockSize {block.prefixlen}: a node's range must be one block, and one route",
        )
    return _ok("pool", f"pool {pool.meta.name!r} has the range as one block")


def _bridge(facts: Facts, found: Found, block: Network) -> Check:
    bridge = facts.links.get(found.bridge)
    if bridge is None:
        return _blocks(
            "bridge",
            f"there is no device {found.bridge}",
            "a bridge comes with the first pod: start one here, or install cloudnet directly on a node without pods",
        )
    if any(address.network == block for address in bridge.addresses):
        return _ok("bridge", f"{bridge.name} has {', '.join(map(str, bridge.addresses))}")
    return _blocks(
        "bridge",
        f"{bridge.name} has {', '.join(map(str, bridge.addresses)) or 'no address'}, not one of {block}",
        "the bridge and the Node must agree on the node's range: drain the node, and delete the bridge",
    )


def _addresses(facts: Facts, found: Found, block: Network) -> Check:
    if found.books and found.books.rstrip("/") != facts.books.rstrip("/"):
        return _blocks(
            "addresses",
            f"host-local keeps its books in {found.books}, and {facts.books} was looked at",
            f"say --networks {found.books}",
        )
    held = facts.held.get(found.network, ())
    outside = [str(one.address) for one in held if one.address not in block]
    if outside:
        return _blocks(
            "addresses",
            f"host-local has given {', '.join(outside[:3])}, outside of {block}",
            "such pods are of an earlier range: delete them first",
        )
    return _ok("addresses", f"{len(held)} pods have addresses from host-local and keep them")


def _owner(facts: Facts, block: Network) -> Check:
    rivals = [a for a in facts.affinities if a.node != facts.node.name and not a.deleted and _overlap(a.cidr, block)]
    if rivals:
        names = ", ".join(f"{a.cidr} of {a.node}" for a in rivals)
        return _blocks(
            "owner", f"{block} overlaps {names}", "release these blocks: `cloudnet ipam show --show-blocks`"
        )
    return _ok("owner", "no other node has a block in the range")


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _rules(facts: Facts) -> Check:
    rules = facts.rules
    if rules is not None and rules.strict_affinity and not rules.auto_allocate_blocks:
        return _ok("block rules", "no node may take blocks or addresses of another's range")
    return Check(
        "block rules",
        Verdict.OK,
        "nodes may claim blocks by themselves now; the takeover forbids it as its first step",
    )


# --- afterwards ---------------------------------------------------------------------------------------------


def after(facts: Facts, job: Job, *, ours: str) -> tuple[Check, ...]:
    """Return what was looked at when all steps were done."""
    return tuple(_after(facts, job, ours))


def _after(facts: Facts, job: Job, ours: str) -> Iterator[Check]:
    first = facts.configurations[0] if facts.configurations else None
    if first and first.plugin(ours):
        yield _ok("configuration", f"the runtime uses {first.file}, which is ours")
    else:
        name = first.file if first else "none"
        yield _blocks("configuration", f"the runtime uses {name}", "run again: somebody put it there meanwhile")
    if facts.agent:
        yield _blocks("agent", facts.agent, "see `cloudnet node status`")
    else:
        yield _ok("agent", "takes pods")
    if job.block is not None:
        yield _counted(facts, job, job.block)


def _counted(facts: Facts, job: Job, block: Network) -> Check:
    mine = next((one for one in facts.blocks if one.cidr == block and one.affinity), None)
    if mine is None or mine.affinity is None or mine.affinity.host != job.node:
        return _blocks("addresses", f"{block} is not the node's block", "run again")
    counted = books.addresses(mine)
    lost = [str(one.address) for one in facts.held.get(job.network, ()) if one.address not in counted]
    if lost:
        return _blocks("addresses", f"{', '.join(lost[:3])} could be given twice", "roll back, and report this")
    return _ok("addresses", f"all {len(facts.held.get(job.network, ()))} addresses of host-local are in our books")
