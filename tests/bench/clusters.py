"""The suite ``clusters``: a large Kubernetes cluster, and who leads in it. ``make bench SUITE=clusters``."""

from __future__ import annotations

import sys

import run

MODULES = ("bench_kubernetes", "bench_leader")

if __name__ == "__main__":
    sys.exit(run.run("clusters", MODULES, sys.argv[1:]))
