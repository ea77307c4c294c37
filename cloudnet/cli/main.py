"""The command line: one file a command group, joined here.

An error that cloudnet raises on purpose is printed as one line, and the exit code tells its kind: 1 in general,
2 for wrong input, 3 for something the host lacks. Anything else is a defect of ours and shows its traceback, as
every error does with ``CLOUDNET_DEBUG=1``. Commands import what they need when they run, so that ``--help`` is
instant and works without any cloud's SDK.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from cloudnet.cli import agent, cni, controller, ipam, policy, providers, routes, status
from cloudnet.errors import BadInput, CloudnetError, MissingTool

EXIT_CODES: tuple[tuple[type[CloudnetError], int], ...] = ((BadInput, 2), (MissingTool, 3), (CloudnetError, 1))


def build(*, lab: bool) -> typer.Typer:
    """Return the command line, with the lab's commands or just their name.

    A lab contains a cloud, which takes most of a second to import: agents and controllers start without it.
    """
    app = typer.Typer(
        name="cloudnet",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name, run in (
        ("agent", agent.run),
        ("controller", controller.run),
        ("routes", routes.run),
        ("status", status.run),
        ("providers", providers.run),
    ):
        app.command(name)(run)
    app.add_typer(cni.app, name="cni")
    app.add_typer(ipam.app, name="ipam")
    app.add_typer(policy.app, name="policy")
    app.add_typer(_lab() if lab else typer.Typer(help=_LAB), name="lab", help=_LAB)
    return app


_LAB = "Build a cloud on this machine, break it, heal it."


def _lab() -> typer.Typer:
    from cloudnet.cli.lab import app  # noqa: PLC0415 - as build says

    return app


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer passes it so
    if asked:
        typer.echo(f"cloudnet {metadata.version('cloudnet')}")
        raise typer.Exit


def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version")
    ] = False,
) -> None:
    """Pod addresses that the cloud itself routes, with VXLAN where it cannot, one destination at a time."""


def main() -> None:
    """Run the command line; the entry point of the ``cloudnet`` program."""
    try:
        build(lab=sys.argv[1:2] == ["lab"])()
    except CloudnetError as e:
        if os.environ.get("CLOUDNET_DEBUG", "") not in {"", "0"}:
            raise
        sys.stderr.write(f"error: {e}\n")
        sys.exit(exit_code(e))


def exit_code(error: CloudnetError) -> int:
    """Return the exit code for an error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


if __name__ == "__main__":
    main()
