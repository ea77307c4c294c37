import json
import os

import pytest
from typer.testing import CliRunner

from cloudnet.cli import main
from cloudnet.cni import install
from cloudnet.errors import BadInput


@pytest.fixture
def run(tmp_path):
    def call(command, *arguments, stdin=""):
        places = ["--bin-dir", str(tmp_path / "bin")]
        places += [] if command == "call" else ["--conf-dir", str(tmp_path / "net.d")]
        app = main.build(lab=False)
        return CliRunner().invoke(app, ["cni", command, *arguments, *places], input=stdin, catch_exceptions=False)

    return call


def test_installing_tells_what_was_written_and_what_to_look_at(run, tmp_path):
    done = run("install")

    assert done.exit_code == 0
    assert done.stdout == f"written  {tmp_path}/bin/cloudnet, {tmp_path}/net.d/10-cloudnet.conflist\n"
    assert done.stderr.startswith("warning: there is no plugin 'portmap'")
    assert (tmp_path / "bin/cloudnet").read_bytes() == install.program()


def test_installing_again_writes_nothing(run):
    run("install", "--chain", "")

    assert json.loads(run("install", "--chain", "", "-o", "json").stdout) == {"written": [], "warnings": []}


def test_printing_changes_nothing(run, tmp_path):
    done = run("install", "--print", "--type", "calico", "--mtu", "1400", "--chain", "portmap,bandwidth")

    assert [plugin["type"] for plugin in json.loads(done.stdout)["plugins"]] == ["calico", "portmap", "bandwidth"]
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_ones_own_is_copied_as_it_is(run, tmp_path):
    text = '{"cniVersion":"0.4.0",  "name":"n","plugins":[{"type":"cloudnet","x":1}]}'

    run("install", "--config", "-", stdin=text)

    assert (tmp_path / "net.d/10-cloudnet.conflist").read_text() == text


def test_a_list_that_cannot_be_read_is_an_error_in_one_line(run):
    with pytest.raises(BadInput, match="config: cannot read '/nonexistent'"):
        run("install", "--config", "/nonexistent")


def test_uninstalling_leaves_nothing(run, tmp_path):
    run("install")

    done = run("uninstall")

    assert done.stdout == f"removed  {tmp_path}/net.d/10-cloudnet.conflist, {tmp_path}/bin/cloudnet\n"
    assert list(tmp_path.rglob("*.conflist")) == []
    assert run("uninstall").stdout == "removed  nothing\n"


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/echo"
    program.write_text(f'#!/bin/sh\necho "$CNI_COMMAND $CNI_CONTAINERID $CNI_ARGS" >> {tmp_path}/calls\ncat\n')
    program.chmod(0o755)
    (tmp_path / "list").write_text('{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"echo"}]}')
    return program


@pytest.mark.usefixtures("plugin")
def test_calls_go_to_the_plugins_and_the_result_of_add_comes_back_with_del(run, tmp_path):
    common = ("--config", f"{tmp_path}/list", "--container", "c1", "--result", f"{tmp_path}/result")
    for command in ("ADD", "CHECK", "DEL"):
        assert run("call", command, *common, "--arg", "K=v", "--arg", "L=w").exit_code == 0
    gc = run("call", "GC", "--config", f"{tmp_path}/list", "--valid", "c1", "--valid", "c2/net1")

    assert gc.exit_code == 0
    assert (tmp_path / "calls").read_text().splitlines() == [
        "ADD c1 K=v;L=w",
        "CHECK c1 K=v;L=w",
        "DEL c1 K=v;L=w",
        "GC  ",
    ]
    assert json.loads((tmp_path / "result").read_text())["name"] == "n"


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("CHECK",), "result: CHECK needs what ADD answered"),
        (("ADD", "--arg", "novalue"), "arg: expected KEY=VALUE without ';', found 'novalue'"),
        (("ADD", "--result", "/nonexistent/x"), "result: cannot write '/nonexistent/x'"),
        (("DEL", "--result", os.devnull), "result: cannot read what ADD answered"),
    ],
)
def test_a_call_that_lacks_something_says_what(run, tmp_path, arguments, message):
    with pytest.raises(BadInput) as raised:
        run("call", *arguments, "--config", f"{tmp_path}/list")

    assert str(raised.value).startswith(message)
