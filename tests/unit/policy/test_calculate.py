from dataclasses import replace
from ipaddress import ip_network

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cloudnet.policy.calculate import Calculation
from cloudnet.policy.evaluate import evaluate
from cloudnet.policy.membership import Slice
from cloudnet.policy.rules import (
    ALLOW_ALL,
    Action,
    Direction,
    Endpoint,
    EndpointChanged,
    EndpointGone,
    EndpointId,
    NodesChanged,
    Peer,
    Policy,
    PolicyChanged,
    PolicyGone,
    PolicyKey,
    PortMember,
    Profile,
    ProfileChanged,
    ProfileGone,
    Rule,
    SetChanged,
    SetGone,
    State,
    Tier,
    TierPolicies,
    arrange,
)
from cloudnet.policy.selectors import parse
from cloudnet.policy.sources import Selected, SelectedPort, ServiceEndpoints, of_ports, set_id
from cloudnet.policy.verdicts import Why
from cloudnet.testing import cluster_strategies, clusters
from cloudnet.testing.clusters import ClusterNode, Labelled, NamedSlice, NetworkSet, SourcedPolicy, SourcedProfile

# --- the plainest reading -----------------------------------------------------------------------------------


class Plain:
    """What a node has to enforce, worked out from all things anew."""

    def __init__(self, things):
        self.endpoints = [t for t in things if isinstance(t, Labelled)]
        self.lenders = [t for t in things if isinstance(t, Labelled | NetworkSet)]
        self.slices = [t.slice for t in things if isinstance(t, NamedSlice)]
        self.policies = [t for t in things if isinstance(t, SourcedPolicy)]
        self.profiles = {ALLOW_ALL.name: SourcedProfile(ALLOW_ALL)}
        self.profiles |= {t.profile.name: t for t in things if isinstance(t, SourcedProfile)}
        self.tiers = {t.name: t for t in things if isinstance(t, Tier)}
        self.nodes = frozenset(a for t in things if isinstance(t, ClusterNode) for a in t.addresses)

    def state(self):
        local = [thing for thing in self.endpoints if thing.local]
        selecting = {t.endpoint.id: [p for p in self.policies if self.selects(p.policy.selector, t)] for t in local}
        policies = [p for p in self.policies if any(p in some for some in selecting.values())]
        names = {name for thing in local for name in thing.endpoint.profiles}
        profiles = [self.profiles[name] for name in names if name in self.profiles]
        sources = {source for active in (*policies, *profiles) for source in active.sources}
        return State(
            {
                t.endpoint.id: EndpointChanged(
                    t.endpoint, arrange([p.policy for p in selecting[t.endpoint.id]], self.tiers)
                )
                for t in local
            },
            {p.policy.key: p.policy for p in policies},
            {p.profile.name: Profile(p.profile.name, p.profile.ingress, p.profile.egress) for p in profiles},
            {set_id(source): self.members(source) for source in sources if not of_ports(source)},
            {set_id(source): self.members(source) for source in sources if of_ports(source)},
            self.nodes,
        )

    def selects(self, selector, thing):
        return parse(selector).matches(self.labels(thing))

    def labels(self, thing):
        found = {}
        for name in reversed(thing.endpoint.profiles if isinstance(thing, Labelled) else ()):
            found |= self.profiles[name].profile.labels if name in self.profiles else {}
        return found | thing.labels

    def members(self, source):
        match source:
            case ServiceEndpoints(namespace, name, with_ports):
                some = [s for s in self.slices if (s.namespace, s.service) == (namespace, name)]
                if with_ports:
                    return frozenset(
                        PortMember(a, p.protocol, p.number) for s in some for a in s.addresses for p in s.ports
                    )
                return frozenset(a for s in some for a in s.addresses)
            case Selected(selector):
                return frozenset(
                    a for t in self.lenders if self.selects(selector, t) for a in clusters.loan(t).networks
                )
            case SelectedPort(selector, name, protocol):
                loans = [clusters.loan(t) for t in self.lenders if self.selects(selector, t)]
                return frozenset(
                    PortMember(a, protocol, port.number)
                    for loan in loans
                    for a in loan.networks
                    for port in loan.ports
                    if (port.name, port.protocol) == (name, protocol)
                )


# --- a listener that holds what it is told, and refuses what comes too early or too late --------------------


class Listener:
    def __init__(self):
        self.state = State()

    def hear(self, changes):
        for change in changes:
            self.take(change)
            self.check()

    def take(self, change):
        state = self.state
        match change:
            case SetChanged(name, of_ports_, added, removed):
                sets = state.port_sets if of_ports_ else state.address_sets
                before = sets.get(name, frozenset())
                assert added or removed or name not in sets
                assert not added & before
                assert removed <= before
                sets[name] = before - removed | added
            case SetGone(name):
                del (state.port_sets if name in state.port_sets else state.address_sets)[name]
            case PolicyChanged(policy):
                assert state.policies.get(policy.key) != policy
                state.policies[policy.key] = policy
            case PolicyGone(key):
                del state.policies[key]
            case ProfileChanged(profile):
                assert state.profiles.get(profile.name) != profile
                state.profiles[profile.name] = profile
            case ProfileGone(name):
                del state.profiles[name]
            case EndpointChanged(endpoint):
                assert state.endpoints.get(endpoint.id) != change
                state.endpoints[endpoint.id] = change
            case EndpointGone(name):
                del state.endpoints[name]
            case NodesChanged(added, removed):
                assert added or removed
                assert not added & state.nodes
                assert removed <= state.nodes
                self.state = replace(state, nodes=state.nodes - removed | added)

    def check(self):
        state = self.state
        rules_ = [
            r for p in (*state.policies.values(), *state.profiles.values()) for d in Direction for r in p.rules(d)
        ]
        for peer in (peer for rule in rules_ for peer in (rule.source, rule.destination)):
            assert set(peer.address_sets()) <= state.address_sets.keys()
            assert set(peer.port_sets()) <= state.port_sets.keys()
        named = {key for each in state.endpoints.values() for tier in each.tiers for key in tier.policies}
        assert named <= state.policies.keys()


# --- events -------------------------------------------------------------------------------------------------


@st.composite
def events(draw):
    """A cluster that is there, and then some changes, told one by one or together."""
    things = cluster_strategies.things()
    changes = st.tuples(st.sampled_from(("put", "put", "put", "remove")), things, st.booleans())
    drawn = [("put", thing, False) for thing in draw(cluster_strategies.clusters(hosts=True)).things]
    drawn += [("flush", None, False), *draw(st.lists(changes, min_size=1, max_size=12))]
    return [
        (what, thing) for change in drawn for what, thing in (change[:2], *([("flush", None)] if change[2] else []))
    ]


def play(happened):
    """Return the calculation, its listener and the things there are after these events."""
    calculation, listener, there = Calculation(), Listener(), {}
    for what, thing in happened:
        if what == "flush":
            listener.hear(calculation.flush())
        elif what == "put":
            clusters.put(calculation, thing)
            there[clusters.name_of(thing)] = thing
        else:
            clusters.remove(calculation, thing)
            there.pop(clusters.name_of(thing), None)
    listener.hear(calculation.flush())
    return calculation, listener, list(there.values())


@settings(max_examples=120, deadline=None)
@given(events())
def test_what_is_told_depends_on_the_final_state_alone(happened):
    calculation, listener, things = play(happened)

    assert listener.state == calculation.state() == Plain(things).state()


@settings(deadline=None)
@given(cluster_strategies.clusters(hosts=True), st.data())
def test_any_order_repetition_and_batching_tells_the_same_in_the_end(cluster, data):
    again = data.draw(st.lists(st.sampled_from(cluster.things), max_size=4))
    order = data.draw(st.permutations([*cluster.things, *again]))
    happened = [
        event
        for thing in order
        for event in (("put", thing), *([("flush", None)] if data.draw(st.booleans()) else []))
    ]

    _, listener, _ = play(happened)

    assert listener.state == cluster.state()


@settings(deadline=None)
@given(events())
def test_after_everything_has_gone_nothing_is_left(happened):
    calculation, listener, things = play(happened)

    for thing in things:
        clusters.remove(calculation, thing)
    listener.hear(calculation.flush())

    assert listener.state == calculation.state() == State()
    assert not calculation._told.held
    assert not calculation._membership._sets
    assert not calculation._policies_of
    assert not calculation._profile_users
    assert not calculation._selected._waiters


@settings(deadline=None)
@given(events())
def test_what_happens_twice_is_told_once(happened):
    calculation, _, things = play(happened)

    for thing in things:
        clusters.put(calculation, thing)

    assert calculation.flush() == []


# --- one thing at a time ------------------------------------------------------------------------------------

WEB, DB, FAR = (EndpointId(f"ns/{name}") for name in ("web", "db", "far"))
PEERS = Selected('app == "db"')
RULE = Rule(Action.ALLOW, source=Peer(sets=(set_id(PEERS),)))
KEY = PolicyKey("GlobalNetworkPolicy", "", "p")


def policy(selector="all()", **fields):
    return Policy(KEY, "default", parse(selector).canonical(), frozenset(Direction), ingress=(RULE,), **fields)


def endpoint(name, app, *, local=True, profiles=()):
    address = {WEB: "10.0.0.1", DB: "10.0.0.2", FAR: "10.0.0.3"}[name]
    return Labelled(Endpoint(name, f"cali-{app}", (ip_network(address),), profiles), {"app": app}, local=local)


def calculation(*things):
    calculation = Calculation()
    for thing in things:
        clusters.put(calculation, thing)
    calculation.flush()
    return calculation


def test_a_policy_that_selects_no_local_endpoint_is_not_told():
    node = calculation(endpoint(WEB, "web"), endpoint(FAR, "db", local=False))

    node.put_policy(policy("app == 'db'"), frozenset({PEERS}))

    assert node.flush() == []


def test_a_policy_becomes_active_with_its_sets_before_the_endpoint_that_it_selects():
    node = calculation(endpoint(FAR, "db", local=False), SourcedPolicy(policy("app == 'web'"), frozenset({PEERS})))
    web = endpoint(WEB, "web")

    clusters.put(node, web)

    tiers = (TierPolicies(Tier("default", known=False), (KEY,)),)
    assert node.flush() == [
        SetChanged(set_id(PEERS), of_ports=False, added=frozenset({ip_network("10.0.0.3")})),
        PolicyChanged(policy("app == 'web'")),
        EndpointChanged(web.endpoint, tiers),
    ]


def test_a_policy_goes_after_the_last_endpoint_that_it_selects_and_its_sets_after_it():
    node = calculation(endpoint(WEB, "web"), SourcedPolicy(policy(), frozenset({PEERS})))

    node.remove_endpoint(WEB)

    assert node.flush() == [EndpointGone(WEB), PolicyGone(KEY), SetGone(set_id(PEERS))]


def test_a_peer_elsewhere_is_one_member_and_nothing_more():
    node = calculation(endpoint(WEB, "web"), SourcedPolicy(policy(), frozenset({PEERS})))

    clusters.put(node, endpoint(FAR, "db", local=False))

    assert node.flush() == [SetChanged(set_id(PEERS), of_ports=False, added=frozenset({ip_network("10.0.0.3")}))]


def test_a_rule_that_changes_leaves_the_endpoints_alone():
    node = calculation(endpoint(WEB, "web"), SourcedPolicy(policy(), frozenset({PEERS})))
    denying = policy(egress=(Rule(Action.DENY),))

    node.put_policy(denying, frozenset({PEERS}))

    assert node.flush() == [PolicyChanged(denying)]


def test_a_policy_that_gets_another_place_moves_for_the_endpoints_that_it_selects():
    other = Policy(PolicyKey("GlobalNetworkPolicy", "", "q"), "default", "all()", frozenset(Direction), order=2.0)
    web = endpoint(WEB, "web")
    node = calculation(web, SourcedPolicy(policy(order=1.0), frozenset({PEERS})), SourcedPolicy(other))

    node.put_policy(policy(order=3.0), frozenset({PEERS}))

    tiers = (TierPolicies(Tier("default", known=False), (other.key, KEY)),)
    assert node.flush() == [PolicyChanged(policy(order=3.0)), EndpointChanged(web.endpoint, tiers)]


def test_one_of_two_policies_with_the_same_selector_may_go():
    other = Policy(PolicyKey("GlobalNetworkPolicy", "", "q"), "default", "all()", frozenset(Direction))
    web = endpoint(WEB, "web")
    node = calculation(web, SourcedPolicy(policy(), frozenset({PEERS})), SourcedPolicy(other))

    node.remove_policy(other.key)

    tiers = (TierPolicies(Tier("default", known=False), (KEY,)),)
    assert node.flush() == [EndpointChanged(web.endpoint, tiers), PolicyGone(other.key)]


def test_a_tier_that_comes_changes_those_endpoints_only_that_its_policies_select():
    web = endpoint(WEB, "web")
    node = calculation(web, endpoint(DB, "db"), SourcedPolicy(policy("app == 'web'"), frozenset({PEERS})))
    tier = Tier("default", 5.0)

    node.put_tier(tier)

    assert node.flush() == [EndpointChanged(web.endpoint, (TierPolicies(tier, (KEY,)),))]


def test_a_namespaces_label_changes_members_without_changing_profiles():
    profile = Profile("kns.ns", labels={"app": "x"})
    far = Labelled(Endpoint(FAR, "", (ip_network("10.0.0.3"),), ("kns.ns",)), {}, local=False)
    web = endpoint(WEB, "web", profiles=("kns.ns",))
    node = calculation(web, far, SourcedProfile(profile), SourcedPolicy(policy(), frozenset({PEERS})))

    node.put_profile(Profile("kns.ns", labels={"app": "db"}))

    assert node.flush() == [SetChanged(set_id(PEERS), of_ports=False, added=frozenset({ip_network("10.0.0.3")}))]


def test_a_pod_that_moves_away_leaves_the_node_and_stays_a_peer():
    db = endpoint(DB, "db")
    node = calculation(endpoint(WEB, "web"), db, SourcedPolicy(policy("app == 'web'"), frozenset({PEERS})))

    clusters.put(node, endpoint(DB, "db", local=False))

    assert node.flush() == [EndpointGone(DB)]
    assert node.state().address_sets == {set_id(PEERS): frozenset({ip_network("10.0.0.2")})}


def test_the_profile_that_allows_everything_is_always_there():
    node = calculation(endpoint(WEB, "web", profiles=(ALLOW_ALL.name,)))
    before = node.state().profiles

    node.remove_profile(ALLOW_ALL.name)

    assert before == {ALLOW_ALL.name: ALLOW_ALL}
    assert node.flush() == []


def test_a_service_is_a_set_of_its_slices_addresses():
    source = ServiceEndpoints("ns", "db", ports=False)
    to_db = Policy(
        KEY,
        "default",
        "all()",
        frozenset({Direction.INGRESS}),
        ingress=(Rule(Action.ALLOW, source=Peer(sets=(set_id(source),))),),
    )
    node = calculation(endpoint(WEB, "web"), SourcedPolicy(to_db, frozenset({source})))

    node.put_slice("ns/db-1", Slice("ns", "db", (ip_network("10.0.0.2"),)))

    assert node.flush() == [SetChanged(set_id(source), of_ports=False, added=frozenset({ip_network("10.0.0.2")}))]


@settings(deadline=None)
@given(cluster_strategies.clusters_with_packets(states=True, hosts=True))
def test_every_packet_of_a_cluster_has_a_verdict(drawn):
    cluster, some = drawn
    state = cluster.state()

    verdicts = [evaluate(state, packet) for packet in some]

    assert all(verdict.steps or verdict.allowed for verdict in verdicts)
    assert len({clusters.name_of(thing) for thing in cluster.things}) == len(cluster.things)


def test_packets_of_clusters_meet_every_fate():
    fates = set()

    @settings(deadline=None, max_examples=100, database=None, derandomize=True, phases=[Phase.generate])
    @given(cluster_strategies.clusters_with_packets())
    def try_some(drawn):
        state = drawn[0].state()
        fates.update(
            (verdict.allowed, verdict.steps[-1].why)
            for verdict in (evaluate(state, p) for p in drawn[1])
            if verdict.steps
        )

    try_some()

    assert {(True, Why.RULE), (False, Why.RULE), (True, Why.PROFILE), (False, Why.TIER)} <= fates
