"""Run a suite of measurements: write ``build/bench/SUITE.json``, print it as a table, fail when a target is missed.

A suite is a few modules beside this one, each with ``measure() -> list[dict]``: rows with ``name``, ``value``,
``unit``, ``target``, ``peer`` (what others reach, where it is known) and ``ok``. Nothing is left out: a module that
fails is a row that is not ok. ``--write-docs`` copies the figures into docs/promises.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from cloudnet.cli.output import print_table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "promises.md"
MARKS = "<!-- {suite}: begin -->", "<!-- {suite}: end -->"
FIELDS = ("name", "value", "unit", "target", "peer", "ok")

Row = Mapping[str, object]


def run(suite: str, modules: Sequence[str], arguments: Sequence[str]) -> int:
    """Measure, write and print; return the exit code."""
    parser = argparse.ArgumentParser(description=f"measure the suite {suite!r}")
    parser.add_argument("--only", action="append", choices=modules, help="just this module; may be repeated")
    parser.add_argument("--write-docs", action="store_true", help=f"write the figures to {PAGE.relative_to(ROOT)}")
    chosen = parser.parse_args(arguments)
    if chosen.write_docs and chosen.only:
        parser.error("--write-docs wants the whole suite")
    rows = [row for module in chosen.only or modules for row in measured(module)]
    target = ROOT / "build" / "bench" / f"{suite}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(rows, indent=2) + "\n")
    print_table([name.upper() for name in FIELDS], ([shown(row[name]) for name in FIELDS] for row in rows))
    print(f"\n{target.relative_to(ROOT)}: {len(rows)} figures")  # noqa: T201 - a program that prints
    if chosen.write_docs:
        day = dt.datetime.now(tz=dt.UTC).date()
        PAGE.write_text(filled(PAGE.read_text(), suite, rows, where(), day))
    return 0 if all(row["ok"] for row in rows) else 1


def measured(module: str) -> list[Row]:
    """Return a module's rows, each with exactly the published fields."""
    sys.stderr.write(f"{module} ...\n")
    try:
        return [{name: row.get(name) for name in FIELDS} for row in import_module(module).measure()]
    except Exception as error:  # noqa: BLE001 - the other modules shall still be measured; this one is a row that is not ok
        traceback.print_exc()
        nothing = dict.fromkeys(FIELDS)
        return [nothing | {"name": f"{module} failed: {error}", "value": 0, "unit": "", "ok": False}]


def shown(value: object) -> object:
    return f"{value:,.4g}" if isinstance(value, float) and value < 1000 else value


def filled(page: str, suite: str, rows: Iterable[Row], machine: str, day: dt.date) -> str:
    """Return the page with the figures between the suite's two marks."""
    begin, end = (mark.format(suite=suite) for mark in MARKS)
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    lines = [
        f"Measured on {day} on {machine}.",
        "",
        "| what | measured | target | peer | reached |",
        "|---|---:|---:|---:|---|",
        *(
            f"| {row['name']} | {with_unit(row['value'], row)} | {with_unit(row['target'], row)} "
            f"| {with_unit(row['peer'], row)} | {'yes' if row['ok'] else '**no**'} |"
            for row in rows
        ),
    ]
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}"


def with_unit(value: object, row: Row) -> str:
    if value is None or value == "":
        return ""
    return str(value) if isinstance(value, str) else f"{shown(value)} {row['unit']}".strip()


def where() -> str:
    """Return what the machine is, as far as it matters to the figures."""
    return (
        f"{os.cpu_count()} shared cores, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )
