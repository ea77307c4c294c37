import os
import subprocess
import sys

import pytest
import typer

from cloudnet.cli import exits, main
from cloudnet.cli.ask import AgentUnreachable
from cloudnet.errors import BadInput, CloudnetError, MissingTool
from cloudnet.store.api import AlreadyExists, Conflict, NotFound, StoreDamaged, StoreUnavailable

HEAVY = {
    "boto3",
    "botocore",
    "moto",
    "prometheus_client",
    "cloudnet_aws",
    "sqlite3",
    "rich",
    "msgspec",
    "h2",
    "yaml",
    "ssl",
}


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

    assert (done.returncode, done.stdout) == (6, "")
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

    assert done.returncode == 1  # python's, of a traceback
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


@pytest.fixture
def imported():
    """Return the modules that a run of the command line imports."""

    def modules(*arguments):
        code = (
            "import sys\nfrom cloudnet.cli import main\n"
            "try:\n    main.main()\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        return set(done.stderr.split())

    return modules


def test_help_imports_no_sdk_no_library_but_typer_and_none_of_our_rooms(imported):
    modules = imported("--help")

    assert modules & HEAVY == set()
    assert {name for name in modules if name.startswith("cloudnet.")} == {
        "cloudnet.cli",
        "cloudnet.cli.lazy",
        "cloudnet.cli.main",
        "cloudnet.errors",
    }


def test_help_of_a_command_imports_no_other_commands(imported):
    modules = imported("agent", "--help")

    assert "cloudnet.cli.agent" in modules
    assert not {"cloudnet.cli.lab", "cloudnet.cli.ipam", "boto3", "rich"} & modules


def test_every_command_is_where_the_table_says():
    program = typer.main.get_command(main.build(lab=True))
    program.load_all()

    assert all(command.callback or command.commands for command in program.commands.values())
    assert list(program.commands) == [entry.name for entry in main.ENTRIES]


def test_a_command_that_nobody_knows_is_refused_with_the_likely_one():
    done = cloudnet("stauts")

    assert done.returncode == 2
    assert "Did you mean 'status'?" in done.stderr


def test_a_settings_file_serves_every_command(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("store: sqlite:///nowhere/at/all.sqlite\nagent: {probe_port: none}")

    get, agent = cloudnet("--config", str(config), "get", "nodes"), cloudnet("agent", CLOUDNET_CONFIG=str(config))
    named = cloudnet("--config", str(config), "agent")

    assert "there is no store at '/nowhere/at/all.sqlite'" in get.stderr
    assert "config.yaml: agent.probe_port: expected an integer" in agent.stderr
    assert named.stderr == agent.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_had_for_every_shell(shell):
    done = cloudnet("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")

    assert "_CLOUDNET_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("cloudnet sta", 1, {"status"}),
        ("cloudnet ipam re", 2, {"release"}),
        ("cloudnet ipam show --conf", 3, {"--configuration"}),
    ],
)
def test_commands_and_options_are_completed(line, word, expected):
    done = completed(line, word)

    assert set(done.stdout.split()) == expected


def completed(line, word):
    code = "from cloudnet.cli import main\nmain.build(lab=False)(prog_name='cloudnet')"
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"_CLOUDNET_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)},
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CloudnetError, 1),
        (BadInput, 2),
        (MissingTool, 3),
        (NotFound, 4),
        (AlreadyExists, 5),
        (Conflict, 5),
        (StoreUnavailable, 6),
        (AgentUnreachable, 6),
        (StoreDamaged, 1),
    ],
)
def test_the_exit_code_tells_the_kind_of_error(error, code):
    assert exits.code(error("x")) == code


@pytest.mark.parametrize(("codes", "code"), [([], 0), ([4, 4], 4), ([4, 2], 1)])
def test_several_errors_of_one_kind_keep_their_exit_code(codes, code):
    assert exits.of_all(codes) == code
