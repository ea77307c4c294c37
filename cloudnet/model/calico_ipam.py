"""Calico's spelling of the kinds for address management: IPAMBlock, IPAMHandle, IPAMConfiguration, IPReservation.

Sources: Calico ``api/pkg/apis/projectcalico/v3/{ipamblocks,ipamhandle,ipamconfig,ipreservation}.go`` and
``libcalico-go/lib/backend/model/block.go``. A block that could give one address to two owners is refused here,
so that nobody hands anything out of it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import wire
from cloudnet.model.addresses import Family, NodeName, family
from cloudnet.model.calico import API_VERSION
from cloudnet.model.resources import (
    Affinity,
    AllocationAttribute,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    IPReservation,
)

CONFIGURATION: Final = "default"
"""Name of the one IPAMConfiguration."""

_SHORTEST = {Family.IPV4: 20, Family.IPV6: 116}  # 4096 addresses, the largest block that a pool may ask for

Time = Annotated[datetime, msgspec.Meta(tz=True)]


def handle_name(handle: str) -> str:
    """Return the object name of a handle: Kubernetes allows no capitals. Calico ``ipam_handle.go``."""
    return handle.lower()


# --- IPAMBlock ----------------------------------------------------------------------------------------------


class _Attribute(msgspec.Struct, omit_defaults=True):
    handle_id: str | None = None
    secondary: dict[str, str] | None = None
    alternate_owner: dict[str, str] | None = msgspec.field(name="alternateOwnerAttrs", default=None)
    released_at: Time | None = msgspec.field(name="releasedAt", default=None)


# Calico's schema wants allocations, attributes, unallocated and strictAffinity also when they are empty. The
# default None keeps them in the document, for what is written is never None.
class _BlockSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    cidr: str
    affinity: str | None = None
    affinity_claim_time: Time | None = None
    allocations: list[int | None] | None = None
    unallocated: list[int] | None = None
    attributes: list[_Attribute] | None = None
    sequence_number: int = 0
    sequence_number_for_allocation: dict[str, int] | None = None
    deleted: bool = False
    strict_affinity: bool | None = None


class IPAMBlockDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """An IPAMBlock as Calico writes it."""

    metadata: wire.Meta
    spec: _BlockSpec
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["IPAMBlock"] | None = None


_AFFINITY = re.compile(r"(?P<type>host|virtual):(?P<host>[a-zA-Z0-9.\-_]+)")


def read_block(document: IPAMBlockDocument) -> IPAMBlock:
    spec = document.spec
    block = IPAMBlock(
        meta=wire.metadata(document.metadata),
        cidr=wire.network(spec.cidr, "spec.cidr"),
        affinity=_affinity(spec.affinity) if spec.affinity else None,
        claimed_at=spec.affinity_claim_time,
        allocations=tuple(spec.allocations or ()),
        unallocated=tuple(spec.unallocated or ()),
        attributes=tuple(_attribute(attribute) for attribute in spec.attributes or ()),
        sequence_number=spec.sequence_number,
        sequence_numbers=_numbers(spec.sequence_number_for_allocation or {}),
        deleted=spec.deleted,
    )
    _check_allocations(block)
    _check_unallocated(block)
    return block


def _affinity(text: str) -> Affinity:
    match = _AFFINITY.fullmatch(text)
    if not match:
        raise BadInput(f"expected 'host:' or 'virtual:' and a name, found {text!r}", path="spec.affinity")
    return Affinity(NodeName(match["host"]), match["type"])


def _attribute(attribute: _Attribute) -> AllocationAttribute:
    return AllocationAttribute(
        handle=attribute.handle_id,
        owner=attribute.secondary or {},
        alternate_owner=attribute.alternate_owner or {},
        released_at=attribute.released_at,
    )


def _numbers(numbers: dict[str, int]) -> dict[int, int]:
    path = "spec.sequenceNumberForAllocation"
    for key in numbers:
        if not (key.isascii() and key.isdigit()):
            raise BadInput(f"expected ordinals such as '7', found {key!r}", path=path)
    return {int(key): number for key, number in numbers.items()}


def _check_allocations(block: IPAMBlock) -> None:
    shortest = _SHORTEST[family(block.cidr)]
    if block.cidr.prefixlen < shortest:
        raise BadInput(f"expected a prefix of {shortest} or longer, found {block.cidr}", path="spec.cidr")
    size = block.cidr.num_addresses
    if len(block.allocations) != size:
        raise BadInput(f"expected {size} entries, found {len(block.allocations)}", path="spec.allocations")
    for ordinal, index in enumerate(block.allocations):
        if index is not None and not 0 <= index < len(block.attributes):
            raise BadInput(
                f"expected an index of spec.attributes, which has {len(block.attributes)}, found {index}",
                path=f"spec.allocations[{ordinal}]",
            )


def _check_unallocated(block: IPAMBlock) -> None:
    """Refuse a queue that would give an address twice. An address missing from it is lost, which hurts nobody."""
    seen: set[int] = set()
    for i, ordinal in enumerate(block.unallocated):
        path = f"spec.unallocated[{i}]"
        if not 0 <= ordinal < len(block.allocations):
            raise BadInput(f"expected an ordinal of {block.cidr}, found {ordinal}", path=path)
        if block.allocations[ordinal] is not None:
            raise BadInput(f"ordinal {ordinal} is allocated", path=path)
        if ordinal in seen:
            raise BadInput(f"ordinal {ordinal} stands here twice", path=path)
        seen.add(ordinal)


def write_block(block: IPAMBlock) -> IPAMBlockDocument:
    return IPAMBlockDocument(
        metadata=wire.meta(block.meta),
        spec=_BlockSpec(
            cidr=str(block.cidr),
            affinity=str(block.affinity) if block.affinity else None,
            affinity_claim_time=block.claimed_at,
            allocations=list(block.allocations),
            unallocated=list(block.unallocated),
            attributes=[_spelt_attribute(attribute) for attribute in block.attributes],
            sequence_number=block.sequence_number,
            sequence_number_for_allocation={str(key): value for key, value in block.sequence_numbers.items()},
            deleted=block.deleted,
            strict_affinity=False,
        ),
        api_version=API_VERSION,
        kind="IPAMBlock",
    )


def _spelt_attribute(attribute: AllocationAttribute) -> _Attribute:
    return _Attribute(
        handle_id=attribute.handle,
        secondary=dict(attribute.owner) or None,
        alternate_owner=dict(attribute.alternate_owner) or None,
        released_at=attribute.released_at,
    )


# --- IPAMHandle ---------------------------------------------------------------------------------------------


class _HandleSpec(msgspec.Struct, omit_defaults=True):
    handle_id: str = msgspec.field(name="handleID")
    block: dict[str, int] | None = None
    deleted: bool = False


class IPAMHandleDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """An IPAMHandle as Calico writes it."""

    metadata: wire.Meta
    spec: _HandleSpec
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["IPAMHandle"] | None = None


def read_handle(document: IPAMHandleDocument) -> IPAMHandle:
    spec = document.spec
    return IPAMHandle(
        meta=wire.metadata(document.metadata),
        handle=spec.handle_id,
        blocks={wire.network(cidr, f"spec.block[{cidr!r}]"): count for cidr, count in (spec.block or {}).items()},
        deleted=spec.deleted,
    )


def write_handle(handle: IPAMHandle) -> IPAMHandleDocument:
    return IPAMHandleDocument(
        metadata=wire.meta(handle.meta),
        spec=_HandleSpec(handle.handle, {str(cidr): count for cidr, count in handle.blocks.items()}, handle.deleted),
        api_version=API_VERSION,
        kind="IPAMHandle",
    )


# --- IPAMConfiguration --------------------------------------------------------------------------------------


class _ConfigurationSpec(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    strict_affinity: bool = False
    auto_allocate_blocks: bool | None = None
    max_blocks_per_host: int = 0
    cooldown: int = msgspec.field(name="ipCooldownSeconds", default=0)


class IPAMConfigurationDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """An IPAMConfiguration as Calico writes it."""

    metadata: wire.Meta
    spec: _ConfigurationSpec
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["IPAMConfiguration"] | None = None


_MOST_BLOCKS = 1_000_000
_LONGEST_COOLDOWN = 1200


def read_configuration(document: IPAMConfigurationDocument) -> IPAMConfiguration:
    spec = document.spec
    configuration = IPAMConfiguration(
        meta=wire.metadata(document.metadata),
        strict_affinity=spec.strict_affinity,
        auto_allocate_blocks=spec.auto_allocate_blocks is not False,
        max_blocks_per_host=spec.max_blocks_per_host,
        cooldown=spec.cooldown,
    )
    _check_configuration(configuration)
    return configuration


def _check_configuration(configuration: IPAMConfiguration) -> None:
    """Refuse what Calico refuses (``ipamconfig.go``, and ``SetIPAMConfig`` for what depends on strict affinity)."""
    for path, found, largest in (
        ("spec.maxBlocksPerHost", configuration.max_blocks_per_host, _MOST_BLOCKS),
        ("spec.ipCooldownSeconds", configuration.cooldown, _LONGEST_COOLDOWN),
    ):
        if not 0 <= found <= largest:
            raise BadInput(f"expected an integer from 0 to {largest}, found {found}", path=path)
    if not configuration.auto_allocate_blocks and not configuration.strict_affinity:
        raise BadInput("expected true, for spec.strictAffinity is false, found false", path="spec.autoAllocateBlocks")


def write_configuration(configuration: IPAMConfiguration) -> IPAMConfigurationDocument:
    return IPAMConfigurationDocument(
        metadata=wire.meta(configuration.meta),
        spec=_ConfigurationSpec(
            strict_affinity=configuration.strict_affinity,
            auto_allocate_blocks=configuration.auto_allocate_blocks,
            max_blocks_per_host=configuration.max_blocks_per_host,
            cooldown=configuration.cooldown,
        ),
        api_version=API_VERSION,
        kind="IPAMConfiguration",
    )


# --- IPReservation ------------------------------------------------------------------------------------------


class _ReservationSpec(msgspec.Struct, omit_defaults=True):
    cidrs: list[str] | None = msgspec.field(name="reservedCIDRs", default=None)


class IPReservationDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """An IPReservation as Calico writes it."""

    metadata: wire.Meta
    spec: _ReservationSpec = msgspec.field(default_factory=_ReservationSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["IPReservation"] | None = None


def read_reservation(document: IPReservationDocument) -> IPReservation:
    cidrs = document.spec.cidrs or ()
    return IPReservation(
        meta=wire.metadata(document.metadata),
        cidrs=tuple(wire.network(text, f"spec.reservedCIDRs[{i}]") for i, text in enumerate(cidrs)),
    )


def write_reservation(reservation: IPReservation) -> IPReservationDocument:
    return IPReservationDocument(
        metadata=wire.meta(reservation.meta),
        spec=_ReservationSpec([str(cidr) for cidr in reservation.cidrs] or None),
        api_version=API_VERSION,
        kind="IPReservation",
    )
