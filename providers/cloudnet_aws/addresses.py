"""Native pod addresses on AWS: prefixes and single addresses of elastic network interfaces (ENIs).

An interface of ours carries the tag ``cloudnet.io/cluster`` from the call that makes it. A prefix carries no tag, but
nobody assigns prefixes to a node's primary interface beside its address manager, so those there are pods'. Single
addresses are taken on our interfaces alone: on a primary one they could be anybody's.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, InstanceId, Interface, InterfaceId, Network, SubnetId, family, order
from cloudnet.provider.api import Holdings, Instance, NetworkInterface, PodSubnet, Room, Wanted
from cloudnet.provider.errors import Conflict, NotFound, ProviderError, Unsupported
from cloudnet_aws.client import Client
from cloudnet_aws.config import AwsConfig
from cloudnet_aws.errors import NAME
from cloudnet_aws.types import Types

if TYPE_CHECKING:  # stubs, which exist only where the code is checked
    from mypy_boto3_ec2.type_defs import (
        AssignIpv6AddressesRequestTypeDef,
        AssignPrivateIpAddressesRequestTypeDef,
        CreateNetworkInterfaceRequestTypeDef,
        NetworkInterfaceTypeDef,
        SubnetTypeDef,
        TagTypeDef,
    )

log = logging.getLogger(__name__)

CLUSTER, INSTANCE, MADE_AT = "cloudnet.io/cluster", "cloudnet.io/instance", "cloudnet.io/made-at"
LIVE: Final = frozenset({"attaching", "attached"})
BITS: Final[Mapping[Family, int]] = MappingProxyType({Family.IPV4: 32, Family.IPV6: 128})


class AwsAddresses:
    """The interfaces of one VPC's nodes."""

    def __init__(self, config: AwsConfig, client: Client, clock: Clock) -> None:
        self._config = config
        self._client = client
        self._clock = clock
        self._types = Types(client)
        self._subnets: Mapping[str, SubnetTypeDef] = {}
        self._groups: dict[InstanceId, tuple[str, ...]] = {}
        self._indices: dict[InstanceId, set[int]] = {}
        self._attachments: dict[InterfaceId, str] = {}

    # --- reading --------------------------------------------------------------------------------------------

    def read(self, instances: Collection[Instance]) -> Holdings:
        ids = sorted(i.id for i in instances)
        rooms = self._types.rooms({i.type for i in instances})
        of = {i.id: rooms[i.type] for i in instances if i.type in rooms}
        answers = self._describe(ids)
        self._subnets = {s["SubnetId"]: s for s in self._client.subnets()}
        wanted = {i.subnet for i in instances} | {SubnetId(s) for s in self._config.pod_subnet_ids}
        self._remember(answers)
        return Holdings(
            interfaces=tuple(sorted((self._parse(a, of) for a in answers), key=lambda i: i.id)),
            rooms=MappingProxyType(of),
            subnets=MappingProxyType({s: _subnet(self._subnets[s]) for s in sorted(wanted) if s in self._subnets}),
        )

    def _describe(self, ids: Sequence[str]) -> list[NetworkInterfaceTypeDef]:
        """Return the interfaces of these machines and those with our mark: one list of the VPC holds both."""
        if not ids:
            return self._client.interfaces(f"tag:{CLUSTER}", [self._config.cluster])
        machines = frozenset(ids)
        every = self._client.interfaces()
        return [a for a in every if _is_ours(a, self._config.cluster) or _machine(a) in machines]

    def _remember(self, answers: Iterable[NetworkInterfaceTypeDef]) -> None:
        """Keep what attaching and detaching need, and the door does not speak of."""
        self._indices.clear()
        self._attachments.clear()
        for answer in answers:
            attachment, machine = answer.get("Attachment", {}), _machine(answer)
            if machine is None:
                continue
            index = attachment.get("DeviceIndex", 0)
            self._indices.setdefault(machine, set()).add(index)
            self._attachments[InterfaceId(answer["NetworkInterfaceId"])] = attachment.get("AttachmentId", "")
            if index == 0:
                self._groups[machine] = tuple(g["GroupId"] for g in answer.get("Groups", []))

    def _parse(self, answer: NetworkInterfaceTypeDef, rooms: Mapping[InstanceId, Room]) -> NetworkInterface:
        machine, ours = _machine(answer), _is_ours(answer, self._config.cluster)
        primary = machine is not None and answer.get("Attachment", {}).get("DeviceIndex") == 0
        tags = {t["Key"]: t["Value"] for t in answer.get("TagSet", [])}
        prefixes, singles = _prefixes(answer), _singles(answer)
        usable = ours or primary
        foreign = {of: sum(family(c) is of for c in singles) for of in Family} if not ours else {}
        room = rooms.get(machine) if machine else None
        if not usable and room is not None:
            foreign = dict(room.slots)  # somebody else's interface: no room on it for us
        return NetworkInterface(
            id=InterfaceId(answer["NetworkInterfaceId"]),
            subnet=SubnetId(answer.get("SubnetId", "")),
            instance=machine,
            primary=primary,
            ours=ours,
            mac=answer.get("MacAddress", "").lower(),
            addresses=self._own(answer),
            cidrs=tuple(sorted((*prefixes, *singles) if ours else prefixes if usable else (), key=order)),
            foreign=MappingProxyType({of: n for of, n in foreign.items() if n}),
            made_at=_seconds(tags.get(MADE_AT, "")),
            prefixes_only=not ours,
        )

    def _own(self, answer: NetworkInterfaceTypeDef) -> tuple[Interface, ...]:
        subnet = self._subnets.get(answer.get("SubnetId", ""))
        if subnet is None or "PrivateIpAddress" not in answer:
            return ()
        return (ip_interface(f"{answer['PrivateIpAddress']}/{ip_network(subnet['CidrBlock']).prefixlen}"),)

    # --- addresses ------------------------------------------------------------------------------------------

    def assign(self, interface: NetworkInterface, wanted: Wanted) -> tuple[Network, ...]:
        if wanted.family is Family.IPV4:
            request: AssignPrivateIpAddressesRequestTypeDef = {"NetworkInterfaceId": interface.id}
            if _is_single(wanted):
                request["SecondaryPrivateIpAddressCount"] = wanted.count
            else:
                request["Ipv4PrefixCount"] = wanted.count
            four = self._client.assign_ipv4(request)
            given = [p["Ipv4Prefix"] for p in four.get("AssignedIpv4Prefixes", [])]
            given += [a["PrivateIpAddress"] for a in four.get("AssignedPrivateIpAddresses", [])]
        else:
            request6: AssignIpv6AddressesRequestTypeDef = {"NetworkInterfaceId": interface.id}
            if _is_single(wanted):
                request6["Ipv6AddressCount"] = wanted.count
            else:
                request6["Ipv6PrefixCount"] = wanted.count
            six = self._client.assign_ipv6(request6)
            given = [*six.get("AssignedIpv6Prefixes", []), *six.get("AssignedIpv6Addresses", [])]
        cidrs = tuple(sorted((ip_network(g) for g in given), key=order))
        log.info("given interface=%s addresses=%s", interface.id, ",".join(map(str, cidrs)))
        return cidrs

    def release(self, interface: NetworkInterface, cidrs: Sequence[Network]) -> None:
        try:
            self._unassign(interface.id, cidrs)
        except NotFound:
            return
        except (Unsupported, Conflict):
            standing = self._standing(interface.id)  # some are gone: EC2 refuses all of the request then
            left = [c for c in cidrs if c in standing]
            if len(left) == len(cidrs):
                raise
            self._unassign(interface.id, left)
        log.info("given back interface=%s addresses=%s", interface.id, ",".join(map(str, cidrs)))

    def _unassign(self, interface: InterfaceId, cidrs: Sequence[Network]) -> None:
        four = [c for c in cidrs if family(c) is Family.IPV4]
        six = [c for c in cidrs if family(c) is Family.IPV6]
        if four:
            prefixes, singles = _split(four)
            self._client.unassign_ipv4(
                {"NetworkInterfaceId": interface}
                | ({"Ipv4Prefixes": prefixes} if prefixes else {})  # type: ignore[arg-type]  # the keys are checked by botocore
                | ({"PrivateIpAddresses": singles} if singles else {})
            )
        if six:
            prefixes, singles = _split(six)
            self._client.unassign_ipv6(
                {"NetworkInterfaceId": interface}
                | ({"Ipv6Prefixes": prefixes} if prefixes else {})  # type: ignore[arg-type]  # the same
                | ({"Ipv6Addresses": singles} if singles else {})
            )

    def _standing(self, interface: InterfaceId) -> frozenset[Network]:
        answers = self._client.interfaces("network-interface-id", [interface])
        return frozenset(c for a in answers for c in (*_prefixes(a), *_singles(a)))

    # --- interfaces -----------------------------------------------------------------------------------------

    def add_interface(self, instance: Instance, subnet: SubnetId, wanted: Wanted) -> NetworkInterface:
        made = self._client.create_interface(self._creation(instance, subnet, wanted))
        name = made["NetworkInterfaceId"]
        indices = self._indices.setdefault(instance.id, {0})
        index = next(n for n in range(1, len(indices) + 2) if n not in indices)
        try:
            attachment = self._client.attach_interface(name, instance.id, index)
        except ProviderError:
            self._client.delete_interface(name)
            raise
        indices.add(index)
        self._attachments[InterfaceId(name)] = attachment
        self._delete_with_instance(name, attachment)
        log.info("attached interface=%s instance=%s subnet=%s", name, instance.id, subnet)
        made["Attachment"] = {"InstanceId": instance.id, "DeviceIndex": index, "Status": "attached"}
        return self._parse(made, {})

    def _delete_with_instance(self, interface: str, attachment: str) -> None:
        try:
            self._client.delete_with_instance(interface, attachment)
        except ProviderError as error:  # it works without; when its machine goes, its mark gives it away
            log.warning("interface %s will outlive its instance until it is collected: %s", interface, error)

    def _creation(self, instance: Instance, subnet: SubnetId, wanted: Wanted) -> CreateNetworkInterfaceRequestTypeDef:
        tags: list[TagTypeDef] = [
            {"Key": CLUSTER, "Value": self._config.cluster},
            {"Key": INSTANCE, "Value": instance.id},
            {"Key": MADE_AT, "Value": f"{self._clock.wall():.0f}"},
        ]
        request: CreateNetworkInterfaceRequestTypeDef = {
            "SubnetId": subnet,
            "Description": f"cloudnet: pods of {instance.id}",
            "TagSpecifications": [{"ResourceType": "network-interface", "Tags": tags}],
        }
        if groups := self._config.security_group_ids or self._groups.get(instance.id, ()):
            request["Groups"] = list(groups)
        match wanted.family, _is_single(wanted):
            case Family.IPV4, True:
                request["SecondaryPrivateIpAddressCount"] = wanted.count
            case Family.IPV4, False:
                request["Ipv4PrefixCount"] = wanted.count
            case _, True:
                request["Ipv6AddressCount"] = wanted.count
            case _, False:
                request["Ipv6PrefixCount"] = wanted.count
        return request

    def remove_interface(self, interface: NetworkInterface) -> None:
        if not interface.ours or interface.primary:
            raise Unsupported(f"interface {interface.id} is not one that cloudnet made: it stays", provider=NAME)
        try:
            if interface.instance is not None:
                self._detach(interface)
            self._client.delete_interface(interface.id)
        except NotFound:
            return
        log.info("removed interface=%s instance=%s", interface.id, interface.instance)

    def _detach(self, interface: NetworkInterface) -> None:
        attachment = self._attachments.pop(interface.id, "")
        if not attachment:  # made before this controller began to lead, and not read since
            answers = self._client.interfaces("network-interface-id", [interface.id])
            attachment = next((a.get("Attachment", {}).get("AttachmentId", "") for a in answers), "")
        if attachment:
            try:
                self._client.detach_interface(attachment)
            except NotFound:
                return


def _is_single(wanted: Wanted) -> bool:
    return wanted.length == BITS[wanted.family]


def _is_ours(answer: NetworkInterfaceTypeDef, cluster: str) -> bool:
    return any(t["Key"] == CLUSTER and t["Value"] == cluster for t in answer.get("TagSet", []))


def _machine(answer: NetworkInterfaceTypeDef) -> InstanceId | None:
    attachment = answer.get("Attachment", {})
    name = attachment.get("InstanceId") if attachment.get("Status", "attached") in LIVE else None
    return InstanceId(name) if name else None


def _prefixes(answer: NetworkInterfaceTypeDef) -> list[Network]:
    four = [p.get("Ipv4Prefix") for p in answer.get("Ipv4Prefixes", [])]
    six = [p.get("Ipv6Prefix") for p in answer.get("Ipv6Prefixes", [])]
    return [ip_network(p) for p in (*four, *six) if p]


def _singles(answer: NetworkInterfaceTypeDef) -> list[Network]:
    """Return the single addresses beside the interface's own."""
    four = [a.get("PrivateIpAddress") for a in answer.get("PrivateIpAddresses", []) if not a.get("Primary")]
    six = [a.get("Ipv6Address") for a in answer.get("Ipv6Addresses", [])]
    return [ip_network(a) for a in (*four, *six) if a]


def _split(cidrs: Iterable[Network]) -> tuple[list[str], list[str]]:
    """Return prefixes and single addresses apart, as EC2 wants them."""
    prefixes = [str(c) for c in cidrs if c.num_addresses > 1]
    return prefixes, [str(ip_address(c.network_address)) for c in cidrs if c.num_addresses == 1]


def _subnet(answer: SubnetTypeDef) -> PodSubnet:
    free = {Family.IPV4: answer.get("AvailableIpAddressCount", 0)}
    if answer.get("Ipv6CidrBlockAssociationSet"):
        free[Family.IPV6] = 1 << 62  # of a /64; EC2 does not count them
    return PodSubnet(SubnetId(answer["SubnetId"]), answer.get("AvailabilityZone", ""), MappingProxyType(free))


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
