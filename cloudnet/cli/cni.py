"""``cloudnet cni``: put the CNI plugin on a node, take it away, and call it as a container runtime would."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloudnet.cli.output import Format, Output, print_fields, print_json
from cloudnet.errors import BadInput

if TYPE_CHECKING:  # what it imports is for those who install
    from cloudnet.cni.install import Outcome

app = typer.Typer(help="The CNI plugin of this node: install it, remove it, call it.", no_args_is_help=True)

Programs = Annotated[Path, typer.Option("--bin-dir", help="where the runtime looks for plugins")]
Configurations = Annotated[Path, typer.Option("--conf-dir", help="where the runtime looks for configurations")]
FileName = Annotated[str, typer.Option("--conf-name", help="name of the configuration file; the first one counts")]
Type = Annotated[str, typer.Option("--type", help="name of the program: calico takes over from Calico")]

_PROGRAMS = Path("/opt/cni/bin")
_CONFIGURATIONS = Path("/etc/cni/net.d")
_FILE_NAME = "10-cloudnet.conflist"


class Command(enum.StrEnum):
    """What a runtime may ask."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


@app.command()
def install(
    *,
    bin_dir: Programs = _PROGRAMS,
    conf_dir: Configurations = _CONFIGURATIONS,
    conf_name: FileName = _FILE_NAME,
    kind: Type = "cloudnet",
    config: Annotated[str, typer.Option(help="a list of your own, checked and copied; '-' is stdin")] = "",
    name: Annotated[str, typer.Option(help="of the network")] = "k8s-pod-network",
    cni_version: Annotated[str, typer.Option(help="1.1.0 adds GC and STATUS, for runtimes that know it")] = "1.0.0",
    chain: Annotated[str, typer.Option(help="plugins after ours: portmap,bandwidth,tuning; '' is none")] = "portmap",
    ipam: Annotated[str, typer.Option(help="who gives addresses")] = "calico-ipam",
    policy: Annotated[str, typer.Option(help="k8s reads pods and namespaces; '' leaves Kubernetes out")] = "k8s",
    mtu: Annotated[int, typer.Option(help="of pods; 0 lets the agent decide", min=0, max=65535)] = 0,
    agent_socket: Annotated[str, typer.Option(help="the agent's, if not the usual one")] = "",
    architecture: Annotated[str, typer.Option(help="as uname -m says it [default: this machine's]")] = "",
    show: Annotated[bool, typer.Option("--print", help="print the configuration and change nothing")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Put the CNI plugin in place, the program first, the configuration last; what is right already stays untouched.

    The runtime never sees half a file. Run it as often as you like, for instance at every start of the node.
    """
    from cloudnet.cni import conflist  # noqa: PLC0415 - `cloudnet --help` needs neither
    from cloudnet.cni import install as files  # noqa: PLC0415 - the same

    place = files.Place(bin_dir, conf_dir, kind, conf_name)
    chained = tuple(word for word in chain.split(",") if word)
    options = conflist.Options(kind, name, cni_version, chained, ipam, policy, mtu, agent_socket)
    text = _read(config) if config else conflist.write(options)
    if show:
        conflist.check(text, ours=kind)
        sys.stdout.write(text.decode())
        return
    _print(files.install(place, text, files.program(architecture)), output, "written")


@app.command()
def uninstall(
    *,
    bin_dir: Programs = _PROGRAMS,
    conf_dir: Configurations = _CONFIGURATIONS,
    conf_name: FileName = _FILE_NAME,
    kind: Type = "cloudnet",
    output: Output = Format.TABLE,
) -> None:
    """Remove configuration and program, in this order, if they are ours. Pods keep their network."""
    from cloudnet.cni import install as files  # noqa: PLC0415 - the same

    _print(files.uninstall(files.Place(bin_dir, conf_dir, kind, conf_name)), output, "removed")


@app.command()
def call(
    command: Annotated[Command, typer.Argument(help="what to ask")],
    *,
    container: Annotated[str, typer.Option(help="id of the container")] = "",
    netns: Annotated[str, typer.Option(help="path of its network namespace, /run/netns/NAME")] = "",
    ifname: Annotated[str, typer.Option(help="name of its interface")] = "eth0",
    args: Annotated[list[str] | None, typer.Option("--arg", help="CNI_ARGS: K8S_POD_NAME=web")] = None,
    result: Annotated[str, typer.Option(help="file for ADD to write its result to, for CHECK and DEL to read")] = "",
    valid: Annotated[list[str] | None, typer.Option(help="for GC: containers that exist, ID or ID/IFNAME")] = None,
    bin_dir: Programs = _PROGRAMS,
    config: Annotated[str, typer.Option(help="the configuration list")] = f"{_CONFIGURATIONS}/{_FILE_NAME}",
) -> None:
    """Call the plugins of a list for one container, as a container runtime would, and print what they answer."""
    from cloudnet.cni import conflist  # noqa: PLC0415 - the same
    from cloudnet.cni.runtime import Attachment, Runtime  # noqa: PLC0415 - the same

    runtime = Runtime(conflist.parse(_read(config)), [bin_dir])
    attachment = Attachment(container, netns, ifname, dict(_pair(word) for word in args or ()))
    previous = _read_result(result) if result and command in {Command.CHECK, Command.DEL} else None
    match command:
        case Command.ADD:
            added = runtime.add(attachment)
            print_json(added)
            if result:
                _write_result(result, added)
        case Command.DEL:
            runtime.delete(attachment, previous)
        case Command.CHECK:
            if previous is None:
                raise BadInput("CHECK needs what ADD answered: name its file", path="result")
            runtime.check(attachment, previous)
        case Command.GC:
            runtime.gc([Attachment(*_attached(word)) for word in valid or ()])
        case Command.STATUS:
            runtime.status()
        case Command.VERSION:
            print_json(runtime.versions())


def _print(outcome: Outcome, output: Format, verb: str) -> None:
    files = [str(path) for path in outcome.changed]
    if output is Format.JSON:
        print_json({verb: files, "warnings": outcome.warnings})
    else:
        print_fields({verb: ", ".join(files) or "nothing"})
        for warning in outcome.warnings:
            sys.stderr.write(f"warning: {warning}\n")


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as e:
        reason = (e.strerror or str(e)).lower()
        raise BadInput(f"cannot read {name!r} ({reason}): name a network configuration list", path="config") from e


def _read_result(name: str) -> dict[str, object] | None:
    import msgspec  # noqa: PLC0415 - the same

    try:
        return msgspec.json.decode(Path(name).read_bytes(), type=dict[str, object])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as e:
        raise BadInput(f"cannot read what ADD answered from {name!r} ({str(e).lower()})", path="result") from e


def _write_result(name: str, document: dict[str, object]) -> None:
    import msgspec  # noqa: PLC0415 - the same

    try:
        Path(name).write_bytes(msgspec.json.encode(document))
    except OSError as e:
        raise BadInput(f"cannot write {name!r} ({(e.strerror or str(e)).lower()})", path="result") from e


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not key or not equals or ";" in word:
        raise BadInput(f"expected KEY=VALUE without ';', found {word!r}", path="arg")
    return key, value


def _attached(word: str) -> tuple[str, str, str]:
    container, _, ifname = word.partition("/")
    return container, "", ifname or "eth0"
