"""Addresses of ip-configurations: what a write asks for, and what the subnet has.

A dynamic configuration without an address gets one, or with a prefix length an aligned block that is wholly free; one
that was there before keeps what it had. All or none: what is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_network

from cloudnet.lab.clouds.azure import words
from cloudnet.lab.clouds.azure.bodies import Json
from cloudnet.lab.clouds.azure.state import INTERFACE, SCALE_SET_MACHINE, Resource, State
from cloudnet.lab.clouds.simulator import Answer
from cloudnet.model.addresses import Network

PER_INTERFACE = 256  # ip-configurations ("Azure limits": private IP addresses of a network interface)
PREFIX = 28  # the only length of a block ("Assign private IP address prefixes to VMs")
_FIRST_HOST = 4  # Azure keeps four addresses, the network's own among them, and the last


def allot(state: State, wanted: Sequence[Json], before: Resource | None) -> list[Json] | Answer:
    """Return the configurations of an interface with their addresses, or why they are not to be had."""
    if wrong := _wrong(wanted, state):
        return wrong
    had = {c["name"].lower(): c["properties"] for c in (configurations(before) if before else ())}
    taken = _Taken(state, before)
    kept = [_kept(each, had.get(each["name"].lower())) for each in wanted]
    for properties in kept:
        if cidr := block(properties):
            if taken.holds(cidr):
                said = f"Private static IP address {cidr.network_address} is already in use."
                return words.error(400, "PrivateIPAddressIsAllocated", said, details=[])
            taken.add(cidr)
    made: list[Json] = []
    for each, properties in zip(wanted, kept, strict=True):
        if not block(properties):
            found = taken.free(properties)
            if found is None:
                return _full(state, properties, len(wanted) - len(had))
            taken.add(found)
            properties["privateIPAddress"] = str(found if found.prefixlen == PREFIX else found.network_address)
        made.append({**each, "properties": properties})
    return made


def configurations(interface: Resource) -> list[Json]:
    return list(interface.written["properties"].get("ipConfigurations") or [])


def block(properties: Json) -> Network | None:
    """Return what a configuration holds: an address as a network of one; nothing before it has any."""
    text = properties.get("privateIPAddress")
    if not text:
        return None
    address, _, length = str(text).partition("/")
    length = str(properties.get("privateIPAddressPrefixLength") or length)
    return ip_network(f"{address}/{length}" if length else address, strict=False)


def _kept(written: Json, had: Json | None) -> Json:
    """Return a configuration's properties with the address that it had, unless another is written."""
    properties = dict(written["properties"])
    if had is not None and "privateIPAddress" not in properties and had["subnet"] == properties["subnet"]:
        properties["privateIPAddress"] = had["privateIPAddress"]
    return properties


def _wrong(wanted: Sequence[Json], state: State) -> Answer | None:
    names = [str(c.get("name", "")).lower() for c in wanted]
    if len(set(names)) < len(names):
        return words.invalid("Two ip-configurations have one name.", "DuplicateResourceName")
    if len(wanted) > PER_INTERFACE:
        said = f"A network interface cannot have more than {PER_INTERFACE} ip-configurations."
        return words.error(400, state.codes.configurations, said, details=[])
    if len({c["properties"]["subnet"]["id"].lower() for c in wanted}) > 1:
        return words.invalid("All ip-configurations of a network interface must be in one subnet.")
    for each in wanted:
        length = each["properties"].get("privateIPAddressPrefixLength")
        if length is not None and (length != PREFIX or each["properties"].get("primary")):
            return words.invalid(f"A prefix is a /{PREFIX} and not the primary ip-configuration, found /{length}.")
    return None


def _full(state: State, properties: Json, count: int) -> Answer:
    subnet = properties["subnet"]["id"]
    prefix = _range(state, subnet)
    said = f"Subnet {subnet} with address prefix {prefix} does not have enough capacity for {count} IP addresses."
    code = state.codes.prefixes if properties.get("privateIPAddressPrefixLength") else "SubnetIsFull"
    return words.error(400, code, said, details=[])


def _range(state: State, subnet: str) -> IPv4Network:
    found = state.find(subnet)
    if found is None:
        raise LookupError(f"no subnet {subnet}")
    return IPv4Network(found.written["properties"]["addressPrefix"])


class _Taken:
    """The addresses that interfaces hold, but for one whose configurations are written anew."""

    def __init__(self, state: State, but: Resource | None) -> None:
        self._state = state
        others = (r for kind in (INTERFACE, SCALE_SET_MACHINE) for r in state.of(kind) if r != but)
        held = (block(c["properties"]) for each in others for c in configurations(each))
        self._held = {cidr for cidr in held if cidr}

    def add(self, cidr: Network) -> None:
        self._held.add(cidr)

    def holds(self, cidr: Network) -> bool:
        return any(cidr.version == each.version and cidr.overlaps(each) for each in self._held)

    def free(self, properties: Json) -> IPv4Network | None:
        """Return the first free address, or the first aligned block that is wholly free, of a subnet."""
        inside = _range(self._state, properties["subnet"]["id"])
        length = properties.get("privateIPAddressPrefixLength") or inside.max_prefixlen
        first, last = int(inside.network_address) + _FIRST_HOST, int(inside.broadcast_address) - 1
        held = sorted((int(c.network_address), int(c.broadcast_address)) for c in self._held if c.version == 4)  # noqa: PLR2004 - the family
        found = next(_gaps(first, last, held, 1 << (inside.max_prefixlen - length)), None)
        return IPv4Network((IPv4Address(found), length)) if found is not None else None


def _gaps(first: int, last: int, held: Sequence[tuple[int, int]], size: int) -> Iterator[int]:
    """Yield where aligned blocks of a size begin that touch nothing held, from one address to another."""
    at = -(-first // size) * size
    for low, high in (*held, (last + 1, last + 1)):
        while at + size - 1 < low and at + size - 1 <= last:
            yield at
            at += size
        if high >= at:
            at = -(-(high + 1) // size) * size
