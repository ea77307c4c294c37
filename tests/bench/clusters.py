"""The suite ``clusters``: large clusters, and who leads in them. ``make bench SUITE=clusters``."""

from __future__ import annotations

import sys

import run

MODULES = (
    "bench_agent",
    "bench_agent_large",
    "bench_controller_large",
    "bench_kubernetes",
    "bench_watches",
    "bench_leader",
)

if __name__ == "__main__":
    sys.exit(run.run("clusters", MODULES, sys.argv[1:]))
