"""``cloudnet agent``: run the agent of one node, or take away what agents have left there."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Annotated

import typer

from cloudnet import logs
from cloudnet.cli import settings
from cloudnet.cli.output import print_fields
from cloudnet.config import AgentConfig

_UNINSTALL = typer.Option("--uninstall", help="run no agent: leave this host as it was before the first one came")
_FORCE = typer.Option("--force", help="with --uninstall: although pods of this host lose their network")
_BIN_DIR = typer.Option("--bin-dir", help="with --uninstall: where the CNI plugin was put")
_CONF_DIR = typer.Option("--conf-dir", help="with --uninstall: where its configuration was put")

_ALSO = (
    inspect.Parameter(
        "uninstall", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, _UNINSTALL]
    ),
    inspect.Parameter("force", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, _FORCE]),
    inspect.Parameter(
        "bin_dir", inspect.Parameter.KEYWORD_ONLY, default=Path("/opt/cni/bin"), annotation=Annotated[Path, _BIN_DIR]
    ),
    inspect.Parameter(
        "conf_dir",
        inspect.Parameter.KEYWORD_ONLY,
        default=Path("/etc/cni/net.d"),
        annotation=Annotated[Path, _CONF_DIR],
    ),
)


def start(config: AgentConfig, *, uninstall: bool, force: bool, bin_dir: Path, conf_dir: Path) -> None:
    logs.setup(config.log_level)
    if uninstall:
        remove(config, bin_dir, conf_dir, force=force)
        return
    from cloudnet.agent import main  # noqa: PLC0415 - netlink and metrics are for those who run it

    raise typer.Exit(main.run(config))


def remove(config: AgentConfig, bin_dir: Path, conf_dir: Path, *, force: bool) -> None:
    """Take everything away and say what it was."""
    from cloudnet.agent import uninstall  # noqa: PLC0415 - the same
    from cloudnet.cni.install import Place  # noqa: PLC0415 - the same

    removed = uninstall.run(config, Place(bin_dir, conf_dir), force=force)
    print_fields(
        {
            "links of pods": ", ".join(removed.pods) or "none",
            "routes, rules, devices": str(removed.kernel),
            "nftables tables": ", ".join(removed.tables) or "none",
            "settings put back": ", ".join(removed.settings) or "none",
            "files": ", ".join(removed.files) or "none",
        }
    )
    for warning in removed.warnings:
        sys.stderr.write(f"warning: {warning}\n")


run = settings.command(
    AgentConfig,
    start,
    also=_ALSO,
    doc="""Run the agent of one node: lay VXLAN ground, prove native paths, fall back when they break.

    Needs root. Stops cleanly on SIGTERM and leaves the data path in place; --uninstall takes it away.
    """,
)
