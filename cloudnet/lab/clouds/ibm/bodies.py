"""The VPC's things as the API shows them: every field that the SDK's models require, and no other. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from cloudnet.lab.clouds.ibm.state import Interface, Machine, Route, Rule, SecurityGroup, Subnet, Table, Vpc

Body: TypeAlias = dict[str, Any]  # JSON

ACCOUNT = "a/aa2432b1fa4d4ace891e9b80fc104e34"
MADE = "2026-01-01T00:00:00.000Z"
_GROUP = "fee82deba12e4c0fb69c3b09d1f12345"


def link(vpc: Vpc, path: str) -> str:
    return f"https://{vpc.region}.iaas.cloud.ibm.com/v1{path}"


def crn(vpc: Vpc, kind: str, name: str) -> str:
    return f"crn:v1:bluemix:public:is:{vpc.region}:{ACCOUNT}::{kind}:{name}"


def zone(vpc: Vpc, name: str) -> Body:
    return {"href": link(vpc, f"/regions/{vpc.region}/zones/{name}"), "name": name}


def group() -> Body:
    href = f"https://resource-controller.cloud.ibm.com/v2/resource_groups/{_GROUP}"
    return {"href": href, "id": _GROUP, "name": "Default"}


def vpc_reference(vpc: Vpc) -> Body:
    return {
        "crn": crn(vpc, "vpc", vpc.id),
        "href": link(vpc, f"/vpcs/{vpc.id}"),
        "id": vpc.id,
        "name": "lab",
        "resource_type": "vpc",
    }


def subnet_reference(vpc: Vpc, subnet: Subnet) -> Body:
    return {
        "crn": crn(vpc, "subnet", subnet.id),
        "href": link(vpc, f"/subnets/{subnet.id}"),
        "id": subnet.id,
        "name": subnet.name,
        "resource_type": "subnet",
    }


def table_reference(vpc: Vpc, table: Table) -> Body:
    return {
        "crn": crn(vpc, "vpc-routing-table", table.id),
        "href": link(vpc, f"/vpcs/{vpc.id}/routing_tables/{table.id}"),
        "id": table.id,
        "name": table.name,
        "resource_type": "routing_table",
    }


def subnet(vpc: Vpc, of: Subnet) -> Body:
    return {
        **subnet_reference(vpc, of),
        "available_ipv4_address_count": of.cidr.num_addresses - 5,
        "created_at": MADE,
        "ip_version": "ipv4",
        "ipv4_cidr_block": str(of.cidr),
        "network_acl": {
            "crn": crn(vpc, "network-acl", "r010-acl"),
            "href": link(vpc, "/network_acls/r010-acl"),
            "id": "r010-acl",
            "name": "acl",
        },
        "resource_group": group(),
        "routing_table": table_reference(vpc, vpc.tables[of.table]),
        "status": "available",
        "total_ipv4_address_count": of.cidr.num_addresses,
        "vpc": vpc_reference(vpc),
        "zone": zone(vpc, of.zone),
    }


def table(vpc: Vpc, of: Table, now: float) -> Body:
    path = f"/vpcs/{vpc.id}/routing_tables/{of.id}"
    return {
        **table_reference(vpc, of),
        "accept_routes_from": [],
        "advertise_routes_to": [],
        "created_at": MADE,
        "is_default": of.default,
        "lifecycle_state": "stable",
        "resource_group": group(),
        "route_direct_link_ingress": False,
        "route_internet_ingress": False,
        "route_transit_gateway_ingress": False,
        "route_vpc_zone_ingress": False,
        "routes": [
            {"href": link(vpc, f"{path}/routes/{r.id}"), "id": r.id, "name": r.name} for r in of.standing(now)
        ],
        "subnets": [subnet_reference(vpc, s) for s in vpc.subnets.values() if s.table == of.id],
    }


def route(vpc: Vpc, table_id: str, of: Route, now: float) -> Body:
    body: Body = {
        "action": of.action,
        "advertise": of.advertise,
        "created_at": MADE,
        "destination": str(of.destination),
        "href": link(vpc, f"/vpcs/{vpc.id}/routing_tables/{table_id}/routes/{of.id}"),
        "id": of.id,
        "lifecycle_state": of.lifecycle(now),
        "name": of.name,
        "next_hop": {"address": str(of.address)},
        "origin": "service" if of.service else "user",
        "priority": of.priority,
        "zone": zone(vpc, of.zone),
    }
    if of.service:
        body["creator"] = {
            "crn": crn(vpc, "vpn", "r010-vpn"),
            "href": link(vpc, "/vpn_gateways/r010-vpn"),
            "id": "r010-vpn",
            "name": "vpn",
            "resource_type": "vpn_gateway",
        }
    return body


def group_reference(vpc: Vpc, of: SecurityGroup) -> Body:
    return {
        "crn": crn(vpc, "security-group", of.id),
        "href": link(vpc, f"/security_groups/{of.id}"),
        "id": of.id,
        "name": of.name,
    }


def security_group(vpc: Vpc, of: SecurityGroup) -> Body:
    return {
        **group_reference(vpc, of),
        "created_at": MADE,
        "resource_group": group(),
        "rules": [_rule(vpc, of, number, rule) for number, rule in enumerate(of.rules)],
        "targets": [],
        "vpc": vpc_reference(vpc),
    }


def _rule(vpc: Vpc, of: SecurityGroup, number: int, rule: Rule) -> Body:
    name = f"{of.id}-{number}"
    known = vpc.groups.get(rule.remote)
    body: Body = {
        "direction": rule.direction,
        "href": link(vpc, f"/security_groups/{of.id}/rules/{name}"),
        "id": name,
        "ip_version": "ipv4",
        "local": {"cidr_block": "0.0.0.0/0"},
        "name": f"rule-{number}",
        "protocol": rule.protocol,
        "remote": group_reference(vpc, known) if known else {"cidr_block": rule.remote},
        "resource_type": "security_group_rule",
    }
    if rule.ports is not None:
        body["port_min"], body["port_max"] = rule.ports
    return body


def reserved_address(vpc: Vpc, interface: Interface) -> Body:
    name = f"02b7-{uuid.uuid5(uuid.NAMESPACE_OID, str(interface.address))}"
    return {
        "address": str(interface.address),
        "href": link(vpc, f"/subnets/{interface.subnet}/reserved_ips/{name}"),
        "id": name,
        "name": f"{interface.name}-ip",
        "resource_type": "subnet_reserved_ip",
    }


def _placed(vpc: Vpc, interface: Interface) -> Body:
    """Return what every view of an interface has."""
    return {
        "name": interface.name,
        "primary_ip": reserved_address(vpc, interface),
        "subnet": subnet_reference(vpc, vpc.subnets[interface.subnet]),
    }


def virtual_interface(vpc: Vpc, of: Interface) -> Body:
    return {
        **_placed(vpc, of),
        "allow_ip_spoofing": of.spoofing,
        "auto_delete": True,
        "created_at": MADE,
        "crn": crn(vpc, "virtual-network-interface", of.id),
        "enable_infrastructure_nat": True,
        "href": link(vpc, f"/virtual_network_interfaces/{of.id}"),
        "id": of.id,
        "ips": [reserved_address(vpc, of)],
        "lifecycle_state": "stable",
        "mac_address": of.mac,
        "protocol_state_filtering_mode": "auto",
        "resource_group": group(),
        "resource_type": "virtual_network_interface",
        "security_groups": [group_reference(vpc, vpc.groups[g]) for g in of.groups],
        "vpc": vpc_reference(vpc),
        "zone": zone(vpc, vpc.subnets[of.subnet].zone),
    }


def old_interface(vpc: Vpc, machine: Machine, of: Interface) -> Body:
    """Return an interface from before virtual network interfaces, as its own list shows it."""
    return {
        **_old_reference(vpc, machine, of),
        "allow_ip_spoofing": of.spoofing,
        "created_at": MADE,
        "floating_ips": [],
        "port_speed": 16000,
        "security_groups": [group_reference(vpc, vpc.groups[g]) for g in of.groups],
        "status": "available",
        "type": "primary",
    }


def _old_reference(vpc: Vpc, machine: Machine, of: Interface) -> Body:
    name = machine.attachment or of.id  # with an attachment this is a shadow of it
    return {
        **_placed(vpc, of),
        "href": link(vpc, f"/instances/{machine.id}/network_interfaces/{name}"),
        "id": name,
        "resource_type": "network_interface",
    }


def _attachment(vpc: Vpc, machine: Machine, of: Interface) -> Body:
    return {
        **_placed(vpc, of),
        "href": link(vpc, f"/instances/{machine.id}/network_attachments/{machine.attachment}"),
        "id": machine.attachment,
        "resource_type": "instance_network_attachment",
        "virtual_network_interface": {
            "crn": crn(vpc, "virtual-network-interface", of.id),
            "href": link(vpc, f"/virtual_network_interfaces/{of.id}"),
            "id": of.id,
            "name": of.name,
            "resource_type": "virtual_network_interface",
        },
    }


def machine(vpc: Vpc, of: Machine) -> Body:
    interface = vpc.interfaces[of.interface]
    shadow = _old_reference(vpc, of, interface)
    body: Body = {
        **_FIXED,
        "boot_volume_attachment": {
            "href": link(vpc, f"/instances/{of.id}/volume_attachments/{of.id}-boot"),
            "id": f"{of.id}-boot",
            "name": "boot",
        },
        "crn": crn(vpc, "instance", of.id),
        "href": link(vpc, f"/instances/{of.id}"),
        "id": of.id,
        "name": of.name,
        "network_attachments": [_attachment(vpc, of, interface)] if of.attachment else [],
        "network_interfaces": [shadow],
        "primary_network_interface": shadow,
        "profile": {
            "href": link(vpc, "/instance/profiles/bx2-4x16"),
            "name": "bx2-4x16",
            "resource_type": "instance_profile",
        },
        "resource_group": group(),
        "status": of.status,
        "vpc": vpc_reference(vpc),
        "zone": zone(vpc, vpc.subnets[interface.subnet].zone),
    }
    if of.attachment:
        body["primary_network_attachment"] = body["network_attachments"][0]
    return body


_FIXED: Mapping[str, Any] = {  # JSON: what the lab has no say in
    "availability": {"class": "standard"},
    "availability_policy": {"host_failure": "restart", "preemption": "stop"},
    "bandwidth": 8000,
    "cluster_network_attachments": [],
    "confidential_compute_mode": "disabled",
    "created_at": MADE,
    "disks": [],
    "enable_secure_boot": False,
    "health_reasons": [],
    "health_state": "ok",
    "lifecycle_reasons": [],
    "lifecycle_state": "stable",
    "memory": 16,
    "metadata_service": {"enabled": False, "protocol": "http", "response_hop_limit": 1},
    "reservation_affinity": {"policy": "disabled", "pool": []},
    "resource_type": "instance",
    "software_attachments": [],
    "startable": True,
    "status_reasons": [],
    "threads_per_core": 2,
    "total_network_bandwidth": 6000,
    "total_volume_bandwidth": 2000,
    "vcpu": {"architecture": "amd64", "count": 4, "manufacturer": "intel", "percentage": 100},
    "volume_attachments": [],
    "volume_bandwidth_qos_mode": "weighted",
}


def page(vpc: Vpc, path: str, name: str, items: Sequence[Body], *, start: str, limit: int) -> Body:
    """Return one page of a list; ``start`` is the id that it begins with, empty for the first."""
    at = next((i for i, item in enumerate(items) if item["id"] == start), 0)
    shown, rest = items[at : at + limit], items[at + limit :]
    body: Body = {
        "first": {"href": f"{link(vpc, path)}?limit={limit}"},
        "limit": limit,
        name: list(shown),
        "total_count": len(items),
    }
    if rest:
        body["next"] = {"href": f"{link(vpc, path)}?limit={limit}&start={rest[0]['id']}"}
    return body


def error(code: str, message: str, *, trace: str, target: Body | None = None) -> Body:
    first: Body = {
        "code": code,
        "message": message,
        "more_info": "https://cloud.ibm.com/docs/vpc?topic=vpc-rias-error",
    }
    if target:
        first["target"] = target
    return {"errors": [first], "trace": trace}
