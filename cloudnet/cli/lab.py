"""``cloudnet lab``: a cloud in a box, to look at, to break and to heal."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import typer

from cloudnet.cli.output import Format, Output, print_fields, print_json, print_table
from cloudnet.lab import faults, processes, removal
from cloudnet.lab import lab as labs
from cloudnet.lab.spec import LabSpec

app = typer.Typer(help="A cloud in a box: nodes, pods and a fabric on this machine.", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", help="the lab's name")]
Place = Annotated[str, typer.Argument(help="NODE, NODE/POD, or cloud")]
Pod = Annotated[str, typer.Argument(help="NODE/POD")]
FaultName = Annotated[str, typer.Argument(help=", ".join(faults.KINDS))]
Target = Annotated[str, typer.Option("--target", help="a node or a block, as the fault wants it")]


@app.command()
def up(
    *,
    nodes: Annotated[int, typer.Option(help="machines")] = 3,
    subnets: Annotated[int, typer.Option(help="subnets, a route table each")] = 3,
    zones: Annotated[int, typer.Option(help="availability zones")] = 3,
    pods: Annotated[int, typer.Option(help="pods on each node")] = 2,
    cloud: Annotated[str, typer.Option(help=", ".join(labs.CLOUDS))] = "aws",
    name: Name = "lab",
    mtu: Annotated[int, typer.Option(help="of the underlay, in bytes")] = 1500,
    store: Annotated[str, typer.Option(help=", ".join(labs.STORES))] = "sqlite",
    bare: Annotated[bool, typer.Option("--bare", help="start neither agents nor controller")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Build a lab and start everything in it."""
    wanted = LabSpec(name, nodes, subnets, zones, pods, cloud, mtu, agents=not bare, controller=not bare, store=store)
    lab = labs.Lab.up(wanted, _say)
    _print_status(lab, output)


@app.command()
def down(*, name: Name = "lab", output: Output = Format.TABLE) -> None:
    """Remove a lab, and whatever an interrupted one left."""
    found = removal.remove(name)
    if output is Format.JSON:
        print_json({"name": name, "removed": found})
    else:
        typer.echo(f"lab {name} is removed" if found else f"there is no lab {name}")


@app.command()
def status(*, name: Name = "lab", output: Output = Format.TABLE) -> None:
    """Show a lab's nodes, processes and faults."""
    _print_status(labs.Lab.load(name), output)


@app.command()
def env(node: Annotated[str, typer.Argument()], *, name: Name = "lab", output: Output = Format.TABLE) -> None:
    """Show where a node is, for scripts and container runtimes."""
    found = labs.Lab.load(name).node(node)
    fields: dict[str, object] = {
        "namespace": found.namespace,
        "addresses": found.addresses,
        "agent_socket": str(found.agent_socket),
        "cni_program": None,
        "cni_config": None,
    }
    if output is Format.JSON:
        print_json(fields)
    else:
        print_fields({**fields, "addresses": ", ".join(str(a) for a in found.addresses)})


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def execute(
    place: Place, command: Annotated[list[str], typer.Argument(help="after --")], *, name: Name = "lab"
) -> None:
    """Run a command inside a node or pod; cloudnet's own commands find the lab's store there."""
    _enter(labs.Lab.load(name), place, command)


@app.command()
def shell(place: Place, *, name: Name = "lab") -> None:
    """Open a shell inside a node or pod."""
    _enter(labs.Lab.load(name), place, [os.environ.get("SHELL", "/bin/sh")])


@app.command()
def ping(
    source: Pod,
    destination: Pod,
    *,
    count: Annotated[int, typer.Option("--count", "-c", min=1, max=1000)] = 3,
    name: Name = "lab",
) -> None:
    """Ping from one pod to another."""
    processes.require(("ping",))
    lab = labs.Lab.load(name)
    address = lab.pod(destination).address
    _enter(lab, source, ["ping", "-n", "-c", str(count), "-i", "0.2", "-W", "1", str(address)])


@app.command(name="break")
def break_(
    fault: FaultName,
    *,
    target: Target = "",
    value: Annotated[str, typer.Option("--value", help="how much, where the fault asks")] = "",
    name: Name = "lab",
    output: Output = Format.TABLE,
) -> None:
    """Make a fault."""
    lab = labs.Lab.load(name)
    lab.break_(fault, target=target, value=value)
    _print_faults(lab, output)


@app.command()
def heal(fault: FaultName, *, target: Target = "", name: Name = "lab", output: Output = Format.TABLE) -> None:
    """Take a fault back; without a target, wherever it was made."""
    lab = labs.Lab.load(name)
    lab.heal(fault, target=target)
    _print_faults(lab, output)


if find_spec("cloudnet.cli.demo"):
    app.command("demo")(import_module("cloudnet.cli.demo").demo)


def _enter(lab: labs.Lab, place: str, command: list[str]) -> None:
    """Become the command inside a place of the lab: its exit code and its terminal are ours."""
    processes.require(("ip",))
    arguments = ["ip", "netns", "exec", lab.namespace(place), *command]
    sys.stdout.flush()
    os.execvpe("ip", arguments, {**os.environ, "CLOUDNET_STORE": lab.store_url})  # noqa: S606 - no shell


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _print_faults(lab: labs.Lab, output: Format) -> None:
    made = lab.state.faults
    if output is Format.JSON:
        print_json({"faults": made})
    else:
        print_table(("fault", "target", "value"), [(f.name, f.target, f.value) for f in made], empty="no faults")


def _print_status(lab: labs.Lab, output: Format) -> None:
    found = lab.status()
    if output is Format.JSON:
        print_json({**{name: getattr(found, name) for name in found.__slots__}, "directory": str(found.directory)})
        return
    rows = [
        (
            n.name,
            n.subnet,
            n.zone,
            n.addresses[0].ip,
            ", ".join(map(str, n.blocks)),
            "/".join(n.instance.split("/")[-2:]),  # Azure's ids are paths as long as a line
            n.agent,
            " ".join(f"{p.name}={p.address}" for p in n.pods),
        )
        for n in found.nodes
    ]
    print_table(("node", "subnet", "zone", "address", "blocks", "instance", "agent", "pods"), rows)
    print_fields(
        {
            "cloud": f"{found.cloud}, {found.control_plane}",
            "controller": found.controller,
            "store": f"{found.store}, {found.store_server}",
            "faults": ", ".join(f"{f.name} {f.target} {f.value}".strip() for f in found.faults) or "none",
            "directory": found.directory,
        }
    )
