"""``cloudnet agent``: run the agent of one node."""

from __future__ import annotations

import typer

from cloudnet import logs
from cloudnet.cli import settings
from cloudnet.config import AgentConfig


def start(config: AgentConfig) -> None:
    from cloudnet.agent import main  # noqa: PLC0415 - netlink and metrics are for those who run it

    logs.setup(config.log_level)
    raise typer.Exit(main.run(config))


run = settings.command(
    AgentConfig,
    start,
    doc="""Run the agent of one node: lay VXLAN ground, prove native paths, fall back when they break.

    Needs root. Stops cleanly on SIGTERM and leaves the data path in place.
    """,
)
