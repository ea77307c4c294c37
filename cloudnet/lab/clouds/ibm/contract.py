"""The calls of the VPC API that the lab answers to, named as the SDK's methods. Pure.

IBM publishes no machine-readable description outside its SDK, so a test holds this table against the SDK's source.
The SDK names no statuses; those of success here follow the API's prose, and the plugin depends on none of them.
"""

from __future__ import annotations

from cloudnet.lab.clouds.contract import Contract, Endpoint

PREFIX = "/v1"
_ROUTES = "/vpcs/{vpc_id}/routing_tables/{routing_table_id}/routes"

ENDPOINTS = (
    Endpoint("list_instances", "GET", "/instances", bucket="read"),
    Endpoint("list_virtual_network_interfaces", "GET", "/virtual_network_interfaces", bucket="read"),
    Endpoint("list_instance_network_interfaces", "GET", "/instances/{instance_id}/network_interfaces", bucket="read"),
    Endpoint("list_subnets", "GET", "/subnets", bucket="read"),
    Endpoint("list_security_groups", "GET", "/security_groups", bucket="read"),
    Endpoint("list_vpc_routing_tables", "GET", "/vpcs/{vpc_id}/routing_tables", bucket="read"),
    Endpoint("list_vpc_routing_table_routes", "GET", _ROUTES, bucket="read"),
    Endpoint("create_vpc_routing_table_route", "POST", _ROUTES, frozenset({201}), bucket="write"),
    Endpoint("update_vpc_routing_table_route", "PATCH", _ROUTES + "/{id}", bucket="write"),
    Endpoint("delete_vpc_routing_table_route", "DELETE", _ROUTES + "/{id}", frozenset({202, 204}), bucket="write"),
    Endpoint("update_virtual_network_interface", "PATCH", "/virtual_network_interfaces/{id}", bucket="write"),
    Endpoint(
        "update_instance_network_interface",
        "PATCH",
        "/instances/{instance_id}/network_interfaces/{id}",
        bucket="write",
    ),
)

ROUTE_WRITES = frozenset(e.name for e in ENDPOINTS if e.name.endswith("_vpc_routing_table_route"))


def contract() -> Contract:
    """Return the contract, with the paths as they come over the wire."""
    return Contract(Endpoint(e.name, e.method, PREFIX + e.path, e.statuses, e.bucket) for e in ENDPOINTS)
