import json
import stat

import pytest

from cloudnet.cni.runtime import Attachment, PluginFailed, Runtime
from cloudnet.errors import MissingTool

RECORDER = """#!/bin/sh
name=$(basename "$0")
echo "$name $CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $CNI_PATH" >> "{folder}/calls"
cat > "{folder}/$name.$CNI_COMMAND"
[ ! -f "{folder}/fail-$name" ] || {{ cat "{folder}/fail-$name"; exit 1; }}
case $CNI_COMMAND in
ADD) echo '{{"cniVersion":"1.1.0","by":"'$name'"}}' ;;
VERSION) echo '{{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}}' ;;
esac
"""
CONTAINER = Attachment("c1", "/run/netns/x", "eth1", {"A": "1", "B": "2"}, {"portMappings": [80], "mac": "x"})


@pytest.fixture
def folder(tmp_path):
    for name in ("first", "second"):
        program = tmp_path / name
        program.write_text(RECORDER.format(folder=tmp_path))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return tmp_path


@pytest.fixture
def runtime(folder):
    plugins = [{"type": "first", "x": 1}, {"type": "second", "capabilities": {"portMappings": True, "mac": False}}]
    return Runtime({"cniVersion": "1.1.0", "name": "net", "plugins": plugins}, [folder / "none", folder])


def calls(folder):
    return [line.split()[:2] for line in (folder / "calls").read_text().splitlines()]


def given(folder, plugin, command):
    return json.loads((folder / f"{plugin}.{command}").read_text())


def test_add_goes_through_the_plugins_in_order_and_hands_results_on(runtime, folder):
    result = runtime.add(CONTAINER)

    assert result == {"cniVersion": "1.1.0", "by": "second"}
    assert (folder / "calls").read_text().splitlines() == [
        f"{name} ADD c1 /run/netns/x eth1 A=1;B=2 {folder}/none:{folder}" for name in ("first", "second")
    ]
    assert given(folder, "first", "ADD") == {"cniVersion": "1.1.0", "name": "net", "type": "first", "x": 1}
    assert given(folder, "second", "ADD") == {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "second",
        "runtimeConfig": {"portMappings": [80]},
        "prevResult": {"cniVersion": "1.1.0", "by": "first"},
    }


def test_del_goes_backwards_with_the_result_of_add(runtime, folder):
    runtime.delete(CONTAINER, {"by": "add"})

    assert calls(folder) == [["second", "DEL"], ["first", "DEL"]]
    assert given(folder, "first", "DEL")["prevResult"] == {"by": "add"}


def test_check_goes_forwards_with_the_result_of_add(runtime, folder):
    runtime.check(CONTAINER, {"by": "add"})

    assert calls(folder) == [["first", "CHECK"], ["second", "CHECK"]]
    assert given(folder, "first", "CHECK")["prevResult"] == {"by": "add"}


def test_a_list_may_switch_check_off(folder):
    runtime = Runtime(
        {"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "first"}], "disableCheck": True}, [folder]
    )

    runtime.check(CONTAINER, {})

    assert not (folder / "calls").exists()


def test_an_error_ends_add_and_tells_who_failed_and_why(runtime, folder):
    (folder / "fail-first").write_text('{"code":11,"msg":"not now","details":"ask later"}')

    with pytest.raises(PluginFailed, match="first ADD failed with error 11: not now: ask later") as raised:
        runtime.add(CONTAINER)

    assert (raised.value.code, raised.value.retry) == (11, True)
    assert calls(folder) == [["first", "ADD"]]


def test_a_plugin_that_prints_no_error_still_failed(runtime, folder):
    (folder / "fail-first").write_text("[oops")

    with pytest.raises(PluginFailed, match="first STATUS failed with error 0: exit status 1"):
        runtime.status()


def test_gc_asks_every_plugin_before_it_fails(runtime, folder):
    (folder / "fail-first").write_text('{"code":7,"msg":"no"}')

    with pytest.raises(PluginFailed, match="first GC"):
        runtime.gc([CONTAINER])

    assert calls(folder) == [["first", "GC"], ["second", "GC"]]
    assert given(folder, "second", "GC")["cni.dev/valid-attachments"] == [{"containerID": "c1", "ifname": "eth1"}]


def test_versions_are_asked_of_each_plugin(runtime):
    assert runtime.versions() == {"first": ("1.0.0", "1.1.0"), "second": ("1.0.0", "1.1.0")}


def test_a_plugin_that_is_nowhere_is_named(folder):
    runtime = Runtime({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "none"}]}, [folder])

    with pytest.raises(MissingTool, match="there is no plugin 'none' in"):
        runtime.status()
