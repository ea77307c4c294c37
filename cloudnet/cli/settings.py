"""One flag for every setting: the command of a long-running program, made from its configuration class."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudnet import config
from cloudnet.config import C, Setting

_CONFIG_FLAG = inspect.Parameter(
    "config_file",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None, typer.Option("--config", help="TOML file with settings", envvar="CLOUDNET_CONFIG")
    ],
)


def command(kind: type[C], start: Callable[[C], None], *, doc: str) -> Callable[..., None]:
    """Return a function that typer turns into a command with a flag for each setting of ``kind``."""

    def run(*, config_file: Path | None = None, **flags: object) -> None:
        start(config.load(kind, file=config_file, environment=os.environ, flags=flags))

    parameters = [_CONFIG_FLAG, *(_flag(setting) for setting in config.settings(kind))]
    # typer reads the signature and the annotations of the function; here they follow from the class
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # functions do take one
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__doc__ = doc
    return run


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
