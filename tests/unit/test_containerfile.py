"""The image is made of what the tests run with, and by the rules of those who build many."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
HADOLINT = Path(sys.executable).with_name("hadolint")


def lint(text):
    return subprocess.run([HADOLINT, "-"], input=text, capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing_in_the_containerfile():
    done = lint(CONTAINERFILE)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_objects_to_what_it_should():
    done = lint(CONTAINERFILE.replace("python:3.11-slim-bookworm", "python:latest"))

    assert done.returncode != 0
    assert "DL3007" in done.stdout


def test_what_it_installs_of_debians_is_what_the_tests_ran_with():
    (line,) = re.findall(r"apt-get install (?:--\S+ )*(.*?) \\", CONTAINERFILE)
    known = (ROOT / "scripts" / "host").read_text()

    assert line.split()
    assert [name for name in line.split() if name not in known] == []


def test_it_ends_as_nobody_and_runs_cloudnet():
    last = [line for line in CONTAINERFILE.splitlines() if line][-2:]

    assert last == ["USER 65532:65532", 'ENTRYPOINT ["cloudnet"]']
