"""Real packets through the lab's fabric: it follows the control plane, no less and no better."""

from __future__ import annotations

import os
import subprocess
import time
from ipaddress import IPv4Network

import pytest

from cloudnet.lab.errors import LabError
from cloudnet.lab.lab import Lab
from cloudnet.lab.removal import remove
from cloudnet.lab.spec import LabSpec

pytestmark = pytest.mark.lab

NAME = f"f{os.getpid() % 100000}"
PROPAGATION = 0.2
SOON = 20.0


def run(namespace, *command):
    done = subprocess.run(["ip", "netns", "exec", namespace, *command], capture_output=True, text=True, check=False)
    return done.returncode


def reaches(lab, source, destination, *, within=SOON):
    """Tell whether a pod's packets arrive at another pod, and the answers come back, soon."""
    address = str(lab.pod(destination).address)
    end = time.monotonic() + within
    while True:
        if run(lab.pod(source).namespace, "ping", "-n", "-q", "-c", "1", "-W", "0.3", address) == 0:
            return True
        if time.monotonic() > end:
            return False


def is_lost(lab, source, destination):
    """Tell whether packets come to vanish, once the fabric has had its time to follow."""
    end = time.monotonic() + SOON
    while reaches(lab, source, destination, within=0.5):
        if time.monotonic() > end:
            return False
    return True


def allow_forwarding(lab, node, *, allowed=True):
    interface = lab.state.node(node).interface
    lab.cloud.call(
        "modify_network_interface_attribute", NetworkInterfaceId=interface, SourceDestCheck={"Value": not allowed}
    )


def program(lab, table, node):
    record = lab.state.node(node)
    lab.cloud.call(
        "create_route",
        RouteTableId=lab.state.cloud.tables[table],
        DestinationCidrBlock=str(record.blocks[0]),
        NetworkInterfaceId=record.interface,
    )


@pytest.fixture(scope="module")
def bare():
    """A lab without agents, whose nodes send all pod addresses to their subnet's gateway."""
    built = Lab.up(LabSpec(NAME, nodes=4, subnets=3, pods=1, agents=False, controller=False))
    try:
        yield built
    finally:
        built.down()


@pytest.fixture
def lab(bare):
    """The lab with forwarding allowed everywhere and no route."""
    for record in bare.state.nodes:
        allow_forwarding(bare, record.name)
    yield bare
    for fault in bare.state.faults:
        bare.heal(fault.name, target=fault.target)
    for record in bare.state.nodes:
        for table in bare.state.cloud.tables.values():
            bare.cloud.delete_route(table, record.blocks[0])


def test_nothing_gets_through_without_a_route(lab):
    assert is_lost(lab, "n1/p1", "n2/p1")


def test_packets_follow_the_tables_of_both_subnets(lab):
    program(lab, "s1", "n2")
    assert is_lost(lab, "n1/p1", "n2/p1")

    program(lab, "s2", "n1")

    assert reaches(lab, "n1/p1", "n2/p1")


def test_a_table_serves_only_its_own_subnet(lab):
    program(lab, "s1", "n2")
    program(lab, "s2", "n1")
    program(lab, "s2", "n3")

    assert is_lost(lab, "n3/p1", "n2/p1")


def test_a_deleted_route_still_works_until_the_fabric_has_followed(lab):
    program(lab, "s1", "n2")
    program(lab, "s2", "n1")
    assert reaches(lab, "n1/p1", "n2/p1")

    lab.cloud.delete_route(lab.state.cloud.tables["s1"], lab.state.node("n2").blocks[0])

    assert is_lost(lab, "n1/p1", "n2/p1")


@pytest.mark.parametrize(
    ("guarded", "counter"),
    [("n1", "not_owned_source"), ("n2", "not_owned_destination")],
    ids=["source", "destination"],
)
def test_the_check_of_either_end_drops_pod_addresses(lab, guarded, counter):
    program(lab, "s1", "n2")
    program(lab, "s2", "n1")
    assert reaches(lab, "n1/p1", "n2/p1")
    before = lab.status().drops

    allow_forwarding(lab, guarded, allowed=False)

    assert is_lost(lab, "n1/p1", "n2/p1")
    after = lab.status().drops
    assert {name for name in after if after[name] > before[name]} == {counter}


@pytest.mark.parametrize("guarded", ["", "n1", "n4"], ids=["both off", "source on", "destination on"])
def test_nodes_of_one_subnet_reach_each_other_by_mac_only_with_both_checks_off(lab, guarded):
    direct = {"n1": "10.0.1.14", "n4": "10.0.1.11"}
    blocks = {"n1": "10.65.4.0/26", "n4": "10.65.1.0/26"}
    for node, peer in direct.items():
        assert run(lab.node(node).namespace, "ip", "route", "add", blocks[node], "via", peer) == 0
    if guarded:
        allow_forwarding(lab, guarded, allowed=False)
        time.sleep(PROPAGATION + 0.2)

    reached = not is_lost(lab, "n1/p1", "n4/p1") if guarded else reaches(lab, "n1/p1", "n4/p1")

    for node in direct:
        run(lab.node(node).namespace, "ip", "route", "delete", blocks[node])
    assert reached == (not guarded)


def test_nodes_reach_each_other_by_their_own_addresses_whatever_the_check(lab):
    allow_forwarding(lab, "n1", allowed=False)
    allow_forwarding(lab, "n3", allowed=False)
    time.sleep(PROPAGATION + 0.2)

    assert run(lab.node("n1").namespace, "ping", "-n", "-q", "-c", "1", "-W", "1", "10.0.3.13") == 0


def test_a_route_to_a_stopped_machine_is_a_black_hole_until_it_starts(lab):
    program(lab, "s1", "n2")
    program(lab, "s2", "n1")
    assert reaches(lab, "n1/p1", "n2/p1")

    lab.break_("stop-node", target="n2")

    assert lab.cloud.routes(lab.state.cloud.tables["s1"])["10.65.2.0/26"]["State"] == "blackhole"
    assert is_lost(lab, "n1/p1", "n2/p1")
    lab.heal("stop-node")
    assert reaches(lab, "n1/p1", "n2/p1")


def test_a_stopped_machine_forgets_what_was_set_in_its_kernel(lab):
    place = lab.node("n3").namespace
    assert run(place, "ip", "route", "add", "10.65.9.0/26", "via", "10.0.3.1", "proto", "67") == 0
    assert run(place, "ip", "rule", "add", "priority", "98", "lookup", "4793") == 0

    lab.break_("stop-node", target="n3")

    shown = [
        subprocess.run(["ip", "-n", place, *what], capture_output=True, text=True, check=True).stdout
        for what in (("route", "show", "proto", "67"), ("rule", "show", "priority", "98"))
    ]
    assert shown == ["", ""]


def test_a_silent_black_hole_takes_native_packets_and_spares_vxlan(lab):
    program(lab, "s1", "n2")
    program(lab, "s2", "n1")
    assert reaches(lab, "n1/p1", "n2/p1")

    lab.break_("blackhole", target="n2")

    assert lab.cloud.routes(lab.state.cloud.tables["s1"])["10.65.2.0/26"]["State"] == "active"
    assert is_lost(lab, "n1/p1", "n2/p1")
    assert vxlan_reaches(lab)


def vxlan_reaches(lab):
    """Tell whether a tunnel between n1 and n2 carries packets to n2's first block."""
    ends = {"n1": ("10.0.1.11", "10.0.2.12", "10.65.1.0"), "n2": ("10.0.2.12", "10.0.1.11", "10.65.2.0")}
    for node, (own, other, inner) in ends.items():
        place = lab.node(node).namespace
        kind = ("type", "vxlan", "id", "4096", "dstport", "4789", "local", own, "remote", other)
        assert run(place, "ip", "link", "add", "vx", *kind) == 0
        assert run(place, "ip", "address", "add", f"{inner}/15", "dev", "vx") == 0
        assert run(place, "ip", "link", "set", "vx", "up") == 0
    try:
        return run(lab.node("n1").namespace, "ping", "-n", "-q", "-c", "2", "-W", "1", "10.65.2.0") == 0
    finally:
        for node in ends:
            run(lab.node(node).namespace, "ip", "link", "delete", "vx")


def test_a_foreign_route_leads_packets_away_until_it_is_taken_back(lab):
    program(lab, "s1", "n2")
    program(lab, "s2", "n1")
    assert reaches(lab, "n1/p1", "n2/p1")

    lab.break_("foreign-route", target="10.65.2.0/26")
    assert is_lost(lab, "n1/p1", "n2/p1")

    lab.heal("foreign-route")
    assert "10.65.2.0/26" not in lab.cloud.routes(lab.state.cloud.tables["s1"])


def test_a_new_node_gets_the_next_address_and_block_and_goes_without_a_trace(lab):
    joined = lab.add_node("late", "s2", agent=False)
    pod = lab.add_pod("late")
    second = lab.add_block("late")

    assert str(joined.addresses[0]) == "10.0.2.15/24"
    assert str(pod.address) == "10.65.5.2"
    assert second == IPv4Network("10.65.5.64/26")

    lab.remove_node("late")
    with pytest.raises(LabError, match="no node 'late'"):
        lab.node("late")


def test_a_second_lab_of_the_same_name_is_refused(lab):
    with pytest.raises(LabError, match="is there already"):
        Lab.up(LabSpec(lab.name))


def test_removing_twice_is_success():
    assert remove("nolab") is False
