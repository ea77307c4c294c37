"""``cloudnet policy``: what policies do, before anybody is hurt: explain, matrix, check, diff, test.

Everything is answered by the reference evaluator, from files or from the store; no cluster is asked and none changed.
Only ``stats`` asks a running agent.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudnet.cli import output, policy_stats

app = typer.Typer(help="Network policies: explained, drawn, checked, compared and tested.", no_args_is_help=True)

Files = Annotated[
    list[str] | None,
    typer.Option("--file", "-f", help="YAML or JSON file, folder of them, or - for standard input; again for more"),
]
StoreUrl = Annotated[
    str,
    typer.Option("--store", envvar="CLOUDNET_STORE", help="read this store: sqlite:///var/lib/cloudnet/store.sqlite"),
]
Outside = Annotated[
    list[str] | None,
    typer.Option("--outside", help="an address beyond the cluster to ask about, 203.0.113.1 if none; again for more"),
]

_FAILED = 1  # exit code: what was asked for does not hold


def _run() -> Any:  # Any: a module
    return import_module("cloudnet.cli.policy_run")  # `cloudnet --help` needs no policy


@app.command()
def explain(
    source: Annotated[str, typer.Argument(metavar="SRC", help="NAMESPACE/POD, host:NAME, or an address")],
    target: Annotated[str, typer.Argument(metavar="DST", help="the same")],
    port: Annotated[str, typer.Argument(metavar="PORT", help="80, 53/udp, a port's name, icmp, icmp/8, 47/ip")],
    *,
    file: Files = None,
    store: StoreUrl = "",
    form: output.Output = output.Format.TABLE,
) -> None:
    """Tell whether a packet gets from SRC to DST, which tier, policy and rule decide, and which were passed over."""
    _run().explain(source, target, port, files=file, store=store, form=form)


@app.command()
def matrix(
    *,
    file: Files = None,
    store: StoreUrl = "",
    port: Annotated[str, typer.Option(help="ask about this port alone: 80, 53/udp, icmp")] = "",
    outside: Outside = None,
    html: Annotated[Path | None, typer.Option(help="write a picture of it to this file")] = None,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Show who reaches whom; endpoints that fare alike are taken together."""
    _run().draw(files=file, store=store, port=port, outside=outside, html=html, form=form)


@app.command()
def check(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILES", help="YAML files, folders, or -")] = None,
    *,
    store: StoreUrl = "",
    strict: Annotated[bool, typer.Option("--strict", help="fail on warnings too")] = False,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Validate documents, and tell what has no effect: unreachable rules, shadowed policies, selectors of nobody."""
    if not _run().check(files=files, store=store, strict=strict, form=form):
        raise typer.Exit(_FAILED)


@app.command()
def diff(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="what would be applied: files, folders, or -")],
    *,
    file: Files = None,
    store: StoreUrl = "",
    delete: Annotated[bool, typer.Option("--delete", help="FILES would be deleted, not applied")] = False,
    outside: Outside = None,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Show what changes for traffic if FILES were applied to what -f or the store holds now."""
    _run().diff(files, files=file, store=store, delete=delete, outside=outside, form=form)


@app.command("test")
def hold(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of expected verdicts")],
    *,
    file: Files = None,
    store: StoreUrl = "",
    form: output.Output = output.Format.TABLE,
) -> None:
    """Hold policies against expected verdicts. Exit code 0: all hold, 1: one does not, 2: the file is wrong."""
    if not _run().test(path, files=file, store=store, form=form):
        raise typer.Exit(_FAILED)


app.command("stats")(policy_stats.run)
