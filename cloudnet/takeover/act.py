"""Carry the steps out: one function a kind of step, over the doors that ``Hands`` holds.

``before`` notes what a step is about to change, ``do`` changes it, and may be called again after a kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

from cloudnet.cni import conflist, install
from cloudnet.errors import CloudnetError
from cloudnet.ipam import tunnel
from cloudnet.kernel.api import Put
from cloudnet.model.addresses import Address, Family, Network, NodeName, TableId
from cloudnet.model.calico_ipam import CONFIGURATION
from cloudnet.model.resources import (
    BlockAffinity,
    CloudNode,
    CloudRoute,
    IPAMConfiguration,
    IPPool,
    IPReservation,
    Metadata,
    Node,
    RouteState,
    Vtep,
)
from cloudnet.overlay import vxlan
from cloudnet.routes import claims
from cloudnet.store import api
from cloudnet.store.api import AlreadyExists, NotFound, Stored
from cloudnet.takeover import books, hostlocal
from cloudnet.takeover.facts import LABEL
from cloudnet.takeover.hands import Hands
from cloudnet.takeover.plan import Job
from cloudnet.takeover.steps import (
    AwaitAgent,
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

POOL: Final = "takeover"  # the pool that a takeover makes
ASIDE: Final = ".before-cloudnet"  # behind the name of a configuration that would come before ours
_PATIENCE: Final = 60.0  # seconds for an agent to take pods: it starts in one or two
_LOOK: Final = 0.1

Before: TypeAlias = Mapping[str, str]
_NOTHING: Final[Before] = {}


class Stopped(CloudnetError):
    """A step cannot go on; what was done stays, and the same command goes on from here."""

    retry = True


# --- before -------------------------------------------------------------------------------------------------


def before(step: Step, hands: Hands, job: Job) -> Before:
    """Return what has to be known to go back, and what is decided once."""
    match step:
        case GuardBooks():
            return _rules_before(hands)
        case ClaimBlock():
            return {"tunnel": str(_free_tunnel_end(hands, step, job) or "")}
        case Setting(setting=name):
            value = hands.kernel.sysctl(name)
            if value is None:
                raise Stopped(f"there is no setting {name!r}: is the bridge {job.bridge!r} gone?")
            return {"value": value}
        case LowerRoutes():
            return {"routes": ",".join(hands.remains.routes())}
        case SwitchCni():
            return _files_before(hands, step)
    return _NOTHING


def _rules_before(hands: Hands) -> Before:
    seen = rules(hands)
    if seen is None:
        return {"strict": "", "automatic": ""}
    return {"strict": _word(on=seen.value.strict_affinity), "automatic": _word(on=seen.value.auto_allocate_blocks)}


def _word(*, on: bool) -> str:
    return "yes" if on else "no"


def _free_tunnel_end(hands: Hands, step: ClaimBlock, job: Job) -> Address | None:
    """Return an address of the range for the VXLAN device that nobody has: the highest, far from the next pod's."""
    if hands.store.get(Node, step.node).value.vtep(Family.IPV4) is not None:
        return None
    folder = hands.networks / step.network
    taken = {one.address for one in hostlocal.networks(folder.parent).get(folder.name, ())}
    taken |= books.allocations(hands.store, step.block).keys()
    taken |= {step.block.network_address, step.block.broadcast_address, *job.gateways}
    block = step.block
    free = next((block[i] for i in range(block.num_addresses - 1, -1, -1) if block[i] not in taken), None)
    if free is None:
        raise Stopped(f"no address of {step.block} is free for the VXLAN device: move one pod away, then run again")
    return free


def _files_before(hands: Hands, step: SwitchCni) -> Before:
    folder, file = hands.place.configurations, hands.place.configuration_file
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in {".conf", ".conflist", ".json"})
    first = [name for name in names if name < step.file]
    return {
        "ours": file.read_text() if file.exists() else "",
        "program": "there" if hands.place.program_file.exists() else "",
        "aside": ",".join(first),
    }


# --- doing --------------------------------------------------------------------------------------------------


def do(step: Step, hands: Hands, was: Before) -> None:  # noqa: C901 - one line a kind of step
    """Carry a step out.

    Raises:
        CloudnetError: it cannot be; what was done stays, and the same call goes on.
    """
    match step:
        case GuardBooks():
            put_rules(hands, strict=True, automatic=False)
        case MakePool():
            _make_pool(hands, step)
        case Reserve():
            _reserve(hands, step)
        case CloseBooks():
            hostlocal.close(hands.networks / step.network, step.block)
        case ClaimBlock():
            _claim(hands, step, was)
        case Setting(setting=name, value=value):
            hands.kernel.set_sysctl(name, value)
        case AwaitAgent():
            _await_agent(hands)
        case LowerRoutes():
            for route in names(was["routes"]):
                hands.remains.lower(route)
        case RemoveChains():
            hands.remains.remove_chains()
        case AwaitRoutes():
            _await_routes(hands, step)
        case SwitchCni():
            _switch(hands, step, was)


def rules(hands: Hands) -> Stored[IPAMConfiguration] | None:
    try:
        return hands.store.get(IPAMConfiguration, CONFIGURATION)
    except NotFound:
        return None


def put_rules(hands: Hands, *, strict: bool, automatic: bool) -> None:
    if rules(hands) is None:
        with suppress(AlreadyExists):  # another node's takeover was first; it is edited below as any
            hands.store.create(IPAMConfiguration(Metadata(CONFIGURATION), strict, automatic))
    api.change(
        hands.store,
        IPAMConfiguration,
        CONFIGURATION,
        lambda seen: replace(seen, strict_affinity=strict, auto_allocate_blocks=automatic),
    )


def pool(hands: Hands) -> Stored[IPPool] | None:
    try:
        return hands.store.get(IPPool, POOL)
    except NotFound:
        return None


def _make_pool(hands: Hands, step: MakePool) -> None:
    wanted = IPPool(Metadata(POOL, labels={LABEL: "made"}), step.cidr, block_size=step.block_size)
    try:
        hands.store.create(wanted)
    except AlreadyExists:
        there = hands.store.get(IPPool, POOL).value
        if (there.cidr, there.block_size) != (wanted.cidr, wanted.block_size):
            raise Stopped(
                f"pool {POOL!r} is {there.cidr} in blocks of /{there.block_size}, and {wanted.cidr} in blocks of "
                f"/{wanted.block_size} is needed: delete it, or name its range"
            ) from None


def reservation(step: Reserve) -> str:
    return f"takeover-{step.node}"


def _reserve(hands: Hands, step: Reserve) -> None:
    with suppress(AlreadyExists):  # by ourselves, before we were killed
        hands.store.create(IPReservation(Metadata(reservation(step)), step.cidrs))


def _claim(hands: Hands, step: ClaimBlock, was: Before) -> None:
    """Lay the device first: as soon as others hear of a tunnel end they send to it."""
    end = ip_address(was["tunnel"]) if was["tunnel"] else None
    node = hands.store.get(Node, step.node).value
    if end is not None:
        _lay_device(hands, replace(node, vteps=(*node.vteps, Vtep(end, vxlan.mac_of(node.name, Family.IPV4)))))
    held = hostlocal.networks(hands.networks).get(step.network, ())
    books.claim(hands.store, step, held, end, hands.moment())
    tunnel.ensure(hands.store, hands.allocator(), step.node, hands.matches)


def _lay_device(hands: Hands, node: Node) -> None:
    config, address = hands.config, node.address(Family.IPV4)
    parent = next((link for link in hands.kernel.links().values() if address in link.addresses), None)
    if address is None or parent is None:
        raise Stopped(f"no device has the address {address} of node {node.name!r}: correct the Node")
    device = vxlan.device(
        node,
        Family.IPV4,
        parent=parent.name,
        underlay_mtu=parent.mtu,
        vni=config.vxlan_vni,
        port=config.vxlan_port,
        fixed_mtu=config.vxlan_mtu,
    )
    if device is not None and (failures := hands.kernel.apply([Put(device)])):
        raise failures[0].error


def _await_agent(hands: Hands) -> None:
    end = hands.clock.now() + _PATIENCE
    while True:
        answers, why = hands.agent()
        if answers and not why:
            return
        if hands.clock.now() >= end:
            raise Stopped(f"the agent takes no pods ({why}): see `cloudnet node status`, then run again or roll back")
        hands.clock.sleep(_LOOK)


def _await_routes(hands: Hands, step: AwaitRoutes) -> None:
    end = hands.clock.now() + _PATIENCE
    while why := _unrouted(hands, step.node):
        if hands.clock.now() >= end:
            raise Stopped(f"{why}: see `cloudnet routes`, then run again or roll back")
        hands.clock.sleep(_LOOK)


def _unrouted(hands: Hands, node: NodeName) -> str:
    """Say what keeps nodes that are not taken from reaching this node's blocks; nothing when all of them do."""
    found = (item.value for item in hands.store.list(BlockAffinity).items)
    own = [one.cidr for one in found if one.node == node and claims.counts(one)]
    if not own:
        return f"node {node!r} has no block yet"
    needed = sorted({table for item in hands.store.list(CloudNode).items for table in item.value.tables})
    if not needed:
        return "no controller has told which tables the cloud has"
    told = {item.value.cidr: item.value for item in hands.store.list(CloudRoute).items}
    return next((why for block in own for table in needed if (why := _missing(told.get(block), block, table))), "")


def _missing(route: CloudRoute | None, block: Network, table: TableId) -> str:
    status = route.status(table) if route else None
    if status is None:
        return (
            f"{block} has no route in {table}: a node that is not taken knows no other way, so let the controller "
            "write every route into every table (every_route_in_every_table) until the last has been taken"
        )
    if status.state is RouteState.PROGRAMMED:
        return ""
    return f"{block} is {status.state.value} in {table} ({status.detail or status.cause.value})"


def _switch(hands: Hands, step: SwitchCni, was: Before) -> None:
    options = conflist.Options(
        program=hands.place.program, name=step.network, chain=step.chain, agent_socket=hands.config.cni_socket
    )
    install.install(hands.place, conflist.write(options), hands.executable)
    for name in names(was["aside"]):
        rename(hands.place.configurations / name, f"{name}{ASIDE}")


def names(words: str) -> list[str]:
    return [word for word in words.split(",") if word]


def rename(file: Path, to: str) -> None:
    if file.exists():
        file.rename(file.with_name(to))
