import dataclasses
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.controller.simulate import Simulation
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import BlockAffinity, Metadata, Node
from cloudnet.provider.memory import MemoryCloud, MemoryProvider
from cloudnet.store.memory import MemoryStore


def sweeps(page, *, nodes=4, hours=10, fit=100):
    """Return how often tables are read in ten idle hours, with so many routes or machines to a page."""
    clock, store = ManualClock(), MemoryStore()
    cloud = MemoryCloud(clock, limits=dict.fromkeys(Family, fit))
    cloud.add_table("rtb", subnets=["s"])
    for k in range(nodes):
        address = ip_address(f"10.0.0.{10 + k}")
        cloud.add_instance(f"i-{k}", "s", [address], forwarding=True)
        node = Node(Metadata(f"n{k}"), (ip_interface((address, 24)),), provider_id=f"memory:///z/i-{k}")
        store.create(node)
        store.create(BlockAffinity(Metadata(f"b{k}"), NodeName(f"n{k}"), ip_network(f"10.65.{k}.0/26")))
    provider = MemoryProvider(cloud, clock, l2_adjacent=False)
    provider._capabilities = dataclasses.replace(provider.capabilities, page=page)
    sim = Simulation(store, provider, clock)
    sim.run(4 * 3600.0)
    before = cloud.count("describe_tables")
    sim.run(hours * 3600.0)
    return cloud.count("describe_tables") - before


@pytest.mark.parametrize(("page", "expected"), [(0, 40), (4, 40), (2, 20), (1, 10)])
def test_who_needs_more_pages_is_read_less_often(page, expected):
    assert sweeps(page) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("page", "expected"), [(0, 60), (4, 60), (2, 40), (1, 20)])
def test_what_does_not_fit_is_looked_at_less_often_where_lists_have_pages(page, expected):
    assert sweeps(page, fit=2) == pytest.approx(expected, abs=2)
