"""Every trouble of every call: the right class, nothing foreign touched, no secret told."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cloudnet.lab.clouds.ibm.contract import ENDPOINTS
from cloudnet.lab.clouds.trouble import Trouble
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
)

FOREIGN = ip_network("10.99.0.0/24")
CLASSES = {
    Trouble.THROTTLE: Throttled,
    Trouble.PERMISSION: PermissionDenied,
    Trouble.AUTHENTICATION: PermissionDenied,
    Trouble.QUOTA: QuotaExceeded,
    Trouble.NOT_FOUND: NotFound,
    Trouble.CONFLICT: Conflict,
    Trouble.PRECONDITION: Conflict,
    Trouble.UNAVAILABLE: Unavailable,
    Trouble.INTERNAL: Unavailable,
    Trouble.GARBAGE: Unavailable,
    Trouble.SLOW: Unavailable,
    Trouble.TIMEOUT: Unavailable,
}
"""Operations that fail later are missing: IBM's show in a route's state, and ``test_routes`` has them."""

CALLS = {
    "list_instances": lambda client, _: client.instances(),
    "list_virtual_network_interfaces": lambda client, _: client.virtual_network_interfaces(),
    "list_instance_network_interfaces": lambda client, at: client.network_interfaces(at.machine),
    "list_subnets": lambda client, _: client.subnets(),
    "list_security_groups": lambda client, _: client.security_groups(),
    "list_vpc_routing_tables": lambda client, _: client.routing_tables(),
    "list_vpc_routing_table_routes": lambda client, at: client.routes(at.table),
    "create_vpc_routing_table_route": lambda client, at: client.create_route(at.table, at.new),
    "update_vpc_routing_table_route": lambda client, at: client.replace_next_hop(at.table, at.route, "10.0.3.12"),
    "delete_vpc_routing_table_route": lambda client, at: client.delete_route(at.table, at.route),
    "update_virtual_network_interface": lambda client, at: client.allow_spoofing(at.interface),
    "update_instance_network_interface": lambda client, at: client.allow_spoofing_of_old(at.machine, at.interface),
}


class Place:
    """What the calls are about: the first table, a route of ours in it, a machine and its interface."""

    def __init__(self, vpc):
        self.table = vpc.tables["t-a"]
        self.route = vpc.put(None).id
        machine = next(iter(vpc.state.machines.values()))
        self.machine, self.interface = machine.id, machine.interface
        self.new = {
            "destination": "10.65.77.0/26",
            "zone": {"name": "eu-de-1"},
            "action": "deliver",
            "next_hop": {"address": "10.0.1.11"},
            "name": "cloudnet-new",
        }


def test_every_call_is_in_the_matrix():
    assert set(CALLS) == {endpoint.name for endpoint in ENDPOINTS}


@pytest.mark.parametrize("trouble", CLASSES, ids=lambda t: t.value)
@pytest.mark.parametrize("call", CALLS)
def test_every_trouble_of_every_call_lands_in_its_class(vpc, call, trouble):
    place = Place(vpc)
    foreign = vpc.put("theirs", FOREIGN)
    vpc.fail(call, trouble)

    with pytest.raises(ProviderError) as caught:
        CALLS[call](vpc.provider._client, place)

    assert type(caught.value) is CLASSES[trouble]
    assert call in str(caught.value)
    assert "the-token" not in str(caught.value)
    assert foreign in vpc.held()


def test_no_trouble_is_forgotten():
    assert set(CLASSES) == set(Trouble) - {Trouble.OPERATION_FAILED}
