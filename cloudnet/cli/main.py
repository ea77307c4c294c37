"""The command line: one file a command group, joined here.

An error that cloudnet raises on purpose is printed as one line, and the exit code tells its kind, as ``exits`` says.
Anything else is a defect of ours and shows its traceback, as every error does with ``CLOUDNET_DEBUG=1``. Commands
are imported when they are called, so that ``--help`` is instant and works without any cloud's SDK.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cloudnet.cli import lazy
from cloudnet.cli.lazy import Entry
from cloudnet.errors import CloudnetError

ENTRIES = (
    Entry("get", "cloudnet.cli.resources:get", "Show resources: all of a kind, or some by name."),
    Entry("describe", "cloudnet.cli.resources:describe", "Tell all of a resource, and what hangs together with it."),
    Entry("apply", "cloudnet.cli.resources:apply", "Create what is not there yet, and replace what is."),
    Entry("create", "cloudnet.cli.resources:create", "Create resources; what exists already is refused."),
    Entry("replace", "cloudnet.cli.resources:replace", "Replace resources that exist."),
    Entry("patch", "cloudnet.cli.resources:patch", "Change fields of one resource."),
    Entry("label", "cloudnet.cli.resources:label", "Set or remove labels of one resource."),
    Entry("delete", "cloudnet.cli.resources:delete", "Remove resources, by name or as documents name them."),
    Entry("agent", "cloudnet.cli.agent:run", "Run the agent of one node: VXLAN ground, native paths, pods, policy."),
    Entry("node", "cloudnet.cli.node:app", "How this node does, and a bundle of all that support asks for."),
    Entry("store", "cloudnet.cli.store:app", "Copy a store into another, and lock one meanwhile."),
    Entry(
        "controller",
        "cloudnet.cli.controller:run",
        "Run the controller: program the cloud's route tables and say where each route stands.",
    ),
    Entry("routes", "cloudnet.cli.routes:run", "Show the path to every remote block, why that one, and since when."),
    Entry("status", "cloudnet.cli.status:run", "Show how the agent of this node does, and the cluster."),
    Entry("providers", "cloudnet.cli.providers:run", "Show the installed cloud providers, and what they lack."),
    Entry("manifests", "cloudnet.cli.manifests:run", "Print all that a cluster needs, for kubectl apply."),
    Entry("preflight", "cloudnet.cli.preflight:run", "Show what of a cloud stands in the way, and change nothing."),
    Entry("cni", "cloudnet.cli.cni:app", "The CNI plugin of this node: install it, remove it, call it."),
    Entry("takeover", "cloudnet.cli.takeover:app", "Take this node over from another pod network, and give it back."),
    Entry("ipam", "cloudnet.cli.ipam:app", "Pod addresses: who has which, and whether the books agree."),
    Entry("policy", "cloudnet.cli.policy:app", "Network policies: explained, drawn, checked, compared and tested."),
    Entry("lab", "cloudnet.cli.lab:app", "Build a cloud on this machine, break it, heal it."),
)

_HEAVY = "lab"  # contains a cloud


def build(*, lab: bool) -> typer.Typer:
    """Return the command line, with the lab's commands or without."""
    entries = tuple(entry for entry in ENTRIES if lab or entry.name != _HEAVY)
    app = typer.Typer(
        name="cloudnet",
        cls=type("Commands", (lazy.Group,), {"entries": entries}),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=lazy.CONTEXT,
    )
    app.callback()(root)
    return app


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer passes it so
    if asked:
        from importlib import metadata  # noqa: PLC0415 - takes longer than all of `cloudnet --help`

        typer.echo(f"cloudnet {metadata.version('cloudnet')}")
        raise typer.Exit


def root(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None, typer.Option("--config", envvar="CLOUDNET_CONFIG", help="YAML or TOML file with settings")
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version")
    ] = False,
) -> None:
    """Pod addresses that the cloud itself routes, with VXLAN where it cannot, one destination at a time."""
    from cloudnet.cli import settings  # noqa: PLC0415 - `cloudnet --help` needs none

    settings.apply(context, config)


def main() -> None:
    """Run the command line; the entry point of the ``cloudnet`` program."""
    try:
        build(lab=True)(prog_name="cloudnet")
    except CloudnetError as e:
        from cloudnet.cli import exits  # noqa: PLC0415 - the table knows the errors of every door

        if os.environ.get("CLOUDNET_DEBUG", "") not in {"", "0"}:
            raise
        sys.stderr.write(f"error: {e}\n")
        sys.exit(exits.code(e))


if __name__ == "__main__":
    main()
