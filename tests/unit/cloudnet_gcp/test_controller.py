"""The controller with this plugin: what it says of machines that may not forward, and when it reads."""

from ipaddress import ip_network

from cloudnet.controller.simulate import Simulation
from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import BlockAffinity, Cause, CloudNode, CloudRoute, Metadata, RouteState
from cloudnet.store.memory import MemoryStore


def cluster(world):
    """Return a controller whose nodes have a block each; ``n2`` may not forward."""
    store = MemoryStore()
    for k, node in enumerate(world.nodes, start=1):
        store.create(node)
        block = ip_network(f"10.65.{k}.0/26")
        store.create(BlockAffinity(Metadata(f"b{k}"), NodeName(node.meta.name), block))
    return Simulation(store, world.provider, world.clock), store


def states(store):
    routes = (r.value for r in store.list(CloudRoute).items)
    return {str(r.cidr): (r.tables[0].state, r.tables[0].cause) for r in routes}


def test_a_machine_that_can_never_forward_is_named_before_anything_is_written(world):
    sim, store = cluster(world)
    world.google.simulator.faults.add(Fault("compute.routes.insert", Trouble.UNAVAILABLE))

    sim.run(1)

    assert states(store)["10.65.2.0/26"] == (RouteState.REFUSED, Cause.UNSUPPORTED)
    problem = store.get(CloudNode, "n2").value.problem
    assert "instance vm-2 in here-a was made without canIpForward" in problem
    assert "--can-ip-forward" in problem
    assert problem in sim.said


def test_no_route_ever_leads_to_it(world):
    sim, store = cluster(world)

    sim.run(30)

    assert states(store) == {
        "10.65.1.0/26": (RouteState.PROGRAMMED, Cause.NONE),
        "10.65.2.0/26": (RouteState.REFUSED, Cause.UNSUPPORTED),
        "10.65.3.0/26": (RouteState.PROGRAMMED, Cause.NONE),
    }
    assert {str(d) for d in world.truth(None)} == {"10.65.1.0/26", "10.65.3.0/26"}


def test_an_idle_hour_costs_nine_calls(world):
    sim, _ = cluster(world)
    sim.run(60)
    before = world.google.simulator.counts.total()

    sim.run(3600)

    assert world.google.simulator.counts.total() - before <= 9
