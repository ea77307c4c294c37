"""``cloudnet status``: the agent of this node and the cluster, on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import typer

from cloudnet.cli import ask, output
from cloudnet.errors import CloudnetError
from cloudnet.model.resources import CloudRoute, Lease, Node, NodeCondition

_STORE = "sqlite:///var/lib/cloudnet/store.sqlite"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the store knows. ``routes`` counts blocks in cloud tables by state; ``refusals`` by cause."""

    nodes: int
    ready: int
    leader: str
    routes: Mapping[str, int]
    refusals: Mapping[str, int]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """What was learnt; ``agent`` is the agent's own answer, ``errors`` says what did not answer."""

    agent: Mapping[str, object] | None = None
    cluster: Cluster | None = None
    errors: Mapping[str, str] = field(default_factory=dict)


def run(
    *,
    socket: ask.Socket = "/run/cloudnet/agent.sock",
    node: ask.LabNode = "",
    lab: ask.LabName = "lab",
    store: Annotated[
        str, typer.Option(envvar="CLOUDNET_STORE", help=f"where the cluster's resources are [default: {_STORE}]")
    ] = "",
    form: output.Output = output.Format.TABLE,
) -> None:
    """Show how the agent of this node does, how many nodes are ready and where the cloud routes stand.

    Fails when neither the agent nor the store answers.
    """
    status = read(ask.lab_socket(lab, node) if node else socket, store or (ask.lab_store(lab) if node else _STORE))
    if form is output.Format.JSON:
        output.print_json(status)
    else:
        print_status(status)
    if status.agent is None and status.cluster is None:
        raise typer.Exit(1)


def read(socket: str, store: str) -> Status:
    """Ask agent and store; that one of them is silent is part of the answer."""
    import msgspec  # noqa: PLC0415 - `cloudnet --help` needs no JSON

    errors: dict[str, str] = {}
    agent: dict[str, object] | None = None
    cluster: Cluster | None = None
    try:
        agent = msgspec.json.decode(ask.agent(socket, "status"), type=dict[str, object])
    except CloudnetError as e:
        errors["agent"] = str(e)
    try:
        cluster = read_cluster(store)
    except CloudnetError as e:
        errors["store"] = str(e)
    return Status(agent, cluster, errors)


def read_cluster(url: str) -> Cluster:
    """Return what the store tells of the cluster."""
    with ask.store(url) as store:
        nodes = store.list(Node).items
        conditions = [stored.value for stored in store.list(NodeCondition).items]
        tables = [status for stored in store.list(CloudRoute).items for status in stored.value.tables]
        leases = [stored.value for stored in store.list(Lease).items]
    return Cluster(
        nodes=len(nodes),
        ready=sum(condition.ready for condition in conditions),
        leader=next((lease.holder for lease in leases if lease.holder), ""),
        routes=dict(sorted(Counter(status.state.value for status in tables).items())),
        refusals=dict(sorted(Counter(s.cause.value for s in tables if s.cause.value != "none").items())),
        problems=tuple(f"{c.meta.name}: {c.message or c.reason}" for c in conditions if not c.ready),
    )


def print_status(status: Status) -> None:
    fields: dict[str, object] = {}
    if status.agent is not None:
        fields |= {f"agent {name.replace('_', ' ')}": _short(value) for name, value in status.agent.items()}
    if status.cluster is not None:
        cluster = status.cluster
        fields |= {
            "nodes": f"{cluster.ready} of {cluster.nodes} ready",
            "leader": cluster.leader,
            "cloud routes": _short(cluster.routes) or "none",
            "refused because of": _short(cluster.refusals),
        }
        fields |= {f"not ready {i}": problem for i, problem in enumerate(cluster.problems, 1)}
    fields |= {f"{name} unreachable": reason for name, reason in status.errors.items()}
    output.print_fields(fields)


def _short(value: object) -> object:
    if isinstance(value, Mapping):
        return ", ".join(f"{number} {name}" for name, number in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value
