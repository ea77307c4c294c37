"""Hold the kernel against the evaluator for a while: made-up nodes, real packets. As root; ARGS="SECONDS SEED"."""

from __future__ import annotations

import sys
import time
from random import Random

from cloudnet.testing import policy_worlds
from cloudnet.testing.policy_agreement import disagreements
from cloudnet.testing.policy_judge import Judge, held

PACKETS = 150


def run(judge: Judge, seconds: float, seed: int) -> int:
    deadline = time.monotonic() + seconds
    worlds = packets = 0
    while time.monotonic() < deadline:
        world = policy_worlds.World(Random(seed + worlds))
        chosen = world.packets(PACKETS)
        found = disagreements(judge, world.state, world.options, chosen)
        worlds, packets = worlds + 1, packets + len(chosen)
        if found:
            print(f"seed {seed + worlds - 1}: {found[0]}")
            return 1
    print(f"{worlds} nodes, {packets} packets: kernel and evaluator agree on all of them")
    return 0


if __name__ == "__main__":
    arguments = [*sys.argv[1:], *("20", "0")[len(sys.argv) - 1 :]]
    sys.exit(held(lambda judge: run(judge, float(arguments[0]), int(arguments[1])), name="fuzz"))
