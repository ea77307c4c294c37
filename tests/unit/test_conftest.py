"""The checks that hold for every test, seen red."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKED = """
import socket, subprocess, threading, time
import pytest

kept = []

def test_clean():
    thread = threading.Thread(target=time.sleep, args=(0.1,))
    thread.start()

def test_skips():
    pytest.skip("no nft here")

@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail():
    assert False

def test_leaves_a_thread():
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name="forgotten").start()

def test_leaves_a_process():
    kept.append(subprocess.Popen(["sleep", "60"]))

def test_leaves_a_listener():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_cleans_up():
    kept[0].kill()
    kept[0].wait()
    kept[1].close()

@pytest.mark.kernel
def test_needs_root():
    pass

@pytest.mark.specs
def test_needs_descriptions(specs):
    pass
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checked")
    own = (Path(__file__).parents[1] / "conftest.py").read_text()
    (folder / "conftest.py").write_text(own.replace("_GRACE = 3.0", "_GRACE = 0.3"))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    kernel: k\n    lab: l\n    specs: s\n")
    (folder / "test_checked.py").write_text(CHECKED)
    (folder / "sitecustomize.py").write_text("import os\nos.geteuid = lambda: 1000\n")
    environment = {name: value for name, value in os.environ.items() if name != "CLOUDNET_SPECS"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"PYTHONPATH": str(folder), "COLUMNS": "300"},
    )
    return done.stdout


def test_a_test_that_leaves_nothing_passes(outcome):
    assert re.search(r"^PASSED .*::test_clean$", outcome, re.MULTILINE)
    assert not re.search(r"^(ERROR|FAILED) .*::(test_clean|test_cleans_up)\b", outcome, re.MULTILINE)


def test_a_skip_is_a_failure_that_gives_the_reason(outcome):
    assert re.search(r"^FAILED .*::test_skips - .*was skipped \(Skipped: no nft here\)", outcome, re.MULTILINE)


def test_an_expected_failure_is_no_skip(outcome):
    assert re.search(r"^XFAIL .*::test_is_expected_to_fail", outcome, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("test_leaves_a_thread", "threads: forgotten"),
        ("test_leaves_a_process", "child processes: sleep 60"),
        ("test_leaves_a_listener", r"listening sockets: \('127.0.0.1'"),
    ],
)
def test_what_is_left_behind_is_named(outcome, name, left):
    assert re.search(rf"^ERROR .*::{name} - .*left behind: {left}", outcome, re.MULTILINE)


def test_without_root_what_needs_it_is_left_out_in_one_line(outcome):
    assert "1 tests were left out, of the real kernel: run pytest as root" in outcome


def test_without_the_vendors_descriptions_so_is_what_needs_them(outcome):
    assert "1 tests were left out, against the vendors' API descriptions: set CLOUDNET_SPECS" in outcome
    assert "2 deselected" in outcome
