from __future__ import annotations

from contextlib import ExitStack
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.kernel.pods import Owner, PodLink
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.resources import IPPool, Metadata
from cloudnet.testing.cni import POD, CniNode

PREFIX = "cni.projectcalico.org/"
BOTH = {"type": "calico-ipam", "assign_ipv6": "true"}
RED, BLUE, SIX = "10.66.0.0/24", "10.67.0.0/24", "fd00::/112"


@pytest.fixture
def node(tmp_path):
    """Return a node with the pools default, red, blue and six."""
    with ExitStack() as stack:
        made = CniNode(tmp_path / "journal", stack)
        made.store.create(IPPool(Metadata("red"), ip_network(RED)))
        made.store.create(IPPool(Metadata("blue"), ip_network(BLUE)))
        made.store.create(IPPool(Metadata("six"), ip_network(SIX), block_size=122))
        yield made


def pod(node, namespace=None, **annotations):
    """Make the pod that POD names, and its namespace, with Calico's annotations."""
    wished = {PREFIX + key: value for key, value in (namespace or {}).items()}
    node.store.create(Namespace(Metadata("shop", annotations=wished)))
    wished = {PREFIX + key: value for key, value in annotations.items()}
    node.store.create(Pod(Metadata("web", "shop", annotations=wished)))


def addresses(answer):
    return [ip_network(ip["address"]) for ip in answer["ips"]]


def lies_in(answer, pool):
    (found,) = addresses(answer)
    return found.subnet_of(ip_network(pool))


# --- what the runtime is answered -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "ip", "mtu"),
    [
        ("0.3.1", {"version": "4"}, {}),
        ("0.4.0", {"version": "4"}, {}),
        ("1.0.0", {}, {}),
        ("1.1.0", {}, {"mtu": 1400}),
    ],
)
def test_the_result_has_the_shape_of_the_version_that_was_asked_for(node, version, ip, mtu):
    code, answer = node.add(args=POD, cniVersion=version)

    (link,) = node.pods.wired
    (endpoint,) = node.endpoints().values()
    assert code == 0
    assert answer == {
        "cniVersion": version,
        "interfaces": [
            {"name": link, **mtu},
            {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x", **mtu},
        ],
        "ips": [{"address": str(endpoint.networks[0]), "interface": 1, **ip}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    }


def test_a_pod_of_both_families_has_a_way_out_in_both(node):
    _, answer = node.add(ipam=BOTH)

    assert [found.version for found in addresses(answer)] == [4, 6]
    assert answer["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


def test_what_plugins_before_did_comes_first(node):
    before = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "lo", "sandbox": "/run/netns/x"}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
        "routes": [{"dst": "192.0.2.0/24"}],
    }

    code, answer = node.add(prevResult=before)

    assert code == 0
    assert [device["name"] for device in answer["interfaces"]] == ["lo", *node.pods.wired, "eth0"]
    assert [ip["interface"] for ip in answer["ips"]] == [0, 2]
    assert answer["routes"] == [{"dst": "192.0.2.0/24"}, {"dst": "0.0.0.0/0"}]


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_an_error_speaks_the_version_that_was_asked_for(node, version):
    _, answer = node.add(cniVersion=version, name="../x")

    assert (answer["cniVersion"], answer["code"]) == (version, 7)


@pytest.mark.parametrize(
    ("keys", "field", "expected"),
    [
        ({"mtu": 1300}, "mtu", 1300),
        ({"num_queues": 4}, "queues", 4),
        ({"container_settings": {"allow_ip_forwarding": True}}, "forwards", True),
        ({"runtimeConfig": {"mac": "0A:58:0a:41:01:07"}}, "mac", "0a:58:0a:41:01:07"),
    ],
)
def test_the_configuration_shapes_the_link(node, keys, field, expected):
    node.add(**keys)

    ((link, _),) = node.pods.wired.values()
    assert getattr(link, field) == expected


# --- whose word counts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_pod", "of_namespace", "configured", "expected"),
    [
        ({}, {}, {}, "10.64.0.0/14"),
        ({}, {}, {"ipv4_pools": ["red"]}, RED),
        ({}, {}, {"ipv4_pools": [BLUE]}, BLUE),
        ({}, {"ipv4pools": '["red"]'}, {"ipv4_pools": ["blue"]}, RED),
        ({"ipv4pools": '["blue"]'}, {"ipv4pools": '["red"]'}, {}, BLUE),
        ({"ipv4pools": f'["{BLUE}"]'}, {}, {"ipv4_pools": ["red"]}, BLUE),
        ({"ipFamilies": '["IPv6"]'}, {"ipFamilies": '["IPv4"]'}, {}, SIX),
        ({}, {"ipFamilies": '["IPv6"]'}, {}, SIX),
        ({"ipFamilies": '["IPv6"]', "ipv6pools": '["six"]'}, {"ipv4pools": '["red"]'}, {}, SIX),
        ({"ipAddrs": '["10.67.0.9"]'}, {"ipv4pools": '["red"]'}, {"addresses": ["10.66.0.9"]}, "10.67.0.9"),
        ({}, {"ipAddrs": '["10.67.0.9"]'}, {"addresses": ["10.66.0.9"]}, "10.66.0.9"),
    ],
)
def test_the_pods_word_counts_more_than_its_namespaces_and_that_more_than_the_configurations(
    node, of_pod, of_namespace, configured, expected
):
    pod(node, of_namespace, **of_pod)

    code, answer = node.add(args=POD, ipam={"type": "calico-ipam", **configured})

    assert code == 0
    assert lies_in(answer, expected)


def test_an_address_in_the_arguments_counts_before_all_others(node):
    pod(node, ipAddrs='["10.67.0.9"]')

    _, answer = node.add(args=f"{POD};IP=10.66.0.5")

    assert addresses(answer) == [ip_network("10.66.0.5/32")]


def test_a_pods_mac_and_floating_address_are_its_own(node):
    pod(node, hwAddr="0a:58:0a:41:01:08", floatingIPs='["192.0.2.8"]', allowedSourcePrefixes='["198.51.100.0/24"]')

    node.add(args=POD, feature_control={"floating_ips": True}, runtimeConfig={"mac": "0a:58:0a:41:01:07"})

    (endpoint,) = node.endpoints().values()
    ((link, _),) = node.pods.wired.values()
    assert endpoint.mac == link.mac == "0a:58:0a:41:01:08"
    assert [one.external for one in endpoint.floating] == [ip_address("192.0.2.8")]
    assert endpoint.allowed_sources == (ip_network("198.51.100.0/24"),)
    assert link.any_source


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"ipv4pools": "red"}, f"annotation {PREFIX}ipv4pools: expected a JSON list of texts, found 'red'"),
        ({"ipv4pools": '["nosuch"]'}, "no IPv4 pool 'nosuch': there are"),
        ({"ipv4pools": '["six"]'}, "no IPv4 pool 'six'"),
        ({"ipv4pools": '["' + "x" * 10_000_000 + '"]'}, "no IPv4 pool 'xxx"),
        ({"ipFamilies": '["IPX"]'}, f"annotation {PREFIX}ipFamilies"),
        ({"ipAddrs": '["10.67.0"]'}, f"annotation {PREFIX}ipAddrs: expected an address"),
        ({"ipAddrs": '["192.0.2.1"]'}, "192.0.2.1 lies in no pool"),
        ({"ipAddrsNoIpam": '["192.0.2.1"]'}, f"annotation {PREFIX}ipAddrsNoIpam"),
        ({"floatingIPs": '["192.0.2.1"]'}, "needs feature_control.floating_ips"),
        ({"hwAddr": "01:00:5e:00:00:01"}, f"annotation {PREFIX}hwAddr: expected the MAC address of one device"),
        ({"allowedSourcePrefixes": '["10.0.0.0/99"]'}, f"annotation {PREFIX}allowedSourcePrefixes"),
    ],
)
def test_a_wrong_annotation_is_named_and_leaves_nothing(node, annotations, message):
    pod(node, **annotations)

    code, answer = node.add(args=POD)

    assert code == 7
    assert message in answer["msg"]
    assert len(answer["msg"]) < 1000
    assert node.is_empty()


# --- names in the way -----------------------------------------------------------------------------------------------


def test_an_interface_of_the_pod_that_is_anothers_stays(node):
    place = node.namespace()
    theirs = PodLink("veth0", Owner("other", "c9", "eth0"), "02:00:00:00:00:09", 1400, ())
    node.pods.wire(theirs, place)

    code, answer = node.add(place)

    assert code == 102
    assert "has an interface 'eth0' already: choose another name, or remove it" in answer["msg"]
    assert list(node.pods.wired) == ["veth0"]
    assert not node.addresses()
    assert not node.endpoints()


# --- CHECK ----------------------------------------------------------------------------------------------------------


def other_mac(node, name):
    link, place = node.pods.wired[name]
    node.pods.wired[name] = PodLink(name, link.owner, "02:00:00:00:00:09", link.mtu, link.addresses), place


def other_pod(node, name):
    link, _ = node.pods.wired[name]
    node.pods.cut(name)
    node.pods.wire(link, node.namespace())


def other_container(node, name):
    (endpoint,) = node.endpoints().values()
    node.pods.cut(name)
    node.add(container="c2", args=POD)
    assert endpoint.container_id == "c1"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda node, name: node.pods.cut(name), "the host has no device cali"),
        (lambda node, name: node.pods.routes[name].clear(), "the host has no route to 10."),
        (lambda node, name: node.pods.spoilt.update({name: ["proxy_arp is off"]}), "proxy_arp is off"),
        (other_mac, "02:00:00:00:00:09"),
        (other_pod, "of the host does not lead to this pod"),
        (other_container, "its endpoint 'n1-k8s-web-eth0' is another container's, 'c2'"),
        (
            lambda node, _: node.store.delete(*endpoint_key(node)),
            "its endpoint 'n1-k8s-web-eth0' is not in the store",
        ),
    ],
    ids=["device", "route", "setting", "mac", "pod", "container", "endpoint"],
)
def test_a_check_names_what_was_damaged(node, damage, message):
    place = node.namespace()
    _, result = node.add(place, args=POD)
    damage(node, next(iter(node.pods.wired)))

    code, answer = node.ask("CHECK", place, args=POD, prevResult=result)

    assert code == 104
    assert message in answer["msg"]
    assert answer["msg"].endswith("DEL and ADD it again")


def endpoint_key(node):
    (endpoint,) = node.endpoints().values()
    return type(endpoint), endpoint.meta.name, endpoint.meta.namespace
