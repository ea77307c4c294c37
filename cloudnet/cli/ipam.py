"""``cloudnet ipam``: who has which address, whether the books agree, and how to mend them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudnet.cli import ask, output
from cloudnet.errors import BadInput

if TYPE_CHECKING:  # what these import is for those who ask
    from cloudnet.ipam.allocator import Allocator
    from cloudnet.ipam.block import Release
    from cloudnet.model.addresses import Address
    from cloudnet.model.resources import IPAMConfiguration, IPPool
    from cloudnet.store.api import Store

app = typer.Typer(help="Pod addresses: who has which, and whether the books agree.", no_args_is_help=True)

STORE = "sqlite:///var/lib/cloudnet/store.sqlite"
Where = Annotated[str, typer.Option("--store", envvar="CLOUDNET_STORE", help="where the cluster's resources are")]


@app.command()
def show(
    *,
    ip: Annotated[list[str] | None, typer.Option("--ip", help="who has this address")] = None,
    blocks: Annotated[bool, typer.Option("--blocks", "--show-blocks", help="each block as well")] = False,
    borrowed: Annotated[
        bool, typer.Option("--borrowed", "--show-borrowed", help="addresses from blocks of other nodes")
    ] = False,
    configuration: Annotated[
        bool, typer.Option("--configuration", "--show-configuration", help="how addresses are given out")
    ] = False,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Show how full the pools are, or who has an address. Fails when nobody has an address that was asked for."""
    from cloudnet.ipam import picture, report  # noqa: PLC0415 - `cloudnet --help` needs neither

    with ask.store(store) as opened:
        if configuration:
            _print_configuration(_configuration(opened), form)
            return
        seen = picture.take(opened)
    if ip or borrowed:
        wanted = [_address(text, "--ip") for text in ip or ()]
        found = report.holders(seen, wanted) if ip else report.borrowers(seen)
        held = [(h.address, h.node, h.owner, h.block, h.block_of, h.handle) for h in found]
        _print(found, ("ADDRESS", "NODE", "OWNER", "BLOCK", "BLOCK OF", "HANDLE"), held, form)
        if len(found) < len(set(wanted)):
            raise typer.Exit(1)
        return
    used = report.usage(seen, each_block=blocks)
    rows = [(u.grouping, u.cidr, u.node, u.total, u.in_use, u.reserved, u.free) for u in used]
    heads = ("GROUPING", "CIDR", "NODE", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE")
    _print(used, heads, rows, form)


@app.command()
def check(*, store: Where = STORE, form: output.Output = output.Format.TABLE) -> None:
    """Compare blocks, handles, affinities and endpoints; fail when something does not agree.

    The JSON that this prints is what `cloudnet ipam release --from-report` takes.
    """
    from cloudnet.ipam import audit, picture  # noqa: PLC0415 - the same

    with ask.store(store) as opened:
        first = audit.problems(picture.take(opened))
        # What is wrong for a moment only, while somebody writes, is not wrong.
        second = set(audit.problems(picture.take(opened))) if first else set()
    problems = [problem for problem in first if problem in second]
    if form is output.Format.JSON:
        output.print_json({"problems": problems})
    else:
        rows = [(p.trouble.value, p.subject, p.detail, audit.MEANINGS[p.trouble]) for p in problems]
        output.print_table(("PROBLEM", "WHERE", "WHAT", "MEANS"), rows, empty="all books agree")
    if problems:
        raise typer.Exit(1)


@app.command()
def release(
    *,
    ip: Annotated[list[str] | None, typer.Option("--ip", help="take this address back")] = None,
    handle: Annotated[str, typer.Option(help="take back all that this handle has")] = "",
    from_report: Annotated[
        Path | None, typer.Option(help="take back what `ipam check -o json` found leaked, and is so still")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="even if an endpoint has it")] = False,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Take addresses back that nobody uses any more. An address that an endpoint has is refused."""
    if sum(map(bool, (ip, handle, from_report))) != 1:
        raise BadInput("expected one of --ip, --handle and --from-report")
    with _mending(store) as (opened, allocator):
        if handle:
            freed = allocator.release_by_handle(handle)
        else:
            wanted = _reported(from_report) if from_report else _asked(opened, ip or (), force=force)
            freed = tuple(a for one in wanted for a in _release(allocator, one))
    _print(freed, ("RELEASED",), [(address,) for address in freed], form, empty="nothing was allocated")


@app.command()
def split(
    number: Annotated[int, typer.Argument(help="how many pools: a power of two")],
    *,
    pool: Annotated[str, typer.Option(help="name of the pool")] = "",
    cidr: Annotated[str, typer.Option(help="or its prefix")] = "",
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Cut a pool into smaller ones of equal size; blocks and addresses stay as they are.

    All pools change in one step of the store. Where a store has no such step, Calico wants the datastore locked while
    it splits, and we refuse.
    """
    from cloudnet.ipam import split as splitting  # noqa: PLC0415 - the same
    from cloudnet.model.resources import IPPool  # noqa: PLC0415 - the same
    from cloudnet.store.api import Create, Delete  # noqa: PLC0415 - the same

    if bool(pool) == bool(cidr):
        raise BadInput("expected one of --pool and --cidr")
    with _mending(store) as (opened, _):
        if not opened.atomic:
            raise BadInput("this store cannot change several pools in one step: split on a copy of it", path="store")
        known = {item.value.meta.name: item for item in opened.list(IPPool).items}
        found = next((i for i in known.values() if i.value.meta.name == pool or str(i.value.cidr) == cidr), None)
        if found is None:
            raise BadInput(f"there is no pool {pool or cidr!r}: there are {', '.join(known) or 'none'}", path="pool")
        parts = splitting.parts(found.value, number, taken=known)
        old = found.value.meta.name
        opened.write([Delete(IPPool, old, expected=found.revision), *(Create(part) for part in parts)])
    _print_pools(parts, form)


@app.command()
def configure(
    *,
    strict_affinity: Annotated[bool | None, typer.Option(help="nodes never borrow from others' blocks")] = None,
    max_blocks_per_host: Annotated[int | None, typer.Option(help="0 is the usual limit of 20")] = None,
    ip_cooldown_seconds: Annotated[int | None, typer.Option(help="how long a released address rests")] = None,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Change how addresses are given out in the whole cluster; what is not named stays."""
    from dataclasses import replace  # noqa: PLC0415 - the same

    given = {
        "strict_affinity": strict_affinity,
        "max_blocks_per_host": max_blocks_per_host,
        "cooldown": ip_cooldown_seconds,
    }
    with _mending(store) as (opened, _):
        before = _configuration(opened)
        # Any: each value has the type of its field, which a mapping cannot say.
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        after = replace(before, **changes)
        if after.max_blocks_per_host and not after.strict_affinity:
            raise BadInput("a limit of blocks needs strict affinity: give --strict-affinity", path="maxBlocksPerHost")
        _store_configuration(opened, after)
    _print_configuration(after, form)


# --- reading and writing --------------------------------------------------------------------------------------


@contextmanager
def _mending(url: str) -> Iterator[tuple[Store, Allocator]]:
    from datetime import UTC, datetime  # noqa: PLC0415 - the same

    from cloudnet.ipam.allocator import Allocator  # noqa: PLC0415 - the same
    from cloudnet.policy.selectors import Matches  # noqa: PLC0415 - the same

    with ask.store(url) as opened:
        yield opened, Allocator(opened, now=lambda: datetime.now(tz=UTC), matches=Matches())


def _configuration(store: Store) -> IPAMConfiguration:
    from cloudnet.model.calico_ipam import CONFIGURATION  # noqa: PLC0415 - the same
    from cloudnet.model.resources import IPAMConfiguration, Metadata  # noqa: PLC0415 - the same
    from cloudnet.store.api import NotFound  # noqa: PLC0415 - the same

    try:
        return store.get(IPAMConfiguration, CONFIGURATION).value
    except NotFound:
        return IPAMConfiguration(Metadata(CONFIGURATION))


def _store_configuration(store: Store, wanted: IPAMConfiguration) -> None:
    from cloudnet.store.api import NotFound, change  # noqa: PLC0415 - the same

    try:
        change(store, type(wanted), wanted.meta.name, lambda _: wanted)
    except NotFound:
        store.create(wanted)


def _asked(store: Store, texts: list[str] | tuple[()], *, force: bool) -> list[Release]:
    """Return what to release by address, with the number that it has now: nobody shall lose it who gets it later."""
    from cloudnet.ipam import picture  # noqa: PLC0415 - the same
    from cloudnet.ipam.block import Release  # noqa: PLC0415 - the same

    wanted = [_address(text, "--ip") for text in texts]
    seen = picture.take(store)
    for endpoint in seen.endpoints:
        held = [network.network_address for network in endpoint.networks if network.network_address in wanted]
        if held and not force:
            name = f"{endpoint.meta.namespace}/{endpoint.meta.name}"
            raise BadInput(f"endpoint {name} has {held[0]}: delete its pod, or say --force", path="--ip")
    return [Release(a.address, a.handle, a.sequence) for a in seen.allocations() if a.address in wanted]


def _reported(file: Path) -> list[Release]:
    from cloudnet.ipam.audit import Trouble  # noqa: PLC0415 - the same
    from cloudnet.ipam.block import Release  # noqa: PLC0415 - the same

    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        found = [p for p in report["problems"] if p["trouble"] == Trouble.LEAKED.value]
        return [Release(_address(p["address"], str(file)), p["handle"], int(p["sequence"])) for p in found]
    except OSError as e:
        raise BadInput(f"cannot be read ({(e.strerror or str(e)).lower()})", path=str(file)) from e
    except (ValueError, KeyError, TypeError) as e:
        raise BadInput("expected what `cloudnet ipam check -o json` prints", path=str(file)) from e


def _release(allocator: Allocator, wanted: Release) -> tuple[Address, ...]:
    from cloudnet.ipam.errors import StaleRelease  # noqa: PLC0415 - the same

    try:
        missing = allocator.release_ips([wanted])
    except StaleRelease as e:
        typer.echo(f"kept {wanted.address}: {e}", err=True)
        return ()
    return () if missing else (wanted.address,)


def _address(text: str, path: str) -> Address:
    from ipaddress import ip_address  # noqa: PLC0415 - the same

    try:
        return ip_address(text)
    except ValueError as e:
        raise BadInput(f"expected an address, found {text!r}", path=path) from e


# --- printing -------------------------------------------------------------------------------------------------


def _print(
    values: object,
    heads: tuple[str, ...],
    rows: Iterable[Sequence[object]],
    form: output.Format,
    *,
    empty: str = "none",
) -> None:
    if form is output.Format.JSON:
        output.print_json(values)
    else:
        output.print_table(heads, rows, empty=empty)


def _print_pools(pools: tuple[IPPool, ...], form: output.Format) -> None:
    shown = [{"name": pool.meta.name, "cidr": pool.cidr, "block_size": pool.block_size} for pool in pools]
    _print(shown, ("NAME", "CIDR", "BLOCK SIZE"), [tuple(one.values()) for one in shown], form)


def _print_configuration(configuration: IPAMConfiguration, form: output.Format) -> None:
    fields: dict[str, object] = {
        "strict_affinity": configuration.strict_affinity,
        "auto_allocate_blocks": configuration.auto_allocate_blocks,
        "max_blocks_per_host": configuration.max_blocks_per_host,
        "ip_cooldown_seconds": configuration.cooldown,
    }
    if form is output.Format.JSON:
        output.print_json(fields)
    else:
        output.print_fields({name.replace("_", " "): value for name, value in fields.items()})
