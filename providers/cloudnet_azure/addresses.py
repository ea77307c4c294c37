"""Native pod addresses on Azure: ip-configurations of the interface that carries the node's address.

A secondary ip-configuration holds one address or, on machines that are in no uniform scale set, a /28. Azure attaches
no further interface to a running machine, so there is none here. An interface that carries configurations of ours and
belongs to no node any more is shown as ours; removing it takes them off and leaves the interface, which is not ours.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from types import MappingProxyType
from typing import Final

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, Interface, InterfaceId, Network, SubnetId, family
from cloudnet.provider.api import Holdings, Instance, NetworkInterface, PodSubnet, Room, Wanted
from cloudnet.provider.errors import Exhausted, NotFound, QuotaExceeded, Unsupported
from cloudnet_azure import configurations, ids, instances, interfaces
from cloudnet_azure.client import Client, Json
from cloudnet_azure.config import AzureConfig
from cloudnet_azure.errors import NAME

log = logging.getLogger(__name__)

PER_INTERFACE: Final = (
    256  # ip-configurations ("Azure limits": private IP addresses of an interface, and of a machine)
)
KEPT: Final = 5  # addresses of a subnet that Azure keeps: four at its beginning, and the last
REMEMBER: Final = 3600.0  # seconds that a subnet's ranges stay known
_SLOTS: Mapping[Family, int] = MappingProxyType({Family.IPV4: PER_INTERFACE - 1})
_BAD_REQUEST = 400
_OF_A_SUBNET = 3  # names in the id of a subnet

ROOM = Room(1, _SLOTS, MappingProxyType(configurations.LENGTHS))
SINGLES_ONLY = Room(1, _SLOTS)


class AzureAddresses:
    """Takes pod addresses from the subnets of the nodes."""

    def __init__(self, client: Client, clock: Clock, config: AzureConfig) -> None:
        self._client = client
        self._clock = clock
        self._config = config
        self._ranges: dict[SubnetId, tuple[Network, ...]] = {}
        self._known_until: dict[tuple[str, str], float] = {}  # {(resource group, virtual network): …}

    # --- reading --------------------------------------------------------------------------------------------

    def read(self, machines: Collection[Instance]) -> Holdings:
        """Return the interfaces that carry these nodes' addresses, and what is left of ours on others."""
        asked = {i.interface: i for i in machines}
        listed = list(instances.listed(self._client, (i.id for i in machines), self._config, more=True))
        self._learn_ranges({i.subnet for i in machines})
        bodies = {ids.interface(body["id"]): body for body in listed}
        shown = [self._of_node(machine, bodies[name]) for name, machine in asked.items() if name in bodies]
        shown += [self._stray(name, body) for name, body in bodies.items() if name not in asked and self._ours(body)]
        used = Counter(_subnet(c) for body in listed for c in configurations.of(body) for _ in range(_size(c)))
        return Holdings(
            tuple(sorted(shown, key=lambda interface: interface.id)),
            MappingProxyType({i.id: self._room(i.interface) for i in machines}),
            MappingProxyType({i.subnet: self._pod_subnet(i.subnet, used[i.subnet]) for i in machines}),
        )

    def _room(self, interface: InterfaceId) -> Room:
        return SINGLES_ONLY if interfaces.of_scale_set(interface) or not self._config.pod_prefixes else ROOM

    def _of_node(self, machine: Instance, body: Json) -> NetworkInterface:
        ours = self._ours(body)
        foreign = len(configurations.of(body)) - len(ours) - 1
        return NetworkInterface(
            machine.interface,
            machine.subnet,
            machine.id,
            primary=True,
            mac=str(body["properties"].get("macAddress", "")).lower().replace("-", ":"),
            addresses=self._own(machine),
            cidrs=configurations.cidrs(ours),
            foreign=MappingProxyType({Family.IPV4: foreign} if foreign > 0 else {}),
        )

    def _stray(self, name: InterfaceId, body: Json) -> NetworkInterface:
        """Return an interface of no node as one of ours, for what it carries of ours."""
        ours = self._ours(body)
        machine = instances.machine_of(body)
        return NetworkInterface(name, _subnet(ours[0]), machine, ours=True, cidrs=configurations.cidrs(ours))

    def _ours(self, body: Json) -> list[Json]:
        return [c for c in configurations.of(body) if configurations.is_ours(c, cluster=self._config.cluster)]

    def _own(self, machine: Instance) -> tuple[Interface, ...]:
        """Return the machine's first address of each family, with its subnet's length."""
        found: dict[Family, Interface] = {}
        for address in machine.addresses:
            for inside in self._ranges.get(machine.subnet, ()):
                if address in inside:
                    found.setdefault(family(address), ip_interface((address, inside.prefixlen)))
        return tuple(found.values())

    def _learn_ranges(self, subnets: Iterable[SubnetId]) -> None:
        """Read the subnets of the virtual networks that were not read for a while: their ranges hardly change."""
        now = self._clock.now()
        for group, network in sorted({ids.names(s)[:2] for s in subnets if len(ids.names(s)) == _OF_A_SUBNET}):
            if self._known_until.get((group, network), 0.0) <= now:
                self._ranges |= {ids.subnet(s["id"]): _ranges(s) for s in self._client.subnets(group, network)}
                self._known_until[group, network] = now + REMEMBER

    def _pod_subnet(self, subnet: SubnetId, used: int) -> PodSubnet:
        four = [r.num_addresses - KEPT for r in self._ranges.get(subnet, ()) if family(r) is Family.IPV4]
        return PodSubnet(subnet, free=MappingProxyType({Family.IPV4: max(0, sum(four) - used)}))

    # --- addresses ------------------------------------------------------------------------------------------

    def assign(self, interface: NetworkInterface, wanted: Wanted) -> tuple[Network, ...]:
        in_scale_set = interfaces.of_scale_set(interface.id)
        self._check(interface.id, wanted)
        names = configurations.named(self._config.cluster, self._client.token(), wanted.count)

        def more(properties: Json) -> Json:
            edited = configurations.added(properties, names, wanted, in_scale_set=in_scale_set)
            if len(edited["ipConfigurations"]) > PER_INTERFACE:
                raise QuotaExceeded(
                    f"interface {interface.id} has {len(properties['ipConfigurations'])} ip-configurations of "
                    f"{PER_INTERFACE} that fit: spread the pods over more nodes",
                    provider=NAME,
                )
            return edited

        try:
            interfaces.change(self._client, interface.id, more, group=self._config.resource_group)
        except Unsupported as error:
            if error.status == _BAD_REQUEST and wanted.addresses > wanted.count:
                raise no_prefix(interface.id, error) from error
            raise
        given = configurations.cidrs(c for c in self._standing(interface.id) if c["name"] in names)
        log.info("given interface=%s addresses=%s", interface.id, ",".join(map(str, given)))
        return given

    def _check(self, interface: InterfaceId, wanted: Wanted) -> None:
        if wanted.family is not Family.IPV4:
            raise Unsupported("ip-configurations for pods are IPv4; IPv6 pods need a block of a pool", provider=NAME)
        if wanted.addresses > wanted.count and wanted.length != self._room(interface).lengths.get(wanted.family):
            raise Unsupported(
                f"interface {interface} takes no /{wanted.length}, single addresses only: a prefix is a /28, "
                "pod_prefixes allows it, and machines of uniform scale sets get none",
                provider=NAME,
            )

    def release(self, interface: NetworkInterface, cidrs: Sequence[Network]) -> None:
        gone = frozenset(cidrs)
        try:
            self._take_off(interface.id, gone)
        except NotFound:
            return  # the interface is gone, and its addresses with it
        log.info("given back interface=%s addresses=%s", interface.id, ",".join(map(str, cidrs)))

    def _take_off(self, interface: InterfaceId, gone: Collection[Network]) -> None:
        ours = self._ours({"properties": {"ipConfigurations": self._standing(interface)}})
        names = [c["name"] for c in ours if configurations.cidr(c) in gone]
        interfaces.change(
            self._client,
            interface,
            lambda properties: configurations.removed(properties, names),
            group=self._config.resource_group,
        )

    def _standing(self, interface: InterfaceId) -> list[Json]:
        return configurations.of(interfaces.read(self._client, interface, group=self._config.resource_group))

    # --- interfaces -----------------------------------------------------------------------------------------

    def add_interface(self, instance: Instance, subnet: SubnetId, wanted: Wanted) -> NetworkInterface:
        raise Unsupported(
            f"instance {instance.id} cannot get an interface in {subnet} for {wanted.addresses} addresses: "
            "Azure gives running machines none",
            provider=NAME,
        )

    def remove_interface(self, interface: NetworkInterface) -> None:
        """Take what is ours off an interface that belongs to no node; the interface itself stays."""
        if not interface.ours or interface.primary:
            raise Unsupported(f"interface {interface.id} is its machine's own and stays with it", provider=NAME)
        self.release(interface, interface.cidrs)


def no_prefix(interface: InterfaceId, error: Unsupported) -> Exhausted:
    """Return the refusal of a prefix as one that smaller pieces may get around.

    No source shows Azure's code for a subnet without a free block, nor for a subscription that may not have any.
    """
    return Exhausted(
        f"no prefix was to be had for interface {interface}; without them set pod_prefixes to false: {error}",
        provider=NAME,
        code=error.code,
        request_id=error.request_id,
        status=error.status,
    )


def _subnet(configuration: Json) -> SubnetId:
    return ids.subnet((configuration.get("properties", {}).get("subnet") or {}).get("id", ""))


def _size(configuration: Json) -> int:
    held = configurations.cidr(configuration)
    return held.num_addresses if held is not None and family(held) is Family.IPV4 else 0


def _ranges(subnet: Json) -> tuple[Network, ...]:
    properties = subnet.get("properties", {})
    return tuple(ip_network(text) for text in properties.get("addressPrefixes") or [properties["addressPrefix"]])
