"""``cloudnet controller``: run the controller; of several, one leads."""

from __future__ import annotations

import typer

from cloudnet.cli import settings
from cloudnet.config import ControllerConfig


def start(config: ControllerConfig) -> None:
    from cloudnet.controller import main  # noqa: PLC0415 - cloud and metrics are for those who run it

    raise typer.Exit(main.run(config))


run = settings.command(
    ControllerConfig,
    start,
    doc="""Run the controller: program the cloud's route tables and say where each route stands.

    Start as many as you like: one leads, the others wait. Stops cleanly on SIGTERM and leaves the routes in place.
    """,
)
