import json

import msgspec
import pytest

from cloudnet.cni import conflist
from cloudnet.errors import BadInput


def test_the_usual_list_is_calicos_with_our_program_in_it():
    text = conflist.write(conflist.Options())

    assert json.loads(text) == {
        "cniVersion": "1.0.0",
        "name": "k8s-pod-network",
        "plugins": [
            {"type": "cloudnet", "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"}},
            {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
        ],
    }


def test_every_option_has_its_place():
    options = conflist.Options("calico", "blue", "1.1.0", ("tuning", "bandwidth"), "", "", 1400, "/run/a.sock")

    document = json.loads(conflist.write(options))

    assert (document["cniVersion"], document["name"]) == ("1.1.0", "blue")
    assert document["plugins"] == [
        {"type": "calico", "agent_socket": "/run/a.sock", "mtu": 1400},
        {"type": "tuning", "capabilities": {"mac": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chain": ("firewall",)}, "chain: expected portmap, bandwidth, tuning, found 'firewall'"),
        ({"name": "../etc"}, "name: expected letters, digits, '_', '.' and '-', found '../etc'"),
        ({"version": "9"}, "cniVersion: expected one of 0.3.1, 0.4.0, 1.0.0, 1.1.0, found '9'"),
        ({"program": "a/b"}, "plugins[0].type: expected the name of a program, found 'a/b'"),
        ({"agent_socket": "run/a"}, "plugins[0].agent_socket: expected an absolute path"),
        ({"agent_socket": '/run/"'}, "plugins[0].agent_socket: expected an absolute path"),
        ({"agent_socket": "/" + "x" * 107}, "plugins[0].agent_socket: expected an absolute path"),
    ],
)
def test_options_that_make_no_list_are_named(change, message):
    with pytest.raises(BadInput) as raised:
        conflist.write(conflist.Options(**change))

    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not a network configuration list"),
        (b"\xff", "not a network configuration list"),
        (b"[]", "expected an object with cniVersion, name and plugins, found an array"),
        (b'"x"', "expected an object with cniVersion, name and plugins, found a string"),
        (b"null", "expected an object with cniVersion, name and plugins, found null"),
        (b"7", "expected an object with cniVersion, name and plugins, found a number"),
        (b"true", "expected an object with cniVersion, name and plugins, found a boolean"),
        (b"{}", "cniVersion: expected one of 0.3.1, 0.4.0, 1.0.0, 1.1.0, found None"),
        (b'{"cniVersion":"1.0.0"}', "name: expected letters"),
        (b'{"cniVersion":"1.0.0","name":"-x"}', "name: expected letters"),
        (b'{"cniVersion":"1.0.0","name":"x\\n"}', "name: expected letters"),
        (b'{"cniVersion":"1.0.0","name":"x"}', "plugins: expected a list of at least one plugin"),
        (b'{"cniVersion":"1.0.0","name":"x","plugins":[]}', "plugins: expected a list of at least one plugin"),
        (b'{"cniVersion":"1.0.0","name":"x","plugins":[[]]}', "plugins[0]: expected an object, found an array"),
        (b'{"cniVersion":"1.0.0","name":"x","plugins":[{}]}', "plugins[0].type: expected the name of a program"),
        (b'{"cniVersion":"1.0.0","name":"x","plugins":[{"type":".."}]}', "plugins[0].type: expected the name"),
        (b'{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"ptp"}]}', "plugins: expected one of type 'cloudnet'"),
    ],
)
def test_what_no_runtime_takes_is_refused_with_its_path(text, message):
    with pytest.raises(BadInput) as raised:
        conflist.check(text, ours="cloudnet")

    assert str(raised.value).startswith(message)


def test_a_list_of_somebody_else_gives_its_types_in_order():
    plugins = [{"type": "ptp"}, {"type": "cloudnet", "whatever": {"x": 1}}, {"type": "portmap"}]
    text = msgspec.json.encode({"cniVersion": "0.3.1", "name": "a.b", "plugins": plugins, "disableCheck": True})

    assert conflist.check(text, ours="cloudnet") == ("ptp", "cloudnet", "portmap")
