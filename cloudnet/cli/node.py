"""``cloudnet node``: how this node does, and a bundle of all that support asks for."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from cloudnet.cli import ask, bgp_sessions, diags, exits, node_status, output, settings
from cloudnet.cli.diags import Bounds, Bundle, Piece
from cloudnet.cli.node_status import NodeStatus

app = typer.Typer(help="This node: how it does, and a bundle of all that support asks for.", no_args_is_help=True)

STORE = "sqlite:///var/lib/cloudnet/store.sqlite"
SOCKET = "/run/cloudnet/agent.sock"
_CNI = Path("/etc/cni/net.d")

Where = Annotated[
    str, typer.Option(envvar="CLOUDNET_STORE", help=f"where the cluster's resources are [default: {STORE}]")
]


@app.command()
def status(
    *,
    socket: ask.Socket = SOCKET,
    node: ask.LabNode = "",
    lab: ask.LabName = "lab",
    store: Where = "",
    form: output.Output = output.Format.TABLE,
) -> None:
    """Show how this node does: its agent, its paths and why they are not native, addresses, policy, BGP, versions.

    Exit code 0: the agent is ready; 1: it is not; 6: it does not answer.
    """
    where = ask.lab_socket(lab, node) if node else socket
    found = _read(where, store or (ask.lab_store(lab) if node else STORE), name=node or platform.node())
    if form is output.Format.JSON:
        output.print_json(found)
    else:
        output.print_fields(node_status.words(found))
        if found.bgp is not None:
            bgp_sessions.show(found.bgp.sessions or ())
    if not found.ready:
        raise typer.Exit(exits.UNAVAILABLE if found.unreachable else exits.FAILED)


@app.command("diags")
def collect(
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="write this .tar.gz [default: here, by time]")
    ] = None,
    log: Annotated[list[Path] | None, typer.Option("--log", help="a log file to take along; again for more")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="how long it may take")] = 60.0,
    size: Annotated[int, typer.Option("--size", min=1, help="MiB that it may hold before it is packed")] = 64,
    socket: ask.Socket = SOCKET,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Write a bundle for support: agent, routes, links, neighbours, nft tables, connections, logs, settings.

    Secrets are taken out of all of it. Nothing is changed; what cannot be read is named in the bundle.
    """
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    bundle = diags.write(
        file or Path(f"cloudnet-diags-{platform.node()}-{stamp}.tar.gz"),
        _pieces(socket, store, logs=log or []),
        bounds=Bounds(seconds, size * 1024 * 1024),
        about={"host": platform.node(), "versions": _versions(), "at": stamp},
        clock=time.monotonic,
        now=now,
    )
    _print(bundle, form)


def _pieces(socket: str, store: str, *, logs: list[Path]) -> Iterator[Piece]:
    yield Piece("status.json", lambda _: output.as_json(_read(socket, store, name=platform.node())))
    for verb in ("status", "paths", "policy", "bgp"):
        yield Piece(f"agent/{verb}.json", partial(_agent, socket, verb))
    yield from diags.of_settings(_settings_files(), os.environ)
    yield from diags.of_host(diags.run)
    yield from diags.of_logs(logs)


def _agent(socket: str, verb: str, _: float) -> str:
    return json.dumps(json.loads(ask.agent(socket, verb)), indent=2)


def _settings_files() -> Iterator[Path]:
    """Yield the settings files that there are, and the configurations of the container runtime."""
    named = os.environ.get("CLOUDNET_CONFIG", "")
    yield from settings.files(Path(named) if named else None, os.environ)
    if _CNI.is_dir():
        yield from sorted(path for path in _CNI.iterdir() if path.suffix in {".conf", ".conflist", ".json"})


def _read(socket: str, store: str, *, name: str) -> NodeStatus:
    return node_status.read(socket, store, name=name, versions=_versions())


def _versions() -> Mapping[str, str]:
    return {
        "cloudnet": metadata.version("cloudnet"),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def _print(bundle: Bundle, form: output.Format) -> None:
    if form is output.Format.JSON:
        output.print_json(bundle)
        return
    typer.echo(bundle.path)
    for piece in bundle.pieces:
        if piece.problem:
            typer.echo(f"{piece.name} {piece.problem}", err=True)
