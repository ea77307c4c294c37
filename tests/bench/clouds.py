"""The suite ``clouds``: what each cloud's plugin costs against published rate limits. ``make bench SUITE=clouds``."""

from __future__ import annotations

import sys

import run

MODULES = ("bench_azure", "bench_gcp", "bench_ibm", "bench_idle")

if __name__ == "__main__":
    sys.exit(run.run("clouds", MODULES, sys.argv[1:]))
