"""Where settings come from, for every command: flags, then the environment, then the settings files.

The files are, the weakest first, ``/etc/cloudnet/config.yaml``, ``~/.config/cloudnet/config.yaml``, and the one that
``--config`` or ``CLOUDNET_CONFIG`` names. A long-running program has a flag for every setting, made from its
configuration class. Any other command takes from the files what it would take from a variable ``CLOUDNET_...``; one
that looks at what programs will do takes it from their sections, too.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from cloudnet import config
from cloudnet.config import AgentConfig, C, ControllerConfig, Setting
from cloudnet.errors import BadInput

_CONFIG_FLAG = inspect.Parameter(
    "config_file",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None, typer.Option("--config", help="YAML or TOML file with settings", envvar="CLOUDNET_CONFIG")
    ],
)
SPEAKS_OF: Mapping[str, tuple[type[AgentConfig | ControllerConfig], ...]] = MappingProxyType(
    {"preflight": (AgentConfig, ControllerConfig)}
)
"""Of which programs a command speaks: what their sections say counts for it, the last one's most."""
SYSTEM = Path("/etc/cloudnet/config.yaml")
_Document = Mapping[str, object]


def command(
    kind: type[C], start: Callable[..., None], *, doc: str, also: Sequence[inspect.Parameter] = ()
) -> Callable[..., None]:
    """Return a function that typer turns into a command with a flag for each setting of ``kind``.

    ``start`` gets the settings, and by name the values of the parameters in ``also``, which are no settings.
    """

    def run(*, config_file: Path | None = None, **flags: object) -> None:
        more = {parameter.name: flags.pop(parameter.name) for parameter in also}
        files = read(config_file, os.environ)
        start(config.load(kind, files=files, environment=os.environ, flags=flags), **more)

    parameters = [_CONFIG_FLAG, *also, *(_flag(setting) for setting in config.settings(kind))]
    # typer reads the signature and the annotations of the function; here they follow from the class
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # functions do take one
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__doc__ = doc
    return run


# --- the files ------------------------------------------------------------------------------------------------


def read(named: Path | None, environment: Mapping[str, str], *, system: Path = SYSTEM) -> list[tuple[str, _Document]]:
    """Return names and contents of the settings files that there are, the weakest first.

    Raises:
        BadInput: one cannot be read, or the one that is named is not there.
    """
    return [(str(path), _contents(path)) for path in files(named, environment, system=system)]


def files(named: Path | None, environment: Mapping[str, str], *, system: Path = SYSTEM) -> list[Path]:
    """Return the settings files that there are, and the one that is named, the weakest first."""
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "/")) / ".config")
    usual = [path for path in (system, Path(home) / "cloudnet" / "config.yaml") if path.exists()]
    return [*usual, *([named] if named else [])]


def _contents(path: Path) -> _Document:
    if path.suffix == ".toml":
        return config.read_toml(path)
    from cloudnet.cli import texts  # noqa: PLC0415 - YAML is for those who have a file of it
    from cloudnet.model import manifests  # noqa: PLC0415 - the same

    documents = [one for one in manifests.load_all(texts.read(path), str(path)) if one is not None]
    if len(documents) > 1 or not all(isinstance(one, dict) for one in documents):
        raise BadInput("expected one object with settings", path=str(path))
    return documents[0] if documents else {}


def apply(context: typer.Context, named: Path | None) -> None:
    """Let the command that is about to run take from the files what its flags and variables do not say."""
    command, name = context.command, context.invoked_subcommand
    if name is None or name in config.SECTIONS.values():
        if name and named:
            context.default_map = {name: {"config_file": named}}  # those two read the files themselves
        return
    values: dict[str, object] = {}
    for origin, document in read(named, os.environ):
        values |= config.check_file(document, origin)
        for kind in SPEAKS_OF.get(name, ()):
            values |= config.section(kind, document, origin)
    if values:
        # Any: typer has its own copy of click
        found: Any = command
        context.default_map = {name: defaults(found.commands[name], values)}


def defaults(command: Any, values: Mapping[str, object]) -> dict[str, Any]:  # Any: as above
    """Return the settings that a command takes, and its commands' if it is a group: ``{parameter: value}``."""
    if inner := getattr(command, "commands", None):
        return {name: defaults(one, values) for name, one in inner.items()}
    variables = {f"CLOUDNET_{name.upper()}": value for name, value in values.items()}
    return {
        parameter.name: variables[parameter.envvar]
        for parameter in command.params
        if isinstance(parameter.envvar, str) and parameter.envvar in variables
    }


# --- a flag for every setting -----------------------------------------------------------------------------------


def _flag(setting: Setting) -> inspect.Parameter:
    on_and_off = f"{setting.flag}/--no-{setting.flag[2:]}" if setting.type is bool else setting.flag
    option: Any = typer.Option(on_and_off, help=_help(setting))  # Any: typer says so
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,  # not given: the environment, the file and the default have their turn
        annotation=Annotated[setting.type | None, option],
    )


def _help(setting: Setting) -> str:
    says = setting.says
    notes = [", ".join(says.choices)] if says.choices else []
    if math.isfinite(says.high):
        notes.append(f"{says.low:g} to {says.high:.0f}")
    notes.append("required" if setting.required else f"default: {_shown(setting.default)}")
    return f"{says.meaning} ({'; '.join(notes)})"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default) or "empty"
