"""``cloudnet policy stats``: what policies let through and stopped on one node, as its kernel counted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated

import typer

from cloudnet.cli import ask, output

_COLUMNS = ("policy", "direction", "action", "packets", "bytes")


def run(
    *,
    socket: ask.Socket = "/run/cloudnet/agent.sock",
    node: ask.LabNode = "",
    lab: ask.LabName = "lab",
    everything: Annotated[bool, typer.Option("--all", help="show what has counted nothing, too")] = False,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Show what each policy, profile and tier decided on this node: the first packets of connections.

    A staged policy is shown with what it would have done.
    """
    answer = json.loads(ask.agent(ask.lab_socket(lab, node) if node else socket, "policy"))
    if form is output.Format.JSON:
        output.print_json(answer)
        return
    output.print_table(_COLUMNS, rows(answer["counts"], everything=everything))


def rows(counts: Iterable[Mapping[str, object]], *, everything: bool) -> list[tuple[str, ...]]:
    """Return a row for each count, the busiest first."""
    chosen = [one for one in counts if everything or _packets(one)]
    return [_row(one) for one in sorted(chosen, key=_packets, reverse=True)]


def _packets(one: Mapping[str, object]) -> int:
    traffic = one["traffic"]
    return int(traffic["packets"]) if isinstance(traffic, Mapping) else 0


def _row(one: Mapping[str, object]) -> tuple[str, ...]:
    traffic = one["traffic"]
    size = str(traffic["bytes"]) if isinstance(traffic, Mapping) else ""
    name = f"{one['namespace']}/{one['name']}" if one["namespace"] else str(one["name"])
    action = f"{one['action']} (staged)" if one["staged"] else str(one["action"])
    return f"{one['kind']} {name}", str(one["direction"]), action, str(_packets(one)), size
