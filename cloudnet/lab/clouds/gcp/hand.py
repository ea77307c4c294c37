"""The lab's hand on its Google: makes the network and its machines, by way of the cloud's control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from cloudnet.lab import state
from cloudnet.lab.clouds.api import ENDPOINT, KEY, Launched, Socket
from cloudnet.lab.clouds.gcp.forwarding import mac
from cloudnet.lab.clouds.gcp.plane import PROJECT
from cloudnet.lab.clouds.gcp.state import last
from cloudnet.lab.spec import OUTSIDE_HOST, POOL, VPC, SubnetPlan
from cloudnet.lab.state import CloudRecord

NETWORK = "vpc"
POD_RANGE = "pods"  # each subnet's secondary range, for native addresses of pods
OUTSIDER = "outsider"  # a machine that belongs to somebody else, to lead foreign routes to
_OUTSIDER_HOST = 9  # below the nodes' own
_FIRST = 100  # the priority of an outsider's routes: they win over ours


@dataclass(frozen=True, slots=True)
class Google(Socket):
    """One lab's Google. Every method raises ``LabError`` with the API's own words when it fails."""

    lab: str

    def api(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:  # the API's JSON
        """Make one call; ``path`` is what follows the project's."""
        return self.ask("api", method=method, path=path, **({} if body is None else {"body": body}))["result"]

    @property
    def route_writes(self) -> frozenset[str]:
        return frozenset({"compute.routes.insert", "compute.routes.delete"})

    def make_network(self, subnets: Sequence[SubnetPlan]) -> CloudRecord:
        """Make the network with its subnets and default route; one table, the network's own, serves all of them."""
        mtu = state.load(self.lab).spec.mtu
        self.api("POST", "global/networks", {"name": NETWORK, "autoCreateSubnetworks": False, "mtu": mtu})
        for subnet in subnets:
            region = _region(subnet.zone)
            pods = {"rangeName": POD_RANGE, "ipCidrRange": str(pod_range(subnet.cidr))}
            body: dict[str, object] = {"name": subnet.name, "network": _network(), "ipCidrRange": str(subnet.cidr)}
            body["secondaryIpRanges"] = [pods]
            self.api("POST", f"regions/{region}/subnetworks", body)
        gateway = f"projects/{PROJECT}/global/gateways/default-internet-gateway"
        self._insert("default-route", "0.0.0.0/0", priority=1000, nextHopGateway=gateway)
        self._open()
        self.ask("network", network=NETWORK)
        ids = {subnet.name: f"{subnet.zone}/{subnet.name}" for subnet in subnets}
        return CloudRecord(NETWORK, ids, {subnet.name: NETWORK for subnet in subnets})

    def _open(self) -> None:
        """Let nodes and pods reach nodes, as the Terraform module does; the lab's fabric does not look at it."""
        for name, source in (("nodes", VPC), ("pods", POOL)):
            rule = {"name": f"cloudnet-{name}", "network": _network(), "sourceRanges": [str(source)]}
            self.api("POST", "global/firewalls", rule | {"allowed": [{"IPProtocol": "all"}]})

    def attach_outside(self, cloud: CloudRecord, subnet: str) -> None:  # noqa: ARG002 - one network, the lab's
        """Lead packets for outside into a VPN tunnel, and what comes out of it by the network's routes."""
        tunnel = f"projects/{PROJECT}/regions/here/vpnTunnels/outside"
        self._insert("outside", str(OUTSIDE_HOST.network), priority=1000, nextHopVpnTunnel=tunnel)
        self.ask("outside", subnet=subnet)

    def launch(self, name: str, subnet: str, address: IPv4Address) -> Launched:
        """Start a machine with a fixed address, in ``ZONE/SUBNET``; it may forward, which nothing changes later."""
        zone, _, of = subnet.partition("/")
        nic = {
            "subnetwork": f"projects/{PROJECT}/regions/{_region(zone)}/subnetworks/{of}",
            "networkIP": str(address),
        }
        body = {"name": name, "canIpForward": True, "networkInterfaces": [nic]}
        self.api("POST", f"zones/{zone}/instances", body)
        return Launched(f"{zone}/{name}", f"{zone}/{name}/nic0", mac(str(address)))

    def stop(self, instance: str) -> None:
        self.api("POST", f"{_path(instance)}/stop")
        self.sync()

    def start(self, instance: str) -> None:
        self.api("POST", f"{_path(instance)}/start")
        self.sync()

    def terminate(self, instance: str) -> None:
        self.api("DELETE", _path(instance))
        self.sync()

    def provider_id(self, instance: str, zone: str) -> str:
        return f"gce://{PROJECT}/{zone}/{last(instance)}"

    def provider_config(self, cloud: CloudRecord, *, mtu: int) -> Mapping[str, object]:
        return {
            "project": PROJECT,
            "network": cloud.vpc,
            "cluster": self.lab,
            "endpoint_url": ENDPOINT,
            "resource_manager_url": ENDPOINT,
            "access_token": KEY,
            "pod_range": POD_RANGE,
            "mtu": mtu,
            "quota_seconds": 1.0,  # a quota that somebody breaks is seen at the next read
        }

    def routes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the network's routes as the API shows them, by name."""
        return {route["name"]: route for route in self.api("GET", "global/routes").get("items", [])}

    def delete_route(self, table: str, block: IPv4Network) -> None:  # noqa: ARG002 - one table, the network's
        """Delete a block's routes behind cloudnet's back; that there is none is success."""
        for name, route in self.routes().items():
            if route["destRange"] == str(block):
                self.api("DELETE", f"global/routes/{name}")

    def claim(self, cloud: CloudRecord, block: IPv4Network) -> None:
        """Lead a block to somebody else's machine, by a route that wins."""
        theirs = f"projects/{PROJECT}/{self._outsider(cloud)}"
        self._insert(_claim_name(block), str(block), priority=_FIRST, nextHopInstance=theirs)

    def unclaim(self, cloud: CloudRecord, block: IPv4Network) -> None:  # noqa: ARG002 - one network, the lab's
        """Take away what ``claim`` made, and nothing else."""
        if _claim_name(block) in self.routes():
            self.api("DELETE", f"global/routes/{_claim_name(block)}")

    def _outsider(self, cloud: CloudRecord) -> str:
        """Return the path of somebody else's machine, started on first use."""
        found = self.api("GET", "aggregated/instances").get("items", {})
        for machine in (m for scope in found.values() for m in scope.get("instances", [])):
            if machine["name"] == OUTSIDER:
                return _path(f"{last(machine['zone'])}/{OUTSIDER}")
        first = next(iter(cloud.subnets.values()))
        return _path(self.launch(OUTSIDER, first, VPC.network_address + 256 + _OUTSIDER_HOST).instance)

    def _insert(self, name: str, destination: str, *, priority: int, **hop: str) -> None:
        body = {"name": name, "network": _network(), "destRange": destination, "priority": priority, **hop}
        self.api("POST", "global/routes", body)


def pod_range(cidr: IPv4Network) -> IPv4Network:
    """Return the secondary range of a subnet: 10.201.0.0/20 belongs to 10.0.1.0/24."""
    return IPv4Network((int(IPv4Address("10.200.0.0")) + (int(cidr.network_address) - int(VPC[0]) << 8), 20))


def _network() -> str:
    return f"projects/{PROJECT}/global/networks/{NETWORK}"


def _path(instance: str) -> str:
    zone, _, name = instance.partition("/")
    return f"zones/{zone}/instances/{name}"


def _region(zone: str) -> str:
    """Return the region of a zone: its name without the last letter."""
    return zone.rpartition("-")[0]


def _claim_name(block: IPv4Network) -> str:
    return "outsider-" + str(block).replace(".", "-").replace("/", "-")
