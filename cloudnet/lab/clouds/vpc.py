"""The lab's hand on its AWS: makes the VPC and its machines, by way of the cloud's control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from cloudnet.lab import control, state
from cloudnet.lab.clouds.api import ENDPOINT, KEY, Launched
from cloudnet.lab.clouds.ec2 import ROUTE_WRITES
from cloudnet.lab.errors import LabError
from cloudnet.lab.spec import OUTSIDE_HOST, POOL, VPC, SubnetPlan
from cloudnet.lab.state import CloudRecord

OUTSIDER = "outsider"  # a machine that belongs to somebody else, to lead foreign routes to
_OUTSIDER_HOST = 9  # below the nodes' own


@dataclass(frozen=True, slots=True)
class Aws:
    """One lab's AWS, by its control socket. Every method raises ``LabError`` with EC2's own words when it fails."""

    socket: Path
    lab: str

    def call(self, name: str, **arguments: object) -> Any:  # boto3's answer: plain JSON, known by its caller
        return control.ask(self.socket, {"verb": "ec2", "call": name, "arguments": arguments}, timeout=30)["result"]

    @property
    def route_writes(self) -> frozenset[str]:
        return ROUTE_WRITES

    def set(self, **conditions: object) -> None:
        control.ask(self.socket, {"verb": "set", "conditions": conditions})

    def sync(self) -> None:
        """Make the fabric follow at once."""
        control.ask(self.socket, {"verb": "sync"})

    def stats(self) -> dict[str, Any]:
        return control.ask(self.socket, {"verb": "stats"})

    def make_network(self, subnets: Sequence[SubnetPlan]) -> CloudRecord:
        """Make the VPC with its subnets and a table for each, and let the fabric follow it."""
        vpc = self.call("create_vpc", CidrBlock=str(VPC), TagSpecifications=self._tags("vpc", self.lab))["Vpc"][
            "VpcId"
        ]
        ids, tables = {}, {}
        for subnet in subnets:
            made = self.call(
                "create_subnet",
                VpcId=vpc,
                CidrBlock=str(subnet.cidr),
                AvailabilityZone=subnet.zone,
                TagSpecifications=self._tags("subnet", subnet.name),
            )["Subnet"]["SubnetId"]
            table = self.call(
                "create_route_table", VpcId=vpc, TagSpecifications=self._tags("route-table", subnet.name)
            )["RouteTable"]["RouteTableId"]
            self.call("associate_route_table", RouteTableId=table, SubnetId=made)
            ids[subnet.name], tables[subnet.name] = made, table
        self._open(vpc)
        mtu = state.load(self.lab).spec.mtu
        control.ask(self.socket, {"verb": "vpc", "vpc": vpc, "lab": self.lab, "mtu": mtu})
        self.sync()
        return CloudRecord(vpc, ids, tables)

    def _open(self, vpc: str) -> None:
        """Let nodes and pods into the VPC's default group, as the Terraform module does; the fabric looks at none."""
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
        (group,) = self.call("describe_security_groups", Filters=filters)["SecurityGroups"]
        ranges = [{"CidrIp": str(VPC), "Description": "nodes"}, {"CidrIp": str(POOL), "Description": "pods"}]
        self.call(
            "authorize_security_group_ingress",
            GroupId=group["GroupId"],
            IpPermissions=[{"IpProtocol": "-1", "IpRanges": ranges}],
        )

    def attach_outside(self, cloud: CloudRecord, subnet: str) -> None:
        """Attach a transit gateway whose end is in ``subnet``, and lead every table's packets for outside there."""
        gateway = self.call("create_transit_gateway")["TransitGateway"]["TransitGatewayId"]
        self.call(
            "create_transit_gateway_vpc_attachment",
            TransitGatewayId=gateway,
            VpcId=cloud.vpc,
            SubnetIds=[cloud.subnets[subnet]],
        )
        for table in cloud.tables.values():
            self.call(
                "create_route",
                RouteTableId=table,
                DestinationCidrBlock=str(OUTSIDE_HOST.network),
                TransitGatewayId=gateway,
            )

    def launch(self, name: str, subnet: str, address: IPv4Address) -> Launched:
        """Start a machine with a fixed address; its source/destination check is on, as AWS has it."""
        machine = self.call(
            "run_instances",
            ImageId="ami-0c10dca6",
            InstanceType="m5.large",
            MinCount=1,
            MaxCount=1,
            SubnetId=subnet,
            PrivateIpAddress=str(address),
            TagSpecifications=self._tags("instance", name),
        )["Instances"][0]
        interface = machine["NetworkInterfaces"][0]
        return Launched(machine["InstanceId"], interface["NetworkInterfaceId"], interface["MacAddress"])

    def stop(self, instance: str) -> None:
        self.call("stop_instances", InstanceIds=[instance])
        self.sync()

    def start(self, instance: str) -> None:
        self.call("start_instances", InstanceIds=[instance])
        self.sync()

    def terminate(self, instance: str) -> None:
        self.call("terminate_instances", InstanceIds=[instance])
        self.sync()

    def provider_id(self, instance: str, zone: str) -> str:
        return f"aws:///{zone}/{instance}"

    def provider_config(self, cloud: CloudRecord, *, mtu: int) -> Mapping[str, object]:
        return {
            "region": "eu-west-1",
            "vpc_id": cloud.vpc,
            "cluster": self.lab,
            "endpoint_url": ENDPOINT,
            "access_key_id": KEY,
            "secret_access_key": "lab",
            "mtu": mtu,
            "quota_seconds": 1.0,  # a quota that somebody breaks is seen at the next read
        }

    def occupy(self, interface: str, count: int) -> None:
        """Give an interface single addresses that are nobody's business here."""
        self.call("assign_private_ip_addresses", NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=count)

    def routes(self, table: str) -> Mapping[str, Mapping[str, str]]:
        """Return a table's entries as EC2 shows them, by destination."""
        found = self.call("describe_route_tables", RouteTableIds=[table])["RouteTables"][0]["Routes"]
        return {r.get("DestinationCidrBlock") or r["DestinationIpv6CidrBlock"]: r for r in found}

    def delete_route(self, table: str, block: IPv4Network) -> None:
        if str(block) in self.routes(table):
            self.call("delete_route", RouteTableId=table, DestinationCidrBlock=str(block))

    def claim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        """Lead a block to somebody else's machine in every table."""
        interface = self._outsider(cloud)
        for table in cloud.tables.values():
            verb = "replace_route" if str(block) in self.routes(table) else "create_route"
            self.call(verb, RouteTableId=table, DestinationCidrBlock=str(block), NetworkInterfaceId=interface)

    def unclaim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        """Take away what ``claim`` made, and nothing else."""
        interface = self._outsider(cloud)
        for table in cloud.tables.values():
            entry = self.routes(table).get(str(block))
            if entry and entry.get("NetworkInterfaceId") == interface:
                self.call("delete_route", RouteTableId=table, DestinationCidrBlock=str(block))

    def _outsider(self, cloud: CloudRecord) -> str:
        """Return the interface of somebody else's machine, started on first use."""
        found = self.call(
            "describe_instances",
            Filters=[{"Name": "tag:Name", "Values": [OUTSIDER]}, {"Name": "vpc-id", "Values": [cloud.vpc]}],
        )["Reservations"]
        if found:
            interface = found[0]["Instances"][0]["NetworkInterfaces"][0]["NetworkInterfaceId"]
            if not isinstance(interface, str):
                raise LabError("the cloud gave no interface for the outsider's machine")
            return interface
        first = next(iter(cloud.subnets.values()))
        return self.launch(OUTSIDER, first, VPC.network_address + 256 + _OUTSIDER_HOST).interface

    def _tags(self, kind: str, name: str) -> list[dict[str, object]]:
        tags = {"Name": name, f"kubernetes.io/cluster/{self.lab}": "owned"}
        return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
