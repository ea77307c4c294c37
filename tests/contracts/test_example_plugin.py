"""The plugin under docs/examples is complete: it installs by itself, is found, and passes its own tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "cloudnet_example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install a copy of the package, without network, where nothing else is; return that folder."""
    target, source = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    run("-m", "pip", "install", *flags, "--target", str(target), str(source))
    return target


def run(*arguments, path=None, cwd=None):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_installed_plugin_is_listed(installed):
    listed = json.loads(run("-m", "cloudnet", "providers", "-o", "json", path=installed))

    assert "example" in [provider["name"] for provider in listed["providers"]]


def test_the_installed_plugin_passes_its_own_tests(installed):
    told = run(
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(EXAMPLE),
        "tests",
        path=installed,
        cwd=EXAMPLE,
    )

    assert "passed" in told
    assert "skipped" not in told


def test_its_tests_run_the_whole_contract(installed):
    from cloudnet.testing.preflight import CloudPreflightContract  # noqa: PLC0415  counts what stands there now
    from cloudnet.testing.provider import ProviderContract  # noqa: PLC0415  the same

    told = run("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests", path=installed, cwd=EXAMPLE)

    for suite, contract in (("TestExample", ProviderContract), ("TestPreflight", CloudPreflightContract)):
        promises = [name for name in dir(contract) if name.startswith("test_")]
        assert promises
        assert not [name for name in promises if f"{suite}::{name}" not in told]
