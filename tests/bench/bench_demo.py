"""The demo's promises: packets lost and gaps, measured with real packets in a lab of six nodes."""

from __future__ import annotations

import sys

from cloudnet.cli.demo import play
from cloudnet.lab import scenarios
from cloudnet.lab.spec import LabSpec

NODES = 6
SUBNETS = 3


def measure() -> list[dict[str, object]]:
    """Play the whole story once."""
    wanted = LabSpec("bench", NODES, SUBNETS, controller=False)
    story = play(wanted, scenarios.story(NODES, SUBNETS), lambda line: sys.stderr.write(line + "\n"))
    return [
        {
            "name": promise.name,
            "value": promise.value,
            "unit": promise.unit,
            "target": promise.target,
            "peer": None,  # no other system moves single destinations between native and overlay
            "ok": promise.ok,
        }
        for promise in story.result().promises
    ]
