"""Names in Compute Engine: URLs, our ids, and the mark that our routes carry. Pure.

A machine's id is ``ZONE/NAME``, its interface's ``ZONE/NAME/NIC``, a subnet's ``REGION/NAME``: unique in a project,
and a person finds the thing by it. The table of a network has the network's name.

A route is ours when its name begins with our cluster's prefix *and* its description is the one we write. The name
alone is 8 digits of a hash, which another cluster may share; both together are no accident. The rest of the name is a
hash of destination and next hop: a second attempt at a write meets the first one by name, and two routes of one
destination, to the old next hop and the new one, can stand side by side.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cloudnet.model.addresses import InstanceId, InterfaceId, Network, SubnetId
from cloudnet_gcp import wire

_MACHINE = re.compile(r"(?:^|/)zones/([^/]+)/instances/([^/]+)$")
_SUBNET = re.compile(r"(?:^|/)regions/([^/]+)/subnetworks/([^/]+)$")
_PROVIDER_ID = re.compile(r"gce://[^/]+/([-a-z0-9]+)/([-a-z0-9]+)")  # as the cloud controller manager writes it


@dataclass(frozen=True, slots=True)
class Marks:
    """How one cluster marks its routes in one network."""

    cluster: str
    network: str

    @property
    def prefix(self) -> str:
        return f"cloudnet-{_digest(self.cluster, length=8)}-"

    @property
    def description(self) -> str:
        return f"cluster {self.cluster}: a block of pod addresses, kept by cloudnet"

    def name(self, destination: Network, instance: InstanceId) -> str:
        """Return the name of our route; 42 characters of the 63 that the API allows."""
        return self.prefix + _digest(self.network, str(destination), instance, length=24)

    def ours(self, route: wire.Route) -> bool:
        return route.name.startswith(self.prefix) and route.description == self.description


def machine_id(url: str) -> InstanceId | None:
    """Return the id of the machine that a URL, whole or partial, names."""
    found = _MACHINE.search(url)
    return InstanceId(f"{found[1]}/{found[2]}") if found else None


def machine_url(project: str, instance: InstanceId) -> str:
    """Return the partial URL by which other resources refer to a machine."""
    zone, _, name = instance.partition("/")
    return f"projects/{project}/zones/{zone}/instances/{name}"


def interface_id(instance: InstanceId, nic: str) -> InterfaceId:
    return InterfaceId(f"{instance}/{nic}")


def subnet_id(url: str) -> SubnetId:
    found = _SUBNET.search(url)
    return SubnetId(f"{found[1]}/{found[2]}" if found else url)


def from_provider_id(provider_id: str) -> InstanceId | None:
    """Return the machine in a node's provider id (``gce://project/zone/name``); nothing for another cloud's."""
    found = _PROVIDER_ID.fullmatch(provider_id)
    return InstanceId(f"{found[1]}/{found[2]}") if found else None


def last(url: str) -> str:
    return url.rpartition("/")[2]


def _digest(*parts: str, length: int) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:length]
