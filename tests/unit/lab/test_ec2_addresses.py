from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.lab.clouds import ec2_addresses
from cloudnet.lab.clouds.ec2 import Eni, Machine, Refusal, Subnet, Vpcs
from cloudnet.model.addresses import Family

V4, V6 = Family.IPV4, Family.IPV6
LIMITS = {V4: 10, V6: 10}
MACHINE = Machine("i-1", "n1", "running", ("eni-1",), type="m5.large", most_interfaces=2, most_addresses=LIMITS)


def eni(number, *, host, subnet="subnet-1", instance=None, index=0, prefixes=(), extra=()):
    addresses = (ip_address(f"10.0.1.{host}"), *(ip_address(f"10.0.1.{h}") for h in extra))
    return Eni(
        f"eni-{number}", subnet, "vpc-1", f"02::{number}", addresses, instance, index == 0 and bool(instance),
        prefixes=tuple(map(ip_network, prefixes)), attachment=f"attach-{number}" if instance else "", index=index,
    )  # fmt: skip


def vpcs(*interfaces, machine=MACHINE):
    own = eni(1, host=11, instance="i-1")
    every = {i.id: i for i in (own, *interfaces)}
    return Vpcs(
        subnets={
            "subnet-1": Subnet(
                "subnet-1", "s1", "vpc-1", ip_network("10.0.1.0/24"), None, "zone-a", ip_network("fd00::/64")
            ),
            "subnet-2": Subnet("subnet-2", "s2", "vpc-1", ip_network("10.0.2.0/28"), None, "zone-b"),
        },
        interfaces=every,
        machines={machine.id: machine},
    )


def assign(world, of=V4, interface="eni-1", **parameters):
    found = ec2_addresses.assign(of, {"NetworkInterfaceId": interface, **parameters}, world)
    return found.code if isinstance(found, Refusal) else [str(c) for c in found.cidrs]


def attach(world, interface="eni-2", instance="i-1", index="1"):
    parameters = {"NetworkInterfaceId": interface, "InstanceId": instance, "DeviceIndex": index}
    found = ec2_addresses.judge_attach(parameters, world, 0)
    return found.code if found else ""


def test_prefixes_are_aligned_and_wholly_free():
    world = vpcs(eni(2, host=40, prefixes=["10.0.1.16/28"]))

    assert assign(world, Ipv4PrefixCount="2") == ["10.0.1.48/28", "10.0.1.64/28"]


def test_single_addresses_are_the_lowest_free_ones_behind_those_that_the_vpc_keeps():
    assert assign(vpcs(), SecondaryPrivateIpAddressCount="3") == ["10.0.1.4/32", "10.0.1.5/32", "10.0.1.6/32"]


def test_an_ipv6_prefix_comes_out_of_the_subnets_range():
    assert assign(vpcs(), V6, Ipv6PrefixCount="1") == ["fd00::1:0:0:0/80"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Ipv4PrefixCount": "10"}, "PrivateIpAddressLimitExceeded"),
        ({"SecondaryPrivateIpAddressCount": "10"}, "PrivateIpAddressLimitExceeded"),
        ({}, "MissingParameter"),
    ],
)
def test_what_a_type_does_not_take_is_refused(parameters, code):
    assert assign(vpcs(), **parameters) == code


def test_prefixes_and_single_addresses_share_the_slots():
    full = eni(3, host=50, instance="i-1", index=1, prefixes=["10.0.1.64/28"] * 1, extra=range(100, 108))

    assert assign(vpcs(full), interface="eni-3", Ipv4PrefixCount="1") == "PrivateIpAddressLimitExceeded"


def test_a_type_that_is_not_nitro_takes_no_prefixes():
    assert assign(vpcs(machine=replace(MACHINE, nitro=False)), Ipv4PrefixCount="1") == "InvalidParameterValue"


def test_a_fragmented_subnet_has_single_addresses_and_no_prefix():
    holes = [eni(10 + k, host=16 * k + 7) for k in range(1, 16)]

    assert assign(vpcs(*holes), Ipv4PrefixCount="1") == "InsufficientCidrBlocks"
    assert assign(vpcs(*holes), SecondaryPrivateIpAddressCount="2") == ["10.0.1.4/32", "10.0.1.5/32"]


def test_a_full_subnet_has_neither():
    full = eni(2, host=4, extra=[h for h in range(5, 255) if h != 11])

    assert assign(vpcs(full), SecondaryPrivateIpAddressCount="1") == "InsufficientFreeAddressesInSubnet"
    assert ec2_addresses.create({"SubnetId": "subnet-1"}, vpcs(full)).code == "InsufficientFreeAddressesInSubnet"


def test_a_new_interface_has_an_address_of_its_own_beside_what_it_is_to_hold():
    made = ec2_addresses.create({"SubnetId": "subnet-1", "Ipv4PrefixCount": "1"}, vpcs())

    assert (str(made.own), [str(c) for c in made.cidrs]) == ("10.0.1.4", ["10.0.1.16/28"])


def test_what_an_interface_does_not_have_cannot_be_taken_and_nothing_is():
    world = vpcs(eni(2, host=40, prefixes=["10.0.1.64/28"]))
    asked = {"NetworkInterfaceId": "eni-2", "Ipv4Prefix.1": "10.0.1.64/28", "Ipv4Prefix.2": "10.0.1.80/28"}

    assert ec2_addresses.unassign(V4, asked, world).code == "InvalidParameterValue"


def test_an_interface_is_attached_to_a_machine_with_room():
    assert attach(vpcs(eni(2, host=40))) == ""


@pytest.mark.parametrize(
    ("world", "asked", "code"),
    [
        (vpcs(), {}, "InvalidNetworkInterfaceID.NotFound"),
        (vpcs(eni(2, host=40)), {"instance": "i-9"}, "InvalidInstanceID.NotFound"),
        (vpcs(eni(2, host=40)), {"index": "0"}, "InvalidParameterValue"),
        (vpcs(eni(2, host=40, instance="i-9", index=1)), {}, "InvalidNetworkInterface.InUse"),
        (vpcs(eni(2, host=40, subnet="subnet-2")), {}, "InvalidParameterValue"),
        (vpcs(eni(2, host=40, extra=range(100, 111))), {}, "PrivateIpAddressLimitExceeded"),
        (
            vpcs(eni(2, host=40), machine=replace(MACHINE, most_interfaces=1)),
            {},
            "AttachmentLimitExceeded",
        ),
    ],
    ids=["no interface", "no machine", "index taken", "in use", "other zone", "too many addresses", "too many"],
)
def test_an_interface_that_cannot_be_attached(world, asked, code):
    assert attach(world, **asked) == code


def test_a_primary_interface_is_never_detached():
    refusal = ec2_addresses.judge_detach({"AttachmentId": "attach-1"}, vpcs(), 0)

    assert refusal.code == "OperationNotPermitted"
    assert ec2_addresses.judge_detach({"AttachmentId": "attach-9"}, vpcs(), 0).code == "InvalidAttachmentID.NotFound"
