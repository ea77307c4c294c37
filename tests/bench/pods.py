"""The suite ``pods``: addresses, the CNI plugin, and what pods get on the wire. ``make bench SUITE=pods``."""

from __future__ import annotations

import sys

import run

MODULES = ("bench_cni", "bench_addresses", "bench_datapath", "bench_etcd")

if __name__ == "__main__":
    sys.exit(run.run("pods", MODULES, sys.argv[1:]))
