from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.cni import netconf
from cloudnet.cni.netconf import Attachment
from cloudnet.cni.wire import VERSIONS, CniError, Code, Command
from cloudnet.model.addresses import Family

LEAST = {"cniVersion": "1.1.0", "name": "k8s-pod-network", "type": "cloudnet"}

CALICO = {
    **LEAST,
    "cniVersion": "1.0.0",
    "type": "calico",
    "log_level": "info",
    "datastore_type": "kubernetes",
    "nodename": "n1",
    "mtu": 1440,
    "num_queues": 4,
    "ipam": {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true", "ipv4_pools": ["default"]},
    "policy": {"type": "k8s"},
    "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
    "container_settings": {"allow_ip_forwarding": True},
    "feature_control": {"floating_ips": True},
    "include_default_routes": True,
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
KEYS = [
    "cniVersion", "name", "ipam", "mtu", "num_queues", "nodename", "mode", "device_type", "policy", "kubernetes",
    "feature_control", "container_settings", "dataplane_options", "runtimeConfig", "prevResult",
    "cni.dev/valid-attachments", "include_default_routes", "type",
]  # fmt: skip


def refused(fields, command):
    try:
        parse({**LEAST, **fields}, command)
    except CniError as e:
        return e
    return None


def parse(fields, command=Command.ADD):
    return netconf.parse(json.dumps(fields).encode(), command)


def test_calicos_configuration_is_read():
    conf = parse(CALICO)

    assert (conf.version, conf.name, conf.node, conf.mtu, conf.queues) == ("1.0.0", "k8s-pod-network", "n1", 1440, 4)
    assert (conf.kubernetes, conf.forwards, conf.floating, conf.default_routes) == (True, True, True, True)
    assert conf.ipam.families == (Family.IPV4, Family.IPV6)
    assert conf.ipam.ipv4_pools == ("default",)


def test_the_least_configuration_means_ipv4_from_any_pool():
    conf = parse(LEAST)

    assert conf.ipam.families == (Family.IPV4,)
    assert (conf.ipam.delegated, conf.ipam.ipv4_pools, conf.kubernetes, conf.queues) == (False, (), False, 1)


def test_any_other_ipam_is_a_plugin_to_run_whatever_its_keys_look_like():
    conf = parse({**LEAST, "ipam": {"type": "static", "addresses": [{"address": "10.0.0.1/24"}]}})

    assert conf.ipam.delegated
    assert conf.document["ipam"] == {"type": "static", "addresses": [{"address": "10.0.0.1/24"}]}


def test_what_the_runtime_knows_is_taken_in():
    conf = parse({**LEAST, "runtimeConfig": {"ips": ["10.65.1.7/24"], "mac": "0A:58:0a:41:01:07"}})

    assert conf.ipam.addresses == (ip_address("10.65.1.7"),)
    assert conf.mac == "0a:58:0a:41:01:07"


def test_gc_is_told_who_is_valid():
    conf = parse({**LEAST, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}, Command.GC)

    assert conf.valid == (Attachment("c1", "eth0"),)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_spoken(version):
    assert parse({**LEAST, "cniVersion": version}).version == version


@pytest.mark.parametrize(
    ("command", "version"), [(Command.CHECK, "0.3.1"), (Command.GC, "1.0.0"), (Command.STATUS, "1.0.0")]
)
def test_a_command_that_a_version_lacks_is_error_1(command, version):
    with pytest.raises(CniError, match=f"{command.value} came with") as caught:
        parse({**LEAST, "cniVersion": version}, command)

    assert caught.value.code is Code.INCOMPATIBLE_VERSION


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", Code.UNDECODABLE, "the network configuration is no JSON"),
        (b"{", Code.UNDECODABLE, "the network configuration is no JSON"),
        (b"\xff\xfe", Code.UNDECODABLE, "the network configuration is no JSON"),
        (b"[" * 200_000, Code.UNDECODABLE, "the network configuration is no JSON"),
        (b"[]", Code.INVALID_CONFIGURATION, r"expected an object, found \[\]"),
        (b"{}", Code.INCOMPATIBLE_VERSION, "cniVersion: expected one of .* found none, which means '0.2.0'"),
        (b'{"cniVersion":"2.0.0"}', Code.INCOMPATIBLE_VERSION, "cniVersion: .* found '2.0.0'"),
        (b'{"cniVersion":7}', Code.INVALID_CONFIGURATION, "cniVersion: expected a string, found 7"),
    ],
)
def test_what_is_no_configuration_says_so(data, code, message):
    with pytest.raises(CniError, match=message) as caught:
        netconf.parse(data, Command.ADD)

    assert caught.value.code is code


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name: expected letters"),
        ({"name": "../../etc"}, "name: expected letters, .* found '../../etc'"),
        ({"name": 'a"b'}, "name: expected letters"),
        ({"name": "a b"}, "name: expected letters"),
        ({"name": "a" * 10_000_000}, r"name: expected letters, .* found 'a{60}\.\.\.'$"),
        ({"mtu": 100}, "mtu: expected an integer from 576 to 65535, or 0, found 100"),
        ({"mtu": 1 << 40}, "mtu: expected an integer from 576 to 65535"),
        ({"mtu": "1400"}, "mtu: expected an integer, found '1400'"),
        ({"num_queues": 100_000}, "num_queues: expected an integer from 1 to 4096"),
        ({"ipam": {"type": "../host-local"}}, "ipam.type: expected the name of a plugin"),
        ({"ipam": {"assign_ipv4": "yes"}}, "ipam.assign_ipv4: expected 'true' or 'false', found 'yes'"),
        ({"ipam": {"assign_ipv4": "false"}}, "ipam: neither IPv4 nor IPv6 is wanted"),
        ({"ipam": {"ipv4_pools": "default"}}, "ipam.ipv4_pools: expected a list, found 'default'"),
        ({"ipam": {"addresses": ["10.0.0"]}}, r"ipam.addresses\[0\]: expected an address"),
        (
            {"runtimeConfig": {"mac": "01:00:5e:00:00:01"}},
            "runtimeConfig.mac: expected the MAC address of one device",
        ),
        ({"runtimeConfig": {"mac": "zz"}}, "runtimeConfig.mac: expected the MAC address"),
        ({"prevResult": {"ips": {}}}, "prevResult.ips: expected a list of objects"),
        ({"prevResult": {"interfaces": ["eth0"]}}, "prevResult.interfaces: expected a list of objects"),
        ({"prevResult": 7}, "prevResult: expected an object, found 7"),
        ({"cni.dev/valid-attachments": [{"ifname": "eth0"}]}, "containerID: missing, and needed"),
    ],
)
def test_a_wrong_key_is_error_7_and_named(fields, message):
    with pytest.raises(CniError, match=message) as caught:
        parse({**LEAST, **fields})

    assert caught.value.code is Code.INVALID_CONFIGURATION


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "vxlan"}, "mode: 'vxlan' is nothing that cloudnet does"),
        ({"device_type": "netkit"}, "device_type: 'netkit'"),
        ({"dataplane_options": {"type": "grpc"}}, "dataplane_options.type: 'grpc'"),
        ({"feature_control": {"ip_addrs_no_ipam": True}}, "feature_control.ip_addrs_no_ipam"),
    ],
)
def test_what_we_do_not_do_is_error_2_rather_than_something_else(fields, message):
    with pytest.raises(CniError, match=message) as caught:
        parse({**LEAST, **fields})

    assert caught.value.code is Code.UNSUPPORTED_FIELD


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from(Command))
def test_garbage_leaves_as_an_error_of_the_specification(data, command):
    with pytest.raises(CniError) as caught:
        netconf.parse(data, command)

    assert caught.value.code < Code.INTERNAL


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.sampled_from(Command))
def test_any_mixture_of_known_keys_is_read_or_refused(fields, command):
    refusal = refused(fields, command)

    assert refusal is None or (refusal.code < Code.INTERNAL and len(str(refusal)) < 1000)


@given(st.binary(max_size=100))
def test_an_answer_always_has_a_version_that_we_speak(data):
    assert netconf.version_of(data) in VERSIONS
