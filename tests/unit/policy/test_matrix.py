from __future__ import annotations

import time
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudnet.model import manifests
from cloudnet.policy import cluster, differ, matrix, reach
from cloudnet.policy.expectations import decided_by
from cloudnet.policy.matrix import NO_WAY, Pairs, groups, slim
from cloudnet.policy.options import Options
from cloudnet.policy.questions import Cuts, Question, summary
from cloudnet.policy.reach import End, Wanted
from cloudnet.policy.rules import ICMP, ICMPV6, TCP, UDP, WITH_PORTS, Icmp

WORLD = ip_address("203.0.113.1")


def resources(*documents):
    text = "\n---\n".join(documents)
    return [manifests.resource(one) for one in manifests.read(text, "f")]


def pod(name, app, namespace="shop", ports="{name: http, containerPort: 8080}", extra=""):
    return (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}, "
        f"spec: {{containers: [{{name: c, ports: [{ports}]}}]{extra}}}}}"
    )


def policy(name, spec, kind="GlobalNetworkPolicy"):
    return f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}"


PODS = [pod("web-1", "web"), pod("web-2", "web"), pod("db", "db")]
DB = policy(
    "db",
    "selector: app == 'db', ingress: [{action: Allow, protocol: TCP, source: {selector: app == 'web'}, "
    "destination: {ports: [5432, '8000:8080', http]}}]",
)


def drawn(found, **options):
    answer = matrix.matrix(found, **options)
    return {
        (one.title, other.title): cell
        for one, row in zip(answer.groups, answer.cells, strict=True)
        for other, cell in zip(answer.groups, row, strict=True)
    }


# --- the matrix ---------------------------------------------------------------------------------------------


def test_who_reaches_whom_is_told_by_groups_and_ports():
    found = cluster.build(resources(*PODS, DB))

    assert drawn(found, outside=[WORLD]) == {
        ("shop/web-1 and 1 more", "shop/web-1 and 1 more"): "all",
        ("shop/web-1 and 1 more", "shop/db"): "tcp 5432,8000-8080",
        ("shop/web-1 and 1 more", str(WORLD)): "all",
        ("shop/db", "shop/web-1 and 1 more"): "all",
        ("shop/db", "shop/db"): NO_WAY,
        ("shop/db", str(WORLD)): "all",
        (str(WORLD), "shop/web-1 and 1 more"): "all",
        (str(WORLD), "shop/db"): "none",
        (str(WORLD), str(WORLD)): NO_WAY,
    }


def test_one_port_alone_is_allowed_or_not():
    found = cluster.build(resources(*PODS, DB))

    cells = drawn(found, only=Wanted(TCP, 5432))

    assert cells["shop/web-1 and 1 more", "shop/db"] == "all"
    assert drawn(found, only=Wanted(TCP, 5433))["shop/web-1 and 1 more", "shop/db"] == "none"


def test_pods_that_a_rule_tells_apart_by_address_or_port_are_not_taken_together():
    nets = policy("nets", "selector: app == 'db', ingress: [{action: Deny, source: {nets: [10.0.0.1/32]}}]")
    one = pod("web-1", "web").replace("}}", "}}", 1)[:-1] + ", status: {podIP: 10.0.0.1}}"

    titles = [group.title for group in groups([cluster.build(resources(one, *PODS[1:], nets))])]

    assert titles == ["shop/db", "shop/web-1", "shop/web-2"]


def test_a_port_that_a_rule_names_is_told_by_the_number_it_has_at_each_target():
    named = policy("named", "ingress: [{action: Allow, protocol: TCP, destination: {ports: [http]}}]")
    other = pod("db", "db", ports="{name: http, containerPort: 9090}")

    cells = drawn(cluster.build(resources(PODS[0], other, named)), outside=[WORLD])

    assert cells[str(WORLD), "shop/web-1"] == "tcp 8080"
    assert cells[str(WORLD), "shop/db"] == "tcp 9090"


def test_senders_and_receivers_of_the_same_policies_fare_as_they_are_selected():
    spec = (
        "selector: \"app in {'x','y'}\", ingress: [{action: Allow, source: {selector: app == 'a'}, "
        "destination: {selector: app == 'x'}}, {action: Allow, protocol: UDP}]"
    )
    found = cluster.build(resources(*(pod(app, app) for app in "abxy"), policy("p", spec)))

    cells = drawn(found)

    assert [cells[f"shop/{one}", f"shop/{other}"] for one in "ab" for other in "xy"] == ["all", "udp", "udp", "udp"]


def test_host_endpoints_on_the_way_count_for_the_pods_of_their_node():
    host = (
        "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: h, labels: {role: node}}, "
        "spec: {node: n2, interfaceName: eth0}}"
    )
    spec = "selector: role == 'node', applyOnForward: true, ingress: [{action: Deny, protocol: TCP}, {action: Allow}]"
    near, far = (pod(f"p{i}", "web", extra=f", nodeName: n{i}") for i in (1, 2))

    cells = drawn(cluster.build(resources(near, far, host, policy("p", spec))), outside=[WORLD])

    assert cells["shop/p1", "shop/p2"] == "udp; icmp; other protocols"
    assert cells["shop/p2", "shop/p1"] == "all"
    assert cells[str(WORLD), "shop/p2"] == "udp; icmp; other protocols"


def test_an_icmp_type_and_a_protocol_that_rules_name_are_told_apart_from_others():
    spec = (
        "selector: app == 'db', ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8}}, "
        "{action: Allow, protocol: 47}, {action: Allow, protocol: UDP}]"
    )

    cells = drawn(cluster.build(resources(*PODS, policy("p", spec))))

    assert cells["shop/web-1 and 1 more", "shop/db"] == "udp; icmp 8; protocol 47"


def test_an_empty_cluster_has_an_empty_matrix():
    assert matrix.matrix(cluster.build([])).groups == ()


def test_500_pods_of_50_kinds_are_drawn_within_seconds():
    documents = [pod(f"p{i}", f"a{i % 50}", f"ns{i % 5}") for i in range(500)]
    documents += [
        policy(
            f"p{i}",
            f"selector: app == 'a{i}', ingress: [{{action: Allow, protocol: TCP, "
            f"source: {{selector: app == 'a{i * 7 % 50}'}}, destination: {{ports: [{i + 1}, http]}}}}]",
        )
        for i in range(50)
    ]
    found = cluster.build(resources(*documents))
    began = time.thread_time()

    answer = matrix.matrix(found, outside=[WORLD])

    assert len(answer.groups) == 51
    assert time.thread_time() - began < 5


# --- no packet fares otherwise than its cell says -----------------------------------------------------------

APPS = ("a", "b", "c")
SELECTED = ("app == 'a'", "app == 'b'", "app in {'a','c'}", "all()", "app != 'a'", "has(none)")
SELECTORS = st.sampled_from([f'"{one}"' for one in SELECTED])
PORTS = st.lists(st.sampled_from([1, 80, 8080, "'79:81'", "'8000:9000'", 65535]), min_size=1, max_size=2)
NAMED = st.sampled_from([["http"], ["dns"], ["http", "dns"]])


@st.composite
def rules(draw, near):
    end = {"ingress": "source", "egress": "destination"}[near]
    parts = [f"action: {draw(st.sampled_from(['Allow', 'Deny', 'Pass', 'Log']))}"]
    protocol = draw(st.sampled_from(["", "TCP", "UDP", "ICMP", "47"]))
    parts += [f"protocol: {protocol}"] if protocol else []
    if protocol == "ICMP" and draw(st.booleans()):
        parts.append(f"{draw(st.sampled_from(['icmp', 'notICMP']))}: {{type: {draw(st.sampled_from([0, 8]))}}}")
    if not protocol and draw(st.booleans()):
        parts.append(f"notProtocol: {draw(st.sampled_from(['TCP', 'UDP', '47']))}")
    peer, far = [], []
    if draw(st.booleans()):
        peer.append(f"{draw(st.sampled_from(['selector', 'notSelector']))}: {draw(SELECTORS)}")
    if draw(st.booleans()):
        peer.append(
            f"{draw(st.sampled_from(['nets', 'notNets']))}: [{draw(st.sampled_from(['10.0.0.0/30', '10.0.0.2/31']))}]"
        )
    some = draw(st.none() | (PORTS | NAMED if protocol in {"TCP", "UDP"} else st.none() if protocol else NAMED))
    if some:
        ports = f"{draw(st.sampled_from(['ports', 'notPorts']))}: [{', '.join(map(str, some))}]"
        (peer if near == "egress" else far).append(ports)
    ends = {end: peer, "destination": peer if near == "egress" else far}
    parts += [f"{name}: {{{', '.join(inside)}}}" for name, inside in ends.items() if inside]
    return "{" + ", ".join(parts) + "}"


@st.composite
def specs(draw):
    parts = [f"selector: {draw(SELECTORS)}", f"order: {draw(st.integers(1, 3))}"]
    for direction in draw(st.sampled_from([["ingress"], ["egress"], ["ingress", "egress"]])):
        some = draw(st.lists(rules(direction), min_size=1, max_size=3))
        parts.append(f"{direction}: [{', '.join(some)}]")
    return ", ".join(parts)


@st.composite
def clusters(draw):
    ports = "{name: http, containerPort: %d}, {name: dns, containerPort: 53, protocol: UDP}"
    documents = [
        pod(f"p{i}", draw(st.sampled_from(APPS)), ports=ports % draw(st.sampled_from([80, 8080])))[:-1]
        + f", status: {{podIP: 10.0.0.{i}}}}}"
        for i in range(4)
    ]
    documents += [policy(f"g{i}", spec) for i, spec in enumerate(draw(st.lists(specs(), max_size=3)))]
    return cluster.build(resources(*documents))


WANTED = (
    st.builds(Wanted, st.sampled_from([TCP, UDP]), st.sampled_from([1, 2, 53, 79, 80, 81, 8000, 8080, 9001, 65535]))
    | st.builds(Wanted, st.just(ICMP), icmp=st.sampled_from([Icmp(0, 0), Icmp(8, 0), Icmp(3, 0)]))
    | st.builds(Wanted, st.sampled_from([47, 2, 89]))
)


def answered(asked, wanted):
    """Return the answer to the question that stands for a packet."""
    for question, allowed in asked:
        if stands_for(question, wanted, [one for one, _ in asked]):
            return allowed
    raise AssertionError(f"no question stands for {wanted}")


def stands_for(question, wanted, all_):
    of = question.wanted
    if wanted.protocol in WITH_PORTS:
        return of.protocol == wanted.protocol and question.first <= wanted.port <= question.last
    if wanted.protocol in {ICMP, ICMPV6}:
        named = [one.wanted.icmp.type for one in all_ if one.wanted.icmp and not one.others]
        if of.protocol != ICMP:
            return False
        return (
            of.icmp is None
            or (question.others and wanted.icmp.type not in named)
            or (not question.others and of.icmp.type == wanted.icmp.type)
        )
    if any(one.wanted.protocol == wanted.protocol and not one.others for one in all_):
        return of.protocol == wanted.protocol
    return question.others and of.icmp is None


@settings(deadline=None)
@given(clusters(), st.integers(0, 4), st.integers(0, 4), WANTED)
def test_every_packet_fares_as_the_question_that_stands_for_it(found, from_, to, wanted):
    ends = [*(End(title, member) for title, member in found.members.items()), End("x", outside=WORLD)]
    source, target = ends[from_], ends[to]

    pairs = Pairs(slim(found, groups([found], [WORLD])), Options())
    representative = {end.title: group.first for group in groups([found], [WORLD]) for end in group.ends}
    representative |= {"x": source if from_ == 4 else target}
    asked = pairs.asked(
        representative[source.title],
        representative[target.title],
        matrix.questions([pairs], representative[source.title], representative[target.title]),
    )

    assert answered(asked, wanted) is reach.reach(found, source, target, wanted).allowed


def test_neighbouring_ranges_are_told_as_one():
    ranges = [(1, 79), (80, 80), (81, 90), (91, 65535)]
    asked = [(Question(Wanted(TCP, first), first, last), first in {80, 81}) for first, last in ranges]

    assert summary(asked) == "tcp 80-90"


def test_cuts_ask_about_every_port_once():
    cuts = Cuts()
    cuts.port(TCP, 80, 80)
    cuts.port(TCP, 1, 65535)

    asked = [q for q in cuts.questions() if q.wanted.protocol == TCP]

    assert [(q.first, q.last) for q in asked] == [(1, 79), (80, 80), (81, 65535)]


# --- differences --------------------------------------------------------------------------------------------


def test_a_new_policy_closes_what_it_does_not_allow():
    before, after = cluster.build(resources(*PODS)), cluster.build(resources(*PODS, DB))

    found = differ.difference(before, after, outside=[WORLD])

    assert [(one.source.title, one.target.title, one.opened, one.after) for one in found.changed] == [
        ("shop/web-1 and 1 more", "shop/db", "", "tcp 5432,8000-8080"),
        (str(WORLD), "shop/db", "", "none"),
    ]
    assert found.changed[0].closed == "tcp 1-5431,5433-7999,8081-65535; udp; icmp; other protocols"
    assert decided_by(found.changed[1].deciding) == "the default action of tier default"


def test_a_wider_policy_opens_what_it_adds():
    wider = DB.replace("5432,", "5432, 5433,")

    found = differ.difference(cluster.build(resources(*PODS, DB)), cluster.build(resources(*PODS, wider)))

    [change] = found.changed
    assert (change.before, change.opened, change.closed) == ("tcp 5432,8000-8080", "tcp 5433", "")
    assert decided_by(change.deciding) == "default: GlobalNetworkPolicy db, ingress rule 0"


def test_the_same_policies_change_nothing():
    same = cluster.build(resources(*PODS, DB))

    assert differ.difference(same, same, outside=[WORLD]).changed == ()


def test_endpoints_that_come_and_go_are_named():
    before = cluster.build(resources(*PODS))
    after = cluster.build(resources(PODS[0], pod("new", "web")))

    found = differ.difference(before, after)

    assert (found.gone, found.new) == (("shop/db", "shop/web-2"), ("shop/new",))


def test_pods_that_a_change_tells_apart_are_told_apart():
    one = policy("one", "selector: projectcalico.org/namespace == 'shop' && app == 'web', types: [Ingress]")
    two = [pod("web-1", "web"), pod("web-2", "web"), pod("web-3", "web", "other")]

    found = differ.difference(cluster.build(resources(*two)), cluster.build(resources(*two, one)))

    assert {change.target.title for change in found.changed} == {"shop/web-1 and 1 more"}
    assert {change.source.title for change in found.changed} == {"shop/web-1 and 1 more", "other/web-3"}


@settings(deadline=None)
@given(clusters(), clusters())
def test_a_difference_and_its_opposite_are_mirror_images(one, other):
    there = differ.difference(one, other, outside=[WORLD])
    back = differ.difference(other, one, outside=[WORLD])

    def plain(found, *, swapped):
        return {
            (c.source.ends, c.target.ends, *((c.closed, c.opened) if swapped else (c.opened, c.closed)))
            for c in found.changed
        }

    def titles(some):
        return {(tuple(e.title for e in s), tuple(e.title for e in t), *rest) for s, t, *rest in some}

    assert titles(plain(there, swapped=False)) == titles(plain(back, swapped=True))


@pytest.mark.parametrize("cells", [["all"], ["none"], ["tcp 80"]])
def test_a_summary_says_all_none_or_some(cells):
    asked = [
        (Question(Wanted(TCP, 80), 80, 80), cells[0] != "none"),
        (Question(Wanted(UDP, 1), 1, 65535), cells[0] == "all"),
    ]

    assert summary(asked) == {"all": "all", "none": "none", "tcp 80": "tcp"}[cells[0]]
