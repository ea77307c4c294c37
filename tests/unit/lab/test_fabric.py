from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from cloudnet.lab import fabric
from cloudnet.lab.clouds.ec2 import Eni, Entry, Machine, Subnet, Table, Vpcs
from cloudnet.lab.clouds.forwarding import fabric_state
from cloudnet.lab.errors import LabError
from cloudnet.lab.fabric import Fabric, FabricRoute, FabricState, FabricSubnet, Gateway, Port

N1 = Port("p-n1", "br-s1", "02:00:00:00:00:01", (ip_address("10.0.1.11"),))
BLOCK = ip_network("10.65.1.0/26")
SUBNETS = ((ip_network("10.0.1.0/24"), "br-s1"), (ip_network("10.0.2.0/24"), "br-s2"))


def state(*routes, ports=(N1,), silent=()):
    return FabricState((FabricSubnet("br-s2", 1002, SUBNETS, tuple(routes)),), tuple(ports), frozenset(silent))


def puts(of):
    return [item.put for item in fabric.render(of).values()]


def test_a_route_leads_to_the_interface_it_names():
    assert "route replace 10.65.1.0/26 via 10.0.1.11 dev br-s1 onlink table 1002" in puts(
        state(FabricRoute(BLOCK, N1))
    )


def test_a_dead_route_is_a_black_hole():
    assert "route replace blackhole 10.65.1.0/26 table 1002" in puts(state(FabricRoute(BLOCK)))


def test_what_no_route_names_goes_nowhere():
    assert "route replace blackhole 0.0.0.0/0 table 1002" in puts(state())


def test_a_route_out_of_the_cloud_leads_to_who_is_behind_the_gateway():
    gateway = Gateway("outside", ip_address("192.0.2.10"), 1001)

    assert "route replace 192.0.2.0/24 via 192.0.2.10 dev outside onlink table 1002" in puts(
        state(FabricRoute(ip_network("192.0.2.0/24"), gateway))
    )


def test_what_comes_in_by_a_gateway_is_looked_up_in_one_subnets_table():
    outside = replace(state(), gateways=(Gateway("outside", ip_address("192.0.2.10"), 1001),))

    assert "rule add priority 1000 iif outside lookup 1001" in puts(outside)
    assert fabric.restrict(outside, []).gateways == ()


def test_a_subnet_sees_only_its_own_table():
    assert [put for put in puts(state()) if put.startswith("rule")] == [
        "rule add priority 2002 iif br-s2 lookup 1002"
    ]


def test_machines_that_do_not_run_have_no_link():
    assert "link set dev p-n1 down" in puts(state(ports=[replace(N1, up=False)]))


def test_routes_to_machines_without_a_device_are_black_holes():
    restricted = fabric.restrict(state(FabricRoute(BLOCK, N1)), [])

    assert "route replace blackhole 10.65.1.0/26 table 1002" in puts(restricted)
    assert restricted.ports == ()


def test_only_interfaces_with_their_check_on_are_guarded():
    open_one = Port("p-n2", "br-s2", "02:00:00:00:00:02", (ip_address("10.0.2.12"),), check=False)

    sets = fabric.render_sets(state(ports=[N1, open_one]))

    assert 'guarded { "p-n1" }' in sets
    assert "p-n2" not in sets


def test_a_delegated_range_is_delivered_from_everywhere_before_any_route_and_belongs_to_its_port():
    holder = replace(N1, ranges=(BLOCK,))
    other = Port("p-n2", "br-s2", "02:00:00:00:00:02", (ip_address("10.0.2.12"),))
    of = state(FabricRoute(BLOCK, other), ports=[holder, other])

    assert "route replace 10.65.1.0/26 via 10.0.1.11 dev br-s1 onlink table 1002" in puts(of)
    assert "route replace 10.65.1.0/26 via 10.0.2.12 dev br-s2 onlink table 1002" not in puts(of)
    assert '"p-n1" . 10.65.1.0/26' in fabric.render_sets(of)


def test_a_range_of_a_machine_that_does_not_run_goes_nowhere():
    assert "route replace blackhole 10.65.1.0/26 table 1002" in puts(
        state(ports=[replace(N1, ranges=(BLOCK,), up=False)])
    )


def test_protocols_that_the_fabric_refuses_are_dropped_by_number():
    sets = fabric.render_sets(replace(state(), refused=frozenset({47, 4})))

    assert "refused { 4, 47 }" in sets or "refused { 47, 4 }" in sets
    assert "ip protocol @refused counter name refused_protocol drop" in fabric.RULES


def test_both_families_have_sets_of_their_own():
    both = replace(N1, addresses=(ip_address("10.0.1.11"), ip_address("fd00::11")))

    sets = fabric.render_sets(state(ports=[both], silent=[ip_network("fd65::/64"), BLOCK]))

    assert 'owned { "p-n1" . 10.0.1.11 }' in sets
    assert 'owned6 { "p-n1" . fd00::11 }' in sets
    assert "silent { 10.65.1.0/26 }" in sets
    assert "silent6 { fd65::/64 }" in sets


class Runner:
    """Keeps what it is asked to run; fails lines that hold ``broken``."""

    def __init__(self):
        self.lines = []
        self.broken = None

    def __call__(self, command, stdin):
        lines = stdin.splitlines()
        self.lines += [line for line in lines if command[-1] == "-" and "-batch" in command]
        bad = [n for n, line in enumerate(lines, start=1) if self.broken and self.broken in line]
        if bad:
            raise LabError("\n".join(f"Command failed -:{n}" for n in bad))
        return ""

    def take(self):
        taken, self.lines = self.lines, []
        return taken


def test_a_second_look_at_the_same_state_changes_nothing():
    run = Runner()
    network = Fabric(run, lambda: ["p-n1"])
    network.apply(state(FabricRoute(BLOCK, N1)))
    run.take()

    network.apply(state(FabricRoute(BLOCK, N1)))

    assert run.take() == []


def test_a_change_costs_only_itself():
    run = Runner()
    network = Fabric(run, lambda: ["p-n1"])
    network.apply(state(FabricRoute(BLOCK, N1)))
    run.take()

    network.apply(state(FabricRoute(BLOCK)))
    network.apply(state())

    assert run.take() == ["route replace blackhole 10.65.1.0/26 table 1002", "route del 10.65.1.0/26 table 1002"]


def test_a_line_that_failed_is_tried_again_and_no_other():
    run = Runner()
    network = Fabric(run, lambda: ["p-n1"])
    run.broken = "10.65.1.0/26"
    network.apply(state(FabricRoute(BLOCK, N1)))
    run.take()
    run.broken = None

    network.apply(state(FabricRoute(BLOCK, N1)))

    assert run.take() == ["route replace 10.65.1.0/26 via 10.0.1.11 dev br-s1 onlink table 1002"]


def vpcs(*entries, machine="running"):
    local = Entry(ip_network("10.0.0.0/16"), other="local")
    return Vpcs(
        tables={"rtb-1": Table("rtb-1", "vpc-1", (local, *entries))},
        subnets={
            "subnet-1": Subnet("subnet-1", "s1", "vpc-1", ip_network("10.0.1.0/24"), "rtb-1"),
            "subnet-9": Subnet("subnet-9", "other", "vpc-9", ip_network("10.9.0.0/24"), None),
        },
        interfaces={
            "eni-1": Eni("eni-1", "subnet-1", "vpc-1", N1.mac, N1.addresses, "i-1", primary=True, check=False),
        },
        machines={"i-1": Machine("i-1", "n1", machine, ("eni-1",))},
    )


def test_a_vpc_becomes_the_fabric_of_its_own_subnets():
    seen = fabric_state(vpcs(Entry(BLOCK, interface="eni-1")), "vpc-1", silent=[BLOCK])

    assert [subnet.bridge for subnet in seen.subnets] == ["br-s1"]
    assert seen.ports == (replace(N1, check=False),)
    assert seen.silent == {BLOCK}


def test_local_addresses_outside_the_subnets_go_nowhere():
    seen = fabric_state(vpcs(), "vpc-1")

    assert seen.subnets[0].routes == (FabricRoute(ip_network("10.0.0.0/16")),)


def test_a_route_by_instance_leads_to_its_first_interface():
    seen = fabric_state(vpcs(Entry(BLOCK, instance="i-1")), "vpc-1")

    assert FabricRoute(BLOCK, replace(N1, check=False)) in seen.subnets[0].routes


def test_a_stopped_machine_has_no_link_and_its_routes_lead_nowhere():
    seen = fabric_state(vpcs(Entry(BLOCK, interface="eni-1"), machine="stopped"), "vpc-1")

    assert not seen.ports[0].up
    assert FabricRoute(BLOCK) in seen.subnets[0].routes


def test_a_gateway_leads_nowhere_in_a_lab():
    seen = fabric_state(vpcs(Entry(ip_network("0.0.0.0/0"), other="igw-1")), "vpc-1")

    assert FabricRoute(ip_network("0.0.0.0/0")) in seen.subnets[0].routes


def test_an_entry_for_an_attached_gateway_leads_out_and_another_nowhere():
    outside, elsewhere = ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24")
    entries = (Entry(outside, other="tgw-1"), Entry(elsewhere, other="tgw-2"))

    seen = fabric_state(replace(vpcs(*entries), attachments={"tgw-1": "subnet-1"}), "vpc-1")

    routes = {route.destination: route.via for subnet in seen.subnets for route in subnet.routes}
    assert isinstance(routes[outside], Gateway)
    assert routes[elsewhere] is None
    assert seen.gateways == (routes[outside],)
