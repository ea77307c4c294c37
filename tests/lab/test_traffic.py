"""The traffic generator between plain namespaces: what it says is lost was lost, and nothing else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from cloudnet.lab.errors import LabError
from cloudnet.lab.traffic import Endpoint, Flow, Mark, Sample, Traffic

pytestmark = pytest.mark.lab

HERE, THERE = "cn-trafa", "cn-trafb"
STEADY = 1.0  # seconds before and after a fault


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inside(namespace: str, *command: str, stdin: str = "") -> str:
    return run("ip", "netns", "exec", namespace, *command, stdin=stdin)


@pytest.fixture
def ends() -> Iterator[tuple[list[Endpoint], list[Endpoint]]]:
    """Two namespaces joined by a wire, with ten addresses each."""
    for name in (HERE, THERE):
        run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", "wire", "netns", HERE, "type", "veth", "peer", "name", "wire", "netns", THERE)
        found = []
        for third, name in enumerate((HERE, THERE)):
            inside(name, "ip", "link", "set", "wire", "up")
            addresses = [IPv4Address(f"10.9.{third}.{host}") for host in range(1, 11)]
            for address in addresses:
                inside(name, "ip", "address", "add", f"{address}/16", "dev", "wire")
            found.append([Endpoint(name, name, address) for address in addresses])
        yield found[0], found[1]
    finally:
        for name in (HERE, THERE):
            run("ip", "netns", "delete", name)


def crossing(ends: tuple[list[Endpoint], list[Endpoint]], udp: int, tcp: int) -> list[Flow]:
    """Flows in both directions; each end takes part in many."""
    here, there = ends
    pairs = [(here[i % 10], there[(i + i // 10) % 10]) for i in range(udp)]
    flows = [Flow("udp", a, b) if i % 2 else Flow("udp", b, a) for i, (a, b) in enumerate(pairs)]
    return flows + [Flow("tcp", here[i % 10], there[(i + i // 10) % 10]) for i in range(tcp)]


def ready(traffic: Traffic, flows: list[Flow]) -> Mark:
    for flow in flows:
        traffic.open(flow)
    deadline = time.monotonic() + 5
    while not all(traffic.arrived(flow) for flow in flows):
        assert time.monotonic() < deadline, "nothing arrives"
        time.sleep(0.01)
    return traffic.mark()


@dataclass(frozen=True, slots=True)
class Drop:
    """How many datagrams the kernel dropped, and for how many milliseconds at least and at most."""

    datagrams: int
    at_least: float
    at_most: float


def drop_for(seconds: float, what: str) -> Drop:
    """Drop at the receiving end for a while."""
    table = f"""table inet fault {{ counter datagrams {{ }}; chain in {{
        type filter hook prerouting priority 0; {what} meta l4proto udp counter name datagrams; {what} drop; }}; }}"""
    asked = time.monotonic()
    inside(THERE, "nft", "-f", "-", stdin=table)
    begun = time.monotonic()
    time.sleep(seconds)
    ending = time.monotonic()
    inside(THERE, "nft", "flush", "chain", "inet", "fault", "in")
    ended = time.monotonic()
    counted = inside(THERE, "nft", "list", "counter", "inet", "fault", "datagrams")
    inside(THERE, "nft", "delete", "table", "inet", "fault")
    return Drop(int(counted.split("packets ")[1].split()[0]), (ending - begun) * 1000, (ended - asked) * 1000)


def test_thirty_flows_and_fifteen_streams_lose_nothing_by_themselves(ends) -> None:
    with Traffic() as traffic:
        begin = ready(traffic, crossing(ends, 30, 15))

        time.sleep(5)
        sample = traffic.measure(begin, traffic.mark())

    assert sample.lost == 0
    assert sample.longest_gap_ms == 0
    assert sample.tcp_intact
    assert sample.sent > 0.5 * 30 * 200 * 5


def test_a_drop_of_known_length_is_measured(ends) -> None:
    with Traffic() as traffic:
        begin = ready(traffic, crossing(ends, 4, 2))

        time.sleep(STEADY)
        drop = drop_for(0.4, "ip daddr 10.9.1.0/24")
        time.sleep(STEADY)
        sample = traffic.measure(begin, traffic.mark())

    forward = [s for s in sample.datagrams if s.flow.source.node == HERE]
    back = [s for s in sample.datagrams if s.flow.source.node == THERE]
    assert sum(s.lost for s in forward) == drop.datagrams > 50
    # A tick of the generator at either end; a generator that itself had to wait makes a gap longer, never shorter.
    assert all(drop.at_least - 10 <= s.longest_gap_ms <= drop.at_most + 300 for s in forward), (drop, forward)
    assert all(s.lost == 0 for s in back)
    assert sample.tcp_intact, "a stream outlives a short gap"


def test_loss_belongs_to_the_window_in_which_it_happened(ends) -> None:
    with Traffic() as traffic:
        begin = ready(traffic, crossing(ends, 2, 0))
        time.sleep(0.3)
        middle = traffic.mark()
        drop = drop_for(0.2, "ip protocol udp")
        end = traffic.mark()

        before, during = traffic.measure(begin, middle), traffic.measure(middle, end)

    assert before.lost == 0
    assert during.lost == drop.datagrams > 20


def test_a_reset_stream_is_not_intact(ends) -> None:
    with Traffic() as traffic:
        begin = ready(traffic, crossing(ends, 1, 1))
        inside(THERE, "ss", "-K", "src", "10.9.1.1", "sport", "=", "7000")
        time.sleep(0.3)
        middle = traffic.mark()

        during = traffic.measure(begin, middle)
        later = traffic.measure(middle, traffic.mark())

    assert not during.tcp_intact
    assert not later.tcp_intact, "nothing is sent on it any more, so nothing is missing, but it is broken"
    assert during.lost == later.lost == 0


def test_a_stream_may_catch_up_after_the_window(ends) -> None:
    with Traffic() as traffic:
        begin = ready(traffic, crossing(ends, 0, 1))
        drop_for(0.3, "ip daddr 10.9.1.0/24")

        sample = traffic.measure(begin, traffic.mark())

    assert sample.tcp_intact


def test_a_stream_with_changed_content_is_not_intact(ends) -> None:
    rules = """table inet fault { chain in { type filter hook prerouting priority 0;
        tcp dport 7000 meta length > 1000 @th,800,32 set 0x12345678; }; }"""
    with Traffic() as traffic:
        begin = ready(traffic, crossing(ends, 1, 1))
        inside(THERE, "nft", "-f", "-", stdin=rules)
        time.sleep(0.5)

        sample = traffic.measure(begin, traffic.mark())

    assert not sample.tcp_intact


def test_a_flow_counts_from_its_first_arrival(ends) -> None:
    flows = [flow for flow in crossing(ends, 4, 0) if flow.source.node == HERE]
    with Traffic() as traffic:
        closed = "table inet fault { chain in { type filter hook prerouting priority 0; drop; }; }"
        inside(THERE, "nft", "-f", "-", stdin=closed)
        for flow in flows:
            traffic.open(flow)
        begin = traffic.mark()
        time.sleep(0.3)
        before = time.monotonic()
        inside(THERE, "nft", "-f", "-", stdin="delete table inet fault")
        after = time.monotonic()
        time.sleep(0.5)

        sample = traffic.measure(begin, traffic.mark())

    assert sample.lost == 0
    assert all(s.first_at is not None and before <= s.first_at <= after + 0.5 for s in sample.flows)


def test_a_closed_flow_is_measured_no_longer(ends) -> None:
    flows = crossing(ends, 2, 0)
    with Traffic() as traffic:
        begin = ready(traffic, flows)
        traffic.close(flows[0])

        sample = traffic.measure(begin, traffic.mark())

    assert [s.flow for s in sample.flows] == [flows[1]]


def test_a_flow_is_opened_once(ends) -> None:
    flow = crossing(ends, 1, 0)[0]

    with Traffic() as traffic:
        traffic.open(flow)
        with pytest.raises(LabError, match="is open already"):
            traffic.open(flow)


def test_a_namespace_that_is_not_there_is_named(ends) -> None:
    here, _ = ends
    lost = Endpoint("n9", "cn-lab-n9-p1", IPv4Address("10.9.0.99"))

    with Traffic() as traffic, pytest.raises(LabError, match=r"there is no network namespace .cn-lab-n9-p1."):
        traffic.open(Flow("udp", here[0], lost))


def test_nothing_sent_is_nothing_lost() -> None:
    assert (Sample().sent, Sample().lost, Sample().longest_gap_ms, Sample().tcp_intact) == (0, 0, 0.0, True)
