"""The probes' sockets between real namespaces, without agents."""

import queue
import socket
from contextlib import ExitStack
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.agent.actions import AnswerPeers, ProbeToSend
from cloudnet.agent.prober import ProbeSockets
from cloudnet.clock import SystemClock
from cloudnet.errors import BadInput
from cloudnet.kernel import netns
from cloudnet.routes.probe import Packet, PacketKind, encode

pytestmark = pytest.mark.kernel

BLOCK, BLOCK6 = ip_network("10.65.2.0/26"), ip_network("fd00:65:2::/122")
PORT = 4793
ENDS = {
    4: (ip_address("10.65.1.0"), ip_address("10.65.2.0"), ip_address("10.0.0.1"), ip_address("10.0.0.2"), BLOCK),
    6: (ip_address("fd00:65:1::"), ip_address("fd00:65:2::"), ip_address("fd00::1"), ip_address("fd00::2"), BLOCK6),
}


@pytest.fixture
def pair():
    """Two hosts on one wire; the tunnel addresses stand on ``lo``, and blocks are routed straight."""
    with ExitStack() as stack:
        a, b = (stack.enter_context(netns.temporary(f"cnp{id(stack)}-{end}")) for end in "ab")
        lines = [f"link add eth0 type veth peer name eth0 netns {b}"]
        netns.execute(a, ["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
        for name, mine, other in ((a, "1", "2"), (b, "2", "1")):
            lines = [
                "link set lo up", f"address add 10.0.0.{mine}/24 dev eth0",
                f"address add fd00::{mine}/64 dev eth0 nodad", "link set eth0 up",
                f"address add 10.65.{mine}.0/32 dev lo", f"address add fd00:65:{mine}::/128 dev lo nodad",
                f"route add 10.65.{other}.0/26 via 10.0.0.{other}",
                f"route add fd00:65:{other}::/122 via fd00::{other}",
            ]  # fmt: skip
            netns.execute(name, ["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
        answers, unwanted = queue.SimpleQueue(), queue.SimpleQueue()
        ours = netns.run_inside(a, lambda: ProbeSockets(PORT, 77, SystemClock(), answers.put))
        stack.callback(ours.close)
        theirs = netns.run_inside(b, lambda: ProbeSockets(PORT, 88, SystemClock(), unwanted.put))
        stack.callback(theirs.close)
        yield a, ours, theirs, answers


def heard(answers, seconds=0.3):
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return None


def answered(ours, answers, probes):
    """Send until the first answer comes: the wire needs a moment to come up, neighbour discovery another."""
    answer = None
    for _ in range(20):
        assert ours.send(probes) == 0
        answer = answer or heard(answers)
    return answer


def probe(version, sequence=1):
    source, destination, _, _, block = ENDS[version]
    return [ProbeToSend(block, sequence, source, destination)]


@pytest.mark.parametrize("version", [4, 6])
def test_a_probe_is_answered_from_node_to_node(pair, version):
    _, ours, theirs, answers = pair
    tunnel, _, our_address, their_address, block = ENDS[version]
    theirs.answer_peers(AnswerPeers({tunnel: (their_address, our_address)}, frozenset()))

    answer = answered(ours, answers, probe(version, 9))

    assert (answer.block, answer.sequence, answer.source) == (block, 9, their_address)


def test_a_probe_from_a_nodes_own_address_is_answered_too(pair):
    """A node that may not send from its tunnel's address probes from its own."""
    _, ours, theirs, answers = pair
    tunnel, destination, our_address, their_address, block = ENDS[4]
    theirs.answer_peers(AnswerPeers({tunnel: (their_address, our_address)}, frozenset()))

    answer = answered(ours, answers, [ProbeToSend(block, 5, our_address, destination)])

    assert (answer.block, answer.sequence, answer.source, answer.kind) == (block, 5, their_address, PacketKind.ANSWER)


def call(sequence=1):
    _, _, our_address, their_address, block = ENDS[4]
    return [ProbeToSend(block, sequence, our_address, their_address, PacketKind.CALL)]


def test_a_known_node_that_calls_is_told_that_somebody_is_there(pair):
    _, ours, theirs, answers = pair
    tunnel, _, our_address, their_address, block = ENDS[4]
    theirs.answer_peers(AnswerPeers({tunnel: (their_address, our_address)}, frozenset()))

    answer = answered(ours, answers, call(3))

    assert (answer.block, answer.sequence, answer.source) == (block, 3, their_address)
    assert answer.kind is PacketKind.PRESENT


def test_a_caller_that_is_no_longer_a_peer_gets_nothing(pair):
    _, ours, theirs, answers = pair
    tunnel, _, our_address, their_address, _ = ENDS[4]
    theirs.answer_peers(AnswerPeers({tunnel: (their_address, our_address)}, frozenset()))
    theirs.answer_peers(AnswerPeers({tunnel: None}, frozenset()))

    ours.send(call())

    assert heard(answers) is None


def test_an_unknown_sender_gets_nothing(pair):
    _, ours, theirs, answers = pair
    tunnel, _, our_address, their_address, _ = ENDS[4]
    theirs.answer_peers(AnswerPeers({tunnel: (their_address, our_address)}, frozenset()))
    theirs.answer_peers(AnswerPeers({tunnel: None}, frozenset()))

    ours.send(probe(4))

    assert heard(answers) is None


def test_a_probe_that_came_in_by_the_overlay_proves_nothing(pair):
    _, ours, theirs, answers = pair
    tunnel, _, our_address, their_address, _ = ENDS[4]
    name = "eth0"  # of the other namespace; its index is the same on both sides of a fresh pair
    peers = AnswerPeers({tunnel: (their_address, our_address)}, frozenset({name}))
    netns.run_inside(pair[0], lambda: theirs.answer_peers(peers))

    ours.send(probe(4))

    assert heard(answers) is None


def test_an_answer_to_another_run_or_a_torn_packet_is_not_delivered(pair):
    a, _, _, answers = pair
    stranger = netns.open_socket(a, socket.AF_INET, socket.SOCK_DGRAM)
    with stranger:
        for data in (encode(Packet(PacketKind.ANSWER, BLOCK, 78, 1)), b"cnpb", b""):
            stranger.sendto(data, ("10.0.0.1", PORT))
        assert heard(answers) is None
        stranger.sendto(encode(Packet(PacketKind.ANSWER, BLOCK, 77, 1)), ("10.0.0.1", PORT))
        assert heard(answers, 2.0).sequence == 1


def test_a_probe_that_cannot_leave_is_counted(pair):
    _, ours, _, _ = pair
    nowhere = ProbeToSend(BLOCK, 1, ip_address("10.65.1.0"), ip_address("192.0.2.1"))
    foreign = ProbeToSend(BLOCK, 1, ip_address("192.0.2.9"), ip_address("10.65.2.0"))

    assert ours.send([nowhere, foreign]) == 2


def test_a_port_that_is_taken_is_named(pair):
    with pytest.raises(BadInput, match=r"UDP port 4793 .*another agent"):
        netns.run_inside(pair[0], lambda: ProbeSockets(PORT, 1, SystemClock(), lambda _: None))
