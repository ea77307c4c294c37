"""``cloudnet store``: copy a store into another, and lock one meanwhile."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudnet.cli import ask, output
from cloudnet.errors import BadInput
from cloudnet.store import lock as locks
from cloudnet.store import migrate as migration
from cloudnet.store.migrate import Copied

app = typer.Typer(help="Copy a store into another, and lock one meanwhile.", no_args_is_help=True)

STORE = "sqlite:///var/lib/cloudnet/store.sqlite"
Where = Annotated[str, typer.Option("--store", envvar="CLOUDNET_STORE", help="where the cluster's resources are")]


@app.command()
def migrate(
    *,
    source: Annotated[str, typer.Option("--from", help="the store to copy: sqlite:///PATH, etcd://HOST:PORT…")],
    target: Annotated[str, typer.Option("--to", help="an empty store, or one that was half filled by this")],
    check: Annotated[
        bool, typer.Option("--check", help="compare the two and change nothing; fail if they differ")
    ] = False,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Copy everything from a store into an empty one, and compare each record; run it again if it was interrupted.

    The source is locked, as calicoctl does it, and stays so. Refuses when either side is written meanwhile: stop
    controllers and agents first.
    """
    if source == target:
        raise BadInput("is the store of --from", path="--to")
    with ask.store(source) as mine, ask.store(target, make=not check) as other:
        done = migration.compare(mine, other) if check else migration.migrate(mine, other)
    _print(done, form, check=check)
    if check and any(one.created or one.replaced or one.removed for one in done):
        raise typer.Exit(1)


@app.command()
def lock(*, store: Where = STORE) -> None:
    """Tell everybody that the store must not be written: ``datastoreReady: false``, as calicoctl does."""
    with ask.store(store) as opened:
        locks.set_ready(opened, ready=False)
    typer.echo("locked")


@app.command()
def unlock(*, store: Where = STORE) -> None:
    """Take the lock back."""
    with ask.store(store) as opened:
        locks.set_ready(opened, ready=True)
    typer.echo("unlocked")


def _print(done: tuple[Copied, ...], form: output.Format, *, check: bool) -> None:
    if form is output.Format.JSON:
        output.print_json({"kinds": done})
        return
    changes = ("MISSING", "DIFFERENT", "EXTRA") if check else ("CREATED", "REPLACED", "REMOVED")
    rows = [
        (one.kind, one.source, one.equal, one.created, one.replaced, one.removed)
        for one in done
        if one.source or one.removed
    ]
    output.print_table(("KIND", "SOURCE", "EQUAL", *changes), rows, empty="nothing on either side")
