"""The spelling of our own kind CloudAddresses, group ``cloudnet.io/v1``."""

from __future__ import annotations

from typing import Literal

import msgspec

from cloudnet.model import wire
from cloudnet.model.addresses import Family, InterfaceId, SubnetId
from cloudnet.model.cloud_addresses import CloudAddresses, CloudInterface, CloudPrefix, PrefixState
from cloudnet.model.own import API_VERSION, counted
from cloudnet.model.resources import Cause


class _Interface(msgspec.Struct, omit_defaults=True):
    id: str
    number: int = 0
    mac: str = ""
    subnet: str = ""
    addresses: list[str] = []


class _Prefix(msgspec.Struct, omit_defaults=True, gc=False):
    cidr: str
    interface: str
    state: PrefixState = PrefixState.HELD
    since: float | None = None


class _Capacity(msgspec.Struct, omit_defaults=True, gc=False):
    ipv4: int = 0
    ipv6: int = 0


class _Status(msgspec.Struct, omit_defaults=True):
    interfaces: list[_Interface] = []
    prefixes: list[_Prefix] = []
    summary: str = ""  # of the prefixes
    capacity: _Capacity = msgspec.field(default_factory=_Capacity)
    cause: Cause = Cause.NONE
    detail: str = ""


class CloudAddressesDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A CloudAddresses on the wire."""

    metadata: wire.Meta
    status: _Status = msgspec.field(default_factory=_Status)
    api_version: Literal["cloudnet.io/v1"] | None = None
    kind: Literal["CloudAddresses"] | None = None


def read_cloud_addresses(document: CloudAddressesDocument) -> CloudAddresses:
    status, found = document.status, document.status.capacity
    capacity = {f: n for f, n in ((Family.IPV4, found.ipv4), (Family.IPV6, found.ipv6)) if n}
    return CloudAddresses(
        meta=wire.metadata(document.metadata),
        interfaces=tuple(_read_interface(item, i) for i, item in enumerate(status.interfaces)),
        prefixes=tuple(_read_prefix(item, i) for i, item in enumerate(status.prefixes)),
        capacity=capacity,
        cause=status.cause,
        detail=status.detail,
    )


def _read_interface(item: _Interface, index: int) -> CloudInterface:
    path = f"status.interfaces[{index}].addresses"
    addresses = tuple(wire.interface(text, f"{path}[{i}]") for i, text in enumerate(item.addresses))
    return CloudInterface(InterfaceId(item.id), item.number, item.mac, SubnetId(item.subnet), addresses)


def _read_prefix(item: _Prefix, index: int) -> CloudPrefix:
    cidr = wire.network(item.cidr, f"status.prefixes[{index}].cidr")
    return CloudPrefix(cidr, InterfaceId(item.interface), item.state, item.since or 0.0)


def write_cloud_addresses(value: CloudAddresses) -> CloudAddressesDocument:
    return CloudAddressesDocument(
        metadata=wire.meta(value.meta),
        status=_Status(
            interfaces=[
                _Interface(i.id, i.number, i.mac, i.subnet, [str(a) for a in i.addresses]) for i in value.interfaces
            ],
            prefixes=[_Prefix(str(p.cidr), p.interface, p.state, p.since or None) for p in value.prefixes],
            summary=counted(p.state.value for p in value.prefixes),
            capacity=_Capacity(value.capacity.get(Family.IPV4, 0), value.capacity.get(Family.IPV6, 0)),
            cause=value.cause,
            detail=value.detail,
        ),
        api_version=API_VERSION,
        kind="CloudAddresses",
    )
