"""The suite ``clusters``: a large Kubernetes cluster read by one node. ``make bench SUITE=clusters``."""

from __future__ import annotations

import sys

import run

MODULES = ("bench_kubernetes",)

if __name__ == "__main__":
    sys.exit(run.run("clusters", MODULES, sys.argv[1:]))
