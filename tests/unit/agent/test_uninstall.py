from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from cloudnet.agent.uninstall import remove_objects, remove_tables
from cloudnet.kernel import ruleset
from cloudnet.kernel.api import Family, FdbEntry, Link, Neighbour, Put, Route, Rule, VxlanDevice
from cloudnet.kernel.memory import MemoryKernel
from cloudnet.kernel.nft_memory import MemoryNft
from cloudnet.nat import plan as nat
from cloudnet.policy.elements import TABLE

DEVICE = VxlanDevice("vxlan.calico", 4096, 4789, "eth0", ip_address("10.0.1.11"), "66:00:00:00:00:01", 1450)
OBJECTS = (
    DEVICE,
    Neighbour("vxlan.calico", ip_address("10.65.2.0"), "66:00:00:00:00:02"),
    FdbEntry("vxlan.calico", "66:00:00:00:00:02", ip_address("10.0.2.11")),
    Route(ip_network("10.65.2.0/26"), "vxlan.calico", ip_address("10.65.2.0"), onlink=True),
    Rule(Family.IPV4, 100, 4793, protocol=17, dport=4793),
)


@pytest.fixture
def kernel():
    kernel = MemoryKernel([Link("eth0", 2, 1500, up=True)])
    assert not kernel.apply([Put(value) for value in OBJECTS])
    return kernel


def test_everything_of_ours_goes_and_is_counted(kernel):
    assert remove_objects(kernel) == len(OBJECTS)
    assert kernel.read() == {}
    assert "vxlan.calico" not in kernel.links()


def test_a_second_time_there_is_nothing_to_remove(kernel):
    remove_objects(kernel)

    assert remove_objects(kernel) == 0


def test_our_tables_go_and_nobody_elses():
    nft = MemoryNft()
    other = ruleset.Table("firewall")
    nft.run("".join(f"{ruleset.add_table(table)}\n" for table in (TABLE, nat.TABLE, other)))

    assert list(remove_tables(nft)) == ["cloudnet", "cloudnet_nat"]
    assert nft.tables() == frozenset({other})
    assert list(remove_tables(nft)) == []
