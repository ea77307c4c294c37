import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet import config
from cloudnet.config import AgentConfig, ControllerConfig
from cloudnet.errors import BadInput


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "cloudnet.toml"
        path.write_text(text)
        return path

    return write


def test_without_anything_the_defaults_hold():
    assert config.load(ControllerConfig) == ControllerConfig()


def test_a_setting_from_the_file_replaces_the_default(toml):
    loaded = config.load(ControllerConfig, file=toml("resync_seconds = 60.5\nprovider = 'memory'"))

    assert (loaded.resync_seconds, loaded.provider) == (60.5, "memory")


def test_the_environment_goes_before_the_file_and_a_flag_before_both(toml):
    file = toml("node = 'file'\nprobe_port = 1\nvxlan_vni = 1")
    environment = {"CLOUDNET_NODE": "environment", "CLOUDNET_PROBE_PORT": "2"}

    loaded = config.load(AgentConfig, file=file, environment=environment, flags={"node": "flag", "vxlan_vni": None})

    assert (loaded.node, loaded.probe_port, loaded.vxlan_vni) == ("flag", 2, 1)


def test_a_whole_number_is_a_good_fraction(toml):
    assert config.load(ControllerConfig, file=toml("lease_seconds = 20")).lease_seconds == 20.0


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("Yes", True), ("off", False), ("0", False)]
)
def test_the_environment_spells_truth_in_several_ways(text, value):
    loaded = config.load(AgentConfig, environment={"CLOUDNET_NODE": "n", "CLOUDNET_ALLOW_HOST_NETWORK": text})

    assert loaded.allow_host_network is value


def test_variables_that_are_no_settings_are_left_alone():
    assert config.load(ControllerConfig, environment={"CLOUDNET_PORT": "tcp://10.0.0.1:80"}) == ControllerConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prob_port = 1", "prob_port: there is no such setting: did you mean 'probe_port'?"),
        ("probe_port = 'x'", "probe_port: expected an integer from 1 to 65535, found 'x'"),
        ("probe_port = 65536", "probe_port: expected an integer from 1 to 65535, found 65536"),
        ("probe_port = true", "probe_port: expected an integer from 1 to 65535, found True"),
        ("probe_interval = 0", "probe_interval: expected a number of at least 0.01, found 0.0"),
        ("probe_interval = nan", "probe_interval: expected a number of at least 0.01, found nan"),
        ("hold_limit = inf", "hold_limit: expected a number of at least 0, found inf"),
        ("log_level = 'loud'", "log_level: expected one of debug, info, warning, error, found 'loud'"),
        ("allow_host_network = 1", "allow_host_network: expected true or false, found 1"),
        ("node = 7", "node: expected a text, found 7"),
        ("node = ", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_file_setting_and_value(toml, text, message):
    path = toml(text)

    with pytest.raises(BadInput) as caught:
        config.load(AgentConfig, file=path)

    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match=r"none\.toml: cannot be read \(no such file or directory\)"):
        config.load(ControllerConfig, file=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("CLOUDNET_PROBE_PORT", "http", "expected an integer from 1 to 65535, found 'http'"),
        ("CLOUDNET_LOST_AFTER", "soon", "expected a number of at least 0, found 'soon'"),
        ("CLOUDNET_LOST_AFTER", "-1", "expected a number of at least 0, found -1.0"),
        ("CLOUDNET_ALLOW_HOST_NETWORK", "maybe", "expected true or false, found 'maybe'"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(variable, text, expected):
    with pytest.raises(BadInput) as caught:
        config.load(AgentConfig, environment={"CLOUDNET_NODE": "n", variable: text})

    assert str(caught.value) == f"{variable}: {expected}"


def test_a_wrong_flag_is_refused_by_its_name():
    with pytest.raises(BadInput, match=r"^--vxlan-port: expected an integer from 1 to 65535, found 0$"):
        config.load(AgentConfig, flags={"node": "n", "vxlan_port": 0})


@pytest.mark.parametrize("environment", [{}, {"CLOUDNET_NODE": ""}], ids=["absent", "empty"])
def test_a_setting_without_default_must_be_given(environment):
    with pytest.raises(BadInput, match="node: not set: give --node, CLOUDNET_NODE, or node"):
        config.load(AgentConfig, environment=environment)


@pytest.mark.parametrize("kind", [AgentConfig, ControllerConfig])
def test_every_default_passes_its_own_check(kind):
    defaults = {s.name: s.default for s in config.settings(kind) if not s.required}

    loaded = config.load(kind, flags={"node": "n"} | defaults if kind is AgentConfig else defaults)

    assert {name: getattr(loaded, name) for name in defaults} == defaults


@given(st.data())
def test_what_is_loaded_from_the_environment_is_what_was_written_there(data):
    known = [s for s in config.settings(ControllerConfig) if s.type is float]
    values = {s.name: data.draw(st.floats(s.says.low, 1e6), label=s.name) for s in known}

    loaded = config.load(
        ControllerConfig, environment={f"CLOUDNET_{name.upper()}": repr(value) for name, value in values.items()}
    )

    assert dataclasses.asdict(loaded) == dataclasses.asdict(ControllerConfig()) | values
