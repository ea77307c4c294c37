from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudnet.policy.membership import Loan, Membership, Port, Slice
from cloudnet.policy.rules import TCP, UDP, PortMember, SetChanged, SetGone
from cloudnet.policy.selectors import parse
from cloudnet.policy.sources import Selected, SelectedPort, ServiceEndpoints, of_ports, set_id

NETWORKS = tuple(map(ip_network, ("10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/24", "fd00::1/128")))
A, B, NET, SIX = NETWORKS
SELECTORS = tuple(parse(text).canonical() for text in ("all()", "a == 'x'", "has(b)", "a != 'x'"))
SOURCES = (
    *map(Selected, SELECTORS),
    *(SelectedPort(selector, "http", protocol) for selector in SELECTORS[1:3] for protocol in (TCP, UDP)),
    *(ServiceEndpoints("ns", name, ports=ports) for name in ("s", "t") for ports in (True, False)),
)

networks = st.lists(st.sampled_from(NETWORKS), max_size=3).map(tuple)
ports = st.lists(
    st.builds(Port, st.sampled_from(("http", "dns")), st.sampled_from((TCP, UDP)), st.sampled_from((80, 8080))),
    max_size=3,
).map(tuple)
labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
items = st.sampled_from("ijk")
parents = st.sampled_from("pq")
slices = st.sampled_from(("ns/1", "ns/2"))
EVENTS = st.one_of(
    st.tuples(st.just("put_item"), items, labels, st.lists(parents, max_size=2), st.builds(Loan, networks, ports)),
    st.tuples(st.just("remove_item"), items),
    st.tuples(st.just("put_parent"), parents, labels),
    st.tuples(st.just("remove_parent"), parents),
    st.tuples(st.just("put_slice"), slices, st.builds(Slice, st.just("ns"), st.sampled_from("st"), networks, ports)),
    st.tuples(st.just("remove_slice"), slices),
    st.tuples(st.just("want"), st.sampled_from(SOURCES)),
    st.tuples(st.just("release"), st.sampled_from(SOURCES)),
    st.tuples(st.just("flush")),
)


class Told:
    """Sets, who would be in them by the plainest reading, and what a listener holds after what it was told."""

    def __init__(self):
        self.sets = Membership()
        self.items, self.parents, self.slices, self.users = {}, {}, {}, {}
        self.held = {}

    def send(self, name, *arguments):
        if name == "flush":
            self.listen()
        elif name == "release":
            if self.users.get(arguments[0]):
                self.users[arguments[0]] -= 1
                self.sets.release(set_id(arguments[0]))
        elif name == "want":
            self.users[arguments[0]] = self.users.get(arguments[0], 0) + 1
            self.sets.want(arguments[0])
        else:
            kept = {"item": self.items, "parent": self.parents, "slice": self.slices}[name.partition("_")[2]]
            if name.startswith("put"):
                kept[arguments[0]] = arguments[1:]
            else:
                kept.pop(arguments[0], None)
            getattr(self.sets, name)(*arguments)

    def listen(self):
        changed, gone = self.sets.flush()
        for each in changed:
            before = self.held.get(each.id, frozenset())
            assert not each.added & before
            assert each.removed <= before
            assert each.added or each.removed or each.id not in self.held
            self.held[each.id] = before - each.removed | each.added
        for each in gone:
            del self.held[each.id]

    def expected(self):
        return {set_id(source): self.members(source) for source, users in self.users.items() if users}

    def members(self, source):
        if isinstance(source, ServiceEndpoints):
            return frozenset(
                member
                for (lent,) in self.slices.values()
                if lent.service == source.name
                for member in (port_members(lent.addresses, lent.ports) if source.ports else lent.addresses)
            )
        return frozenset(
            member
            for own, named, loan in self.items.values()
            if parse(source.selector).matches(self.effective(own, named))
            for member in (
                loan.networks
                if isinstance(source, Selected)
                else port_members(
                    loan.networks, [p for p in loan.ports if (p.name, p.protocol) == ("http", source.protocol)]
                )
            )
        )

    def effective(self, own, named):
        found = {}
        for name in reversed(named):
            found |= self.parents.get(name, ({},))[0]
        return found | own


def port_members(addresses, ports):
    return [PortMember(address, port.protocol, port.number) for address in addresses for port in ports]


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=40))
def test_whoever_listens_holds_the_members_of_the_final_state(events):
    told = Told()
    for event in events:
        told.send(*event)

    told.listen()

    assert told.held == told.expected()
    assert all(told.sets.members(set_id(source)) == told.members(source) for source, n in told.users.items() if n)


@given(st.lists(EVENTS, max_size=30))
def test_what_is_forgotten_leaves_nothing_behind(events):
    told = Told()
    for event in events:
        told.send(*event)

    for kind, kept in (("item", told.items), ("parent", told.parents), ("slice", told.slices)):
        for name in list(kept):
            told.send(f"remove_{kind}", name)
    for source, number in list(told.users.items()):
        for _ in range(number):
            told.send("release", source)
    told.listen()

    assert told.held == {}
    assert not any(value for name, value in vars(told.sets).items() if name != "_index")
    assert not any(vars(told.sets._index).values())


def sets_with(*loans, source=SOURCES[0]):
    sets = Membership()
    for number, loan in enumerate(loans):
        sets.put_item(number, {}, (), loan)
    name = sets.want(source)
    sets.flush()
    return sets, name


def test_an_address_of_two_endpoints_stays_until_both_have_gone():
    sets, name = sets_with(Loan((A,)), Loan((A, B)))

    sets.remove_item(0)
    first = sets.flush()
    sets.remove_item(1)
    second = sets.flush()

    assert first == ([], [])
    assert second == ([SetChanged(name, of_ports=False, removed=frozenset({A, B}))], [])


def test_prefixes_that_overlap_are_members_each():
    sets, name = sets_with(Loan((NET,)), Loan((A,)))

    assert sets.members(name) == {NET, A}


def test_a_change_of_address_is_one_addition_and_one_removal():
    sets, name = sets_with(Loan((A, SIX)))

    sets.put_item(0, {}, (), Loan((B, SIX)))

    assert sets.flush() == ([SetChanged(name, of_ports=False, added=frozenset({B}), removed=frozenset({A}))], [])


def test_what_came_and_went_between_two_tellings_is_not_mentioned():
    sets, name = sets_with(Loan((A,)))

    sets.put_item(1, {}, (), Loan((B,)))
    sets.remove_item(0)
    sets.put_item(2, {}, (), Loan((A,)))
    sets.remove_item(1)
    sets.release(name)
    sets.want(SOURCES[0])

    assert sets.flush() == ([], [])


def test_a_set_without_members_is_told_once():
    sets = Membership()
    name = sets.want(SOURCES[0])

    assert sets.flush() == ([SetChanged(name, of_ports=False)], [])
    assert sets.flush() == ([], [])


def test_a_set_goes_with_its_last_user():
    sets, name = sets_with()
    sets.want(SOURCES[0])

    sets.release(name)
    first = sets.flush()
    sets.release(name)
    second = sets.flush()

    assert (first, second) == (([], []), ([], [SetGone(name)]))


def test_a_named_port_has_the_number_that_each_endpoint_gives_it():
    source = SelectedPort("all()", "http", TCP)
    sets, name = sets_with(
        Loan((A,), (Port("http", TCP, 80), Port("dns", TCP, 53), Port("http", UDP, 443))),
        Loan((B, SIX), (Port("http", TCP, 8080),)),
        source=source,
    )

    assert sets.members(name) == {PortMember(A, TCP, 80), PortMember(B, TCP, 8080), PortMember(SIX, TCP, 8080)}


@pytest.mark.parametrize(("with_ports", "member"), [(True, PortMember(A, TCP, 80)), (False, A)])
def test_a_slice_that_moves_to_another_service_leaves_the_first(with_ports, member):
    sets = Membership()
    first, second = (sets.want(ServiceEndpoints("ns", name, ports=with_ports)) for name in "st")
    sets.put_slice("ns/1", Slice("ns", "s", (A,), (Port("", TCP, 80),)))

    sets.put_slice("ns/1", Slice("ns", "t", (A,), (Port("", TCP, 80),)))

    assert (sets.members(first), sets.members(second)) == (frozenset(), {member})


def test_each_source_has_a_name_of_its_own():
    names = {set_id(source) for source in SOURCES}

    assert len(names) == len(SOURCES)
    assert {name.partition(":")[0] for name in names} == {"s", "n", "svc", "svcnoport"}
    assert set_id(Selected("all()")) == parse("all()").uid()
    assert {set_id(source) for source in SOURCES if of_ports(source)} == {
        name for name in names if name.startswith(("n:", "svc:"))
    }
