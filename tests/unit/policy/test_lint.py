from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudnet.model import manifests
from cloudnet.policy import cluster
from cloudnet.policy.lint import Severity, covers, lint
from cloudnet.policy.packets import Packet, matches
from cloudnet.policy.rules import ICMP, TCP, UDP, Action, Icmp, Peer, PortMember, PortRange, Rule, State

POD = "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}}"
DB = "{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}}"


def policy(name, spec, kind="GlobalNetworkPolicy", group="projectcalico.org/v3"):
    return f"{{apiVersion: {group}, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}"


def found(*documents):
    read = [manifests.resource(one) for one in manifests.read("\n---\n".join(documents), "f")]
    return [(one.severity.value, str(one.policy), one.field, one.message) for one in lint(cluster.build(read))]


def test_nothing_is_said_of_policies_that_do_what_they_say():
    web = policy(
        "web", "selector: app == 'web', order: 1, ingress: [{action: Allow, source: {selector: app == 'db'}}]"
    )
    rest = policy("rest", "order: 2, ingress: [{action: Deny}]")

    assert found(POD, DB, web, rest) == []


@pytest.mark.parametrize(
    ("spec", "finding"),
    [
        (
            "ingress: [{action: Deny}, {action: Allow, protocol: TCP}]",
            ("warning", "GlobalNetworkPolicy p", "ingress rule 1", "never reached: rule 0 decides all of it"),
        ),
        (
            "egress: [{action: Log}, {action: Allow, notProtocol: UDP}, {action: Deny, protocol: TCP}]",
            ("warning", "GlobalNetworkPolicy p", "egress rule 2", "never reached: rule 1 decides all of it"),
        ),
        (
            "selector: app == 'none'",
            ("warning", "GlobalNetworkPolicy p", "", 'selects no endpoint: <app == "none">'),
        ),
        (
            "ingress: [{action: Allow, source: {selector: app == 'none'}}]",
            ("warning", "GlobalNetworkPolicy p", "ingress rule 0", 'selects nothing: <app == "none">'),
        ),
        (
            "ingress: [{action: Allow, destination: {ports: [http]}}]",
            ("warning", "GlobalNetworkPolicy p", "ingress rule 0", "no endpoint of <all()> names a port 'http'"),
        ),
        (
            "egress: [{action: Allow, destination: {services: {name: s, namespace: n}}}]",
            ("warning", "GlobalNetworkPolicy p", "egress rule 0", "service n/s has no endpoints"),
        ),
        (
            "types: [Ingress], egress: [{action: Allow}]",
            (
                "error",
                "GlobalNetworkPolicy p",
                "spec.egress",
                "these rules have no effect: spec.types has no 'Egress'",
            ),
        ),
        (
            "tier: nix",
            (
                "error",
                "GlobalNetworkPolicy p",
                "spec.tier",
                "there is no tier 'nix': it comes last, and denies by default",
            ),
        ),
        (
            "ingress: [{action: Allow, http: {methods: [GET]}}]",
            (
                "warning",
                "GlobalNetworkPolicy p",
                "spec.ingress[0].http",
                "nothing here reads requests: the rule allows every request of its connections",
            ),
        ),
    ],
)
def test_what_has_no_effect_is_told(spec, finding):
    assert found(POD, policy("p", spec)) == [finding]


@pytest.mark.parametrize(
    "spec",
    [
        "ingress: [{action: Log}, {action: Allow}]",
        "ingress: [{action: Allow, protocol: TCP}, {action: Deny, protocol: UDP}]",
        "ingress: [{action: Allow, notProtocol: TCP}, {action: Deny, protocol: TCP}]",
        "ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}, {action: Allow, protocol: TCP}]",
        "ingress: [{action: Allow, source: {notNets: [10.0.0.0/8]}}, {action: Allow, source: {nets: [10.0.0.0/8]}}]",
        "ingress: [{action: Allow, source: {notSelector: app == 'none'}}]",
    ],
)
def test_what_may_have_an_effect_is_let_alone(spec):
    assert found(POD, policy("p", spec)) == []


def test_without_endpoints_nothing_is_said_of_selectors():
    assert (
        found(policy("p", "selector: app == 'none', ingress: [{action: Allow, source: {selector: x == 'y'}}]")) == []
    )


@pytest.mark.parametrize("selector", ["all()", "app == 'web'", "has(app)"])
def test_a_policy_behind_one_that_decides_everything_is_never_asked(selector):
    first = policy("first", f'selector: "{selector}", order: 1, ingress: [{{action: Log}}, {{action: Pass}}]')
    later = policy("later", "selector: app == 'web', order: 2, ingress: [{action: Deny}]")

    message = "never asked: GlobalNetworkPolicy first decides everything before it, for all that it selects"
    assert found(POD, DB, first, later) == [("warning", "GlobalNetworkPolicy later", "ingress", message)]


@pytest.mark.parametrize(
    "first",
    [
        "selector: app == 'db', order: 1, ingress: [{action: Deny}]",
        "selector: all(), order: 1, egress: [{action: Deny}]",
        "selector: all(), order: 1, ingress: [{action: Deny, protocol: TCP}]",
        "selector: all(), order: 3, ingress: [{action: Deny}]",
        "selector: all(), order: 1, tier: kube-admin, ingress: [{action: Pass}]",
        "selector: all(), order: 1, preDNAT: true, applyOnForward: true, ingress: [{action: Deny}]",
    ],
)
def test_a_policy_behind_one_that_leaves_it_something_is_asked(first):
    later = policy("later", "selector: app == 'web', order: 2, ingress: [{action: Deny}]")

    assert [where for _, where, *_ in found(POD, DB, policy("first", first), later) if "later" in where] == []


def test_a_staged_policy_hides_nobody():
    first = policy("first", "selector: all(), order: 1, ingress: [{action: Deny}]", "StagedGlobalNetworkPolicy")
    later = policy("later", "selector: all(), order: 2, ingress: [{action: Deny}]")

    assert found(POD, first, later) == []


def test_a_kubernetes_policy_with_rules_of_a_direction_it_does_not_name_is_told():
    spec = "podSelector: {}, policyTypes: [Ingress], egress: [{}]"

    document = policy("p", spec, "NetworkPolicy", "networking.k8s.io/v1")
    [(severity, where, field, message)] = found(POD.replace(", namespace: shop", ""), document)

    assert (severity, where, field) == ("error", "KubernetesNetworkPolicy default/p", "spec.egress")
    assert message == "these rules have no effect: spec.policyTypes has no 'Egress'"


def test_a_cluster_rule_of_an_unknown_kind_is_an_error():
    spec = "tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Accept, to: [{nodes: {}}]}]"

    findings = found(POD, policy("p", spec, "ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"))

    assert findings == [
        (
            Severity.ERROR.value,
            "ClusterNetworkPolicy p",
            "spec.egress[0]",
            "a kind of peer that is not known: the rule accepts nothing, or denies all",
        )
    ]


# --- which rule covers which --------------------------------------------------------------------------------

NETS = [ip_network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "0.0.0.0/0")]
ADDRESSES = [ip_address(text) for text in ("10.0.0.1", "10.1.0.1", "10.1.1.1", "192.0.2.1")]
RANGES = [PortRange(80, 80), PortRange(1, 100), PortRange(81, 90), PortRange(1, 65535)]
STATE = State(
    address_sets={"a": frozenset({NETS[1]}), "b": frozenset({NETS[2]})},
    port_sets={"n": frozenset({PortMember(NETS[2], TCP, 80)}), "m": frozenset({PortMember(NETS[1], UDP, 85)})},
)


def some(things):
    return st.lists(st.sampled_from(things), max_size=2, unique=True).map(tuple)


@st.composite
def peers(draw, *, ports):
    ranges = some(RANGES) if ports else st.just(())
    return Peer(
        draw(some(NETS)),
        draw(some(NETS[:3])),
        draw(some(["a", "b"])),
        draw(some(["a", "b"])),
        draw(ranges),
        draw(some(["n", "m"])),
        draw(ranges),
        draw(some(["n", "m"])),
        draw(some(["n", "m"])),
    )


@st.composite
def rules(draw):
    protocol = draw(st.sampled_from([None, TCP, UDP, ICMP]))
    ports = protocol in {TCP, UDP}
    icmp = st.none() | st.sampled_from([Icmp(8), Icmp(8, 0), Icmp(0)]) if protocol == ICMP else st.none()
    maybe = st.sampled_from([Peer(), draw(peers(ports=ports))])
    return Rule(
        Action.ALLOW,
        draw(st.sampled_from([None, 4])),
        protocol,
        draw(st.sampled_from([None, None, TCP, UDP])),
        draw(icmp),
        draw(icmp),
        draw(maybe),
        draw(maybe),
    )


@st.composite
def packets(draw):
    protocol = draw(st.sampled_from([TCP, UDP, ICMP]))
    port = st.sampled_from([80, 81, 85, 101]) if protocol != ICMP else st.none()
    icmp = draw(st.sampled_from([Icmp(8, 0), Icmp(8, 1), Icmp(0, 0)])) if protocol == ICMP else None
    ends = st.sampled_from(ADDRESSES)
    return Packet(draw(ends), draw(ends), protocol, draw(port), draw(port), icmp)


ASKED = {
    "nets": [(net,) for net in NETS],
    "not_nets": [(net,) for net in NETS[:3]],
    "sets": [("a",), ("b",), ("a", "b")],
    "not_sets": [("a",), ("b",), ("a", "b")],
    "ports": [(one,) for one in RANGES],
    "named_ports": [("n",), ("m",), ("n", "m")],
    "not_ports": [(one,) for one in RANGES],
    "not_named_ports": [("n",), ("m",), ("n", "m")],
    "services": [("n",), ("m",), ("n", "m")],
}
PACKETS = [Packet(ADDRESSES[3], to, TCP, 40000, port) for to in ADDRESSES for port in (80, 81, 85, 101)]
PACKETS += [Packet(ADDRESSES[3], ADDRESSES[1], UDP, 40000, 85)]


def asking(field, value):
    protocol = TCP if field in {"ports", "not_ports"} else None
    return Rule(Action.ALLOW, protocol=protocol, destination=Peer(**{field: value}))


@pytest.mark.parametrize("field", ASKED)
def test_a_rule_that_asks_one_thing_covers_only_what_it_matches(field):
    narrow = [asking(name, value) for name, values in ASKED.items() for value in values] + [Rule(Action.ALLOW)]
    narrow += [replace(rule, protocol=TCP) for rule in narrow if rule.protocol is None]

    for wide in (asking(field, value) for value in ASKED[field]):
        covered = [rule for rule in narrow if covers(wide, rule)]
        seen = [packet for packet in PACKETS if not matches(wide, packet, STATE)]
        assert covered
        assert not [(rule, packet) for rule in covered for packet in seen if matches(rule, packet, STATE)]


@pytest.mark.parametrize("field", ["icmp", "not_icmp"])
def test_a_rule_that_asks_for_an_icmp_type_covers_only_what_it_matches(field):
    types = [Icmp(8), Icmp(8, 0), Icmp(0)]
    some = [Rule(Action.ALLOW, protocol=ICMP, **{name: icmp}) for name in ("icmp", "not_icmp") for icmp in types]
    packets = [Packet(*ADDRESSES[:2], ICMP, icmp=icmp) for icmp in (Icmp(8, 0), Icmp(8, 1), Icmp(0, 0), Icmp(3, 0))]

    for wide in (Rule(Action.ALLOW, protocol=ICMP, **{field: icmp}) for icmp in types):
        covered = [rule for rule in [*some, Rule(Action.ALLOW, protocol=ICMP)] if covers(wide, rule)]
        seen = [packet for packet in packets if not matches(wide, packet, STATE)]
        assert covered
        assert not [(rule, packet) for rule in covered for packet in seen if matches(rule, packet, STATE)]


@settings(max_examples=200, deadline=None)
@given(rules(), rules(), packets())
def test_what_a_covered_rule_matches_the_wider_one_matches(narrow, wide, packet):
    if covers(wide, narrow) and matches(narrow, packet, STATE):
        assert matches(wide, packet, STATE)


@given(rules())
def test_every_rule_covers_itself_and_one_that_asks_nothing_covers_all(rule):
    assert covers(rule, rule)
    assert covers(Rule(Action.DENY), rule)
