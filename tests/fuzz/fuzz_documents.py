"""Throw broken policy documents at the YAML door for a while: ``fuzz_documents.py [SECONDS] [SEED]``.

Good documents, as users write them, with pieces cut out, doubled, swapped and put in from elsewhere: as text, and as
data. Whatever is thrown is read or refused with ``BadInput``, soon; what is read survives its own document, and has a
meaning. The seed is printed, so that a find can be had again.
"""

from __future__ import annotations

import copy
import random
import sys
import time
from pathlib import Path

from cloudnet.errors import BadInput
from cloudnet.model import kinds, manifests
from cloudnet.model.manifests import Manifest
from cloudnet.policy import cluster, lint

CASES = Path(__file__).parents[1] / "cases" / "documents"
TEXT = (CASES / "accepted.yaml").read_text()
GOOD = [one.document for one in manifests.read(TEXT, "accepted.yaml")]
ODD = (
    *(None, True, 0, -1, 65536, 2**63, 2**70, 1.5, "", " ", "0", "'", '"; flush ruleset; "', "a\nb", "\0", "é\ud800"),
    *(
        "all()",
        "global()",
        "(" * 5000,
        "10.0.0.0/33",
        "::/0",
        "22:23",
        "x" * 5000,
        [],
        {},
        [[]],
        {"": ""},
        {"a": None},
    ),
)
PIECES = (*"{}[],:&*!|>%@`-?#\"' \n\t\0", "\n---\n", "- ", ": ", "*a", "&a ", "!!int ", "<<: ", "22:23", "\ud800")
LIMIT = 2.0  # seconds for a document of some kilobytes


def places(value, path=()):
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*path, key))


def thrown_data(chance):
    """Return a good document with some of its values replaced, dropped or taken from another one."""
    document = copy.deepcopy(chance.choice(GOOD))
    for _ in range(chance.randrange(1, 4)):
        *way, last = chance.choice([path for path in places(document) if path])
        parent = document
        for step in way:
            parent = parent[step]
        other = chance.choice(GOOD)
        for step in chance.choice(list(places(other))):
            other = other[step]
        match chance.randrange(4):
            case 0:
                del parent[last]
            case 1:
                parent[last] = copy.deepcopy(other)
            case 2 if isinstance(parent, dict):
                parent[f"{last}s"] = parent.pop(last)
            case _:
                parent[last] = chance.choice(ODD)
    return document


def thrown_text(chance):
    """Return some of the good text with pieces put in and cut out."""
    start = chance.randrange(len(TEXT))
    text = TEXT[start : start + chance.randrange(2000)]
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(text) + 1)
        piece = chance.choice(PIECES) * chance.choice((1, 1, 1, 2, 500))
        text = text[:at] + piece + text[at + chance.randrange(3) :]
    return text


def check(found):
    """Tell whether everything in it was read."""
    began = time.process_time()
    try:
        some = manifests.read(found, "f") if isinstance(found, str) else [Manifest(found, "f")]
        values = [value for one in some if (value := manifests.resource(one)) is not None]
    except BadInput:
        return False
    finally:
        assert time.process_time() - began < LIMIT
    for value in values:
        assert kinds.decode(kinds.encode(value)) == value
    lint.lint(cluster.build(values))
    return True


def main(seconds, seed):
    print(f"seed {seed}")
    chance, until = random.Random(seed), time.monotonic() + seconds
    answers = []
    while time.monotonic() < until:
        found = thrown_text(chance) if chance.random() < 0.4 else thrown_data(chance)
        try:
            answers.append(check(found))
        except Exception:
            print(f"found: {found!r}")
            raise
    print(f"{len(answers)} documents, {sum(answers)} of them accepted")
    return 0


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(float(given[0]) if given else 60, int(given[1]) if given[1:] else random.randrange(2**32)))
