"""What conntrack remembers of an address is forgotten, and nothing else, by new kernels' way and by the old one."""

from __future__ import annotations

import os
import re
import socket
from ipaddress import ip_address

import pytest

from cloudnet.kernel import connections, netns
from cloudnet.kernel.api import HostNamespace

pytestmark = pytest.mark.kernel

NAME = f"cn-conn-{os.getpid()}"
POD, SIX, OTHER, SERVICE = "10.65.0.2", "fd00:65::2", "10.65.0.3", "10.96.0.1"
RULES = f"""
table ip t {{
  chain out {{ type nat hook output priority -100; ip daddr {SERVICE} udp dport 53 dnat to {POD}:5353; }}
  chain in {{ type filter hook input priority 0; ct state established accept; }}
  chain post {{ type nat hook postrouting priority 100; udp dport 77 snat to {OTHER}; }}
}}
table ip6 t {{ chain in {{ type filter hook input priority 0; ct state established accept; }}; }}
"""


@pytest.fixture
def node():
    with netns.temporary(NAME):
        for address in (POD, OTHER, SERVICE, SIX, "fd00:65::3", "fd00:65::4"):
            netns.execute(NAME, ["ip", "address", "add", address, "dev", "lo"])
        netns.execute(NAME, ["nft", "-f", "-"], stdin=RULES)
        yield


def send(source, destination, port):
    def inside():
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as opened:
            opened.bind((source, 4000 + port))
            opened.sendto(b"x", (destination, port))

    netns.run_inside(NAME, inside)


def remembered():
    """Return the ports that the connections which are known were begun to."""
    text = "".join(netns.execute(NAME, ["conntrack", "-L", "-p", "udp", "-f", family]) for family in ("ipv4", "ipv6"))
    return {int(line.group(1)) for line in re.finditer(r"^udp .*?dport=(\d+)", text, re.MULTILINE)}


def forget(*addresses, by_filter):
    wanted = [ip_address(one) for one in addresses]
    netns.run_inside(NAME, lambda: connections.forget(wanted, by_filter=by_filter))


@pytest.mark.parametrize("by_filter", [True, False], ids=["by filter", "one by one"])
def test_all_connections_of_an_address_are_forgotten_and_no_others(node, by_filter):
    send(POD, OTHER, 7)  # begun by the pod
    send(OTHER, POD, 9)  # answered by it
    send(OTHER, SERVICE, 53)  # answered by it in a service's name
    send(POD, SERVICE, 77)  # begun by it, and known elsewhere by another's address
    send(OTHER, OTHER, 11)
    send(SIX, "fd00:65::3", 13)
    send("fd00:65::3", SIX, 19)
    send("fd00:65::3", "fd00:65::3", 15)
    send("fd00:65::4", "fd00:65::3", 17)
    assert remembered() == {7, 9, 53, 77, 11, 13, 15, 17, 19}

    forget(POD, by_filter=by_filter)
    assert remembered() == {11, 13, 15, 17, 19}

    forget(SIX, by_filter=by_filter)
    assert remembered() == {11, 15, 17}


@pytest.mark.parametrize("by_filter", [True, False], ids=["by filter", "one by one"])
def test_an_address_that_nobody_spoke_with_is_forgotten_too(node, by_filter):
    send(OTHER, OTHER, 11)

    forget(POD, SIX, by_filter=by_filter)

    assert remembered() == {11}


def test_no_address_is_no_question(node):
    send(OTHER, OTHER, 11)

    forget(by_filter=True)

    assert remembered() == {11}


def test_the_machines_own_connections_are_left_alone():
    with pytest.raises(HostNamespace):
        connections.forget([ip_address("192.0.2.1")])
