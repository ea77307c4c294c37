from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from cloudnet.model.addresses import Family
from cloudnet.policy import members, merging
from cloudnet.policy.rules import TCP, UDP, Action, Direction, Peer, PortRange, Rule

NETS = st.sampled_from(
    [ip_network(f"10.0.0.{host}/32") for host in range(6)]
    + [ip_network(text) for text in ("10.0.0.0/30", "10.0.0.4/31", "10.1.0.0/16", "fd00::1/128", "fd00::/64")]
)
PORTS = st.sampled_from([(), (PortRange(80, 80),), (PortRange(90, 99),)])
FAMILIES = st.sampled_from([None, None, None, Family.IPV4])


@st.composite
def rules(draw):
    protocol = draw(st.sampled_from([None, TCP, UDP, 1]))
    ports = draw(PORTS) if protocol in {TCP, UDP} else ()
    return Rule(Action.ALLOW, family=draw(FAMILIES), protocol=protocol, destination=Peer(ports=ports))


PEERS = st.none() | st.frozensets(NETS, max_size=4).map(members.spans)
ENTRIES = st.builds(merging.Simple, rules(), st.sampled_from(["accept", "goto b", "drop"]), PEERS)


@st.composite
def stories(draw):
    """Return runs as they follow each other, each with one rule changed: what it says, its peers, or both."""
    runs = [tuple(draw(st.lists(ENTRIES, min_size=2, max_size=12)))]
    for _ in range(draw(st.integers(1, 6))):
        run = list(runs[-1])
        place = draw(st.integers(0, len(run) - 1))
        other, old = draw(ENTRIES), run[place]
        peers, says = draw(st.sampled_from([(other.peers, old), (old.peers, other), (other.peers, other)]))
        run[place] = merging.Simple(says.rule, says.verdict, peers)
        runs.append(tuple(run))
    return runs


def merged(run, memory):
    return list(merging.merge(run, Direction.INGRESS, "m", memory))


@given(stories())
def test_what_a_run_comes_to_does_not_depend_on_what_it_was_before(runs):
    memory = {}
    for run in runs:
        now = merged(run, memory)

    assert now == merged(runs[-1], {})


@given(stories())
def test_nothing_is_remembered_of_what_no_box_has_any_more(runs):
    memory = {}
    for run in runs:
        merged(run, memory)

    for one in memory.values():
        found = {box.rules for boxes in one.boxes.values() for box in boxes}
        assert one.pieces.keys() == one.used.keys() == found


def test_a_peer_more_for_one_rule_leaves_the_pieces_of_the_others_as_they_are():
    rule = Rule(Action.ALLOW, protocol=TCP, destination=Peer(ports=(PortRange(80, 80),)))
    of = [members.spans([ip_network(f"10.{number}.0.0/32")]) for number in range(100)]
    run = [merging.Simple(rule, "accept", peers) for peers in of]
    memory = {}
    merged(run, memory)
    before = memory["m"]

    run[5] = merging.Simple(rule, "accept", members.spans([ip_network("10.5.0.0/32"), ip_network("10.5.0.9/32")]))
    (lookup,) = merged(run, memory)

    assert len(lookup.elements) == 101
    assert all(memory["m"].pieces[chosen] is pieces for chosen, pieces in before.pieces.items())
