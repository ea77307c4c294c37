"""The promises of native addresses: how soon many nodes have them, what they cost, what comes when there are none."""

from __future__ import annotations

import sys

import run

MODULES = ("bench_native",)

if __name__ == "__main__":
    sys.exit(run.run("native", MODULES, sys.argv[1:]))
