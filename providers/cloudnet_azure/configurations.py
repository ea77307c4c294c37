"""The ip-configurations of an interface that hold addresses for pods, in our words and in Azure's. Pure.

An ip-configuration carries no tag, but it has a name. Ours are called ``cloudnet-CLUSTER-TOKEN-NUMBER``; the token is
drawn for each assignment, so that a write whose answer was lost is known again when it is tried again. Names are
compared as a whole, never by their beginning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import ip_network

from cloudnet.model.addresses import Family, Network, order
from cloudnet.provider.api import Wanted
from cloudnet_azure.client import Json

MARK = "cloudnet-"
LENGTHS = {Family.IPV4: 28}  # of the blocks that Azure gives ("Assign private IP address prefixes to VMs")
_SINGLE = 32


def named(cluster: str, token: str, count: int) -> tuple[str, ...]:
    """Return the names of the ip-configurations that one assignment makes."""
    return tuple(f"{MARK}{cluster}-{token}-{number}" for number in range(count))


def is_ours(configuration: Json, *, cluster: str) -> bool:
    """Tell whether an ip-configuration carries the mark of this cluster."""
    pattern = rf"{MARK}{re.escape(cluster)}-[0-9a-f]{{8}}-\d+"
    return re.fullmatch(pattern, str(configuration.get("name", "")), re.IGNORECASE) is not None


def of(interface: Json) -> list[Json]:
    """Return the ip-configurations of an interface as it is shown."""
    return list((interface.get("properties") or {}).get("ipConfigurations") or [])


def cidr(configuration: Json) -> Network | None:
    """Return what an ip-configuration holds, an address as a network of one; nothing before it has any.

    Azure shows a block as ``10.0.0.16/28`` or as an address inside with the length beside it. The state of the
    configuration does not count: while an interface is written all of them are ``Updating``, and deliver.
    """
    properties = configuration.get("properties") or {}
    text, _, length = str(properties.get("privateIPAddress") or "").partition("/")
    if not text:
        return None
    length = str(properties.get("privateIPAddressPrefixLength") or length)
    return ip_network(f"{text}/{length}" if length else text, strict=False)


def cidrs(found: Iterable[Json]) -> tuple[Network, ...]:
    """Return what ip-configurations hold, in order."""
    return tuple(sorted((held for each in found if (held := cidr(each))), key=order))


def added(properties: Json, names: Collection[str], wanted: Wanted, *, in_scale_set: bool) -> Json:
    """Return an interface's properties with ip-configurations of these names; those that stand stay as they are."""
    held = properties.get("ipConfigurations") or []
    standing = {str(c.get("name", "")).lower() for c in held}
    subnet = {"id": held[0]["properties"]["subnet"]["id"]}  # Azure has all of an interface in one subnet
    body = {"subnet": subnet, "primary": False, "privateIPAddressVersion": "IPv4"}
    if not in_scale_set:  # a scale set's machine is written by Microsoft.Compute, which has neither of the two
        body["privateIPAllocationMethod"] = "Dynamic"
        if wanted.length != _SINGLE:
            body["privateIPAddressPrefixLength"] = wanted.length
    made = [{"name": name, "properties": dict(body)} for name in names if name.lower() not in standing]
    return {**properties, "ipConfigurations": [*held, *made]} if made else properties


def removed(properties: Json, names: Collection[str]) -> Json:
    """Return an interface's properties without the ip-configurations of these names."""
    gone = {name.lower() for name in names}
    held = properties.get("ipConfigurations") or []
    kept = [c for c in held if str(c.get("name", "")).lower() not in gone]
    return {**properties, "ipConfigurations": kept} if len(kept) < len(held) else properties
