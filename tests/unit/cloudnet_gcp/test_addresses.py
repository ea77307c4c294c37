from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.gcp.calls import Manners
from cloudnet.lab.clouds.gcp.state import fingerprint
from cloudnet.model.addresses import Family, InterfaceId
from cloudnet.provider.api import Wanted
from cloudnet.provider.errors import Conflict, Exhausted, NotFound, QuotaExceeded, Unsupported
from cloudnet_gcp.addresses import TRIES, split


@pytest.fixture
def world(make_world):
    return make_world(pod_range="pods")


def nic(world, name="vm-1"):
    return world.google.project.resources[f"projects/lab/zones/here-a/instances/{name}"]["networkInterfaces"][0]


def change(world, *aliases):
    """Let somebody else change the alias ranges of vm-1."""
    held = nic(world)
    held["aliasIpRanges"] = [*held.get("aliasIpRanges", []), *aliases]
    held["fingerprint"] = fingerprint(held)


def test_without_a_range_for_pods_there_are_no_native_addresses(make_world):
    assert make_world().provider.addresses is None


def test_somebody_elses_alias_ranges_stay_through_everything(world):
    change(world, {"ipCidrRange": "10.0.1.200/32"})

    given = world.assign("n1", 2)
    assert world.interface("n1").foreign == {Family.IPV4: 1}
    world.release("n1", given)

    assert nic(world)["aliasIpRanges"] == [{"ipCidrRange": "10.0.1.200/32"}]


def test_the_last_range_can_be_released(world):
    world.release("n1", world.assign("n1", 1))

    assert nic(world)["aliasIpRanges"] == []


def test_who_comes_second_reads_again(world):
    interface, raced = world.interface("n1"), []

    def race(request, answer):
        if request.call == "compute.instances.get" and not raced:
            raced.append(request)
            change(world, {"ipCidrRange": "10.201.0.240/28", "subnetworkRangeName": "pods"})
        return ()

    world.given = race
    given = world.provider.addresses.assign(interface, Wanted(Family.IPV4, 28))

    assert len(given) == 1
    assert set(world.holds("n1")) == {ip_network("10.201.0.240/28"), *given}
    assert world.google.simulator.counts["compute.instances.updateNetworkInterface"] == 2


def test_who_is_always_second_gives_up(world):
    interface = world.interface("n1")

    def race(request, answer):
        if request.call == "compute.instances.get":
            change(world, {"ipCidrRange": "10.0.1.201/32"})
        return ()

    world.given = race
    with pytest.raises(Conflict):
        world.provider.addresses.assign(interface, Wanted(Family.IPV4, 28))
    assert world.google.simulator.counts["compute.instances.updateNetworkInterface"] == TRIES


@pytest.mark.parametrize("code", ["IP_SPACE_EXHAUSTED", "IP_SPACE_EXHAUSTED_WITH_DETAILS", "RESOURCE_POOL_EXHAUSTED"])
def test_a_range_without_room_is_exhausted_however_google_spells_it(make_world, code):
    world = make_world(pod_range="pods", manners=Manners(no_room=code))

    with pytest.raises(Exhausted):
        world.assign("n1", 17)
    assert world.holds("n1") == ()


def test_a_full_interface_is_seen_before_any_write(world):
    change(world, *({"ipCidrRange": f"10.0.9.{k}/32"} for k in range(150)))

    with pytest.raises(QuotaExceeded, match="150 alias ranges of 150"):
        world.assign("n1", 1)
    assert world.google.simulator.counts["compute.instances.updateNetworkInterface"] == 0


def test_ipv6_is_not_to_be_had(world):
    with pytest.raises(Unsupported):
        world.provider.addresses.assign(world.interface("n1"), Wanted(Family.IPV6, 80))


def test_single_addresses_are_given_as_they_are_wanted(world):
    given = world.provider.addresses.assign(world.interface("n1"), Wanted(Family.IPV4, 32, 3))

    assert {c.prefixlen for c in given} == {32}
    assert len(given) == 3


def test_what_is_free_is_the_range_less_what_machines_hold(world):
    machines = world.provider.instances(world.nodes).values()
    before = world.provider.addresses.read(machines).subnets["here/s1"].free[Family.IPV4]
    world.assign("n1", 2)

    after = world.provider.addresses.read(machines).subnets["here/s1"].free[Family.IPV4]

    assert (before, after) == (256, 224)


def test_a_subnet_without_the_range_has_nothing_free(make_world):
    world = make_world(pod_range="elsewhere")
    machines = world.provider.instances(world.nodes).values()

    assert world.provider.addresses.read(machines).subnets["here/s1"].free == {Family.IPV4: 0}


@pytest.mark.parametrize("odd", ["eni-1", "a/b", "a/b/c/d", ""])
def test_an_interface_of_another_cloud_is_not_found(odd):
    with pytest.raises(NotFound):
        split(InterfaceId(odd))


def test_an_interface_is_its_machine_and_its_name():
    assert split(InterfaceId("z/vm/nic1")) == ("z/vm", "nic1")
