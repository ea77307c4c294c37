from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.model import calico, kinds, policies
from cloudnet.model.kubernetes import Namespace, ServiceAccount
from cloudnet.model.policies import BUILT_IN_TIERS, NetworkPolicy, PolicySpec, StagedAction
from cloudnet.model.resources import Metadata
from cloudnet.policy import convert, words
from cloudnet.policy.from_kubernetes import simplified
from cloudnet.policy.rules import ALLOW_ALL, Action, Direction, Rule
from cloudnet.policy.selectors import parse
from cloudnet.policy.sources import of_ports, set_id
from cloudnet.testing import policy_strategies

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "policy_conversion.yaml").read_text())


def document(case):
    kind = kinds.named(case["kind"])
    metadata = {"name": "x", **({"namespace": "shop"} if kind.namespaced else {})}
    return calico.parse(
        {"apiVersion": kind.api_version, "kind": kind.word, "metadata": metadata, "spec": case["spec"]}
    )


def named(sources):
    return {set_id(source): source for source in sources}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"])
def test_a_document_means_what_the_case_says(case):
    converted = convert.policy(document(case))

    policy = converted.policy
    assert policy.selector == case["selects"]
    assert [words.rule(rule, named(converted.sources)) for rule in policy.ingress] == case.get("ingress", [])
    assert [words.rule(rule, named(converted.sources)) for rule in policy.egress] == case.get("egress", [])
    assert policy.tier == case.get("tier", "default")
    assert list(converted.problems) == case.get("problems", [])
    if "order" in case:
        assert policy.order == case["order"]


@given(st.one_of([policy_strategies.OF[kind] for kind in convert.POLICY_KINDS]))
def test_every_policy_that_is_accepted_has_a_meaning_with_all_its_sets(value):
    converted = convert.policy(value)

    if converted is None:
        assert value.action is not StagedAction.SET
        return
    policy = converted.policy
    assert policy.key == convert.key(value)
    assert policy.types
    assert parse(policy.selector).canonical() == policy.selector
    sources = named(converted.sources)
    ends = [end for rule in (*policy.ingress, *policy.egress) for end in (rule.source, rule.destination)]
    assert {name for end in ends for name in end.address_sets()} | {
        name for end in ends for name in end.port_sets()
    } == set(sources)
    assert all(not of_ports(sources[name]) for end in ends for name in end.address_sets())
    assert all(of_ports(sources[name]) for end in ends for name in end.port_sets())


def test_a_selector_of_blanks_is_one_of_everything_wherever_it_stands():
    blank = policies.EntityRule(selector=" ", not_selector="\t", namespace_selector=" ")
    spec = PolicySpec(selector=" ", ingress=(policies.Rule(policies.Action.ALLOW, source=blank),))

    converted = convert.policy(NetworkPolicy(Metadata("x", "shop"), spec))

    assert converted.policy.selector == '(all() && projectcalico.org/namespace == "shop")'
    assert words.rule(converted.policy.ingress[0], named(converted.sources)) == (
        "allow from <(has(projectcalico.org/namespace) && all())> not <all()>"
    )


def test_a_staged_policy_is_asked_and_decides_nothing():
    spec = PolicySpec(ingress=(policies.Rule(policies.Action.DENY),))

    found = convert.policy(policies.StagedNetworkPolicy(Metadata("x", "shop"), spec))

    assert found.policy.staged
    assert found.policy.key.kind == "StagedNetworkPolicy"
    assert replace(found.policy, staged=False, key=None) == replace(
        convert.policy(NetworkPolicy(Metadata("x", "shop"), spec)).policy, key=None
    )


@pytest.mark.parametrize("action", [StagedAction.DELETE, StagedAction.LEARN, StagedAction.IGNORE])
def test_a_staged_policy_that_sets_nothing_means_nothing(action):
    assert convert.policy(policies.StagedGlobalNetworkPolicy(Metadata("x"), action=action)) is None


def test_stages_and_order_stay_as_they_are():
    spec = PolicySpec(tier="t", order=1.5, pre_dnat=True, apply_on_forward=True)

    policy = convert.policy(policies.GlobalNetworkPolicy(Metadata("x"), spec)).policy

    assert (policy.tier, policy.order, policy.pre_dnat, policy.apply_on_forward) == ("t", 1.5, True, True)
    assert policy.types == {Direction.INGRESS}


def test_a_namespace_is_a_profile_that_allows_all_and_brings_its_labels():
    profile = convert.profile(Namespace(Metadata("shop", labels={"team": "a"}))).profile

    assert profile.name == "kns.shop"
    assert profile.ingress == profile.egress == (Rule(Action.ALLOW),)
    assert profile.labels == {"pcns.team": "a", "pcns.projectcalico.org/name": "shop"}


def test_a_service_account_is_a_profile_of_labels_alone():
    profile = convert.profile(ServiceAccount(Metadata("bot", "shop", labels={"role": "x"}))).profile

    assert profile.name == "ksa.shop.bot"
    assert profile.ingress == profile.egress == ()
    assert profile.labels == {"pcsa.role": "x", "pcsa.projectcalico.org/name": "bot"}


def test_a_profile_names_no_other_profile_so_there_are_no_cycles_of_them():
    rule = policies.Rule(policies.Action.ALLOW, source=policies.EntityRule(selector="has(a)"))
    written = policies.Profile(Metadata("p"), ingress=(rule,), labels_to_apply={"a": "b"})

    converted = convert.profile(written)

    assert converted.profile.labels == {"a": "b"}
    assert [source.selector for source in converted.sources] == ["has(a)"]
    assert not any("profile" in name for name in policies.Profile.__dataclass_fields__)


def test_what_is_always_there_is_as_calico_has_it():
    assert [(tier.name, tier.order, tier.default_action.value) for tier in convert.BUILT_IN_TIERS] == [
        ("kube-admin", 1_000, "pass"),
        ("default", 1_000_000, "deny"),
        ("kube-baseline", 10_000_000, "pass"),
    ]
    assert [tier.meta.name for tier in BUILT_IN_TIERS] == [tier.name for tier in convert.BUILT_IN_TIERS]
    assert ALLOW_ALL.name == "projectcalico-default-allow"


@given(st.lists(policy_strategies.ports().filter(lambda port: not port.name), max_size=8))
def test_simplified_ports_are_the_same_ports_in_fewer_ranges(ports):
    ranges = simplified(ports)

    def covered(some):
        return {number for port in some for number in (port.first, port.last, port.first - 1, port.last + 1)}

    def has(some, number):
        return any(port.first <= number <= port.last for port in some)

    assert all(has(ranges, n) == has(ports, n) for n in covered(ports) | covered(ranges))
    assert all(one.last + 1 < other.first for one, other in itertools.pairwise(ranges))
