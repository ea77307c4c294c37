"""``cloudnet lab demo``: a cloud refuses and breaks routes in every way it knows, and no pod loses its connections.

It builds a lab of its own, plays ``scenarios.story`` on it, and removes it whatever happens. The exit code is 1 when
a promise was broken. What it prints while it runs goes to standard error when the result is JSON.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from cloudnet.cli.output import Format, Output, print_json, print_table
from cloudnet.clock import SystemClock
from cloudnet.errors import BadInput
from cloudnet.lab import lab as labs
from cloudnet.lab import natives, scenarios
from cloudnet.lab import report as pages
from cloudnet.lab.clouds import registry
from cloudnet.lab.results import DemoResult, Story
from cloudnet.lab.runner import Runner, Say
from cloudnet.lab.spec import LabSpec
from cloudnet.lab.traffic import Traffic
from cloudnet.lab.watch import Watch


def demo(
    *,
    nodes: Annotated[int, typer.Option(help="machines, 3 at least")] = 6,
    subnets: Annotated[int, typer.Option(help="subnets, a route table each; 2 at least")] = 3,
    zones: Annotated[int, typer.Option(help="availability zones")] = 3,
    pods: Annotated[int, typer.Option(help="pods on each node")] = 2,
    cloud: Annotated[str, typer.Option(help=", ".join(labs.CLOUDS))] = "aws",
    addresses: Annotated[str, typer.Option(help="of pods: routes, or native for the cloud's own")] = "routes",
    store: Annotated[str, typer.Option(help=", ".join(labs.STORES))] = "sqlite",
    name: Annotated[str, typer.Option("--name", help="the name of the demo's lab")] = "demo",
    only: Annotated[list[str] | None, typer.Option("--only", help="just this fault; may be repeated")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="write a page with a picture to this file")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="leave the lab standing")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Break the cloud in every way under traffic, and count what is lost."""
    wanted = LabSpec(name, nodes, subnets, zones, pods, cloud, controller=False, store=store, addresses=addresses)
    if pods < 1:
        raise BadInput("the demo sends between pods, so each node needs one", path="pods")
    manners = registry.kind(cloud).manners
    if wanted.native:
        steps = natives.story(nodes, subnets, pods=pods, only=only or ())
    else:
        steps = scenarios.story(nodes, subnets, zones, only=only or (), manners=manners)
    if report:
        _try_out(report)
    say = teller(output)
    story = play(wanted, steps, say, keep=keep)
    result = story.result()
    if report:
        report.write_text(pages.page(story, result), encoding="utf-8")
        say(f"report: {report}")
    if output is Format.JSON:
        print_json(result)
    else:
        show(result)
    if not result.ok:
        raise typer.Exit(1)


def play(wanted: LabSpec, steps: tuple[scenarios.Step, ...], say: Say, *, keep: bool = False) -> Story:
    """Build a lab, play the steps under traffic, and remove the lab again."""
    clock = SystemClock()
    with standing(wanted, say, keep=keep) as lab, Traffic() as traffic:
        watch = Watch(lambda: [node.name for node in lab.nodes()], lab.paths, clock=clock)
        with watch:
            runner = Runner(lab, traffic, watch, clock=clock, say=say, manners=lab.kind.manners, native=wanted.native)
            runner.open_flows()
            say(f"{len(traffic.flows)} flows between the pods of every pair of nodes are up, all over VXLAN")
            return replace(runner.play(steps), rights=lab.rights())


def _try_out(report: Path) -> None:
    """Find out that a page cannot be written before minutes of work, not after."""
    try:
        report.touch()
    except OSError as e:
        raise BadInput(f"{report} cannot be written: {e.strerror}", path="--report") from e


@contextlib.contextmanager
def standing(wanted: LabSpec, say: Say, *, keep: bool) -> Iterator[labs.Lab]:
    """Build a lab and remove it at the end, also after Ctrl-C, SIGTERM and errors."""
    with _terminable():
        lab = labs.Lab.up(wanted, say)
        try:
            yield lab
        finally:
            if keep:
                say(f"the lab stays: cloudnet lab status --name {lab.name}, cloudnet lab down --name {lab.name}")
            else:
                _deaf()  # a second Ctrl-C shall not leave half a lab
                lab.down()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end us like Ctrl-C: through every ``finally``."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in _ENDINGS}
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _deaf() -> None:
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)


_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# --- printing -----------------------------------------------------------------------------------------------


def teller(output: Format) -> Say:
    """Return what tells the story while it goes on: to standard error when the result is for programs."""
    from rich.console import Console  # noqa: PLC0415 - `cloudnet --help` needs no tables

    console = Console(stderr=output is Format.JSON, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        style = "bold" if line.startswith("[") else "red" if "NOT as expected" in line or "BROKEN" in line else None
        console.print(line, style=style, markup=False)

    return say


def show(result: DemoResult) -> None:
    """Print the table of steps and the promises."""
    sys.stdout.write("\n")
    print_table(
        ("FAULT", "KIND", "SENT", "LOST", "LONGEST GAP MS", "TCP INTACT", "WHAT CHANGED PATH, AND WHY"),
        (
            (s.fault, s.kind, s.sent, s.lost, f"{s.longest_gap_ms:.0f}", s.tcp_intact, "; ".join(s.changes()))
            for s in result.steps
        ),
    )
    sys.stdout.write("\n")
    print_table(
        ("PROMISE", "ALLOWED", "MEASURED", "KEPT"),
        ((p.name, p.allowed, p.measured, "yes" if p.ok else "NO") for p in result.promises),
    )
