"""An agent's budget among 5,000 nodes and 50,000 pods: the cold start of ``bench_agent``, five times as large."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench_agent import lay_a_wire, running, started
from servers import Kubernetes, cpu

from cloudnet.kernel import netns

NODES = 5000
BUDGET = 15.0, 500.0  # seconds and MiB


def measure() -> list[dict[str, object]]:
    """Return the rows, in about a minute."""
    with netns.temporary(f"cn-agent-{os.getpid()}") as name:
        return netns.run_inside(name, measured)


def measured() -> list[dict[str, object]]:
    lay_a_wire()
    side = Kubernetes()
    with tempfile.TemporaryDirectory() as name, side.serving(Path(name), NODES) as url:
        before = cpu(side.pid)
        with running(Path(name), url, NODES) as agent:
            return list(started(side, agent, cpu(side.pid) - before, NODES, most=BUDGET))
