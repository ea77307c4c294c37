"""EC2's query protocol on the wire: form fields in, XML out; and the one answer of Service Quotas. Pure."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from cloudnet.lab.clouds.ec2 import Entry, Refusal, Table, Vpcs
from cloudnet.lab.clouds.ec2_addresses import Given
from cloudnet.model.addresses import Family, TableId, family

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"
OWNER = "123456789012"
ROUTES_PER_TABLE_QUOTA = "L-93826ACB"  # Service Quotas: "Routes per route table" of service vpc

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/[^/]*/([^/]*)/([^/]*)/")


def fields(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def credential(authorization: str) -> tuple[str, str, str]:
    """Return access key, region and service of an AWS Signature Version 4 header; empty where it has none."""
    found = _CREDENTIAL.search(authorization)
    return (found[1], found[2], found[3]) if found else ("", "", "")


def error(refusal: Refusal) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Response><Errors><Error><Code>{escape(refusal.code)}</Code>"
        f"<Message>{escape(refusal.message)}</Message></Error></Errors>"
        f"<RequestID>{uuid4()}</RequestID></Response>"
    ).encode()


def replaced(environ: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a request like this one with other form fields."""
    body = urlencode(parameters).encode()
    return {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def interface_made(body: bytes) -> str:
    """Return the id in a CreateNetworkInterface answer."""
    root = ET.fromstring(body)  # noqa: S314 - moto's own answer
    return root.findtext(f"{{{NAMESPACE}}}networkInterface/{{{NAMESPACE}}}networkInterfaceId", "")


_LISTS = (
    ("ipv4PrefixSet", "ipv4Prefix", Family.IPV4, True),
    ("privateIpAddressesSet", "privateIpAddress", Family.IPV4, False),
    ("ipv6PrefixSet", "ipv6Prefix", Family.IPV6, True),
    ("ipv6AddressesSet", "ipv6Address", Family.IPV6, False),
)
"""Where botocore's model has prefixes and addresses of an interface: list, member."""


def with_addresses(body: bytes, given: Given) -> bytes:
    """Return a CreateNetworkInterface answer that shows what the interface was given besides its own address."""
    ET.register_namespace("", NAMESPACE)
    root = ET.fromstring(body)  # noqa: S314 - moto's own answer
    interface = root.find(f"{{{NAMESPACE}}}networkInterface")
    if interface is None:
        return body
    for name, member, version, prefixes in _LISTS:
        shelf = interface.find(f"{{{NAMESPACE}}}{name}")
        if shelf is None:
            shelf = ET.SubElement(interface, f"{{{NAMESPACE}}}{name}")
        for text in given.of(version, prefixes=prefixes):
            ET.SubElement(ET.SubElement(shelf, f"{{{NAMESPACE}}}item"), f"{{{NAMESPACE}}}{member}").text = text
    text_: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text_


_ASSIGNED = {
    "AssignPrivateIpAddresses": (
        ("assignedIpv4PrefixSet", "ipv4Prefix", Family.IPV4, True),
        ("assignedPrivateIpAddressesSet", "privateIpAddress", Family.IPV4, False),
    ),
    "AssignIpv6Addresses": (
        ("assignedIpv6PrefixSet", "", Family.IPV6, True),
        ("assignedIpv6Addresses", "", Family.IPV6, False),
    ),
}


def addresses(action: str, interface: str, given: Given) -> bytes:
    """Return the answer to a request that gave an interface addresses, or took some."""
    root = ET.Element(f"{action}Response", {"xmlns": NAMESPACE})
    ET.SubElement(root, "requestId").text = str(uuid4())
    ET.SubElement(root, "networkInterfaceId").text = interface
    ET.SubElement(root, "return").text = "true"
    for name, member, version, prefixes in _ASSIGNED.get(action, ()):
        shelf = ET.SubElement(root, name)
        for text in given.of(version, prefixes=prefixes):
            item = ET.SubElement(shelf, "item")
            (ET.SubElement(item, member) if member else item).text = text
    text_: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text_


def quota(value: int) -> bytes:
    """Return the answer to ServiceQuotas.GetServiceQuota for routes per route table."""
    return json.dumps(
        {
            "Quota": {
                "ServiceCode": "vpc",
                "ServiceName": "Amazon Virtual Private Cloud (Amazon VPC)",
                "QuotaCode": ROUTES_PER_TABLE_QUOTA,
                "QuotaName": "Routes per route table",
                "Value": float(value),
                "Unit": "None",
                "Adjustable": True,
                "GlobalQuota": False,
            }
        }
    ).encode()


def with_routes(body: bytes, tables: Mapping[TableId, Table], vpcs: Vpcs) -> bytes:
    """Return a DescribeRouteTables answer whose routes are those of ``tables``, with all that EC2 says of them."""
    ET.register_namespace("", NAMESPACE)
    root = ET.fromstring(body)  # noqa: S314 - moto's own answer
    for item in root.iterfind(f"{{{NAMESPACE}}}routeTableSet/{{{NAMESPACE}}}item"):
        name = TableId(item.findtext(f"{{{NAMESPACE}}}routeTableId", ""))
        routes = item.find(f"{{{NAMESPACE}}}routeSet")
        if routes is None or name not in tables:
            continue
        routes.clear()
        routes.extend(_item(entry, vpcs) for entry in tables[name].entries)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _item(entry: Entry, vpcs: Vpcs) -> ET.Element:
    v6 = family(entry.destination) is Family.IPV6
    target = None if entry.other else vpcs.target(entry)
    instance = entry.instance or (target.instance if target else None)
    interface = entry.interface or (target.id if target else None)
    item = ET.Element(f"{{{NAMESPACE}}}item")
    for name, value in (
        ("destinationIpv6CidrBlock" if v6 else "destinationCidrBlock", str(entry.destination)),
        (_kind(entry.other), entry.other),
        ("instanceId", instance),
        ("instanceOwnerId", OWNER if instance else None),
        ("networkInterfaceId", interface),
        ("origin", "CreateRouteTable" if entry.local else "CreateRoute"),
        ("state", "blackhole" if vpcs.black_hole(entry) else "active"),
    ):
        if value:
            ET.SubElement(item, f"{{{NAMESPACE}}}{name}").text = value
    return item


_KINDS = {
    "nat": "natGatewayId",
    "tgw": "transitGatewayId",
    "pcx": "vpcPeeringConnectionId",
    "eigw": "egressOnlyInternetGatewayId",
    "cagw": "carrierGatewayId",
}


def _kind(target: str) -> str:
    return _KINDS.get(target.partition("-")[0], "gatewayId")
