from dataclasses import replace
from ipaddress import ip_interface, ip_network
from types import MappingProxyType

from cloudnet.addresses import ledger
from cloudnet.addresses.ledger import Verdicts
from cloudnet.addresses.plan import Member, Settings, Shortage
from cloudnet.model.addresses import Family
from cloudnet.model.cloud_addresses import PrefixState
from cloudnet.model.resources import Cause
from cloudnet.provider.api import Instance, NetworkInterface, Room

V4 = Family.IPV4
A, B = ip_network("10.0.0.16/28"), ip_network("10.0.0.32/28")
ROOM = Room(3, MappingProxyType({V4: 9}), MappingProxyType({V4: 28}))


def eni(number, *cidrs):
    own = (ip_interface(f"10.0.0.{number}/24"),)
    return NetworkInterface(f"eni-{number}", "subnet-1", "i-1", primary=number == 1, addresses=own, cidrs=cidrs)


def updated(old, *interfaces, verdicts=None, shortage=None, wall=5.0):
    member = Member(Instance("i-1", "eni-1", "subnet-1"), ROOM, interfaces)
    return ledger.updated(
        old, "n1", member, Settings(), verdicts=verdicts or Verdicts(), shortage=shortage, wall=wall
    )


def states(record):
    return {p.cidr: p.state.value for p in record.prefixes}


def test_what_the_cloud_delivers_is_recorded_with_its_interface():
    record = updated(None, eni(1, A), eni(2, B))

    assert [(p.cidr, p.interface, p.since) for p in record.prefixes] == [(A, "eni-1", 5.0), (B, "eni-2", 5.0)]
    assert [(i.id, i.number) for i in record.interfaces] == [("eni-1", 0), ("eni-2", 1)]


def test_nothing_new_is_nothing_written():
    record = updated(None, eni(1, A))

    assert updated(record, eni(1, A), wall=99.0) == record


def test_a_further_interface_keeps_its_number_when_another_one_goes():
    record = updated(None, eni(1), eni(2), eni(3))

    after = updated(record, eni(1), eni(3), eni(4))

    assert {i.id: i.number for i in after.interfaces} == {"eni-1": 0, "eni-3": 2, "eni-4": 1}


def test_what_was_decided_is_leaving_and_keeps_the_time():
    record = updated(None, eni(1, A, B))

    leaving = updated(record, eni(1, A, B), verdicts=Verdicts(leaving=[A]), wall=7.0)

    assert states(leaving) == {A: "leaving", B: "held"}
    assert leaving.prefix(A).since == 7.0
    assert updated(leaving, eni(1, A, B), wall=9.0) == leaving


def test_a_leaving_prefix_stays_after_all_when_a_pod_was_faster():
    record = updated(None, eni(1, A))
    leaving = updated(record, eni(1, A), verdicts=Verdicts(leaving=[A]))

    assert states(updated(leaving, eni(1, A), verdicts=Verdicts(staying=[A]))) == {A: "held"}


def test_what_the_cloud_no_longer_delivers_is_leaving_and_not_forgotten():
    record = updated(None, eni(1, A))

    after = updated(record, eni(1), verdicts=Verdicts(staying=[A]))

    assert states(after) == {A: "leaving"}


def test_what_is_gone_is_forgotten_and_a_late_read_does_not_bring_it_back():
    record = updated(None, eni(1, A, B))

    assert states(updated(record, eni(1, A, B), verdicts=Verdicts(gone=[A]))) == {B: "held"}


def test_a_shortage_is_recorded_with_its_cause():
    record = updated(None, eni(1), shortage=Shortage(Cause.EXHAUSTED, "subnet-1 is out"))

    assert (record.cause, record.detail) == (Cause.EXHAUSTED, "subnet-1 is out")
    assert updated(record, eni(1)).cause is Cause.NONE


def test_everything_of_a_node_that_is_gone_leaves():
    record = updated(None, eni(1, A, B))

    after = ledger.leaving(record, [B], wall=8.0)

    assert [(p.cidr, p.state, p.since) for p in after.prefixes] == [(A, PrefixState.LEAVING, 8.0)]
    assert ledger.leaving(after, [], wall=9.0) == after
    assert replace(after, prefixes=()) == ledger.leaving(after, [A], wall=9.0)
