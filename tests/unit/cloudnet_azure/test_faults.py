"""Every fault on every verb: the right class, and nothing of anybody else's touched."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.azure.names import SUBSCRIPTION
from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.model.addresses import Family, TableId
from cloudnet.model.resources import Metadata, Node
from cloudnet.provider.api import NetworkInterface, RouteChange, Verb, Wanted
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
)

RT = TableId("rt-1")
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Network"
OK = None
WRITE = {
    Trouble.THROTTLE: Throttled,
    Trouble.PERMISSION: PermissionDenied,
    Trouble.AUTHENTICATION: PermissionDenied,
    Trouble.QUOTA: QuotaExceeded,
    Trouble.NOT_FOUND: NotFound,
    Trouble.CONFLICT: Conflict,
    Trouble.PRECONDITION: Conflict,
    Trouble.UNAVAILABLE: Unavailable,
    Trouble.INTERNAL: Unavailable,
    Trouble.OPERATION_FAILED: Unavailable,
    Trouble.TIMEOUT: Unavailable,
    Trouble.GARBAGE: Unavailable,
    Trouble.SLOW: OK,
}
GONE_IS_DONE = {**WRITE, Trouble.NOT_FOUND: OK}  # what is to be deleted and is gone is deleted
NO_OPERATION = {Trouble.OPERATION_FAILED: OK}  # there is none that could fail
AT_ONCE = {**WRITE, **NO_OPERATION}
READ = AT_ONCE
PASSING = (Trouble.THROTTLE, Trouble.UNAVAILABLE, Trouble.INTERNAL, Trouble.GARBAGE)
CARRIED_OUT = (Trouble.TIMEOUT, Trouble.GARBAGE, Trouble.SLOW)


def block(k):
    return ip_network(f"10.66.{k}.0/26")


@pytest.fixture
def found(provider, three):
    return provider.instances(three)


@pytest.fixture
def table(cloud, three):
    """Fill a table with two routes of others and five of ours."""
    cloud.add_route("rt-1", "theirs", "10.99.0.0/24", kind="Internet")
    cloud.add_route("rt-1", "by-hand", "10.98.0.0/24", address="10.0.3.11")
    for k in range(5):
        cloud.add_route("rt-1", f"cloudnet-c1-10.66.{k}.0-26", str(block(k)), address="10.0.2.11")


@pytest.fixture
def configured(cloud, three):
    """Give the interfaces of a machine and of one in a scale set an address of ours beside one of somebody else."""
    for kind, machine, k in (("networkInterfaces", three[0], 1), ("scaleSetMachine", three[1], 2)):
        found = cloud.arm.state.machines[machine.provider_id.removeprefix("azure://")]
        resource = cloud.arm.state.find(found.interface) or cloud.arm.state.find(found.id)
        held = resource.written["properties"]["ipConfigurations"]
        more = [
            {
                "name": name,
                "properties": {"privateIPAddress": f"10.0.{k}.{at}", "subnet": held[0]["properties"]["subnet"]},
            }
            for at, name in ((40, "cloudnet-c1-0011aabb-0"), (41, "theirs"))
        ]
        properties = {**resource.written["properties"], "ipConfigurations": [*held, *more]}
        cloud.arm.state.put(kind, resource.id, {**resource.written, "properties": properties})


def interface(hops, name):
    return NetworkInterface(hops[name].interface, hops[name].subnet, hops[name].id)


def assign(name):
    return lambda provider, hops: provider.addresses.assign(interface(hops, name), Wanted(Family.IPV4, 32, 2))


def release(name, address):
    return lambda provider, hops: provider.addresses.release(interface(hops, name), [ip_network(address)])


def write(verb, first, count):
    def act(provider, hops):
        hop = hops["n3" if verb is Verb.REPLACE else "n2"].next_hop
        results = provider.routes.apply([RouteChange(verb, RT, block(k), hop) for k in range(first, first + count)])
        errors = {type(r.error) for r in results}
        assert len(errors) == 1
        if error := results[0].error:
            raise error

    return act


def nodes_of(found):
    prefix = "azure:///subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines"
    return [Node(Metadata(name), provider_id=f"{prefix}/{name}") for name in found]


def forward(name):
    return lambda provider, hops: provider.allow_forwarding(hops[name])


VERBS = {
    "create": ("Routes_CreateOrUpdate", WRITE, write(Verb.CREATE, 8, 1)),
    "replace": ("Routes_CreateOrUpdate", WRITE, write(Verb.REPLACE, 0, 1)),
    "delete": ("Routes_Delete", GONE_IS_DONE, write(Verb.DELETE, 0, 1)),
    "create many": ("RouteTables_CreateOrUpdate", WRITE, write(Verb.CREATE, 8, 6)),
    "replace many": ("RouteTables_CreateOrUpdate", WRITE, write(Verb.REPLACE, 0, 5)),
    "delete many": ("RouteTables_CreateOrUpdate", GONE_IS_DONE, write(Verb.DELETE, 0, 5)),
    "read": ("RouteTables_List", READ, lambda provider, _: provider.routes.read()),
    "find": ("NetworkInterfaces_List", READ, lambda provider, hops: provider.instances(nodes_of(hops))),
    "forward": ("NetworkInterfaces_CreateOrUpdate", AT_ONCE, forward("n1")),
    "forward in a scale set": ("VirtualMachineScaleSetVMs_Update", WRITE, forward("n2")),
    "assign": ("NetworkInterfaces_CreateOrUpdate", AT_ONCE, assign("n1")),
    "assign in a scale set": ("VirtualMachineScaleSetVMs_Update", WRITE, assign("n2")),
    "give back": ("NetworkInterfaces_CreateOrUpdate", {**GONE_IS_DONE, **NO_OPERATION}, release("n1", "10.0.1.40")),
    "give back in a scale set": ("VirtualMachineScaleSetVMs_Update", GONE_IS_DONE, release("n2", "10.0.2.40")),
    "read subnets": ("Subnets_List", READ, lambda provider, hops: provider.addresses.read([*hops.values()])),
    "read an interface": ("NetworkInterfaces_Get", READ, assign("n1")),
    "read one of a scale set": (
        "NetworkInterfaces_GetVirtualMachineScaleSetNetworkInterface",
        {**READ, Trouble.NOT_FOUND: OK},
        release("n2", "10.0.2.40"),
    ),
}


@pytest.mark.usefixtures("table", "configured")
@pytest.mark.parametrize("trouble", Trouble, ids=lambda t: t.value)
@pytest.mark.parametrize("verb", VERBS)
def test_a_fault_has_its_class_and_touches_nothing_foreign(cloud, provider, found, verb, trouble):
    call, expected, act = VERBS[verb]
    before, held = cloud.routes(RT), others(cloud)
    cloud.simulator.faults.add(Fault(call, trouble, seconds=0.2))

    error = raised(act, provider, found)

    assert isinstance(error, expected[trouble] or type(None))
    after = cloud.routes(RT)
    for foreign in ("10.99.0.0/24", "10.98.0.0/24"):
        assert after[ip_network(foreign)] == before[ip_network(foreign)]
    if error is not None and trouble not in CARRIED_OUT:
        assert after == before
    assert others(cloud) == held
    assert "SECRET-TOKEN" not in str(error)


@pytest.mark.usefixtures("table", "configured")
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("trouble", PASSING, ids=lambda t: t.value)
def test_a_fault_that_passes_is_got_over(cloud, provider, found, verb, trouble):
    call, _, act = VERBS[verb]
    cloud.simulator.faults.add(Fault(call, trouble, times=1))

    assert raised(act, provider, found) is None


@pytest.mark.parametrize(
    "case",
    [
        ("RouteCountLimitReached", QuotaExceeded),
        ("AnythingQuotaAnything", QuotaExceeded),
        ("LinkedAuthorizationFailed", PermissionDenied),
        ("ReferencedResourceNotFound", NotFound),
        ("ConflictingRoute", Conflict),
        ("NobodyKnows", Unavailable),
    ],
)
@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("verb", ["create", "create many"])
def test_an_operation_that_fails_is_known_by_the_family_of_its_code(cloud, provider, found, verb, case):
    (call, _, act), (code, error) = VERBS[verb], case
    before = cloud.routes(RT)
    cloud.simulator.faults.add(Fault(call, Trouble.OPERATION_FAILED, code=code))

    assert type(raised(act, provider, found)) is error
    assert cloud.routes(RT) == before


def others(cloud):
    """Return which interface has which addresses that are not ours."""
    found = [r for kind in ("networkInterfaces", "scaleSetMachine") for r in cloud.arm.state.of(kind)]
    return {
        r.id: [
            c["properties"]["privateIPAddress"]
            for c in r.written["properties"]["ipConfigurations"]
            if not c["name"].startswith("cloudnet-")
        ]
        for r in found
    }


def raised(act, provider, found):
    try:
        act(provider, found)
    except ProviderError as error:
        return error
    return None


CLIENT_READS = {
    "RouteTables_List": lambda client: client.route_tables(),
    "RouteTables_Get": lambda client: client.route_table("rt-1"),
    "NetworkInterfaces_List": lambda client: client.interfaces("rg"),
    "NetworkInterfaces_Get": lambda client: client.interface("rg", "n1-nic"),
    "NetworkInterfaces_ListVirtualMachineScaleSetNetworkInterfaces": lambda client: client.scale_set_interfaces(
        "rg", "pool"
    ),
    "NetworkInterfaces_GetVirtualMachineScaleSetNetworkInterface": lambda client: client.scale_set_interface(
        "rg", "pool", "1", "nic"
    ),
    "VirtualMachines_List": lambda client: client.machines("rg"),
    "VirtualMachineScaleSetVMs_List": lambda client: client.scale_set_machines("rg", "pool"),
    "VirtualMachineScaleSetVMs_Get": lambda client: client.scale_set_machine("rg", "pool", "1"),
    "Subnets_List": lambda client: client.subnets("rg", "vnet"),
    "NetworkSecurityGroups_Get": lambda client: client.security_group("rg", "nodes"),
    "Permissions_ListForResourceGroup": lambda client: client.permissions("rg"),
}


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("trouble", [t for t in READ if READ[t] is not OK], ids=lambda t: t.value)
@pytest.mark.parametrize("call", CLIENT_READS)
def test_every_call_that_reads_has_every_fault_in_its_class(cloud, three, call, trouble):
    group = {"location": "westeurope", "properties": {}}
    cloud.arm.state.put("networkSecurityGroups", f"{GROUP}/networkSecurityGroups/nodes", group)
    client = cloud.client()
    assert CLIENT_READS[call](client)
    cloud.simulator.faults.add(Fault(call, trouble))

    with pytest.raises(ProviderError) as caught:
        CLIENT_READS[call](client)

    assert type(caught.value) is READ[trouble]
    assert "Microsoft." in str(caught.value)
    assert "SECRET-TOKEN" not in str(caught.value)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("trouble", [Trouble.THROTTLE, *CARRIED_OUT, Trouble.INTERNAL], ids=lambda t: t.value)
@pytest.mark.parametrize("verb", ["create", "create many", "forward in a scale set"])
def test_a_look_at_an_operation_that_fails_once_is_got_over(cloud, provider, found, verb, trouble):
    _, _, act = VERBS[verb]
    cloud.simulator.faults.add(Fault("Operations_Get", trouble, times=1, seconds=0.2))

    assert raised(act, provider, found) is None
