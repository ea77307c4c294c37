"""The SDK's messages into our values. Touches attributes of what it is given and imports nothing of the SDK."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any, TypeAlias

from cloudnet_gcp import names, wire

Message: TypeAlias = Any  # a message of google-cloud-compute; an absent field reads as empty, 0 or False

DEFAULT_MTU = 1460  # of a network that names none

_OTHER_HOPS = (
    ("next_hop_gateway", "gateway"),
    ("next_hop_ip", "address"),
    ("next_hop_ilb", "load balancer"),
    ("next_hop_vpn_tunnel", "VPN tunnel"),
    ("next_hop_peering", "peering"),
    ("next_hop_network", "subnets of network"),
    ("next_hop_interconnect_attachment", "interconnect attachment"),
    ("next_hop_hub", "hub"),
)


def route(message: Message) -> wire.Route:
    instance = str(message.next_hop_instance)
    kind, other = next(
        ((words, str(value)) for field, words in _OTHER_HOPS if (value := getattr(message, field, ""))), ("", "")
    )
    learned = message.route_type not in ("", "STATIC") or bool(message.next_hop_network or message.next_hop_peering)
    unknown = "" if instance else "a kind of next hop that cloudnet does not know"
    return wire.Route(
        name=message.name,
        destination=ip_network(message.dest_range),
        priority=message.priority,
        instance=instance,
        other="" if instance else f"{kind} {names.last(other)}" if kind else unknown,
        description=message.description,
        tags=tuple(message.tags),
        warnings=frozenset(str(w.code) for w in message.warnings),
        static=not learned,
    )


def machine(message: Message) -> wire.Machine:
    return wire.Machine(
        name=message.name,
        zone=names.last(message.zone),
        status=message.status,
        type=names.last(message.machine_type),
        can_ip_forward=message.can_ip_forward,
        nics=tuple(nic(each) for each in message.network_interfaces),
        tags=tuple(message.tags.items),
        accounts=tuple(account.email for account in message.service_accounts),
    )


def nic(message: Message) -> wire.Nic:
    return wire.Nic(
        name=message.name,
        network=message.network,
        subnetwork=message.subnetwork,
        addresses=tuple(filter(None, (message.network_i_p, message.ipv6_address))),
        fingerprint=message.fingerprint,
        aliases=tuple(wire.Alias(a.ip_cidr_range, a.subnetwork_range_name) for a in message.alias_ip_ranges),
    )


def subnet(message: Message) -> wire.Subnet:
    return wire.Subnet(
        message.ip_cidr_range,
        MappingProxyType({r.range_name: r.ip_cidr_range for r in message.secondary_ip_ranges}),
        message.name,
    )


def network(message: Message) -> wire.VpcNetwork:
    return wire.VpcNetwork(message.mtu or DEFAULT_MTU, message.firewall_policy)


def firewall(message: Message) -> wire.Firewall:
    inbound, allow = message.direction != "EGRESS", not message.denied
    far, near = message.source_ranges, message.destination_ranges
    return wire.Firewall(
        name=message.name,
        inbound=inbound,
        allow=allow,
        priority=message.priority,
        traffic=tuple(
            wire.Traffic(each.I_p_protocol, tuple(each.ports))
            for each in (message.allowed if allow else message.denied)
        ),
        remotes=tuple(far if inbound else near),
        locals=tuple(near if inbound else far),
        sources=frozenset((*message.source_tags, *message.source_service_accounts)),
        targets=frozenset((*message.target_tags, *message.target_service_accounts)),
        disabled=message.disabled,
    )


def operation(message: Message) -> wire.Operation:
    return wire.Operation(
        name=message.name,
        zone=names.last(message.zone),
        done=str(getattr(message.status, "name", message.status)) == "DONE",
        failure=failure(message),
    )


def failure(message: Message) -> wire.Failure | None:
    """Return why an operation failed: its first error, and the status that HTTP would have had."""
    found: Iterable[Message] = message.error.errors if message.error else ()
    first = next(iter(found), None)
    if first is None and not message.http_error_status_code:
        return None
    return wire.Failure(
        status=message.http_error_status_code,
        code=first.code if first else "",
        message=(first.message if first else "") or message.http_error_message,
    )


def quota(message: Message, metric: str) -> wire.Quota | None:
    return next((wire.Quota(q.limit, q.usage) for q in message.quotas if str(q.metric) == metric), None)
