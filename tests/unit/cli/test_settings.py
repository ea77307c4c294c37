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
