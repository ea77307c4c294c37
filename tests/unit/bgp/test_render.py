"""What BIRD is told: by looking at the text, and by BIRD's own reading of all that can be rendered."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloudnet.bgp import peers, render
from cloudnet.bgp.picture import Picture
from cloudnet.bgp.speaker import (
    Announcement,
    Filter,
    Match,
    NextHopMode,
    Origin,
    Rule,
    Session,
    Severity,
    Speaker,
)
from cloudnet.model import calico
from cloudnet.model.addresses import Family
from cloudnet.model.resources import Metadata, Node
from cloudnet.testing import strategies

LOG = "/run/cloudnet/bird/bird.log"
ROUTER = IPv4Address("10.0.1.11")
BLOCK = ip_network("10.65.1.0/26")
PEER = Session(Origin.MESH, "node 'n2'", ip_address("10.0.1.12"), 64512, 64512, source=ip_address("10.0.1.11"))
TOR = Session(Origin.GLOBAL, "BGPPeer 'tor'", ip_address("fd00:1::1"), 65000, 64512, port=1790)


def told(*sessions, **speaker):
    return render.render(Speaker(ROUTER, sessions=sessions, **speaker), log=LOG).splitlines()


def part(lines, begin):
    """Return the lines of one protocol or function."""
    first = lines.index(begin)
    return [line.strip() for line in lines[first + 1 : lines.index("}", first)]]


def test_a_session_of_the_mesh():
    lines = part(told(PEER), "protocol bgp Mesh_10_0_1_12 {")

    assert "local 10.0.1.11 port 179 as 64512;" in lines
    assert "neighbor 10.0.1.12 port 179 as 64512;" in lines
    assert "description \"node 'n2'\";" in lines
    assert {"multihop;", "ttl security off;", "passive off;", "graceful restart on;"} <= set(lines)
    assert "export filter { announce4(false, 64512); };" in lines
    assert not any(word in line for line in lines for word in ("password", "rr ", "hold time", "allow local"))


def test_all_that_a_session_can_be():
    asked = replace(
        TOR,
        passive=True,
        client=True,
        next_hop=NextHopMode.SELF,
        password="pass word",  # noqa: S106
        restart_time=90,
        keepalive=20,
        ttl_security=3,
        own_as_allowed=2,
        gateway=ip_address("fd00:1::fe"),
    )
    lines = told(asked, port=1791, strict_bind=True)
    session = part(lines, "protocol bgp Global_fd00_1__1_port_1790 {")

    assert "local port 1791 as 64512;" in session
    assert {"multihop 3;", "ttl security on;", "passive on;", 'password "pass word";'} <= set(session)
    assert {"graceful restart time 90;", "hold time 60;", "keepalive time 20;", "allow local as 2;"} <= set(session)
    assert {"rr client;", "next hop self;"} <= set(session)
    assert "route fd00:1::1/128 via fd00:1::fe;" in part(lines, "protocol static reach6 {")


def test_one_address_is_listened_on_where_it_is_known_which():
    nowhere = replace(PEER, address=ip_address("10.0.1.13"), source=None)
    lines = told(PEER, nowhere, strict_bind=True)

    assert "strict bind on;" in part(lines, "protocol bgp Mesh_10_0_1_12 {")
    assert "strict bind off;" in part(lines, "protocol bgp Mesh_10_0_1_13 {")


@pytest.mark.parametrize(("as_number", "kept"), [(65000, True), (64512, False)], ids=["external", "internal"])
def test_an_original_next_hop_is_kept_towards_external_peers_alone(as_number, kept):
    lines = part(told(replace(PEER, as_number=as_number, next_hop=NextHopMode.KEEP)), "protocol bgp Mesh_10_0_1_12 {")

    assert ("next hop keep;" in lines) is kept


def test_a_cluster_id_is_told_to_internal_peers_alone():
    lines = told(PEER, TOR, cluster_id=IPv4Address("1.0.0.1"))

    assert lines.count("  rr cluster id 1.0.0.1;") == 1
    assert "rr cluster id 1.0.0.1;" in part(lines, "protocol bgp Mesh_10_0_1_12 {")


def test_announcements_stand_with_their_communities_in_the_table_of_their_family():
    own = (
        Announcement(BLOCK, ((64512, 7), (64512, 100, 1))),
        Announcement(ip_network("fd00:65::/122")),
    )
    lines = told(announcements=own)

    added = "bgp_community.add((64512, 7)); bgp_large_community.add((64512, 100, 1));"
    assert f"route 10.65.1.0/26 blackhole {{ {added} }};" in part(lines, "protocol static own4 {")
    assert part(lines, "protocol static own6 {") == ["ipv6;", "route fd00:65::/122 blackhole;"]


def test_without_prefixes_nothing_is_inside():
    assert "function inside4() { return false; }" in told()
    assert "function inside4() { return net ~ [ 10.65.0.0/16+ ]; }" in told(inside=(ip_network("10.65.0.0/16"),))


def test_what_goes_into_the_hosts_own_routes_is_neither_of_pods_nor_of_services():
    lines = told(inside=(ip_network("10.65.0.0/16"),), services=(ip_network("10.96.0.0/12"),))

    export = 'export where (source = RTS_BGP && !inside4() && !services4()) || proto = "reach4";'
    assert export in [line.strip() for line in lines]
    assert "function services4() { return net ~ [ 10.96.0.0/12+ ]; }" in lines


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule(accept=True), "if true then { accept; }"),
        (Rule(accept=False, prefix=BLOCK, match=Match.EQUAL), "if net = 10.65.1.0/26 then reject;"),
        (Rule(accept=False, prefix=BLOCK, match=Match.NOT_EQUAL), "if net != 10.65.1.0/26 then reject;"),
        (Rule(accept=False, prefix=BLOCK), "if net ~ [ 10.65.1.0/26{26,32} ] then reject;"),
        (Rule(accept=False, prefix=BLOCK, lengths=(20, 28)), "if net ~ [ 10.65.1.0/26{26,28} ] then reject;"),
        (Rule(accept=False, prefix=BLOCK, lengths=(8, 20)), "if false then reject;"),
        (Rule(accept=False, prefix=BLOCK, match=Match.NOT_IN, lengths=(8, 20)), "if true then reject;"),
        (
            Rule(accept=True, from_peers=True, interface="eth*", external=True, community=(1, 2), path_begins=(7, 8)),
            (
                'if source = RTS_BGP && ifname ~ "eth*" && away && (1, 2) ~ bgp_community && '
                "bgp_path ~ [= 7 8 * =] then { accept; }"
            ),
        ),
        (
            Rule(accept=True, external=False, community=(1, 2, 3), add_communities=((4, 5),), prepend=(1, 2)),
            (
                "if !away && (1, 2, 3) ~ bgp_large_community then "
                "{ bgp_community.add((4, 5)); bgp_path.prepend(2); bgp_path.prepend(1); accept; }"
            ),
        ),
    ],
    ids=["all", "equal", "not equal", "in", "lengths", "too short", "not too short", "conditions", "operations"],
)
def test_how_a_rule_is_spelled(rule, text):
    one = Filter("f", imports={Family.IPV4: (rule,)})

    assert f"  {text}" in told(filters=(one,))


def test_filters_are_asked_in_their_order_and_before_what_always_holds():
    names = ("b", "a")
    lines = part(
        told(replace(PEER, filters=names), filters=tuple(map(Filter, names))), "protocol bgp Mesh_10_0_1_12 {"
    )

    (export,) = [line for line in lines if line.startswith("export")]
    (believed,) = [line for line in lines if line.startswith("import")]
    assert export.index("export4_b") < export.index("export4_a") < export.index("announce4")
    assert believed.index("import4_b") < believed.index("import4_a") < believed.index("accept")


def test_long_names_of_filters_stay_apart():
    names = ["x" * 60 + end for end in ("a", "b", ".", "-")]
    functions = [line.split("(")[0] for line in told(filters=tuple(map(Filter, names))) if "_xxx" in line]

    assert len(set(functions)) == len(functions) == 16
    assert all(len(function.split()[1]) <= 64 for function in functions)


@pytest.mark.parametrize(
    ("severity", "logged"),
    [(Severity.NONE, None), (Severity.FATAL, "{ bug, fatal };"), (Severity.WARNING, "remote, warning };")],
    ids=["none", "fatal", "warning"],
)
def test_from_which_level_up_bird_logs(severity, logged):
    found = [line for line in told(severity=severity) if line.startswith("log ")]

    assert not found if logged is None else found[0].endswith(logged)


def test_a_path_that_could_end_its_quotes_is_refused():
    with pytest.raises(ValueError, match="without quotes"):
        render.render(Speaker(ROUTER), log='/run/"; }')


def test_names_follow_from_addresses_and_no_two_addresses_share_one():
    addresses = [ip_address(text) for text in ("10.0.1.1", "10.0.11.1", "fd00::1", "fd00:1::", "::1")]

    assert len({render.name(replace(PEER, address=address)) for address in addresses}) == len(addresses)


# --- what BIRD itself makes of it ---------------------------------------------------------------------------

numbers = st.integers(1, 2**32 - 1)
short = st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
communities = short | st.tuples(numbers, numbers, numbers)
words = st.text(max_size=120)


def networks(version):
    return strategies.networks(version)


def rules(version):
    return st.builds(
        Rule,
        accept=st.booleans(),
        prefix=st.none() | networks(version),
        match=st.sampled_from(Match),
        lengths=st.none() | st.tuples(st.integers(0, 32), st.integers(0, 32)),
        from_peers=st.booleans(),
        interface=st.from_regex(r"[a-zA-Z0-9_.*-]{0,15}", fullmatch=True),
        external=st.none() | st.booleans(),
        community=st.none() | communities,
        path_begins=st.lists(numbers, max_size=3).map(tuple),
        add_communities=st.lists(communities, max_size=2).map(tuple),
        prepend=st.lists(numbers, max_size=3).map(tuple),
    )


def by_family(of):
    return st.fixed_dictionaries({version: st.lists(of(version), max_size=3).map(tuple) for version in Family})


def addresses():
    return st.ip_addresses(v=4).filter(usable) | st.ip_addresses(v=6).filter(usable)


def usable(address):
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local) and (
        address.version == 6 or 0 < int(address) >> 24 < 224
    )


def passwords():
    """Draw whatever the program would let through."""
    return words.filter(_is_taken)


def _is_taken(text):
    spec = {"peerIP": "10.0.1.1", "asNumber": 65000, "password": {"secretKeyRef": {"name": "s", "key": "k"}}}
    document = {"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "p"}, "spec": spec}
    node = Node(Metadata("n1"), (strategies.ip_interface("10.0.1.11/24"),))
    picture = Picture(node, {node.name: node}, peers={"p": calico.parse(document)})
    return not peers.sessions(picture, {("s", "k"): text}).problems


@st.composite
def sessions(draw, names):
    address = draw(addresses())
    same = draw(st.ip_addresses(v=address.version).filter(usable))
    return Session(
        origin=draw(st.sampled_from(Origin)),
        peer=draw(words),
        address=address,
        as_number=draw(numbers),
        local_as=draw(numbers | st.just(64512)),
        port=draw(st.integers(1, 65535)),
        source=draw(st.none() | st.just(same)),
        passive=draw(st.booleans()),
        next_hop=draw(st.sampled_from(NextHopMode)),
        password=draw(st.just("") | passwords()),
        restart_time=draw(st.none() | st.integers(0, 4095)),
        keepalive=draw(st.none() | st.integers(1, 21845)),
        ttl_security=draw(st.integers(0, 255)),
        own_as_allowed=draw(st.integers(0, 10)),
        gateway=draw(st.none() | st.just(same)),
        filters=tuple(draw(st.lists(st.sampled_from(names), unique=True))) if names else (),
    )


@st.composite
def speakers(draw):
    drawn = draw(st.lists(words, max_size=3, unique=True))
    known = tuple(Filter(name, draw(by_family(rules)), draw(by_family(rules))) for name in drawn)
    found = draw(st.lists(sessions(drawn), max_size=4, unique_by=render.name))
    prefixes = st.lists(networks(Family.IPV4) | networks(Family.IPV6), max_size=4, unique=True).map(tuple)
    announced = draw(prefixes)
    return Speaker(
        router_id=draw(st.ip_addresses(v=4).filter(usable)),
        port=draw(st.integers(1, 65535)),
        strict_bind=draw(st.booleans()),
        cluster_id=draw(st.none() | st.ip_addresses(v=4).filter(int)),
        announcements=tuple(Announcement(p, tuple(draw(st.lists(communities, max_size=2)))) for p in announced),
        sessions=tuple(found),
        filters=known,
        inside=draw(prefixes),
        passed_on=draw(prefixes),
        services=draw(prefixes),
        ignored_interfaces=tuple(draw(st.lists(st.from_regex(r"[A-Za-z0-9_.*-]{1,15}", fullmatch=True), max_size=2))),
        severity=draw(st.sampled_from(Severity)),
    )


@pytest.mark.server
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a program is started for each: shrinking takes too long
)
@given(speaker=speakers())
def test_bird_reads_whatever_can_be_said(tmp_path, speaker):
    file = tmp_path / "bird.conf"
    file.write_text(render.render(speaker, log=str(tmp_path / "bird.log")))

    bird = shutil.which("bird", path=f"{os.environ['PATH']}:/usr/sbin")
    done = subprocess.run([bird, "-p", "-c", str(file)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, ""), file.read_text()


@given(words, words)
def test_no_name_and_no_password_ends_a_line_or_a_quote(peer, secret):
    lines = told(replace(PEER, peer=peer, password=secret if _is_taken(secret) else ""))
    harmless = told(replace(PEER, password="x" if _is_taken(secret) and secret else ""))

    assert len(lines) == len(harmless)
    assert sum(line.count('"') for line in lines) == sum(line.count('"') for line in harmless)
