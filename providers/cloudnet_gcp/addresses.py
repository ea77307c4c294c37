"""Native pod addresses: alias ranges of the interface that a machine was made with, from a secondary range.

An alias range carries no mark, so the range it comes from tells: what lies in ``pod_range`` is for pods, and nobody
else should use that range. A change replaces the whole list of an interface and must bring the fingerprint of the
state that it was made from; whoever comes second reads again. Running machines get no further interface here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from types import MappingProxyType

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, InstanceId, InterfaceId, Network, SubnetId, family, order
from cloudnet.provider.api import Holdings, Instance, NetworkInterface, PodSubnet, Room, Wanted
from cloudnet.provider.errors import Conflict, NotFound, QuotaExceeded, Unsupported
from cloudnet_gcp import names, wire
from cloudnet_gcp.client import Client
from cloudnet_gcp.config import GcpConfig
from cloudnet_gcp.errors import NAME
from cloudnet_gcp.instances import instance_id
from cloudnet_gcp.operations import Followed, finish

SLOTS = 150  # alias ranges of one interface, whatever their length ("VPC quotas")
LENGTH = 28  # of the pieces that we take: any length can be had, this is what the other clouds have
TRIES = 3  # of a change that finds the interface changed since it was read

ROOM = Room(1, MappingProxyType({Family.IPV4: SLOTS}), MappingProxyType({Family.IPV4: LENGTH}))


class GcpAddresses:
    """Takes pod addresses from the secondary range ``pod_range`` of the nodes' subnets."""

    def __init__(self, client: Client, clock: Clock, config: GcpConfig) -> None:
        self._client = client
        self._clock = clock
        self._config = config
        self._subnets: dict[SubnetId, tuple[wire.Subnet, float]] = {}

    def read(self, instances: Collection[Instance]) -> Holdings:
        """Return the interfaces of these machines; one list of all machines tells what is taken as well."""
        machines = self._client.machines()
        subnets = {s: self._subnet(s) for s in sorted({i.subnet for i in instances})}
        taken: Counter[SubnetId] = Counter()
        for nic in (nic for machine in machines for nic in machine.nics):
            taken[names.subnet_id(nic.subnetwork)] += sum(c.num_addresses for c in self._cidrs(nic))
        asked = {i.id: i for i in instances}
        found = [
            self._interface(asked[instance_id(m)], nic, subnets)
            for m in machines
            if instance_id(m) in asked
            for nic in m.nics
            if names.interface_id(instance_id(m), nic.name) == asked[instance_id(m)].interface
        ]
        return Holdings(
            tuple(sorted(found, key=lambda interface: interface.id)),
            MappingProxyType(dict.fromkeys(asked, ROOM)),
            MappingProxyType({s: self._pod_subnet(s, subnet, taken[s]) for s, subnet in subnets.items()}),
        )

    def assign(self, interface: NetworkInterface, wanted: Wanted) -> tuple[Network, ...]:
        if wanted.family is not Family.IPV4:
            raise Unsupported("alias ranges are IPv4; IPv6 pods need a block of a pool", provider=NAME)
        piece = wire.Alias(f"/{wanted.length}", self._config.pod_range)
        before: set[Network] = set()

        def more(nic: wire.Nic) -> Sequence[wire.Alias]:
            before.clear()
            before.update(self._cidrs(nic))
            if len(nic.aliases) + wanted.count > SLOTS:
                raise QuotaExceeded(
                    f"interface {interface.id} has {len(nic.aliases)} alias ranges of {SLOTS} that fit: "
                    "spread the pods over more nodes",
                    provider=NAME,
                )
            return [*nic.aliases, *[piece] * wanted.count]

        after = self._change(interface.id, more)
        return tuple(sorted(set(self._cidrs(after)) - before, key=order))

    def release(self, interface: NetworkInterface, cidrs: Sequence[Network]) -> None:
        gone = set(cidrs)

        def fewer(nic: wire.Nic) -> Sequence[wire.Alias]:
            return [a for a in nic.aliases if a.range != self._config.pod_range or ip_network(a.cidr) not in gone]

        try:
            self._change(interface.id, fewer)
        except NotFound:
            return  # the machine is gone, and its addresses with it

    def add_interface(self, instance: Instance, subnet: SubnetId, wanted: Wanted) -> NetworkInterface:
        raise Unsupported(
            f"instance {instance.id} cannot get an interface in {subnet} for {wanted.addresses} addresses: "
            "Google gives running machines none",
            provider=NAME,
        )

    def remove_interface(self, interface: NetworkInterface) -> None:
        raise Unsupported(f"interface {interface.id} is its machine's own and stays with it", provider=NAME)

    # --- changing -----------------------------------------------------------------------------------------------

    def _change(self, interface: InterfaceId, change: Callable[[wire.Nic], Sequence[wire.Alias]]) -> wire.Nic:
        """Read the interface, let ``change`` say what its alias ranges shall be, write, wait, and read again."""
        instance, name = split(interface)
        for attempt in range(1, TRIES + 1):
            nic = self._nic(instance, name)
            aliases = change(nic)
            if list(aliases) == list(nic.aliases):
                return nic
            try:
                self._write(instance, nic, aliases)
            except Conflict:
                if attempt == TRIES:
                    raise
                continue
            break
        return self._nic(instance, name)

    def _nic(self, instance: InstanceId, name: str) -> wire.Nic:
        found = next((nic for nic in self._client.machine(instance).nics if nic.name == name), None)
        if found is None:
            raise NotFound(f"instance {instance} has no interface {name}", provider=NAME)
        return found

    def _write(self, instance: InstanceId, nic: wire.Nic, aliases: Sequence[wire.Alias]) -> None:
        operation = self._client.set_aliases(instance, nic, aliases, request_id=self._client.request_id())
        followed = Followed(
            self._client, self._clock, timeout=self._config.operation_timeout, secrets=self._config.secrets
        )
        followed.add("compute.instances.updateNetworkInterface", operation)
        if error := finish(followed)[operation.name]:
            raise error

    # --- reading ------------------------------------------------------------------------------------------------

    def _cidrs(self, nic: wire.Nic) -> list[Network]:
        """Return the alias ranges that are for pods, as networks: a single address is given as one."""
        return sorted((ip_network(a.cidr) for a in nic.aliases if a.range == self._config.pod_range), key=order)

    def _interface(
        self, machine: Instance, nic: wire.Nic, subnets: Mapping[SubnetId, wire.Subnet]
    ) -> NetworkInterface:
        length = ip_network(subnets[machine.subnet].cidr).prefixlen
        cidrs = self._cidrs(nic)
        return NetworkInterface(
            id=machine.interface,
            subnet=machine.subnet,
            instance=machine.id,
            primary=True,
            addresses=tuple(ip_interface((a, length)) for a in machine.addresses if family(a) is Family.IPV4),
            cidrs=tuple(cidrs),
            foreign=MappingProxyType({Family.IPV4: len(nic.aliases) - len(cidrs)}),
        )

    def _subnet(self, subnet: SubnetId) -> wire.Subnet:
        """Return a subnet's ranges; they are read once in ``quota_seconds``, because they only ever grow."""
        now = self._clock.now()
        known = self._subnets.get(subnet)
        if known is None or now >= known[1]:
            known = (self._client.subnet(subnet), now + self._config.quota_seconds)
            self._subnets[subnet] = known
        return known[0]

    def _pod_subnet(self, subnet: SubnetId, ranges: wire.Subnet, taken: int) -> PodSubnet:
        """Return what is free: of the range's addresses those that no machine's alias range holds."""
        cidr = ranges.secondary.get(self._config.pod_range)
        free = max(0, ip_network(cidr).num_addresses - taken) if cidr else 0
        return PodSubnet(subnet, free=MappingProxyType({Family.IPV4: free}))


def split(interface: InterfaceId) -> tuple[InstanceId, str]:
    """Return the machine and the name of an interface.

    Raises:
        NotFound: no interface of Google's has such an id.
    """
    instance, _, name = interface.rpartition("/")
    if instance.count("/") != 1:
        raise NotFound(f"interface {interface!r} is none of this cloud", provider=NAME)
    return InstanceId(instance), name
