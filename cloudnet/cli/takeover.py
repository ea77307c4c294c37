"""``cloudnet takeover``: take this node over from another pod network, and give it back."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudnet import logs
from cloudnet.cli import ask, exits, output, settings
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput

if TYPE_CHECKING:  # `cloudnet --help` needs none of them
    from cloudnet.model.addresses import Network
    from cloudnet.takeover.checks import Check
    from cloudnet.takeover.facts import Found, Wanted
    from cloudnet.takeover.hands import Hands
    from cloudnet.takeover.journal import Journal
    from cloudnet.takeover.plan import Job
    from cloudnet.takeover.run import Done

app = typer.Typer(help="Take this node over from another pod network, and give it back.", no_args_is_help=True)

JOURNAL = "takeover.jsonl"  # in the agent's folder `state`


def _also(name: str, default: object, annotation: Any) -> inspect.Parameter:  # Any: what typer reads
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_WHERE = (
    _also("bin_dir", Path("/opt/cni/bin"), Annotated[Path, typer.Option(help="where the runtime looks for plugins")]),
    _also(
        "conf_dir",
        Path("/etc/cni/net.d"),
        Annotated[Path, typer.Option(help="where the runtime looks for configurations")],
    ),
    _also(
        "networks",
        Path("/var/lib/cni/networks"),
        Annotated[Path, typer.Option(help="where host-local keeps its books")],
    ),
)
_POOL = _also(
    "pool",
    "",
    Annotated[str, typer.Option(help="the cluster's range of pod addresses, where there is no pool of it yet")],
)
_FORM = _also("form", output.Format.TABLE, output.Output)


def _plan(config: AgentConfig, *, form: output.Format, **where: Any) -> None:  # Any: parameters, as above
    from cloudnet.takeover import checks, plan  # noqa: PLC0415 - the same

    with _working(config, where) as (hands, journal):
        facts, found, wanted = _look(hands, config, where)
        before = checks.before(facts, found, wanted)
        if journal.job:
            _show(form, before, journal, journal.job)
            return
        job = plan.job(facts, found, wanted) if found else None
        _show(form, before, journal, job)
    if checks.blocked(before):
        raise typer.Exit(exits.IN_THE_WAY)


def _run(config: AgentConfig, *, form: output.Format, **where: Any) -> None:  # Any: as above
    from cloudnet.model.addresses import NodeName  # noqa: PLC0415 - the same
    from cloudnet.takeover import checks, plan, read, run  # noqa: PLC0415 - the same

    with _working(config, where) as (hands, journal):
        job = journal.job
        if job is None:
            facts, found, wanted = _look(hands, config, where)
            before = checks.before(facts, found, wanted)
            if found is None or checks.blocked(before):
                _show(form, before, journal, None)
                raise typer.Exit(exits.IN_THE_WAY)
            job = plan.job(facts, found, wanted)
        done = _told(run.forth(hands, journal, job), form)
        after = checks.after(read.facts(hands, NodeName(config.node)), job, ours=hands.place.program)
        _print(form, done, after)
    if checks.blocked(after):
        raise typer.Exit(exits.FAILED)


def _rollback(config: AgentConfig, *, form: output.Format, **where: Any) -> None:  # Any: as above
    from cloudnet.takeover import run  # noqa: PLC0415 - the same

    _to_the_end(config, where, form, run.back)


def _finish(config: AgentConfig, *, form: output.Format, **where: Any) -> None:  # Any: as above
    from cloudnet.takeover import finish  # noqa: PLC0415 - the same

    _to_the_end(config, where, form, finish.finish)


def _to_the_end(
    config: AgentConfig, where: dict[str, Any], form: output.Format, way: Callable[[Hands, Journal], Iterator[Done]]
) -> None:
    """Go a way that ends with the journal; what keeps it from ending stands in the way."""
    with _working(config, where) as (hands, journal):
        _print(form, _told(way(hands, journal), form), ())
        left = journal.is_begun
    if left:
        raise typer.Exit(exits.IN_THE_WAY)


# --- what is worked with --------------------------------------------------------------------------------------


@contextmanager
def _working(config: AgentConfig, where: dict[str, Any]) -> Iterator[tuple[Hands, Journal]]:
    from cloudnet.clock import SystemClock  # noqa: PLC0415 - `cloudnet --help` needs none of this
    from cloudnet.cni import install  # noqa: PLC0415 - the same
    from cloudnet.kernel.netlink import NetlinkKernel  # noqa: PLC0415 - the same
    from cloudnet.policy.selectors import Matches  # noqa: PLC0415 - the same
    from cloudnet.takeover import journal  # noqa: PLC0415 - the same
    from cloudnet.takeover.hands import Hands  # noqa: PLC0415 - the same
    from cloudnet.takeover.leavings import HostLeavings  # noqa: PLC0415 - the same
    from cloudnet.takeover.remains import HostRemains  # noqa: PLC0415 - the same

    logs.setup(config.log_level)
    with (
        ask.store(config.store) as store,
        closing(NetlinkKernel(allow_host_network=config.allow_host_network)) as kernel,
        journal.held(Path(config.state) / JOURNAL) as held,
    ):
        yield (
            Hands(
                config=config,
                store=store,
                kernel=kernel,
                place=install.Place(where["bin_dir"], where["conf_dir"]),
                executable=install.program(),
                matches=Matches(),
                agent=lambda: _agent(config.socket),
                clock=SystemClock(),
                remains=HostRemains(config.interface_prefix, allow_host_network=config.allow_host_network),
                leavings=HostLeavings(config.interface_prefix, allow_host_network=config.allow_host_network),
                networks=where["networks"],
            ),
            held,
        )


def _agent(path: str) -> tuple[bool, str]:
    """Return whether an agent answers, and why it takes no pods yet."""
    import json  # noqa: PLC0415 - the same

    try:
        answer = json.loads(ask.agent(path, "status"))
    except ask.AgentUnreachable as e:
        return False, str(e)
    return True, "" if answer["ready"] else str(answer["message"])


def _look(hands: Hands, config: AgentConfig, where: dict[str, Any]) -> tuple[Any, Found | None, Wanted]:
    from cloudnet.model.addresses import NodeName  # noqa: PLC0415 - the same
    from cloudnet.takeover import detect, read  # noqa: PLC0415 - the same
    from cloudnet.takeover.facts import Wanted  # noqa: PLC0415 - the same

    facts = read.facts(hands, NodeName(config.node))
    wanted = Wanted(_range(where.get("pool", "")), hands.place.program, hands.place.configuration)
    return facts, detect.predecessor(facts, ours=wanted.program), wanted


def _range(text: str) -> Network | None:
    try:
        return ip_network(text) if text else None
    except ValueError as e:
        raise BadInput(f"expected a prefix such as 10.244.0.0/16, found {text!r}", path="--pool") from e


# --- what is told -----------------------------------------------------------------------------------------------


def _told(steps: Iterator[Done], form: output.Format) -> Sequence[Done]:
    """Carry steps out, and tell each as it is done: whoever waits sees where it stands."""
    found = []
    for step in steps:
        found.append(step)
        if form is output.Format.TABLE:
            typer.echo(f"{step.phase:<7} {step.step}: {step.why or step.what}")
    return found


def _print(form: output.Format, done: Sequence[Done], after: Sequence[Check]) -> None:
    if form is output.Format.JSON:
        output.print_json({"steps": done, "checks": after})
        return
    if not done:
        typer.echo("nothing to do")
    if after:
        typer.echo()
        _checks(after)


def _show(form: output.Format, checks: Sequence[Check], journal: Journal, job: Job | None) -> None:
    from cloudnet.takeover import plan  # noqa: PLC0415 - the same

    steps = plan.steps(job) if job else ()
    phases = {name: entry.phase.value for name, entry in journal.steps.items()}
    if form is output.Format.JSON:
        rows = [{"step": s.name, "phase": phases.get(s.name, ""), "what": s.says, "rollback": s.back} for s in steps]
        output.print_json({"checks": checks, "job": job, "steps": rows})
        return
    _checks(checks)
    if steps:
        typer.echo()
        rows_ = ((s.name, phases.get(s.name, "to do"), s.says, s.back) for s in steps)
        output.print_table(("STEP", "STATE", "WHAT IT DOES", "WHAT ROLLBACK DOES"), rows_)


def _checks(checks: Sequence[Check]) -> None:
    output.print_table(("CHECK", "VERDICT", "FOUND"), ((c.name, c.verdict, c.found) for c in checks))
    for check in checks:
        if check.remedy:
            sys.stdout.write(f"\n{check.name}: {check.found}\n    {check.remedy}\n")


app.command("plan")(
    settings.command(
        AgentConfig,
        _plan,
        also=(*_WHERE, _POOL, _FORM),
        doc="""Show which pod network this node has, what stands in the way, and each step; change nothing.

    Takes the agent's settings. Exit code 7: something stands in the way, and what to do about it is printed.
    """,
    )
)
app.command("run")(
    settings.command(
        AgentConfig,
        _run,
        also=(*_WHERE, _POOL, _FORM),
        doc="""Take this node over, step by step; pods that run keep their network and their addresses.

    Each step is on disk before it is done: whatever stops it, the same command goes on, and `rollback` goes back.
    Takes the agent's settings. Exit code 7: something stands in the way, and nothing was changed.
    """,
    )
)
app.command("rollback")(
    settings.command(
        AgentConfig,
        _rollback,
        also=(*_WHERE, _FORM),
        doc="""Give this node back: the predecessor's configuration first, then all the rest as it was.

    Pods that came meanwhile keep their network until they end, and what leads to them stays as long.
    Exit code 7: something stays for now; what and why is printed, and the same command goes on.
    """,
    )
)
app.command("finish")(
    settings.command(
        AgentConfig,
        _finish,
        also=(*_WHERE, _FORM),
        doc="""Remove what the predecessor left on this node; there is no way back afterwards.

    Stop the predecessor's own programs first, in the whole cluster. What old pods or other nodes still need stays.
    Exit code 7: something stays for now; what and why is printed, and the same command goes on.
    """,
    )
)
