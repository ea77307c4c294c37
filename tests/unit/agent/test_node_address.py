"""Which of the host's addresses is the node's, by Calico's methods."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from cloudnet.agent.node_address import EXCLUDED, Found, Host, Missing, find, parse
from cloudnet.errors import BadInput
from cloudnet.kernel.api import Link
from cloudnet.model.addresses import Family

SETTING = "ip_autodetection_method"


def link(name: str, index: int, *addresses: str, up: bool = True) -> Link:
    return Link(name, index, 1500, up, addresses=tuple(map(ip_interface, addresses)))


LINKS = (
    link("lo", 1, "127.0.0.1/8", "::1/128"),
    link("eth0", 2, "10.0.1.5/24", "fe80::1/64", "fd00:1::5/64"),
    link("eth1", 3, "10.0.2.5/24", "10.0.2.6/24"),
    link("docker0", 4, "172.17.0.1/16"),
    link("ens9", 5, "10.0.9.5/24", up=False),
    link("cali12345678901", 6, "169.254.1.1/32"),
    link("vxlan.calico", 7, "10.65.0.1/32"),
)


def found(method: str, of: Family = Family.IPV4, *, current: str = "", internal=(), source: str = ""):
    """Return the address and the device as text, or the reason."""
    host = Host(LINKS, tuple(map(ip_address, internal)), ip_address(source) if source else None)
    outcome = find(parse(method, SETTING), host, of, current=ip_interface(current) if current else None)
    return f"{outcome.address} {outcome.device}" if isinstance(outcome, Found) else outcome.why


@pytest.mark.parametrize(
    ("method", "more", "expected"),
    [
        ("first-found", {}, "10.0.2.5/24 eth1"),
        ("first-found", {"current": "10.0.1.5/24"}, "10.0.1.5/24 eth0"),
        ("first-found", {"current": "10.0.1.5/16"}, "10.0.1.5/24 eth0"),
        ("first-found", {"current": "10.0.77.1/24"}, "10.0.2.5/24 eth1"),
        ("kubernetes-internal-ip", {"internal": ["10.0.1.5", "fd00:1::5"]}, "10.0.1.5/24 eth0"),
        ("kubernetes-internal-ip", {"internal": ["10.0.1.5"], "current": "10.0.2.5/24"}, "10.0.1.5/24 eth0"),
        ("can-reach=192.0.2.1", {"source": "10.0.1.5"}, "10.0.1.5/24 eth0"),
        ("interface=eth.*", {}, "10.0.2.5/24 eth1"),
        ("interface=eth0", {}, "10.0.1.5/24 eth0"),
        ("interface=eth0,eth1", {}, "10.0.1.5/24 eth0"),
        ("interface=docker0", {}, "172.17.0.1/16 docker0"),
        ("skip-interface=eth1", {}, "10.0.1.5/24 eth0"),
        ("skip-interface=eth1,lo", {}, "10.0.1.5/24 eth0"),
        ("cidr=10.0.1.0/24", {}, "10.0.1.5/24 eth0"),
        ("cidr=192.0.2.0/24,10.0.0.0/16", {}, "10.0.2.5/24 eth1"),
    ],
)
def test_each_method_finds_its_ipv4_address(method, more, expected) -> None:
    assert found(method, **more) == expected


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("first-found", {}),
        ("kubernetes-internal-ip", {"internal": ["10.0.1.5", "fd00:1::5"]}),
        ("can-reach=2001:db8::1", {"source": "fd00:1::5"}),
        ("interface=eth.*", {}),
        ("skip-interface=ens.*", {}),
        ("cidr=fd00::/8", {}),
    ],
)
def test_each_method_finds_its_ipv6_address_and_never_a_link_local_one(method, more) -> None:
    assert found(method, Family.IPV6, **more) == "fd00:1::5/64 eth0"


@pytest.mark.parametrize(
    ("method", "more", "said"),
    [
        ("interface=ens9", {}, "no IPv4 address by interface=ens9"),
        ("interface=none0", {}, "ens9 (down, 10.0.9.5/24)"),
        ("kubernetes-internal-ip", {"internal": ["10.0.77.1"]}, "(Kubernetes says 10.0.77.1)"),
        ("kubernetes-internal-ip", {}, "(Kubernetes says none)"),
        ("can-reach=gone.example", {}, "(packets there come from no address)"),
        ("cidr=192.0.2.0/24", {}, "eth0 (10.0.1.5/24)"),
        ("skip-interface=eth.*", {}, "choose another ip_autodetection_method"),
    ],
)
def test_what_is_not_found_names_what_was_looked_at_and_what_to_do(method, more, said) -> None:
    assert said in found(method, **more)


def test_a_host_with_many_devices_is_told_in_one_sentence() -> None:
    many = tuple(link(f"cali{i}", i) for i in range(1, 200))

    outcome = find(parse("first-found", SETTING), Host(many), Family.IPV6)

    assert isinstance(outcome, Missing)
    assert "and 191 more" in outcome.why
    assert "choose another ip6_autodetection_method" in outcome.why


NEVER = (
    "docker0 cbr0 dummy0 podman1 virbr0 lxcbr0 veth1a lo br-12ab cali1 tunl0 flannel.1 kube-ipvs0 cni0 vxlan.calico "
    "vxlan-v6.calico wireguard.cali wg-v6.cali nodelocaldns"
)


@pytest.mark.parametrize("name", NEVER.split())
def test_what_others_make_for_pods_is_never_the_node_s_own(name) -> None:
    host = Host((link("eth0", 1, "10.0.1.5/24"), link(name, 9, "10.9.9.9/24")))

    for method in ("first-found", "cidr=10.0.0.0/8", "skip-interface=ens1"):
        outcome = find(parse(method, SETTING), host, Family.IPV4)
        assert isinstance(outcome, Found)
        assert outcome.device == "eth0"
    assert len(NEVER.split()) == len(EXCLUDED)


@pytest.mark.parametrize("name", ["eth0", "ens5", "bond0.100", "enp0s3", "br0", "local0", "wlan0"])
def test_a_node_s_own_devices_are_looked_at(name) -> None:
    outcome = find(parse("first-found", SETTING), Host((link(name, 1, "10.0.1.5/24"),)), Family.IPV4)

    assert isinstance(outcome, Found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first", "expected one of none, first-found, kubernetes-internal-ip, can-reach=..., interface=..."),
        ("interface", "expected one of"),
        ("interface=", "expected one of"),
        ("first-found=eth0", "expected one of"),
        ("interface=[", "expected a regular expression, found '\\['"),
        ("cidr=10.0.0.0", "expected a prefix"),
        ("cidr=10.0.0.0/8,x", "expected a prefix"),
    ],
)
def test_a_method_that_makes_no_sense_is_refused_by_the_name_of_its_setting(text, said) -> None:
    with pytest.raises(BadInput, match=f"{SETTING}: .*{said}"):
        parse(text, SETTING)
