from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given

from cloudnet.kernel.api import FdbEntry, Neighbour, Route, VxlanDevice
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Metadata, Node, Vtep
from cloudnet.overlay import vxlan
from cloudnet.testing import strategies

NODE = Node(
    Metadata("node1"),
    addresses=(ip_interface("10.0.1.11/24"), ip_interface("fd00:1::11/64")),
    vteps=(Vtep(ip_address("10.65.1.0"), ""), Vtep(ip_address("fd00:65::1"), "")),
)
MAC = "66:f9:37:c3:7e:94"


def test_the_mac_of_a_node_is_calicos():
    assert vxlan.mac_of(NodeName("node1"), Family.IPV4) == MAC


def test_the_mac_of_the_second_family_is_another_one():
    assert vxlan.mac_of(NodeName("node1"), Family.IPV6) == vxlan.mac_of(NodeName("node1-v6"), Family.IPV4) != MAC


@given(name=strategies.node_names(), version=strategies.families())
def test_every_mac_is_unicast_and_locally_administered(name, version):
    first = int(vxlan.mac_of(name, version)[:2], 16)

    assert first & 0b11 == 0b10


@pytest.mark.parametrize(("version", "size"), [(Family.IPV4, 1450), (Family.IPV6, 1430)])
def test_the_tunnel_takes_fifty_or_seventy_bytes(version, size):
    assert vxlan.mtu(1500, version) == size


def test_the_device_carries_the_nodes_tunnel_address():
    device = vxlan.device(NODE, Family.IPV4, parent="eth0", underlay_mtu=9001)

    assert device == VxlanDevice(
        "vxlan.calico",
        4096,
        4789,
        "eth0",
        ip_address("10.0.1.11"),
        MAC,
        8951,
        (ip_interface("10.65.1.0/32"),),
    )


def test_a_fixed_mtu_counts_instead_of_the_underlays():
    device = vxlan.device(NODE, Family.IPV6, parent="eth0", underlay_mtu=9001, fixed_mtu=1400)

    assert (device.name, device.mtu) == ("vxlan-v6.calico", 1400)


@pytest.mark.parametrize("lacking", [{"vteps": ()}, {"addresses": ()}], ids=str)
def test_a_node_without_addresses_has_no_device_and_no_ground(lacking):
    node = replace(NODE, **lacking)

    assert vxlan.device(node, Family.IPV4, parent="eth0", underlay_mtu=1500) is None
    assert vxlan.ground(node, ip_network("10.65.1.0/26")) == ()


def test_the_ground_of_a_block_is_entry_neighbour_and_route():
    block = ip_network("10.65.7.0/26")

    assert vxlan.ground(NODE, block) == (
        FdbEntry("vxlan.calico", MAC, ip_address("10.0.1.11")),
        Neighbour("vxlan.calico", ip_address("10.65.1.0"), MAC),
        Route(block, "vxlan.calico", ip_address("10.65.1.0"), metric=1024, onlink=True),
    )


def test_the_ground_of_an_ipv6_block_uses_the_other_device():
    assert {value.device for value in vxlan.ground(NODE, ip_network("fd00:65::40/122"))} == {"vxlan-v6.calico"}


def test_a_published_mac_counts_before_the_computed_one():
    node = replace(NODE, vteps=(Vtep(ip_address("10.65.1.0"), "EE:00:00:00:00:01"),))

    entry, neighbour = vxlan.to_node(node, Family.IPV4)

    assert entry.mac == neighbour.mac == "ee:00:00:00:00:01"
