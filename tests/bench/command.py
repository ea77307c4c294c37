"""The suite ``command``: what a person at a terminal waits for. ``make bench SUITE=command``."""

from __future__ import annotations

import sys

import run

MODULES = ("bench_command",)

if __name__ == "__main__":
    sys.exit(run.run("command", MODULES, sys.argv[1:]))
