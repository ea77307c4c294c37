"""The suite ``policy``: from labels and policies to what the kernel needs. ``make bench SUITE=policy``."""

from __future__ import annotations

import sys

import run

MODULES = (
    "bench_nft",
    "bench_policy_index",
    "bench_policy_calculate",
    "bench_policy_apply",
    "bench_policy_traffic",
)

if __name__ == "__main__":
    sys.exit(run.run("policy", MODULES, sys.argv[1:]))
