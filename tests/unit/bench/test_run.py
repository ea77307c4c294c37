from __future__ import annotations

import datetime as dt
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BEGIN, END = "<!-- heart: begin -->", "<!-- heart: end -->"
ROWS = [
    {"name": "lost", "value": 0, "unit": "packets", "target": 0, "peer": None, "ok": True},
    {"name": "gap", "value": 1234.5, "unit": "ms", "target": "under 1 s", "peer": 30000.0, "ok": False},
]


@pytest.fixture
def run() -> ModuleType:
    found = importlib.util.spec_from_file_location("run", Path(__file__).parents[2] / "bench" / "run.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def modules(monkeypatch, tmp_path) -> Path:
    """A folder of measuring modules."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("good", "bad"):
        sys.modules.pop(name, None)


def test_figures_stand_between_the_marks_and_the_rest_of_the_page_stays(run) -> None:
    page = f"# Promises\n\n{BEGIN}\nold\n{END}\n\nafter\n"

    text = run.filled(page, "heart", ROWS, "2 cores", dt.date(2026, 1, 2))

    assert text.startswith(f"# Promises\n\n{BEGIN}\nMeasured on 2026-01-02 on 2 cores.\n")
    assert "| lost | 0 packets | 0 packets |  | yes |" in text
    assert "| gap | 1234.5 ms | under 1 s | 30000.0 ms | **no** |" in text
    assert text.endswith(f"{END}\n\nafter\n")
    assert "old" not in text


def test_writing_the_page_twice_changes_nothing(run) -> None:
    page = f"{BEGIN}\n{END}\n"
    once = run.filled(page, "heart", ROWS, "2 cores", dt.date(2026, 1, 2))

    assert run.filled(once, "heart", ROWS, "2 cores", dt.date(2026, 1, 2)) == once


def test_rows_have_exactly_the_published_fields(run, modules) -> None:
    (modules / "good.py").write_text(
        "def measure():\n    return [{'name': 'n', 'value': 1, 'ok': True, 'more': 2}]\n"
    )

    rows = run.measured("good")

    assert rows == [{"name": "n", "value": 1, "unit": None, "target": None, "peer": None, "ok": True}]


def test_a_module_that_fails_is_a_row_that_is_not_ok(run, modules) -> None:
    (modules / "bad.py").write_text("def measure():\n    raise RuntimeError('no kernel')\n")

    rows = run.measured("bad")

    assert [(row["name"], row["ok"]) for row in rows] == [("bad failed: no kernel", False)]
