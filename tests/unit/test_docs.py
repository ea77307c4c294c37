"""The reference pages name everything there is, and what the pages point at exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cloudnet.cli import exits, routes
from cloudnet.model import cluster_events
from cloudnet.model.paths import PathKind, Reason

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SOURCES = sorted([*(ROOT / "cloudnet").rglob("*.py"), *(ROOT / "providers").rglob("*.py")])


def test_the_reference_pages_say_what_the_code_says():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py", "--check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_error_says_what_it_means():
    rows = [line for line in (DOCS / "reference/errors.md").read_text().splitlines() if line.startswith("| `")]

    assert not [row for row in rows if row.endswith("|  |")]


def test_every_event_is_in_the_reference_and_told_somewhere():
    every = vars(cluster_events).items()
    reasons = {name: value for name, value in every if isinstance(value, cluster_events.Reason)}
    table = ROOT / "cloudnet/model/cluster_events.py"
    code = "".join(path.read_text() for path in SOURCES if path != table)

    assert set(cluster_events.ALL) == set(reasons.values())
    assert not {name for name in reasons if not re.search(rf"\bevents\.{name}\b", code)}


def test_every_exit_code_is_described():
    page = (DOCS / "reference/errors.md").read_text()

    assert not {code for _, code in exits.CODES if f"\n| {code} |" not in page}


def test_every_reason_and_every_kind_of_path_is_explained():
    assert set(routes.REASONS) == {reason.value for reason in Reason}
    assert set(routes.KINDS) == {kind.value for kind in PathKind}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page):
    named = re.findall(r"`((?:cloudnet|providers|tests|docs|scripts)/[\w./-]+)`", page.read_text())
    missing = [name for name in named if not (ROOT / name).exists() and "mycloud" not in name]  # the how-to's example

    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_function_that_a_page_names_is_in_its_file(page):
    named = re.findall(r"`((?:cloudnet|providers)/[\w/]+\.py)`\s+`(\w+)\(\)`", page.read_text())
    missing = [
        (file, name)
        for file, name in named
        if (ROOT / file).exists() and not re.search(rf"^ *def {name}\b", (ROOT / file).read_text(), re.MULTILINE)
    ]

    assert not missing


def test_every_page_is_reached_from_the_index():
    seen, todo = set(), [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        todo += [(page.parent / link).resolve() for link in links if "://" not in link]

    assert not {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if page.resolve() not in seen}


def test_every_file_that_the_code_points_at_in_the_docs_exists():
    pointed = {name for path in SOURCES for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text())}

    assert not {name for name in pointed if not (ROOT / name).exists()}
