from ipaddress import ip_address, ip_interface

import pytest

from cloudnet.model.resources import Metadata, Node
from cloudnet_gcp.config import GcpConfig
from cloudnet_gcp.instances import NAMES_A_FILTER, RUNNING, find
from cloudnet_gcp.wire import Machine, Nic

CONFIG = GcpConfig("p", "vpc", "c", mtu=8896)
NETWORK = "https://x/projects/p/global/networks/vpc"


def machine(name="vm", zone="z", status="RUNNING", nics=None, *, forwards=True):
    return Machine(name, zone, status, "n2-standard-4", forwards, nics if nics is not None else (nic(),))


def nic(name="nic0", address="10.0.0.1", network=NETWORK, six=""):
    return Nic(name, network, "https://x/projects/p/regions/r/subnetworks/s", tuple(filter(None, (six, address))))


def node(name="n", address="10.0.0.1/24", provider_id="gce://p/z/vm"):
    return Node(Metadata(name), (ip_interface(address),), provider_id=provider_id)


class Client:
    """Answers with its machines and remembers what was asked for."""

    def __init__(self, *machines):
        self.machines_ = machines
        self.asked = []

    def machines(self, wanted=()):
        self.asked.append(list(wanted))
        return [m for m in self.machines_ if not wanted or m.name in wanted]


def test_a_machine_is_told_whole():
    (found,) = find(Client(machine(nics=(nic(six="fd00::1"),))), [node()], CONFIG).values()

    assert (found.id, found.interface, found.subnet, found.zone) == ("z/vm", "z/vm/nic0", "r/s", "z")
    assert found.addresses == (ip_address("10.0.0.1"), ip_address("fd00::1"))
    assert (found.running, found.forwarding, found.mtu, found.type) == (True, True, 8896, "n2-standard-4")


@pytest.mark.parametrize(
    "status", ["TERMINATED", "STOPPING", "SUSPENDED", "STOPPED", "PENDING_STOP", "DEPROVISIONING"]
)
def test_a_stopped_machine_does_not_run(status):
    (found,) = find(Client(machine(status=status)), [node()], CONFIG).values()

    assert not found.running
    assert status not in RUNNING


def test_a_namesake_in_another_zone_is_another_machine():
    assert find(Client(machine(zone="y")), [node()], CONFIG) == {}


def test_a_node_without_a_provider_id_is_found_by_its_address():
    client = Client(machine("other", nics=(nic(address="10.0.0.9"),)), machine())

    found = find(client, [node(provider_id="")], CONFIG)

    assert found["n"].id == "z/vm"
    assert client.asked == [[]]


def test_a_machine_with_several_interfaces_is_taken_by_the_one_with_the_nodes_address():
    nics = (nic(address="10.0.5.5"), nic("nic1"), nic("nic2", "10.0.0.1", network="https://x/other"))

    (found,) = find(Client(machine(nics=nics)), [node()], CONFIG).values()

    assert found.interface == "z/vm/nic1"


def test_a_machine_outside_the_network_is_none_of_ours():
    assert find(Client(machine(nics=(nic(network="https://x/other"),))), [node()], CONFIG) == {}


def test_few_nodes_are_asked_for_by_name_and_many_are_not():
    few, many = Client(), Client()

    find(few, [node(f"n{k}", provider_id=f"gce://p/z/vm-{k}") for k in range(NAMES_A_FILTER)], CONFIG)
    find(many, [node(f"n{k}", provider_id=f"gce://p/z/vm-{k}") for k in range(NAMES_A_FILTER + 1)], CONFIG)

    assert len(few.asked[0]) == NAMES_A_FILTER
    assert many.asked == [[]]


def test_nodes_of_another_cloud_cost_no_call():
    client = Client()

    assert find(client, [node(provider_id="aws:///z/i-1")], CONFIG) == {}
    assert client.asked == []
