"""Where Calico's four IPAM kinds lie in etcd, and how their names and keys lead to each other. Pure.

The keys stand in the table of ``etcd_keys``. Sources: Calico
``libcalico-go/lib/backend/model/{block,block_affinity,ipam_handle,ipam_config}.go``.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Final, Protocol, TypeVar

from cloudnet.model import calico, calico_etcd, calico_ipam
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.resources import (
    Affinity,
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    Metadata,
    Resource,
)
from cloudnet.model.wire import Json
from cloudnet.store.etcd_wire import Range, prefix

R_contra = TypeVar("R_contra", bound=Resource, contravariant=True)

_IPAM: Final = "/calico/ipam/v2"


class Form(Protocol[R_contra]):
    """What is particular to one of the IPAM kinds."""

    def ranges(self) -> tuple[Range, ...]: ...

    def key(self, value: R_contra) -> str:
        """Return where a value belongs."""

    def keys(self, name: str) -> tuple[str, ...]:
        """Return where a name may be found."""

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        """Return metadata and ``spec`` of the document that key and value stand for; nothing for another key."""

    def write(self, spec: Json) -> Json:
        """Return the value for a ``spec``."""


_CIDR = r"ipv(?P<version>[46])/block/(?P<address>[^/]+)-(?P<length>\d+)"


def _block_path(cidr: Network) -> str:
    return f"ipv{cidr.version}/block/{cidr.network_address}-{cidr.prefixlen}"


def _cidr(match: re.Match[str]) -> Network | None:
    """Return the block that a key is about; nothing when it is none."""
    try:
        cidr = ip_network(f"{match['address']}/{match['length']}")
    except ValueError:
        return None
    return cidr if str(cidr.version) == match["version"] else None


def _named_cidr(name: str) -> Network | None:
    """Return the prefix that ``calico.cidr_name`` calls so; nothing when it calls none so."""
    address, _, length = name.rpartition("-")
    for separator in ".:":
        try:
            cidr = ip_network(f"{address.replace('-', separator)}/{length}")
        except ValueError:
            continue
        if calico.cidr_name(cidr) == name:
            return cidr
    return None


class Blocks:
    """``IPAMBlock``."""

    _KEY = re.compile(rf"{_IPAM}/assignment/{_CIDR}")

    def ranges(self) -> tuple[Range, ...]:
        return (prefix(f"{_IPAM}/assignment/"),)

    def key(self, value: IPAMBlock) -> str:
        return f"{_IPAM}/assignment/{_block_path(value.cidr)}"

    def keys(self, name: str) -> tuple[str, ...]:
        cidr = _named_cidr(name)
        return (f"{_IPAM}/assignment/{_block_path(cidr)}",) if cidr else ()

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        match = self._KEY.fullmatch(key)
        cidr = match and _cidr(match)
        if not cidr:
            return None
        return Metadata(calico.cidr_name(cidr)), calico_etcd.read_block(value)

    def write(self, spec: Json) -> Json:
        return calico_etcd.write_block(spec)


class Affinities:
    """``BlockAffinity``. Hosts with a bare key and no value are markers of old releases, and none of these."""

    _TYPES = ("host", "virtual")
    _KEY = re.compile(rf"{_IPAM}/(?P<type>host|virtual)/(?P<node>[^/]+)/{_CIDR}")

    def ranges(self) -> tuple[Range, ...]:
        return tuple(prefix(f"{_IPAM}/{type_}/") for type_ in self._TYPES)

    def key(self, value: BlockAffinity) -> str:
        return f"{_IPAM}/{value.type}/{value.node}/{_block_path(value.cidr)}"

    def keys(self, name: str) -> tuple[str, ...]:
        """A name is ``<node>-<block>``, and where the node's ends is not said; a name cut short is not found."""
        found = []
        for dash in re.finditer("-", name):
            node, cidr = name[: dash.start()], _named_cidr(name[dash.end() :])
            if node and cidr:
                found += [f"{_IPAM}/{type_}/{node}/{_block_path(cidr)}" for type_ in self._TYPES]
        return tuple(found)

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        match = self._KEY.fullmatch(key)
        cidr = match and _cidr(match)
        if not match or not cidr:
            return None
        owner = Affinity(NodeName(match["node"]), match["type"])
        meta = Metadata(calico.affinity_name(owner.host, cidr), labels=calico.affinity_labels(owner, cidr))
        return meta, calico_etcd.read_affinity(value, node=owner.host, cidr=str(cidr), type_=owner.type)

    def write(self, spec: Json) -> Json:
        return calico_etcd.write_affinity(spec)


class Handles:
    """``IPAMHandle``. A handle with capitals is named, but not found, by its name in lower case."""

    _ROOT = f"{_IPAM}/handle/"

    def ranges(self) -> tuple[Range, ...]:
        return (prefix(self._ROOT),)

    def key(self, value: IPAMHandle) -> str:
        return self._ROOT + value.handle

    def keys(self, name: str) -> tuple[str, ...]:
        return (self._ROOT + name,)

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        handle = key.removeprefix(self._ROOT)
        if not handle or "/" in handle:
            return None
        return Metadata(calico_ipam.handle_name(handle)), calico_etcd.read_handle(value, handle=handle)

    def write(self, spec: Json) -> Json:
        return calico_etcd.write_handle(spec)


class Configurations:
    """``IPAMConfiguration``, of which there is one."""

    _KEY = f"{_IPAM}/config"

    def ranges(self) -> tuple[Range, ...]:
        return (Range(self._KEY),)

    def key(self, value: IPAMConfiguration) -> str:  # noqa: ARG002 - there is one
        return self._KEY

    def keys(self, name: str) -> tuple[str, ...]:
        return (self._KEY,) if name == calico_ipam.CONFIGURATION else ()

    def read(self, key: str, value: Json) -> tuple[Metadata, Json] | None:
        if key != self._KEY:
            return None
        return Metadata(calico_ipam.CONFIGURATION), calico_etcd.read_configuration(value)

    def write(self, spec: Json) -> Json:
        return calico_etcd.write_configuration(spec)
