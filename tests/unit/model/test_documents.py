from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.errors import BadDocument, BadInput
from cloudnet.model import calico, kinds
from cloudnet.model.policies import NetworkPolicy, Port

CASES = Path(__file__).parents[2] / "cases" / "documents"
ACCEPTED = list(yaml.safe_load_all((CASES / "accepted.yaml").read_text()))
REFUSED = yaml.safe_load((CASES / "refused.yaml").read_text())


def whole(case):
    kind = kinds.named(case["kind"])
    metadata = {"name": "x", **({"namespace": "shop"} if kind.namespaced else {})}
    metadata |= {key: case[key] for key in ("name", "namespace", "labels", "annotations") if key in case}
    spec = {"ingress": [case["rule"]]} if "rule" in case else case.get("spec", {})
    return {"apiVersion": kind.api_version, "kind": kind.word, "metadata": metadata, "spec": spec}


def problems_of(error):
    if isinstance(error, BadDocument):
        return dict(error.problems)
    return {error.path: str(error).removeprefix(f"{error.path}: ")}


def outcome(document):
    try:
        return calico.parse(document)
    except BadInput as error:
        return error


def policy(**spec):
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": spec,
    }


@pytest.mark.parametrize(
    "document", ACCEPTED, ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_a_document_as_users_write_it_is_accepted_and_survives(document):
    value = calico.parse(document)

    assert kinds.decode(kinds.encode(value)) == value


def test_every_field_of_what_users_write_is_known_and_others_are_told_by_their_path():
    def unknown(document):
        return [path for path, _ in kinds.of_document(document["kind"], document["apiVersion"]).unknown(document)]

    told = {document["metadata"]["name"]: found for document in ACCEPTED if (found := unknown(document))}

    assert told == {"cluster-control": ["spec.egress[1].to[0].nodes", "spec.egress[1].protocols[1].quic"]}
    assert unknown(policy(selektor="all()", ingress=[{"action": "Allow", "form": {}}])) == [
        "spec.selektor",
        "spec.ingress[0].form",
    ]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case['kind']}-{next(iter(case['wrong']))}")
def test_a_wrong_document_is_refused_with_the_path_of_every_wrong_field(case):
    with pytest.raises(BadInput) as caught:
        calico.parse(whole(case))

    problems = problems_of(caught.value)
    assert sorted(problems) == sorted(case["wrong"])
    for path, message in case["wrong"].items():
        assert problems[path].startswith(message)


def test_wrong_types_and_wrong_values_are_told_together():
    document = policy(
        order="high", ingress=[{"action": "Nod"}, {"action": 7}, "x", {"action": "Deny", "ipVersion": 5}]
    )

    with pytest.raises(BadDocument) as caught:
        calico.parse(document)

    assert [path for path, _ in caught.value.problems] == [
        "spec.order",
        "spec.ingress[1].action",
        "spec.ingress[2]",
        "spec.ingress[0].action",
        "spec.ingress[3].ipVersion",
    ]


def test_the_message_holds_a_line_a_field_and_no_more_than_a_screen():
    with pytest.raises(BadDocument) as caught:
        calico.parse(policy(ingress=[{"action": "Nod"}] * 100))

    lines = str(caught.value).splitlines()
    assert lines[0].startswith("spec.ingress[0].action: expected one of 'Allow', 'Deny', 'Log', 'Pass'")
    assert lines[20:] == ["and 80 more"]
    assert len(caught.value.problems) == 100


def test_a_policy_without_a_namespace_is_meant_for_default():
    document = policy()
    del document["metadata"]["namespace"]

    assert calico.parse(document).meta.namespace == "default"


def test_types_follow_from_the_rules_where_they_are_not_said():
    rule = {"action": "Allow"}

    def directions(**spec):
        return sorted(type_.value for type_ in calico.parse(policy(**spec)).spec.directions)

    assert directions() == ["Ingress"]
    assert directions(ingress=[rule]) == ["Ingress"]
    assert directions(egress=[rule]) == ["Egress"]
    assert directions(ingress=[rule], egress=[rule]) == ["Egress", "Ingress"]
    assert directions(types=["Egress"], ingress=[rule]) == ["Egress"]


def test_ports_read_alike_whether_they_are_numbers_or_text():
    rule = {"action": "Allow", "protocol": "tcp", "destination": {"ports": [80, "80", "80:80", "1:9", "web"]}}

    found = calico.parse(policy(ingress=[rule])).spec.ingress[0].destination.ports

    assert found == (Port(80, 80), Port(80, 80), Port(80, 80), Port(1, 9), Port(name="web"))


def test_kubernetes_and_calico_policies_of_one_name_are_two_kinds():
    mine = calico.parse(policy())
    theirs = calico.parse(policy() | {"apiVersion": "networking.k8s.io/v1"})

    assert isinstance(mine, NetworkPolicy)
    assert kinds.of(type(theirs)).name == "KubernetesNetworkPolicy"
    assert json.loads(kinds.encode(theirs))["kind"] == "NetworkPolicy"


def test_an_empty_selector_replaces_one_that_selects_less():
    kind = kinds.named("kubernetesnetworkpolicy")
    before = calico.parse(
        policy(podSelector={}, ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]}])
        | {"apiVersion": "networking.k8s.io/v1"}
    )
    after = calico.parse(
        policy(podSelector={}, ingress=[{"from": [{"namespaceSelector": {}}]}])
        | {"apiVersion": "networking.k8s.io/v1"}
    )

    assert kind.decode(kind.encode(after, onto=kind.encode(before))) == after


# --- the limits, and beyond ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "path", "most"),
    [
        ({"source": {"nets": ["10.0.0.0/8"] * 257}}, "source.nets", 256),
        ({"source": {"notNets": ["10.0.0.0/8"] * 257}}, "source.notNets", 256),
        ({"protocol": "TCP", "destination": {"ports": [80] * 51}}, "destination.ports", 50),
        ({"http": {"methods": [f"M{i}" for i in range(21)]}}, "http.methods", 20),
        ({"http": {"paths": [{"exact": "/a"}] * 21}}, "http.paths", 20),
    ],
)
def test_a_list_may_have_so_many_entries_and_no_more(rule, path, most):
    with pytest.raises(BadDocument) as caught:
        calico.parse(policy(ingress=[{"action": "Allow", **rule}]))

    assert caught.value.problems[0] == (f"spec.ingress[0].{path}", f"expected {most} at most, found {most + 1}")


def test_a_selector_may_have_1024_characters():
    fits = f"a == '{'x' * (1024 - 7)}'"

    assert calico.parse(policy(selector=fits)).spec.selector == fits
    with pytest.raises(BadDocument, match=r"^spec\.selector: expected 1024 characters at most, found 1025$"):
        calico.parse(policy(selector=fits + " "))


def test_a_selector_of_a_megabyte_is_refused_at_once():
    began = time.thread_time()

    with pytest.raises(BadDocument, match="expected 1024 characters at most, found 1048576"):
        calico.parse(policy(selector="!" * 2**20))

    assert time.thread_time() - began < 0.5


def test_1024_rules_are_enough_and_100000_are_refused_within_seconds():
    assert len(calico.parse(policy(ingress=[{"action": "Deny"}] * 1024)).spec.ingress) == 1024
    began = time.thread_time()

    with pytest.raises(BadDocument, match=r"^spec\.ingress: expected 1024 at most, found 100000$"):
        calico.parse(policy(ingress=[{"action": "Deny", "source": {"nets": ["10.0.0.0/8"]}}] * 100_000))

    assert time.thread_time() - began < 3


def test_100000_wrong_rules_are_told_of_within_seconds():
    began = time.thread_time()

    with pytest.raises(BadDocument) as caught:
        calico.parse(policy(ingress=[{"action": 7}] * 100_000))

    assert len(caught.value.problems) > 100_000
    assert time.thread_time() - began < 6


@pytest.mark.parametrize("bad", [{1, 2}, object(), 2**70, "\ud800", b"x"], ids=repr)
def test_what_json_cannot_say_is_bad_input(bad):
    with pytest.raises(BadInput):
        calico.parse(policy(selector=bad))


def test_a_document_that_holds_itself_is_bad_input():
    document = policy()
    document["spec"]["ingress"] = [document]

    with pytest.raises(BadInput, match="expected an object as JSON has them"):
        calico.parse(document)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 70000)
    | st.text("aZ0 '\"\n{};:/.", max_size=8)
    | st.just("10.0.0.0/8"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)
FIELDS = [
    "action",
    "protocol",
    "notProtocol",
    "icmp",
    "notICMP",
    "ipVersion",
    "source",
    "destination",
    "http",
    "metadata",
    "nets",
    "notNets",
    "ports",
    "selector",
    "type",
    "code",
    "names",
    "namespaceSelector",
    "services",
    "serviceAccounts",
    "name",
    "from",
    "to",
    "podSelector",
    "ipBlock",
    "cidr",
    "except",
    "endPort",
    "port",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "tier",
    "order",
    "types",
    "egress",
    "ingress",
    "subject",
    "priority",
    "protocols",
]
SHAPED = st.recursive(
    ANY | st.sampled_from(["Allow", "TCP", "ICMP", "Deny", "all()", 4, 6, 80]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=20,
)


@given(st.sampled_from(kinds.ALL), st.dictionaries(st.sampled_from(FIELDS), SHAPED, max_size=6), ANY)
def test_no_document_does_worse_than_being_refused(kind, spec, name):
    document = {
        "apiVersion": kind.api_version,
        "kind": kind.word,
        "metadata": {"name": name} if isinstance(name, str) else name,
        "spec": spec,
    }

    found = outcome(document)

    assert found == kinds.decode(kinds.encode(found)) if not isinstance(found, BadInput) else problems_of(found)


@given(st.one_of(ANY, st.dictionaries(st.text(max_size=3), ANY, max_size=3)))
def test_anything_at_all_is_bad_input(document):
    with pytest.raises(BadInput):
        calico.parse(document)
