"""The end of a takeover: what the predecessor left on this node goes, and with it the way back.

Each part says what it removes and why that may not go yet. What stays is told, and left for the next call, so that
nodes may be finished in any order: a node stops sending by flannel's tunnel at once, and receives by it until the
last node has stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from cloudnet.ipam.choose import pool_of
from cloudnet.kernel.api import MAIN_TABLE, Route
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.resources import BlockAffinity, IPPool, IPReservation, Node
from cloudnet.store import api
from cloudnet.store.api import NotFound, Store
from cloudnet.takeover import act, azure_cni, calico, detect, flannel, plan, read, vpc_cni
from cloudnet.takeover.act import Stopped
from cloudnet.takeover.facts import LABEL
from cloudnet.takeover.hands import Hands
from cloudnet.takeover.journal import FINISH, Journal, Phase
from cloudnet.takeover.plan import Job
from cloudnet.takeover.run import Done
from cloudnet.takeover.steps import Reserve

LEFT: Final = "cloudnet.io/takeover-left"
"""Label of a block's affinity: its node does not send by the predecessor's tunnel any more."""

_LINKS: Final = {vpc_cni.KIND: vpc_cni.LINKS, azure_cni.KIND: azure_cni.LINKS}


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that goes; ``why`` tells what still needs it, nothing when ``go`` may remove it."""

    name: str
    says: str
    why: Callable[[Hands, Job], str]
    go: Callable[[Hands, Job], None]


def finish(hands: Hands, journal: Journal) -> Iterator[Done]:
    """Remove what may go, and the journal with the last of it; what stays is told.

    Raises:
        Stopped: the node is not taken over whole; nothing was changed.
        CloudnetError: something cannot be removed; the next call goes on.
    """
    job = journal.job
    if job is None:
        return
    unfinished = [step.name for step in plan.steps(job) if not _is_done(journal, step.name)]
    if unfinished:
        raise Stopped(f"step {unfinished[0]!r} is not done: `takeover run` first, or `takeover rollback`")
    left = False
    for part in parts(job):
        why = part.why(hands, job)
        if not why:
            if FINISH not in journal.steps:
                journal.begin(FINISH, {})
            part.go(hands, job)
        left = left or bool(why)
        yield Done(part.name, Phase.KEPT if why else Phase.DONE, part.says, why)
    if not left:
        _remove_files(hands, journal, job)
        yield Done("files", Phase.DONE, "remove its configurations, its books and what the takeover noted")


def _is_done(journal: Journal, step: str) -> bool:
    entry = journal.steps.get(step)
    return entry is not None and entry.phase is Phase.DONE


def parts(job: Job) -> tuple[Part, ...]:
    """Return what a predecessor leaves on a node, in the order in which it goes."""
    return tuple(_parts(job))


def _parts(job: Job) -> Iterator[Part]:
    if job.kind == calico.KIND:
        yield Part("routes", "remove Calico's routes that were lowered", _lowered_are_needed, _remove_lowered)
    if job.kind == flannel.KIND:
        yield Part("routes", f"send by {flannel.DEVICE} no more", _sends_by_tunnel, _leave_tunnel)
        yield Part("masquerading", "remove flannel's iptables chains", _masquerading_is_needed, _stop_masquerading)
    if job.bridge:
        yield Part("bridge", f"remove bridge {job.bridge}, with its settings", _bridge_is_needed, _remove_bridge)
        yield Part("reservation", "let pods have the bridge's addresses", _bridge_is_there, _unreserve)
    if job.kind == flannel.KIND:
        yield Part("tunnel", f"remove {flannel.DEVICE}", _others_send, _remove_tunnel)
    if job.kind in detect.APART:
        yield Part("pods", "nothing: old pods have ended", _old_pods_are_there, _nothing)


# --- ways -------------------------------------------------------------------------------------------------------


def _unserved(hands: Hands, destinations: Collection[Network]) -> str:
    """Tell which destination that is some node's has no route of ours yet; others lead to nodes that are gone."""
    ours = {v.destination for v in hands.kernel.read().values() if isinstance(v, Route) and v.table == MAIN_TABLE}
    somebodys = {item.value.cidr for item in hands.store.list(BlockAffinity).items}
    somebodys |= {cidr for item in hands.store.list(Node).items for cidr in item.value.pod_cidrs}
    missing = sorted(str(one) for one in destinations if one in somebodys - ours)
    if not missing:
        return ""
    return f"there is no route of ours to {missing[0]} yet: is its node taken, and does the agent run?"


def _lowered_are_needed(hands: Hands, _job: Job) -> str:
    return _unserved(hands, hands.leavings.lowered())


def _remove_lowered(hands: Hands, _job: Job) -> None:
    for route in hands.leavings.lowered().values():
        hands.leavings.drop(route)


def _sends_by_tunnel(hands: Hands, _job: Job) -> str:
    return _unserved(hands, hands.leavings.over(flannel.DEVICE))


def _leave_tunnel(hands: Hands, job: Job) -> None:
    for route in hands.leavings.over(flannel.DEVICE).values():
        hands.leavings.drop(route)
    for item in hands.store.list(BlockAffinity).items:
        if item.value.node == job.node and LABEL in item.value.meta.labels:
            api.change(hands.store, BlockAffinity, item.value.meta.name, _has_left)


def _has_left(seen: BlockAffinity) -> BlockAffinity:
    return replace(seen, meta=replace(seen.meta, labels={**seen.meta.labels, LEFT: "yes"}))


def _others_send(hands: Hands, job: Job) -> str:
    """Tell who may still send by flannel's tunnel to this node; a node that never was flannel's does not."""
    sending = [node for node in _nodes(hands.store) if node != job.node and _sends(hands.store, node)]
    if not sending:
        return ""
    return f"node {sending[0]!r} may send by it: `takeover finish` there, then here again"


def _nodes(store: Store) -> list[NodeName]:
    return sorted(item.value.name for item in store.list(Node).items)


def _sends(store: Store, node: NodeName) -> bool:
    own = [item.value.meta.labels for item in store.list(BlockAffinity).items if item.value.node == node]
    return not own or any(LABEL in labels and LEFT not in labels for labels in own)


def _remove_tunnel(hands: Hands, _job: Job) -> None:
    hands.leavings.remove_device(flannel.DEVICE)


def _masquerading_is_needed(hands: Hands, job: Job) -> str:
    pools = tuple(item.value for item in hands.store.list(IPPool).items)
    pool = pool_of(pools, job.block) if job.block else None
    if not hands.leavings.masquerades() or (pool is not None and pool.nat_outgoing):
        return ""
    name = pool.meta.name if pool else act.POOL
    return f"pods would leave the cluster by their own addresses: set natOutgoing of pool {name!r} first"


def _stop_masquerading(hands: Hands, _job: Job) -> None:
    hands.leavings.stop_masquerading()


# --- what pods were on --------------------------------------------------------------------------------------------


def _bridge_is_needed(hands: Hands, job: Job) -> str:
    return _pods(len(hands.leavings.ports(job.bridge)))


def _pods(number: int) -> str:
    if not number:
        return ""
    return f"{number} pod{'s' if number > 1 else ''} from before the takeover {'run' if number > 1 else 'runs'} here"


def _remove_bridge(hands: Hands, job: Job) -> None:
    hands.leavings.remove_device(job.bridge)


def _bridge_is_there(hands: Hands, job: Job) -> str:
    return f"bridge {job.bridge!r} has one of them" if job.bridge in hands.kernel.links() else ""


def _unreserve(hands: Hands, job: Job) -> None:
    for step in plan.steps(job):
        if isinstance(step, Reserve):
            with suppress(NotFound):  # gone already
                hands.store.delete(IPReservation, act.reservation(step))


def _old_pods_are_there(hands: Hands, job: Job) -> str:
    return _pods(sum(name.startswith(_LINKS[job.kind]) for name in hands.kernel.links()))


def _nothing(_hands: Hands, _job: Job) -> None:
    """Do nothing: with the last of them all of it went."""


# --- on disk ------------------------------------------------------------------------------------------------------


def _remove_files(hands: Hands, journal: Journal, job: Job) -> None:
    """Remove the predecessor's configurations, lest the next `run` finds it again; the journal last."""
    folder = hands.place.configurations
    for name in act.names(journal.steps["cni"].before["aside"]):
        (folder / f"{name}{act.ASIDE}").unlink(missing_ok=True)
    while (found := detect.predecessor(read.facts(hands, job.node), ours=hands.place.program)) is not None:
        if found.kind != job.kind:
            break
        (folder / found.file).unlink(missing_ok=True)
    if job.block is not None:
        shutil.rmtree(hands.networks / job.network, ignore_errors=True)
    journal.close()
