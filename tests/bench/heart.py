"""The suite ``heart``: routes in the cloud, VXLAN where the cloud says no. ``make bench SUITE=heart``."""

from __future__ import annotations

import sys

import run

MODULES = ("bench_demo", "bench_controller", "bench_kernel")

if __name__ == "__main__":
    sys.exit(run.run("heart", MODULES, sys.argv[1:]))
