from ipaddress import ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from cloudnet.agent.blocks import Blocks
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, Metadata, Node
from cloudnet.routes.claims import claims

PREFIXES = [
    ip_network(text)
    for text in (
        "10.0.0.0/24",
        "10.0.0.0/26",
        "10.0.0.64/26",
        "10.0.0.0/25",
        "10.0.1.0/24",
        "fd00::/64",
        "fd00::/122",
    )
]

steps = st.lists(
    st.tuples(
        st.sampled_from(["affinity", "node"]),
        st.sampled_from(["a", "b", "c"]),
        st.frozensets(st.sampled_from(PREFIXES), max_size=3),
    ),
    max_size=25,
)


@given(steps)
def test_one_claim_at_a_time_gives_what_a_look_at_everything_gives(story):
    blocks, final, owners = Blocks(), {}, {}
    for kind, name, prefixes in story:
        touched = blocks.claim((kind, name), NodeName(name), prefixes)
        final[kind, name] = prefixes
        for block in touched:
            owners[block] = blocks.owner(block)

    nodes = [
        Node(Metadata(name), (ip_interface("10.9.9.9/24"),), pod_cidrs=tuple(prefixes))
        for (kind, name), prefixes in final.items()
        if kind == "node"
    ]
    affinities = [
        BlockAffinity(Metadata(f"{name}-{prefix}"), NodeName(name), prefix)
        for (kind, name), prefixes in final.items()
        if kind == "affinity"
        for prefix in prefixes
    ]
    whole = claims(nodes, affinities)
    assert {block: owner for block, owner in owners.items() if owner} == whole.owner
    assert {block: blocks.conflict(block) for block in blocks if blocks.conflict(block)} == whole.refused


def test_a_claim_repeated_touches_nothing():
    blocks = Blocks()
    blocks.claim(("affinity", "a"), NodeName("a"), frozenset(PREFIXES[:1]))

    assert blocks.claim(("affinity", "a"), NodeName("a"), frozenset(PREFIXES[:1])) == set()


def test_a_source_without_claims_leaves_nothing_behind():
    blocks = Blocks()
    blocks.claim(("affinity", "a"), NodeName("a"), frozenset(PREFIXES))

    blocks.claim(("affinity", "a"), NodeName("a"), frozenset())

    assert (len(blocks), blocks.of(NodeName("a")), list(blocks)) == (0, (), [])
    assert not blocks._sorted
    assert not blocks._lengths
