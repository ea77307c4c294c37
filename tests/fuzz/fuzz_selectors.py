"""Throw broken and odd selectors at the parser for a while: ``fuzz_selectors.py [SECONDS] [SEED]``.

Whatever is thrown, the parser reads it or raises ``BadSelector``, soon; and what it reads has a canonical text that
stands for itself. The seed is printed, so that a find can be had again.
"""

from __future__ import annotations

import random
import sys
import time

from cloudnet.policy.selectors import BadSelector, parse

PIECES = (
    *"(){}!,'\"&|= \t\nax_./-\0é\ud800",
    *("==", "!=", "&&", "||", "in", "not in", "notin", "contains", "starts with", "ends with", "has(", "all()"),
    *("global()", "a == 'x'", "has(a)", "a in {'x', 'y'}", "!has(b)", "(a != 'x' || b contains 'y')", "'x'", "{'x'}"),
)
LIMIT = 1.0  # seconds for a text of some kilobytes


def thrown(chance: random.Random) -> str:
    """Return pieces in any order, some of them many times, and a well-formed selector with something changed."""
    text = "".join(chance.choice(PIECES) * chance.choice((1, 1, 1, 1, 2, 50)) for _ in range(chance.randrange(20)))
    if chance.random() < 0.5:
        return text
    good = " && ".join(chance.choice(PIECES[-8:-2]) for _ in range(chance.randrange(1, 6)))
    at = chance.randrange(len(good))
    return good[:at] + text[:3] + good[at + chance.randrange(3) :]


def check(text: str) -> bool:
    """Tell whether a text was read."""
    began = time.process_time()
    try:
        selector = parse(text)
    except BadSelector:
        return False
    finally:
        assert time.process_time() - began < LIMIT
    again = parse(selector.canonical())
    assert (again.canonical(), again.uid()) == (selector.canonical(), selector.uid())
    for labels in ({}, {"a": "x"}, {"a": "y", "b": "xy"}):
        assert again.matches(labels) is selector.matches(labels)
    return True


def main(seconds: float, seed: int) -> int:
    print(f"seed {seed}")
    chance, until = random.Random(seed), time.monotonic() + seconds
    answers = []
    while time.monotonic() < until:
        text = thrown(chance)
        try:
            answers.append(check(text))
        except Exception:
            print(f"found: {text!r}")
            raise
    print(f"{len(answers)} texts, {sum(answers)} of them selectors")
    return 0


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(float(given[0]) if given else 60, int(given[1]) if given[1:] else random.randrange(2**32)))
