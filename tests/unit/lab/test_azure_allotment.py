"""The lab's Azure gives addresses as Azure does: aligned blocks, free ones, all or none."""

from __future__ import annotations

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.azure.allotment import PER_INTERFACE, allot
from cloudnet.lab.clouds.azure.pending import Operations
from cloudnet.lab.clouds.azure.state import INTERFACE, SCALE_SET_MACHINE, State
from cloudnet.lab.clouds.azure.words import Codes
from cloudnet.lab.clouds.simulator import Answer

SUBNET = "/s1"


@pytest.fixture
def state():
    made = State(ManualClock(), lambda: 400, Operations(1.0), Codes())
    made.put("subnets", SUBNET, {"properties": {"addressPrefix": "10.0.1.0/26"}})
    return made


def configuration(name, *, address=None, length=None, primary=False, subnet=SUBNET):
    properties = {"subnet": {"id": subnet}, "primary": primary}
    properties |= {"privateIPAddress": address} if address else {}
    properties |= {"privateIPAddressPrefixLength": length} if length else {}
    return {"name": name, "properties": properties}


def addresses(given):
    assert isinstance(given, list), given.body
    return [c["properties"]["privateIPAddress"] for c in given]


def code(given):
    assert isinstance(given, Answer)
    return given.status, given.body["error"]["code"]


def test_the_first_address_is_the_fifth_and_the_first_block_is_aligned(state):
    wanted = [configuration("own", primary=True), configuration("b", length=28), configuration("c")]

    assert addresses(allot(state, wanted, None)) == ["10.0.1.4", "10.0.1.16/28", "10.0.1.5"]


def test_blocks_go_around_what_interfaces_and_scale_sets_hold(state):
    for kind, name, address in ((INTERFACE, "a", "10.0.1.17"), (SCALE_SET_MACHINE, "b", "10.0.1.47")):
        held = [configuration("own", address=address)]
        state.put(kind, f"/{name}", {"properties": {"ipConfigurations": held}})

    assert code(allot(state, [configuration("x", length=28)], None)) == (400, "SubnetIsFull")
    assert addresses(allot(state, [configuration("x")], None)) == ["10.0.1.4"]


def test_the_last_block_of_a_subnet_holds_its_broadcast_address_and_is_not_given(state):
    wanted = [configuration(f"b{k}", length=28) for k in range(3)]

    assert addresses(allot(state, wanted[:2], None)) == ["10.0.1.16/28", "10.0.1.32/28"]
    assert code(allot(state, wanted, None)) == (400, "SubnetIsFull")


def test_what_was_given_stays_and_what_is_left_out_is_free_again(state):
    first = allot(state, [configuration("a"), configuration("b", length=28)], None)
    before = state.put(INTERFACE, "/nic", {"properties": {"ipConfigurations": first}})

    again = allot(state, [configuration("a"), configuration("c", length=28)], before)

    assert addresses(again) == ["10.0.1.4", "10.0.1.16/28"]


def test_an_address_in_use_is_refused(state):
    state.put(
        INTERFACE,
        "/nic",
        {"properties": {"ipConfigurations": [configuration("b", address="10.0.1.16/28", length=28)]}},
    )

    assert code(allot(state, [configuration("x", address="10.0.1.20")], None)) == (400, "PrivateIPAddressIsAllocated")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([configuration("a"), configuration("A")], "DuplicateResourceName"),
        ([configuration("a"), configuration("b", subnet="/s2")], "InvalidRequestFormat"),
        ([configuration("a", length=27)], "InvalidRequestFormat"),
        ([configuration("a", length=28, primary=True)], "InvalidRequestFormat"),
        (
            [configuration(f"c{k}") for k in range(PER_INTERFACE + 1)],
            "PrivateIPAddressesPerNetworkInterfaceLimitReached",
        ),
    ],
    ids=["one name twice", "two subnets", "another length", "a primary block", "too many"],
)
def test_what_azure_does_not_take_is_refused(state, wanted, said):
    assert code(allot(state, wanted, None)) == (400, said)
