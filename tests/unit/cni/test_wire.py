from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.cni import wire
from cloudnet.cni.wire import CniError, Code, Command, Device, Result

NEEDED = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/a", "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin:/x"}
RESULT = Result(
    (Device("cali1", mtu=1400), Device("eth0", "02:00:00:00:00:01", 1400, "/run/netns/a")),
    (ip_address("10.65.1.2"), ip_address("fd00::2")),
    (ip_network("0.0.0.0/0"),),
)


def refused(variables):
    try:
        wire.environment(variables, Command.ADD)
    except CniError as e:
        return e
    return None


def shape(version, previous=None):
    return json.loads(wire.result(RESULT, version, previous))


def test_the_environment_is_read():
    found = wire.environment({**NEEDED, "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web;EMPTY="}, Command.ADD)

    assert (found.container, found.interface, found.netns) == ("c1", "eth0", "/run/netns/a")
    assert found.path == ("/opt/cni/bin", "/x")
    assert found.args == {"IgnoreUnknown": "1", "K8S_POD_NAME": "web", "EMPTY": ""}


def test_a_container_can_be_deleted_without_its_namespace():
    assert wire.environment({**NEEDED, "CNI_NETNS": ""}, Command.DEL).netns == ""


@pytest.mark.parametrize("command", [Command.GC, Command.STATUS, Command.VERSION])
def test_what_is_about_no_container_needs_none(command):
    assert wire.environment({}, command).container == ""


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CNI_CONTAINERID", "", "CNI_CONTAINERID is missing"),
        ("CNI_CONTAINERID", "../etc", "CNI_CONTAINERID is '../etc': expected letters"),
        ("CNI_CONTAINERID", "-a", "CNI_CONTAINERID is '-a'"),
        ("CNI_CONTAINERID", 'a"b', "CNI_CONTAINERID is 'a\"b'"),
        ("CNI_CONTAINERID", "a\nb", r"CNI_CONTAINERID is 'a\\nb'"),
        ("CNI_CONTAINERID", "a" * 129, "CNI_CONTAINERID has 129 characters"),
        ("CNI_IFNAME", "", "CNI_IFNAME is missing"),
        ("CNI_IFNAME", "a" * 16, "CNI_IFNAME is 'aaaaaaaaaaaaaaaa': expected 15 bytes at most"),
        ("CNI_IFNAME", "é" * 8, "expected 15 bytes at most"),
        ("CNI_IFNAME", "..", "CNI_IFNAME is '..'"),
        ("CNI_IFNAME", ".", "CNI_IFNAME is '.'"),
        ("CNI_IFNAME", "a/b", "CNI_IFNAME is 'a/b'"),
        ("CNI_IFNAME", "a:b", "CNI_IFNAME is 'a:b'"),
        ("CNI_IFNAME", "a b", "CNI_IFNAME is 'a b'"),
        ("CNI_IFNAME", "eth%d", "CNI_IFNAME is 'eth%d'"),
        ("CNI_IFNAME", "a\x00b", "CNI_IFNAME is"),
        ("CNI_NETNS", "", "CNI_NETNS is missing"),
        ("CNI_ARGS", "nonsense", "CNI_ARGS has 'nonsense': expected KEY=VALUE"),
        ("CNI_ARGS", "=x", "CNI_ARGS has '=x'"),
        ("CNI_ARGS", "K8S_POD_NAME=../x", "K8S_POD_NAME in CNI_ARGS is '../x'"),
        ("CNI_ARGS", "K8S_POD_NAMESPACE=A", "K8S_POD_NAMESPACE in CNI_ARGS is 'A'"),
        ("CNI_ARGS", "K8S_POD_NAME=" + "a" * 254, "K8S_POD_NAME in CNI_ARGS is 'aaa"),
    ],
)
def test_a_wrong_environment_is_error_4_and_names_the_variable(variable, value, message):
    with pytest.raises(CniError, match=message) as caught:
        wire.environment({**NEEDED, variable: value}, Command.ADD)

    assert caught.value.code is Code.INVALID_ENVIRONMENT


@given(st.dictionaries(st.sampled_from(sorted(NEEDED)) | st.just("CNI_ARGS"), st.text(max_size=300)))
def test_no_environment_leaves_as_anything_but_a_short_error(variables):
    refusal = refused(variables)

    assert refusal is None or (refusal.code is Code.INVALID_ENVIRONMENT and len(str(refusal)) < 500)


def test_a_result_of_the_newest_version_has_everything():
    assert shape("1.1.0") == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cali1", "mtu": 1400},
            {"name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1400, "sandbox": "/run/netns/a"},
        ],
        "ips": [{"address": "10.65.1.2/32", "interface": 1}, {"address": "fd00::2/128", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    }


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_older_results_know_no_mtu(version):
    assert not any("mtu" in device for device in shape(version)["interfaces"])


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0"])
def test_results_before_version_1_tell_the_family(version):
    assert [ip["version"] for ip in shape(version)["ips"]] == ["4", "6"]


def test_the_result_of_the_plugins_before_us_comes_first_and_ours_points_at_our_interface():
    before = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "lo"}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
        "dns": {"nameservers": ["10.96.0.10"]},
    }

    found = shape("1.0.0", before)

    assert [device["name"] for device in found["interfaces"]] == ["lo", "cali1", "eth0"]
    assert [ip["interface"] for ip in found["ips"]] == [0, 2, 2]
    assert found["dns"] == {"nameservers": ["10.96.0.10"]}


def test_an_error_is_what_the_specification_says():
    problem = CniError(Code.TRY_AGAIN, "the store sleeps", details="really")

    assert json.loads(wire.error(problem, "1.0.0")) == {
        "cniVersion": "1.0.0",
        "code": 11,
        "msg": "the store sleeps",
        "details": "really",
    }


def test_all_versions_are_told():
    assert json.loads(wire.versions("1.0.0"))["supportedVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
