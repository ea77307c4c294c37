from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from cloudnet import config
from cloudnet.cli import settings
from cloudnet.config import AgentConfig, ControllerConfig
from cloudnet.errors import BadInput


@pytest.fixture
def started():
    return []


@pytest.fixture
def invoke(started):
    def run(kind, *arguments, env=None):
        app = typer.Typer()
        app.command()(settings.command(kind, started.append, doc="Run."))
        done = CliRunner().invoke(app, arguments, env=env, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return started[-1]

    return run


def test_without_flags_the_defaults_are_used(invoke):
    assert invoke(ControllerConfig) == ControllerConfig()


@pytest.mark.parametrize("kind", [AgentConfig, ControllerConfig])
def test_every_setting_has_a_flag(invoke, kind):
    others = {str: "other", int: 77, float: 77.5, bool: True}
    values = {s.name: s.says.choices[0] if s.says.choices else others[s.type] for s in config.settings(kind)}
    flags = [
        word
        for s in config.settings(kind)
        for word in ([s.flag] if s.type is bool else [s.flag, str(values[s.name])])
    ]

    assert invoke(kind, *flags) == kind(**values)


def test_a_switch_can_be_turned_off_against_the_environment(invoke):
    loaded = invoke(
        ControllerConfig,
        "--no-every-route-in-every-table",
        env={"CLOUDNET_EVERY_ROUTE_IN_EVERY_TABLE": "true"},
    )

    assert loaded.every_route_in_every_table is False


def test_the_file_can_be_named_by_the_environment(invoke, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("headroom = 5")

    assert invoke(ControllerConfig, env={"CLOUDNET_CONFIG": str(file)}).headroom == 5


def test_a_wrong_value_is_refused_by_its_flag(invoke):
    with pytest.raises(BadInput, match="--headroom: expected an integer of at least 0, found -1"):
        invoke(ControllerConfig, "--headroom", "-1")


@pytest.fixture
def files(tmp_path):
    """Write what the machine, the user and ``--config`` say; return what each setting then is."""

    def read(*, system="", user="", named=None, environment=None):
        paths = {"system": tmp_path / "system.yaml", "user": tmp_path / "cloudnet" / "config.yaml"}
        paths["user"].parent.mkdir()
        for path, text in ((paths["system"], system), (paths["user"], user)):
            if text:
                path.write_text(text)
        chosen = tmp_path / "named.yaml" if named is not None else None
        if chosen:
            chosen.write_text(named)
        found = settings.read(chosen, {"XDG_CONFIG_HOME": str(tmp_path)}, system=paths["system"])
        return config.load(ControllerConfig, files=found, environment=environment or {})

    return read


@pytest.mark.parametrize(
    ("said", "headroom"),
    [
        ({"system": "headroom: 1"}, 1),
        ({"system": "headroom: 1", "user": "headroom: 2"}, 2),
        ({"system": "headroom: 1", "user": "headroom: 2", "named": "headroom: 3"}, 3),
        ({"named": "headroom: 3", "environment": {"CLOUDNET_HEADROOM": "4"}}, 4),
        ({"system": "headroom: 1\ncontroller: {headroom: 5}"}, 5),
        ({"system": "agent: {probe_port: 5}"}, 0),
        ({"system": "probe_port: 5"}, 0),
        ({"system": "namespace: shop"}, 0),
        ({"system": "# nothing yet"}, 0),
    ],
)
def test_the_file_that_is_nearer_to_the_command_wins_and_a_section_over_the_top(files, said, headroom):
    assert files(**said).headroom == headroom


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("headrom: 1", r"named.yaml: headrom: there is no such setting: did you mean 'headroom'\?"),
        ("controller: {headrom: 1}", r"controller.headrom: there is no such setting: did you mean 'headroom'\?"),
        ("headroom: much", "headroom: expected an integer of at least 0, found 'much'"),
        ("controller: 5", "controller: expected an object, found 5"),
        ("- 5", "expected one object with settings"),
        ("a: [", "line 2, column 1"),
    ],
)
def test_a_settings_file_that_makes_no_sense_is_refused_by_name(files, text, message):
    with pytest.raises(BadInput, match=message):
        files(named=text)


def test_a_named_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        settings.read(tmp_path / "none.yaml", {}, system=tmp_path / "neither.yaml")


@pytest.fixture
def program():
    """Return a command line of one group whose command says what it was given."""
    app = typer.Typer()

    @app.callback()
    def root(context: typer.Context, file: Path):
        settings.apply(context, file)

    @app.command()
    def ask(*, where: Annotated[str, typer.Option(envvar="CLOUDNET_STORE")] = "default", store: str = "no variable"):
        typer.echo(f"{where}, {store}")

    return lambda file, *arguments, **env: CliRunner().invoke(app, [str(file), "ask", *arguments], env=env).stdout


def test_a_command_takes_from_a_file_what_a_variable_could_say_and_nothing_else(program, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("store: file")

    assert program(file) == "file, no variable\n"
    assert program(file, CLOUDNET_STORE="variable") == "variable, no variable\n"
    assert program(file, "--where", "flag", CLOUDNET_STORE="variable") == "flag, no variable\n"
