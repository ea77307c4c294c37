"""``cloudnet routes``: the path to each remote block and why it was chosen; with ``--store``, the cloud's side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

import typer

from cloudnet.cli import ask, output
from cloudnet.errors import BadInput
from cloudnet.model.paths import PathKind, Reason
from cloudnet.model.resources import CloudRoute

KINDS: Mapping[str, str] = {
    PathKind.NATIVE.value: "by the cloud's route table, through the subnet's gateway",
    PathKind.DIRECT.value: "straight to the node, inside its subnet",
    PathKind.VXLAN.value: "in a VXLAN tunnel from node to node",
    PathKind.IPIP.value: "in an IP-in-IP tunnel from node to node",
    PathKind.BGP.value: "by a router that BGP peers name",
    PathKind.NONE.value: "not at all",
}

REASONS: Mapping[str, str] = {
    Reason.PROVEN.value: "a way without encapsulation is there, and probes come back over it",
    Reason.PENDING.value: "the cloud route is not there yet",
    Reason.PROVING.value: "the route is there; probes have yet to show that packets follow it",
    Reason.QUOTA.value: "the cloud's route table is full: raise the quota, or give the nodes fewer, larger blocks",
    Reason.PERMISSION.value: "the cloud denies the call: look which permission the detail names",
    Reason.THROTTLED.value: "the cloud wants fewer calls; the route follows by itself",
    Reason.CONFLICT.value: "somebody else's route stands in the table: remove it, or change the pool",
    Reason.UNAVAILABLE.value: "the cloud does not answer; the route follows by itself",
    Reason.UNSUPPORTED.value: "the cloud cannot route this",
    Reason.BLACK_HOLED.value: "the cloud says that the route leads nowhere: is the instance running?",
    Reason.WITHDRAWING.value: "the cloud route is about to be removed",
    Reason.PROBES_LOST.value: "cloud or BGP says that the route is fine, but packets over it are lost",
    Reason.HELD.value: "the native path broke not long ago; it waits out its hold-down",
    Reason.FORWARDING.value: "the fabric drops pod addresses at one of the two nodes: allow forwarding there",
    Reason.POOL_MODE.value: "the pool asks for this",
    Reason.NO_CLOUD.value: "no cloud provider speaks for one of the two nodes",
    Reason.NOT_LEARNED.value: "no BGP peer tells of a way there: look at the sessions, `cloudnet node status`",
    Reason.NO_VTEP.value: "the remote node has not published its tunnel end: is its agent running?",
    Reason.DUPLICATE.value: "two nodes claim this block, or overlapping ones: take it from one of them",
}


@dataclass(frozen=True, slots=True)
class PathRow:
    """One path as an agent prints it; text, so that an older command reads a newer agent."""

    block: str
    node: str
    kind: str
    reason: str
    next_hop: str | None = None
    mtu: int = 0
    detail: str = ""
    since: float = 0.0


R = TypeVar("R", "PathRow", "CloudRow")


@dataclass(frozen=True, slots=True)
class Paths:
    """An agent's answer to ``paths``."""

    node: str
    paths: tuple[PathRow, ...] = ()


@dataclass(frozen=True, slots=True)
class CloudRow:
    """One block in one cloud route table. ``since`` is wall-clock seconds."""

    block: str
    node: str
    table: str
    state: str
    cause: str
    detail: str
    since: float


def run(
    *,
    socket: ask.Socket = "/run/cloudnet/agent.sock",
    node: ask.LabNode = "",
    lab: ask.LabName = "lab",
    store: Annotated[str, typer.Option(help="show where each block stands in the cloud's tables instead")] = "",
    explain: Annotated[str, typer.Option(metavar="NODE", help="only the blocks of this node, told at length")] = "",
    form: output.Output = output.Format.TABLE,
) -> None:
    """Show the path to every remote block, the reason for it and since when."""
    if store:
        show_cloud(_only(read_cloud(store), explain), form)
        return
    answer = read_paths(ask.lab_socket(lab, node) if node else socket)
    rows = _only(answer.paths, explain)
    if form is output.Format.JSON:
        output.print_json(Paths(answer.node, rows))
    elif explain:
        print_explained(answer.node, rows)
    else:
        print_paths(rows)


def read_paths(socket: str) -> Paths:
    """Return what the agent at ``socket`` has chosen."""
    import msgspec  # noqa: PLC0415 - `cloudnet --help` needs no JSON

    line = ask.agent(socket, "paths")
    try:
        return msgspec.json.decode(line, type=Paths)
    except msgspec.ValidationError as e:
        raise ask.AgentRefused(
            f"the agent's answer is not understood ({e}): are agent and command of one version?"
        ) from e


def read_cloud(url: str) -> tuple[CloudRow, ...]:
    """Return where each block stands in each cloud table, as the controller wrote it down."""
    with ask.store(url) as store:
        routes = [stored.value for stored in store.list(CloudRoute).items]
    return tuple(
        CloudRow(
            block=str(route.cidr),
            node=route.node,
            table=status.table,
            state=status.state.value,
            cause=status.cause.value,
            detail=status.detail,
            since=status.since,
        )
        for route in routes
        for status in route.tables
    )


def show_cloud(rows: Iterable[CloudRow], form: output.Format) -> None:
    if form is output.Format.JSON:
        output.print_json({"routes": tuple(rows)})
        return
    now = output.wall()
    output.print_table(
        ("BLOCK", "NODE", "TABLE", "STATE", "CAUSE", "SINCE", "DETAIL"),
        ((r.block, r.node, r.table, r.state, r.cause, output.ago(r.since, now), r.detail) for r in rows),
        empty="no block has a cloud route",
    )


def print_paths(rows: Iterable[PathRow]) -> None:
    now = output.wall()
    output.print_table(
        ("BLOCK", "NODE", "PATH", "REASON", "NEXT HOP", "MTU", "SINCE", "DETAIL"),
        (
            (r.block, r.node, r.kind, r.reason, r.next_hop, r.mtu or "-", output.ago(r.since, now), r.detail)
            for r in rows
        ),
        empty="no remote blocks",
    )


def print_explained(node: str, rows: Iterable[PathRow]) -> None:
    now = output.wall()
    for row in rows:
        output.print_fields(
            {
                "block": row.block,
                "from, to": f"{node} → {row.node}",
                "path": f"{row.kind}: {KINDS.get(row.kind, 'in a way that this version does not know')}",
                "reason": f"{row.reason}: {REASONS.get(row.reason, 'for a reason that this version does not know')}",
                "detail": row.detail,
                "next hop": row.next_hop,
                "mtu": row.mtu or None,
                "since": output.ago(row.since, now),
            },
        )


def _only(rows: tuple[R, ...], node: str) -> tuple[R, ...]:
    if not node:
        return rows
    chosen = tuple(row for row in rows if row.node == node)
    if not chosen:
        names = ", ".join(sorted({row.node for row in rows})) or "none"
        raise BadInput(f"no block of node {node!r} is known here; known nodes: {names}", path="--explain")
    return chosen
