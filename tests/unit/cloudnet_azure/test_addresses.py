"""What is Azure's own about native addresses: whose ip-configurations they are, and scale sets without blocks."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.azure.words import Codes
from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.model.addresses import Family, InterfaceId, NodeName
from cloudnet.provider.api import Wanted
from cloudnet.provider.errors import Conflict, Exhausted, QuotaExceeded, Unsupported
from cloudnet_azure import configurations
from cloudnet_azure.interfaces import TRIES

PREFIX, SINGLE = Wanted(Family.IPV4, 28), Wanted(Family.IPV4, 32)


class World:
    """``n1`` is a machine by itself, ``n2`` one of a uniform scale set; both are in 10.0.1.0/24."""

    def __init__(self, cloud, **more):
        self.cloud = cloud
        cloud.add_table("rt-1", ("s1", "10.0.1.0/24"))
        self.nodes = [cloud.add_machine(f"n{k}", "s1", f"10.0.1.1{k}/24", scale_set=k == 2) for k in (1, 2)]
        self.provider = cloud.provider(**more)

    def machine(self, name):
        return self.provider.instances(self.nodes)[NodeName(name)]

    def holdings(self, *names):
        found = self.provider.instances(self.nodes)
        return self.provider.addresses.read([m for name, m in found.items() if not names or name in names])

    def interface(self, name):
        own = self.machine(name).interface
        return next(i for i in self.holdings().interfaces if i.id == own)

    def assign(self, name, wanted):
        return self.provider.addresses.assign(self.interface(name), wanted)

    def release(self, name, cidrs):
        self.provider.addresses.release(self.interface(name), cidrs)

    def body(self, name="n1-nic"):
        return self.cloud.outsider("GET", f"networkInterfaces/{name}")

    def race(self, times):
        """Let somebody change the interface of n1 after each read of it, so often."""
        left = [times]

        def meddle(request, answer):
            if request.call == "NetworkInterfaces_Get" and not request.outsider and left[0]:
                left[0] -= 1
                body = {**self.body(), "tags": {"left": str(left[0])}}
                self.cloud.arm.state.put("networkInterfaces", body["id"], body)
            return ()

        self.cloud.simulator.judge = meddle


@pytest.fixture
def world(cloud):
    return World(cloud)


def names(world):
    return [c["name"] for c in configurations.of(world.body())]


# --- whose they are -------------------------------------------------------------------------------------------


def test_others_ip_configurations_stay_word_for_word(world):
    body = world.body()
    theirs = {
        "name": "theirs",
        "properties": {
            "subnet": body["properties"]["ipConfigurations"][0]["properties"]["subnet"],
            "privateIPAddress": "10.0.1.77",
            "privateIPAllocationMethod": "Static",
            "applicationSecurityGroups": [{"id": "/asg"}],
        },
    }
    held = [*body["properties"]["ipConfigurations"], theirs]
    world.cloud.arm.state.put("networkInterfaces", body["id"], {"properties": {"ipConfigurations": held}})

    given = world.assign("n1", PREFIX)
    assert world.interface("n1").foreign == {Family.IPV4: 1}
    world.release("n1", given)

    assert names(world) == ["ipconfig0", "theirs"]
    after = world.cloud.arm.state.find(body["id"]).written["properties"]["ipConfigurations"][1]["properties"]
    assert after.items() >= theirs["properties"].items()


def test_two_clusters_on_one_interface_do_not_see_each_others_addresses(world):
    other = World.__new__(World)
    other.cloud, other.nodes, other.provider = world.cloud, world.nodes, world.cloud.provider(cluster="c1-a")

    mine, theirs = world.assign("n1", PREFIX), other.assign("n1", PREFIX)

    assert world.interface("n1").cidrs == mine
    assert other.interface("n1").cidrs == theirs
    other.release("n1", mine)
    assert world.interface("n1").cidrs == mine


def test_pods_addresses_are_none_of_the_machines_own(world):
    world.assign("n1", replace(SINGLE, count=2))

    assert [str(a) for a in world.machine("n1").addresses] == ["10.0.1.11"]


def test_forwarding_and_addresses_leave_each_other_alone(world):
    given = world.assign("n1", PREFIX)
    world.provider.allow_forwarding(world.machine("n1"))
    more = world.assign("n1", SINGLE)

    assert world.machine("n1").forwarding
    assert set(world.interface("n1").cidrs) == {*given, *more}


@pytest.mark.parametrize(
    ("shown", "length"), [("10.0.1.16/28", 28), ("10.0.1.16", 28), ("10.0.1.21", 28), ("10.0.1.16/28", None)]
)
def test_a_block_is_known_however_azure_spells_it(shown, length):
    properties = {"privateIPAddress": shown, "privateIPAddressPrefixLength": length}

    assert configurations.cidr({"properties": properties}) == ip_network("10.0.1.16/28")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cloudnet-c1-0011aabb-0", True),
        ("CLOUDNET-C1-0011AABB-12", True),
        ("cloudnet-c1-x-0011aabb-0", False),
        ("cloudnet-c1-0011aabb-deadbeef-0", False),
        ("cloudnet-c1-0011aabb", False),
        ("cloudnet-c1-0011aabb-0-x", False),
        ("cloudnet-c2-0011aabb-0", False),
        ("ipconfig1", False),
    ],
)
def test_the_mark_is_the_whole_name(name, ours):
    assert configurations.is_ours({"name": name}, cluster="c1") is ours


# --- races and lost answers -----------------------------------------------------------------------------------


def test_who_comes_second_reads_again(world):
    interface = world.interface("n1")
    world.race(1)

    given = world.provider.addresses.assign(interface, PREFIX)

    assert len(given) == 1
    assert world.cloud.count("NetworkInterfaces_CreateOrUpdate") == 2


def test_who_is_always_second_gives_up(world):
    interface = world.interface("n1")
    world.race(99)

    with pytest.raises(Conflict):
        world.provider.addresses.assign(interface, PREFIX)
    assert world.cloud.count("NetworkInterfaces_CreateOrUpdate") == TRIES


@pytest.mark.parametrize("name", ["n1", "n2"], ids=["machine", "scale-set"])
def test_a_write_whose_answer_was_lost_takes_nothing_twice(world, name):
    interface = world.interface(name)
    calls = "NetworkInterfaces_CreateOrUpdate", "VirtualMachineScaleSetVMs_Update"
    for call in calls:
        world.cloud.simulator.faults.add(Fault(call, Trouble.TIMEOUT, times=1))

    given = world.provider.addresses.assign(interface, replace(SINGLE, count=3))

    assert len(given) == 3
    assert world.interface(name).cidrs == given
    assert world.cloud.count(*calls) == 2


# --- room -----------------------------------------------------------------------------------------------------


def test_a_full_interface_is_seen_before_any_write(world):
    with pytest.raises(QuotaExceeded, match="1 ip-configurations of 256"):
        world.assign("n1", replace(SINGLE, count=256))
    assert world.cloud.count("NetworkInterfaces_CreateOrUpdate") == 0


@pytest.mark.parametrize("code", ["SubnetIsFull", "InsufficientAddressPrefixes", "NobodyKnows"])
def test_a_subnet_without_a_block_is_exhausted_however_azure_spells_it(world, code):
    world.cloud.arm.state.codes = Codes(prefixes=code)
    world.cloud.add_interface("theirs", "s1", *(f"10.0.1.{16 * k + 7}" for k in range(16)))

    with pytest.raises(Exhausted):
        world.assign("n1", PREFIX)
    assert len(world.assign("n1", replace(SINGLE, count=4))) == 4


def test_a_single_address_that_is_refused_for_no_known_reason_stays_refused(world):
    world.cloud.simulator.faults.add(Fault("NetworkInterfaces_CreateOrUpdate", Trouble.CONFLICT, code="NobodyKnows"))

    with pytest.raises(Conflict):
        world.assign("n1", SINGLE)


def test_a_subscription_without_blocks_is_asked_for_none(cloud):
    world = World(cloud, pod_prefixes=False)

    assert world.holdings().rooms[world.machine("n1").id].lengths == {}
    with pytest.raises(Unsupported, match="single addresses only"):
        world.assign("n1", PREFIX)
    assert len(world.assign("n1", SINGLE)) == 1


def test_ipv6_is_not_to_be_had(world):
    with pytest.raises(Unsupported):
        world.assign("n1", Wanted(Family.IPV6, 80))


def test_what_is_free_is_the_subnet_less_what_interfaces_hold(world):
    before = world.holdings().subnets["rg/vnet/s1"].free[Family.IPV4]
    world.assign("n1", replace(PREFIX, count=2))
    world.assign("n2", replace(SINGLE, count=3))

    assert before == 256 - 5 - 2
    assert world.holdings().subnets["rg/vnet/s1"].free[Family.IPV4] == before - 2 * 16 - 3


def test_subnets_are_read_once(world):
    world.holdings()
    world.holdings()

    assert world.cloud.count("Subnets_List") == 1


# --- scale sets -----------------------------------------------------------------------------------------------


def test_a_machine_of_a_scale_set_gets_single_addresses_and_gives_them_back(world):
    one, two, three = world.assign("n2", replace(SINGLE, count=3))
    assert world.interface("n2").cidrs == (one, two, three)

    world.release("n2", [one, three])
    world.release("n2", [one, three])

    assert world.interface("n2").cidrs == (two,)
    assert [str(a) for a in world.machine("n2").addresses] == ["10.0.1.12"]
    assert world.cloud.count("VirtualMachineScaleSetVMs_Update") == 2


def test_a_machine_of_a_scale_set_gets_no_blocks(world):
    assert world.holdings().rooms[world.machine("n2").id].lengths == {}
    with pytest.raises(Unsupported, match="machines of uniform scale sets get none"):
        world.assign("n2", PREFIX)
    assert world.cloud.count("VirtualMachineScaleSetVMs_Update") == 0


def test_a_full_subnet_is_exhausted_for_a_scale_set_too(world):
    free = [f"10.0.1.{k}" for k in range(4, 255) if k not in (11, 12)]
    world.cloud.add_interface("theirs", "s1", *free)

    with pytest.raises(Exhausted):
        world.assign("n2", SINGLE)
    assert world.interface("n2").cidrs == ()


# --- what is left behind --------------------------------------------------------------------------------------


def test_an_interface_that_a_machine_left_behind_is_relieved_of_ours_alone(world):
    marked = configurations.named("c1", "0011aabb", 2)
    world.cloud.add_interface(
        "left", "s1", "10.0.1.50", "10.0.1.51", "10.0.1.52", "10.0.1.53", names=("own", *marked, "theirs")
    )

    (left,) = (i for i in world.holdings().interfaces if i.ours)
    assert (left.id, left.instance, [str(c) for c in left.cidrs]) == (
        "rg/left",
        None,
        ["10.0.1.51/32", "10.0.1.52/32"],
    )
    world.provider.addresses.remove_interface(left)

    assert [c["name"] for c in configurations.of(world.body("left"))] == ["own", "theirs"]
    assert not any(i.ours for i in world.holdings().interfaces)


def test_a_machine_that_is_no_node_any_more_has_strays(world):
    world.assign("n1", PREFIX)

    (stray,) = (i for i in world.holdings("n2").interfaces if i.ours)

    assert stray.instance == world.machine("n1").id


def test_an_interface_that_is_gone_has_nothing_to_give_back(world):
    interface = world.interface("n2")
    gone = replace(interface, id=InterfaceId("rg/pool/99/nic"))

    world.provider.addresses.release(gone, [ip_network("10.0.1.20/32")])
