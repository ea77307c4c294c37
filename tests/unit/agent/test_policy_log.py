from __future__ import annotations

import logging
from ipaddress import ip_address

import pytest

from cloudnet.agent.policy_log import tell
from cloudnet.kernel.nflog import Logged, NflogSocket, describe
from cloudnet.policy import statistics
from cloudnet.policy.compile import changes_to
from cloudnet.policy.enforce import Enforcer
from cloudnet.policy.options import Options
from cloudnet.testing import frames, policy_cases, policy_judge

CASE = policy_cases.parse(
    {
        "says": "",
        "policies": [
            {
                "name": "web",
                "ingress": [
                    {"action": "log", "protocol": "udp"},
                    {"action": "deny", "protocol": "tcp", "destination": {"ports": [22]}},
                ],
            }
        ],
        "packets": [
            {"eth0 > cali1 tcp 22": "deny"},
            {"eth0 > cali1 6 udp 53": "deny"},
            {"eth0 > cali1 icmp 8": "deny"},
        ],
    }
)
PACKETS = [sent.packet for sent in CASE.packets]


@pytest.mark.kernel
def test_denied_and_logged_packets_are_told_by_the_names_of_policies(caplog):
    def deny(judge):
        reports = NflogSocket(Options().log_group)
        try:
            enforcer = Enforcer(judge.nft, Options())
            judge.outcomes(PACKETS, lambda: enforcer.take(changes_to(CASE.state)))
            found = []
            while heard := reports.read(0.3):
                found += heard
            return found
        finally:
            reports.close()

    names = dict(statistics.names(changes_to(CASE.state)))
    with caplog.at_level(logging.INFO, logger="cloudnet.agent.policy_log"):
        for one in policy_judge.held(deny, name="nflog"):
            tell(one, names)

    web = "direction=ingress policy='GlobalNetworkPolicy web'"
    default = "direction=ingress policy='Tier default'"
    four, six = "source=10.9.9.9 destination=10.0.0.1", "source=fd09::9 destination=fd00::1"
    assert caplog.messages == [
        f"denied {web} {four} protocol=6 port=22",
        f"logged {web} rule=0 {six} protocol=17 port=53",
        f"denied {default} {six} protocol=17 port=53",
        f"denied {default} {four} protocol=1 port=8",
    ]


@pytest.mark.parametrize("packet", PACKETS, ids=["tcp", "udp over IPv6", "icmp"])
def test_a_packet_is_told_by_its_headers(packet):
    told = describe("x", frames.build(packet, 1))

    port = packet.icmp.type if packet.icmp else packet.to_port
    assert told == Logged("x", packet.source, packet.destination, packet.protocol, port)


def test_extension_headers_of_ipv6_are_passed_over():
    plain = frames.build(PACKETS[1], 1)
    with_options = plain[:6] + bytes([60]) + plain[7:40] + bytes([17, 0]) + bytes(6) + plain[40:]

    told = describe("x", with_options)

    assert told == Logged("x", ip_address("fd09::9"), ip_address("fd00::1"), 17, 53)


@pytest.mark.parametrize("cut", [b"", b"\x45", b"\x60" + bytes(20)])
def test_what_is_cut_off_is_not_told(cut):
    assert describe("x", cut) is None


def test_a_drop_that_no_policy_decided_is_told_by_its_reason(caplog):
    packet = Logged("drop-spoofed", ip_address("10.0.0.9"), ip_address("10.9.9.9"), 47, None)

    with caplog.at_level(logging.INFO, logger="cloudnet.agent.policy_log"):
        tell(packet, {})

    assert caplog.messages == [
        "dropped direction=- policy='spoofed' source=10.0.0.9 destination=10.9.9.9 protocol=47 port=-"
    ]
