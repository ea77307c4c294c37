from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from cloudnet.model import policies
from cloudnet.model.kubernetes import Namespace, ServiceAccount
from cloudnet.model.kubernetes_services import EndpointSlice, ServicePort
from cloudnet.model.policies import EntityRule, HostEndpoint, PolicySpec, Rule
from cloudnet.model.resources import Metadata, Node
from cloudnet.model.workloads import EndpointPort, WorkloadEndpoint, endpoint_labels
from cloudnet.policy.calculate import Calculation
from cloudnet.policy.feed import KINDS, Feed
from cloudnet.policy.rules import Action, PortMember
from cloudnet.testing import strategies


def pod(name, node="n1", **labels):
    return WorkloadEndpoint(
        Metadata(name, "shop", labels=endpoint_labels(labels, namespace="shop", orchestrator="k8s")),
        node,
        "k8s",
        "eth0",
        networks=(ip_network("10.0.0.1") if name == "a" else ip_network("10.0.0.2"),),
        profiles=("kns.shop", "ksa.shop.bot"),
        interface=f"cali{name}",
        ports=(EndpointPort("http", "TCP", 80), EndpointPort("", "UDP", 53, 53)),
    )


def allow(**source):
    return Rule(policies.Action.ALLOW, source=EntityRule(**source))


def fed(*resources, node=None):
    calculation = Calculation()
    feed = Feed(calculation, node)
    for value in resources:
        feed.put(value)
    calculation.flush()
    return calculation, feed


def test_policies_profiles_and_endpoints_come_together():
    spec = PolicySpec(selector="app == 'web'", ingress=(allow(selector="app == 'db'"),))
    policy = policies.NetworkPolicy(Metadata("p", "shop"), spec)

    calculation, _ = fed(policy, pod("a", app="web"), pod("b", app="db"), Namespace(Metadata("shop")))

    state = calculation.state()
    assert [tier.policies for tier in state.endpoints["shop/a"].tiers] == [(next(iter(state.policies)),)]
    assert state.endpoints["shop/b"].tiers == ()
    assert list(state.address_sets.values()) == [frozenset({ip_network("10.0.0.2")})]
    assert state.profiles["kns.shop"].ingress[0].action is Action.ALLOW


def test_only_endpoints_of_the_node_are_local():
    policy = policies.GlobalNetworkPolicy(Metadata("p"), PolicySpec(ingress=(allow(selector="app == 'db'"),)))

    calculation, _ = fed(policy, pod("a", "n1", app="web"), pod("b", "n2", app="db"), node="n1")

    assert set(calculation.state().endpoints) == {"shop/a"}
    assert frozenset({ip_network("10.0.0.2")}) in calculation.state().address_sets.values()


def test_namespaces_and_accounts_lend_their_labels():
    rules = (
        allow(namespace_selector="team == 'a'"),
        allow(service_accounts=policies.ServiceAccountMatch((), "role == 'x'")),
    )
    policy = policies.GlobalNetworkPolicy(Metadata("p"), PolicySpec(ingress=rules))

    calculation, _ = fed(
        policy,
        pod("a"),
        Namespace(Metadata("shop", labels={"team": "a"})),
        ServiceAccount(Metadata("bot", "shop", labels={"role": "x"})),
    )

    assert list(calculation.state().address_sets.values()) == [frozenset({ip_network("10.0.0.1")})] * 2


def test_a_pod_cannot_give_itself_the_labels_of_a_namespace():
    policy = policies.GlobalNetworkPolicy(
        Metadata("p"), PolicySpec(ingress=(allow(namespace_selector="team == 'a'"),))
    )
    liar = WorkloadEndpoint(
        Metadata("a", "shop", labels={"pcns.team": "a", "projectcalico.org/namespace": "shop"}),
        "n1",
        "k8s",
        "eth0",
        networks=(ip_network("10.0.0.1"),),
    )

    calculation, _ = fed(policy, liar)

    assert list(calculation.state().address_sets.values()) == [frozenset()]


def test_network_sets_are_found_by_labels_and_those_of_a_namespace_by_its_labels_too():
    rules = (allow(selector="zone == 'x'", namespace_selector="team == 'a'"), allow(selector="zone == 'x'"))
    policy = policies.GlobalNetworkPolicy(Metadata("p"), PolicySpec(ingress=rules))
    mine = policies.NetworkSet(Metadata("s", "shop", labels={"zone": "x"}), (ip_network("192.0.2.0/24"),))
    everybodys = policies.GlobalNetworkSet(Metadata("s", labels={"zone": "x"}), (ip_network("198.51.100.0/24"),))

    calculation, feed = fed(policy, pod("a"), mine, everybodys, Namespace(Metadata("shop", labels={"team": "a"})))

    sets = set(calculation.state().address_sets.values())
    assert sets == {frozenset(mine.nets), frozenset((*mine.nets, *everybodys.nets))}
    feed.remove(policies.NetworkSet, "s", "shop")
    feed.remove(policies.GlobalNetworkSet, "s")
    calculation.flush()
    assert set(calculation.state().address_sets.values()) == {frozenset()}


def test_nodes_are_known_by_all_their_addresses_until_they_go():
    first = Node(Metadata("n1"), (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64")))
    second = Node(Metadata("n2"), (ip_interface("10.0.0.2/24"),))

    calculation, feed = fed(first, second)

    assert calculation.state().nodes == {ip_address("10.0.0.1"), ip_address("fd00::1"), ip_address("10.0.0.2")}
    feed.remove(Node, "n1")
    feed.put(replace(second, addresses=(ip_interface("10.0.0.3/24"),)))
    calculation.flush()
    assert calculation.state().nodes == {ip_address("10.0.0.3")}


def test_services_and_named_ports_fill_sets_of_ports():
    to = EntityRule(services=policies.ServiceMatch("web", "shop"))
    rules = (
        Rule(policies.Action.ALLOW, destination=to),
        Rule(policies.Action.ALLOW, destination=EntityRule(ports=(policies.Port(name="http"),))),
    )
    policy = policies.GlobalNetworkPolicy(Metadata("p"), PolicySpec(egress=rules))
    tcp = policies.Protocol(6, "TCP")
    slice_ = EndpointSlice(
        Metadata("web-1", "shop", labels={"kubernetes.io/service-name": "web"}),
        addresses=(ip_address("10.0.0.9"),),
        ports=(ServicePort(tcp, 8080), ServicePort(tcp)),
    )

    calculation, feed = fed(policy, pod("a"), slice_)

    assert set(calculation.state().port_sets.values()) == {
        frozenset({PortMember(ip_network("10.0.0.9"), 6, 8080)}),
        frozenset({PortMember(ip_network("10.0.0.1"), 6, 80)}),
    }
    feed.remove(EndpointSlice, "web-1", "shop")
    calculation.flush()
    assert frozenset() in calculation.state().port_sets.values()


def test_a_host_endpoint_is_known_by_its_expected_addresses():
    host = HostEndpoint(Metadata("h", labels={"role": "lb"}), "n1", "eth0", (ip_address("192.0.2.1"),), ("p",))
    policy = policies.GlobalNetworkPolicy(Metadata("p"), PolicySpec(ingress=(allow(selector="role == 'lb'"),)))

    calculation, feed = fed(policy, host)

    assert calculation.state().endpoints["h"].endpoint.is_host
    assert list(calculation.state().address_sets.values()) == [frozenset({ip_network("192.0.2.1")})]
    feed.remove(HostEndpoint, "h")
    calculation.flush()
    assert not calculation.state().endpoints


def test_built_in_tiers_are_there_and_come_back():
    policy = policies.GlobalNetworkPolicy(Metadata("p"), PolicySpec(tier="kube-baseline"))

    calculation, feed = fed(policy, pod("a"))

    assert calculation.state().endpoints["shop/a"].tiers[0].tier.default_action is Action.PASS
    feed.put(policies.Tier(Metadata("kube-baseline"), 1.0))
    feed.remove(policies.Tier, "kube-baseline")
    calculation.flush()
    assert calculation.state().endpoints["shop/a"].tiers[0].tier.order == 10_000_000


def test_a_staged_policy_that_comes_to_mean_nothing_goes():
    staged = policies.StagedGlobalNetworkPolicy(Metadata("p"))

    calculation, feed = fed(staged, pod("a"))

    assert calculation.state().policies
    feed.put(policies.StagedGlobalNetworkPolicy(Metadata("p"), action=policies.StagedAction.DELETE))
    calculation.flush()
    assert not calculation.state().policies


def test_what_policy_has_no_use_for_is_passed_over():
    calculation, feed = fed(Node(Metadata("n1")))

    feed.remove(Node, "n1")
    assert calculation.flush() == []


@given(st.lists(st.one_of([strategies.OF[kind] for kind in KINDS]), max_size=5))
def test_whatever_is_put_can_be_taken_out_again(values):
    calculation = Calculation()
    feed = Feed(calculation)
    calculation.flush()
    empty = calculation.state()

    for value in values:
        feed.put(value)
    calculation.flush()
    for value in values:
        feed.remove(type(value), value.meta.name, value.meta.namespace)
    calculation.flush()

    assert calculation.state() == empty


SHOP = (
    pod("a", app="web"),
    pod("b", "n2", app="db"),
    Namespace(Metadata("shop", labels={"team": "red"})),
    ServiceAccount(Metadata("bot", "shop", labels={"role": "bot"})),
    policies.Tier(Metadata("first"), 1.0, policies.Action.PASS),
    policies.NetworkPolicy(Metadata("p", "shop"), PolicySpec(tier="first", ingress=(allow(selector="app == 'db'"),))),
    policies.GlobalNetworkPolicy(
        Metadata("q"),
        PolicySpec(namespace_selector="team == 'red'", ingress=(allow(namespace_selector="team == 'red'"),)),
    ),
    policies.NetworkSet(Metadata("s", "shop", labels={"app": "db"}), (ip_network("192.0.2.0/24"),)),
    EndpointSlice(Metadata("web-1", "shop", labels={"kubernetes.io/service-name": "web"}), "IPv4"),
)
FORMER = (
    pod("a", "n2", app="db"),
    pod("b", app="web"),
    Namespace(Metadata("shop", labels={"team": "gold"})),
    policies.NetworkPolicy(Metadata("p", "shop"), PolicySpec(ingress=(allow(selector="app == 'web'"),))),
    policies.GlobalNetworkPolicy(Metadata("q"), PolicySpec(selector="app == 'db'")),
)


@given(st.permutations(SHOP), st.lists(st.tuples(st.sampled_from(FORMER), st.booleans(), st.booleans()), max_size=6))
def test_whatever_came_before_and_in_which_order_the_same_is_enforced(resources, before):
    calculation = Calculation()
    feed = Feed(calculation, "n1")

    for value, gone, told in before:
        feed.put(value)
        if gone:
            feed.remove(type(value), value.meta.name, value.meta.namespace)
        if told:
            calculation.flush()
    for value in resources:
        feed.put(value)
    calculation.flush()

    expected, _ = fed(*SHOP, node="n1")
    assert calculation.state() == expected.state()
    assert len(expected.state().policies) == 2
