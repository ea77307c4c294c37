"""Take the steps back: one function a kind of step. What may not go yet stays, for a reason, until the next call.

Pods that came while the node was ours stay until they end, as pods that came before did on the way forth. As long as
one is there, what leads to it stays: its address in the books, the tunnel's end, the bridge's answers for it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Final

from cloudnet.cni import install
from cloudnet.ipam import tunnel
from cloudnet.kernel.api import KernelError
from cloudnet.model.addresses import Family
from cloudnet.model.calico_ipam import CONFIGURATION
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPAMConfiguration, IPPool, IPReservation, Node
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store import api
from cloudnet.store.api import NotFound
from cloudnet.takeover import act, books, detect, hostlocal
from cloudnet.takeover.act import Before
from cloudnet.takeover.facts import LABEL
from cloudnet.takeover.hands import Hands
from cloudnet.takeover.plan import Job
from cloudnet.takeover.steps import (
    AwaitRoutes,
    ClaimBlock,
    CloseBooks,
    GuardBooks,
    LowerRoutes,
    MakePool,
    RemoveChains,
    Reserve,
    Setting,
    Step,
    SwitchCni,
)

_GUARDED: Final = {"strict": "yes", "automatic": "no"}


def undo(  # noqa: C901, PLR0911 - one line a kind of step
    step: Step, hands: Hands, job: Job, was: Before, *, switched: bool
) -> str:
    """Take a step back; return why something of it has to stay for now. ``switched``: pods may have come to us.

    Raises:
        CloudnetError: it cannot be; the same call goes on.
    """
    match step:
        case GuardBooks():
            return _unguard(hands, job, was)
        case MakePool():
            return _remove_pool(hands, job)
        case Reserve():
            return _forget(hands, step)
        case CloseBooks():
            return _open_books(hands, step, job, switched=switched)
        case ClaimBlock():
            hands.allocator().release_block(step.node, step.block, in_use=True)
        case LowerRoutes():
            for route in act.names(was["routes"]):
                hands.remains.raise_again(route)
        case RemoveChains():
            return _hand_back_enforcing(hands)
        case AwaitRoutes():
            return _leave_blocks(hands, step)
        case Setting():
            return _put_back(hands, step, job, was)
        case SwitchCni():
            _switch_back(hands, was)
    return ""


def _unguard(hands: Hands, job: Job, was: Before) -> str:
    seen = act.rules(hands)
    if seen is None or was == _GUARDED or books.others(hands.store, job.node):
        return ""
    if hands.agent()[0]:
        return "the agent here would claim blocks: stop it first"
    if not was["strict"]:
        hands.store.delete(IPAMConfiguration, CONFIGURATION, expected=seen.revision)
    else:
        act.put_rules(hands, strict=was["strict"] == "yes", automatic=was["automatic"] == "yes")
    return ""


def _remove_pool(hands: Hands, job: Job) -> str:
    """Remove the pool that some takeover made, this node's or another's, when no node needs it any more."""
    pool = act.pool(hands)
    if pool is None or LABEL not in pool.value.meta.labels or books.others(hands.store, job.node):
        return ""
    found = (item.value for item in hands.store.list(IPAMBlock).items)
    inside = [block for block in found if block.cidr.version == pool.value.cidr.version]
    inside = [block for block in inside if block.cidr.overlaps(pool.value.cidr)]
    if any(block.affinity and block.affinity.host != job.node for block in inside):
        return ""  # another node's, which removes it when it goes back
    if inside:
        return f"pool {act.POOL!r} has addresses in use"
    hands.store.delete(IPPool, act.POOL, expected=pool.revision)
    return ""


def _open_books(hands: Hands, step: CloseBooks, job: Job, *, switched: bool) -> str:
    there = books.allocations(hands.store, step.block)
    left = books.ours(hands.store, job.node, step.block)
    owner = books.owner_after(there, step.network, switched=switched, keep_tunnel=bool(left))
    hostlocal.open_again(hands.networks / step.network, step.block, owner)
    return ""


def _forget(hands: Hands, step: Reserve) -> str:
    held = hostlocal.networks(hands.networks).get(step.network, ())
    books.forget(hands.store, step, held, hands.allocator())
    with suppress(NotFound):  # gone already
        hands.store.delete(IPReservation, act.reservation(step))
    left = books.ours(hands.store, step.node, step.block)
    if left:
        return f"{_count(len(left))} of ours have addresses of {step.block}, and so the tunnel's stays too"
    if hands.agent()[0]:
        return "other nodes may send by VXLAN as long as an agent runs here: stop it first"
    hands.allocator().release_by_handle(tunnel.handle(step.node, Family.IPV4))
    hostlocal.unmark(hands.networks / step.network)
    api.change(hands.store, Node, step.node, lambda seen: replace(seen, vteps=()))
    return ""


def _hand_back_enforcing(hands: Hands) -> str:
    """Our rules go when Calico's are there, and not before: some rules are in force at every moment."""
    if hands.agent()[0]:
        return "our rules stay in force while the agent runs: stop it, and start calico-node here"
    if not hands.remains.chains():
        return "our rules stay in force until calico-node has written its own: start it here"
    hands.remains.drop_ours()
    return ""


def _leave_blocks(hands: Hands, step: AwaitRoutes) -> str:
    """Let go of all blocks of a node whose pods had others' addresses before."""
    if left := books.ours(hands.store, step.node, None):
        return f"{_count(len(left))} of ours have addresses of the node's blocks"
    if hands.agent()[0]:
        return "the agent here would claim blocks again: stop it first"
    allocator = hands.allocator()
    allocator.release_by_handle(tunnel.handle(step.node, Family.IPV4))
    for item in hands.store.list(BlockAffinity).items:
        if item.value.node == step.node:
            allocator.release_block(step.node, item.value.cidr)
    api.change(hands.store, Node, step.node, lambda seen: replace(seen, vteps=()))
    return ""


def notice_gone(hands: Hands, job: Job) -> None:
    """Let go of what pods of ours had that have ended since: their DEL went to the predecessor, not to us."""
    if job.kind in detect.APART:
        _notice_gone_links(hands, job)
    if job.block is None:
        return
    given = {one.address: one for one in hostlocal.networks(hands.networks).get(job.network, ())}
    for one in books.ours(hands.store, job.node, job.block):
        if given.get(one.address) != books.container(one, job.network):
            books.let_go(hands.store, one, job.network, hands.allocator())


def _notice_gone_links(hands: Hands, job: Job) -> None:
    """Where no books of the predecessor's tell, a link that is gone does: it goes with its pod's namespace."""
    links = hands.kernel.links()
    there = {
        item.value.container_id
        for item in hands.store.list(WorkloadEndpoint).items
        if item.value.node == job.node and item.value.interface in links
    }
    for one in books.ours(hands.store, job.node, None):
        if books.container(one, job.network).container not in there:
            books.let_go(hands.store, one, job.network, hands.allocator())


def _put_back(hands: Hands, step: Setting, job: Job, was: Before) -> str:
    left = books.ours(hands.store, job.node, job.block) if job.block else ()
    if left:
        return f"{_count(len(left))} of ours are reached that way"
    try:
        hands.kernel.set_sysctl(step.setting, was["value"])
    except KernelError:
        if hands.kernel.sysctl(step.setting) is not None:
            raise
    return ""


def _count(pods: int) -> str:
    return "1 pod" if pods == 1 else f"{pods} pods"


def _switch_back(hands: Hands, was: Before) -> None:
    """First what was there, then ours away: the folder is never without a configuration."""
    for name in act.names(was["aside"]):
        aside = hands.place.configurations / f"{name}{act.ASIDE}"
        if (hands.place.configurations / name).exists():
            aside.unlink(missing_ok=True)  # its owner has put it back already
        else:
            act.rename(aside, name)
    if was["ours"]:
        install.put(hands.place.configuration_file, was["ours"].encode(), 0o600)
    else:
        install.take(hands.place.configuration_file)
