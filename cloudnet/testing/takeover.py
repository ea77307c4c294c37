"""A lab cluster that another pod network serves, made with that network's own plugins, and its takeover.

cluster = Cluster.up("t1", kubenet.configuration)   # nodes, machines, cloud routes; no agent yet
old = cluster.node("n1").attach("a")                # a pod by whatever configuration a runtime would choose now
cluster.node("n1").takeover("run", "--pool", "10.65.0.0/16")
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, ip_interface, ip_network
from pathlib import Path
from typing import Any

from cloudnet.cni.runtime import Attachment, Runtime
from cloudnet.kernel import netns
from cloudnet.lab import cluster, spec
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec
from cloudnet.lab.traffic import Endpoint, Flow, Traffic
from cloudnet.model.addresses import Address, Network
from cloudnet.model.resources import IPPool, Metadata, Node

PLUGINS = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
RANGE = IPv4Network("10.65.0.0/16")  # of the cluster; node k has the k-th /24
_PATIENCE = 30.0  # seconds

Configure = Callable[[Path, Network], Mapping[str, Any]]
"""Makes a network configuration list: of the folder for host-local's books, and the node's range."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, by whom it was attached, and how it can be detached."""

    name: str
    node: str
    namespace: str
    address: Address
    attachment: Attachment
    result: Mapping[str, Any] = field(hash=False)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.node, self.namespace, self.address)


class TakenNode:
    """One node: its runtime's folders, its pods, and commands inside it."""

    def __init__(self, lab: Lab, name: str, block: Network, configuration: tuple[str, Mapping[str, Any]]) -> None:
        self.lab, self.name, self.block = lab, name, block
        self.namespace = lab.namespace(name)
        self.folder = lab.directory / f"{name}-host"
        self.conf, self.bin, self.networks = (self.folder / part for part in ("net.d", "bin", "networks"))
        for one in (self.conf, self.bin, self.networks):
            one.mkdir(parents=True)
        file, document = configuration
        (self.conf / file).write_text(json.dumps(document, indent=1))
        self.pods: dict[str, Pod] = {}

    def run(self, line: str) -> str:
        return netns.execute(self.namespace, line.split())

    # --- pods -------------------------------------------------------------------------------------------

    def runtime(self) -> Runtime:
        """Return what a container runtime would do now: the first configuration by name."""
        files = sorted(f for f in self.conf.iterdir() if f.suffix in {".conf", ".conflist", ".json"})
        prefix = netns.command_inside(self.namespace, [])
        return Runtime(json.loads(files[0].read_text()), [self.bin, PLUGINS], prefix=prefix)

    def attach(self, name: str) -> Pod:
        namespace = spec.pod_namespace(self.lab.name, self.name, name)
        netns.create(namespace)
        container = f"{self.name}{name}".ljust(16, "0")
        attachment = Attachment(container, f"/run/netns/{namespace}")
        result = self.runtime().add(attachment)
        address = ip_interface(result["ips"][0]["address"]).ip
        pod = Pod(name, self.name, namespace, address, attachment, result)
        self.pods[name] = pod
        return pod

    def detach(self, name: str) -> None:
        """Let a pod end as a runtime does: the plugin that is configured now, then the namespace."""
        pod = self.pods.pop(name)
        self.runtime().delete(pod.attachment, dict(pod.result))
        netns.remove(pod.namespace)

    # --- the takeover -----------------------------------------------------------------------------------

    def takeover(self, verb: str, *more: str) -> subprocess.CompletedProcess[str]:
        where = self.lab.directory
        flags = {
            "node": self.name,
            "store": self.lab.store_url,
            "socket": where / f"{self.name}.sock",
            "cni-socket": where / f"{self.name}.cni",
            "state": where / f"{self.name}-state",
            "bin-dir": self.bin,
            "conf-dir": self.conf,
            "networks": self.networks,
        }
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        program = [sys.executable, "-m", "cloudnet.cli.main", "takeover", verb, *words, *more]
        command = netns.command_inside(self.namespace, program)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def start_agent(self) -> None:
        self.lab.start_agent(self.name)
        self.lab._wait_answer(f"agent {self.name}", self.lab._socket(self.name), _PATIENCE)  # noqa: SLF001 - its friend

    def stop_agent(self) -> None:
        self.lab.kill_agent(self.name)

    # --- what there is ----------------------------------------------------------------------------------

    def host(self, *devices: str) -> Mapping[str, Any]:
        """Return what must be as it was when the node has been given back."""
        settings = [f"net.ipv4.conf.{d}.proxy_arp" for d in devices] + [
            f"net.ipv4.neigh.{d}.proxy_delay" for d in devices
        ]
        return {
            "configurations": {f.name: f.read_text() for f in sorted(self.conf.iterdir())},
            "settings": [self.run(f"sysctl {name}") for name in settings],
            "addresses": [self.run(f"ip -br address show dev {d}") for d in devices],
            "routes": [self.run(f"ip route show dev {d}") for d in devices],
            "rules": self.run("iptables-save").splitlines() if Path("/usr/sbin/iptables-save").exists() else [],
        }

    def books(self, network: str) -> Mapping[str, str]:
        """Return host-local's books: {address: container}."""
        found = {}
        for file in (self.networks / network).iterdir():
            if file.name[0].isdigit():
                found[file.name] = file.read_bytes().decode().split("\r\n")[0].strip()
        return found


@contextmanager
def served_by(name: str, file: str, configure: Configure, *, nodes: int = 2) -> Iterator[tuple[TakenNode, ...]]:
    """Build a cluster whose pods another network serves, with a cloud route to each node's range."""
    lab = Lab.up(LabSpec(name, nodes=nodes, subnets=nodes, pods=0, agents=False, controller=False))
    made: list[TakenNode] = []
    try:
        for record in lab.state.nodes:
            block = ip_network(f"10.65.{record.number}.0/24")
            _as_kubernetes_has_it(lab, record.name, block)
            place = lab.directory / f"{record.name}-host" / "networks"
            made.append(TakenNode(lab, record.name, block, (file, configure(place, block))))
            route(lab, record.instance, block)
        yield tuple(made)
    finally:
        for node in made:
            for pod in node.pods.values():
                netns.remove(pod.namespace)
        lab.down()


def _as_kubernetes_has_it(lab: Lab, name: str, block: Network) -> None:
    """Take away what a cloudnet cluster would have, and leave what any cluster has: the node, with its range."""

    def bare(known: cluster.Cluster) -> None:
        node = known.store.get(Node, name).value
        known.leave(lab.state.node(name))
        known.store.create(replace(node, meta=Metadata(name), vteps=(), pod_cidrs=(block,)))
        if any(item.value.meta.name == "default" for item in known.store.list(IPPool).items):
            known.store.delete(IPPool, "default")

    cluster.within(lab.name, lab.store_kind, bare)


def route(lab: Lab, instance: str, block: Network) -> None:
    """Do what the cloud controller manager's route controller does for a node."""
    lab.cloud.call("modify_instance_attribute", InstanceId=instance, SourceDestCheck={"Value": False})  # type: ignore[attr-defined]  # the hand of AWS
    for table in set(lab.state.cloud.tables.values()):
        lab.cloud.call(  # type: ignore[attr-defined]  # the same
            "create_route", RouteTableId=table, DestinationCidrBlock=str(block), InstanceId=instance
        )
    lab.cloud.sync()


def both_ways(one: Pod, other: Pod, *kinds: str) -> list[Flow]:
    """Return flows in both directions."""
    flows = []
    for kind in kinds or ("udp", "tcp"):
        flows += [Flow(kind, one.endpoint, other.endpoint), Flow(kind, other.endpoint, one.endpoint)]  # type: ignore[arg-type]  # one of the two
    return flows


def open_all(traffic: Traffic, flows: Sequence[Flow]) -> None:
    """Open flows and wait until each arrives."""
    for flow in flows:
        traffic.open(flow)
    eventually(
        lambda: all(traffic.arrived(flow) for flow in flows),
        lambda: f"does not arrive: {[str(f) for f in flows if not traffic.arrived(f)]}",
    )


def eventually(holds: Callable[[], bool], complaint: Callable[[], str]) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < end, complaint()
        time.sleep(0.05)


def kubenet(networks: Path, block: Network) -> Mapping[str, Any]:
    """Return the list that stands for kubenet, as runtimes write it from their template."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": str(block)}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {
        "type": "bridge",
        "bridge": "cbr0",
        "mtu": 1450,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": False,
        "promiscMode": True,
        "ipam": {**ipam, "dataDir": str(networks)},
    }
    return {"cniVersion": "0.3.1", "name": "kubenet", "plugins": [bridge]}
