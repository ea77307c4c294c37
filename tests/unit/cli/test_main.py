import os
import subprocess
import sys

import pytest

from cloudnet.cli import main
from cloudnet.errors import BadInput, CloudnetError, MissingTool

HEAVY = ("boto3", "botocore", "moto", "prometheus_client", "cloudnet_aws", "sqlite3", "rich.table")


def cloudnet(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "cloudnet", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("CLOUDNET_")} | environment,
    )


def test_an_error_of_ours_is_one_line_and_no_traceback():
    done = cloudnet("routes", "--socket", "/nowhere.sock")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: no agent answers at '/nowhere.sock' (no such file or directory):"
        " start it, or name its socket with --socket\n"
    )


def test_wrong_input_has_its_own_exit_code():
    done = cloudnet("agent")

    assert done.returncode == 2
    assert done.stderr.startswith("error: node: not set")


def test_with_debug_the_traceback_is_shown():
    done = cloudnet("routes", "--socket", "/nowhere.sock", CLOUDNET_DEBUG="1")

    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_setting_from_the_environment_reaches_the_program():
    done = cloudnet("agent", CLOUDNET_NODE="n1", CLOUDNET_PROBE_PORT="none")

    assert done.stderr == "error: CLOUDNET_PROBE_PORT: expected an integer from 1 to 65535, found 'none'\n"


def test_a_settings_file_reaches_the_program(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("nodes = 'n1'")

    done = cloudnet("agent", "--config", str(file))

    assert done.stderr == f"error: {file}: nodes: there is no such setting: did you mean 'node'?\n"


def test_the_version_is_printed():
    assert cloudnet("--version").stdout.startswith("cloudnet 0.")


def test_help_imports_no_sdk_and_nothing_heavy():
    code = "import sys\nfrom cloudnet.cli import main\nmain.build(lab=False)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert set(done.stdout.split()) & set(HEAVY) == set()


@pytest.mark.parametrize(
    ("error", "code"), [(CloudnetError("x"), 1), (BadInput("x"), 2), (MissingTool("x"), 3)], ids=str
)
def test_the_exit_code_tells_the_kind_of_error(error, code):
    assert main.exit_code(error) == code
