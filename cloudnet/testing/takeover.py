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
from cloudnet.lab.programs import Programs
from cloudnet.lab.spec import LAB_SETTINGS, LabSpec
from cloudnet.lab.traffic import Endpoint, Flow, Traffic
from cloudnet.model.addresses import Address, Network
from cloudnet.model.policies import Action, EntityRule, GlobalNetworkPolicy, PolicySpec, Rule
from cloudnet.model.resources import EncapMode, IPPool, Metadata, Node
from cloudnet.store import api

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
            one.mkdir(parents=True, exist_ok=True)
        file, document = configuration
        (self.conf / file).write_text(json.dumps(document, indent=1))
        self.pods: dict[str, Pod] = {}

    def run(self, line: str) -> str:
        return netns.execute(self.namespace, line.split())

    # --- pods -------------------------------------------------------------------------------------------

    def runtime(self) -> Runtime:
        """Return what a container runtime would do now: the first configuration by name."""
        prefix = netns.command_inside(self.namespace, [])
        return Runtime(self._configuration(), [self.bin, PLUGINS], prefix=prefix)

    def _configuration(self) -> Mapping[str, Any]:
        files = sorted(f for f in self.conf.iterdir() if f.suffix in {".conf", ".conflist", ".json"})
        found: Mapping[str, Any] = json.loads(files[0].read_text())
        return found

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
        """Let a pod end as a runtime does: the plugin that is configured now, then the namespace.

        What the pod's ADD returned is handed on in the version of that configuration, as libcni converts it.
        """
        pod = self.pods.pop(name)
        self.runtime().delete(pod.attachment, {**pod.result, "cniVersion": self._configuration()["cniVersion"]})
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
        Programs(self.lab.name).wait_agent(self.name, _PATIENCE)

    def stop_agent(self) -> None:
        self.lab.kill_agent(self.name)

    # --- what there is ----------------------------------------------------------------------------------

    def host(self, *devices: str) -> Mapping[str, Any]:
        """Return what must be as it was when the node has been given back."""
        settings = [f"net/ipv4/conf/{d}/proxy_arp" for d in devices] + [
            f"net/ipv4/neigh/{d}/proxy_delay" for d in devices
        ]
        return {
            "configurations": {f.name: f.read_text() for f in sorted(self.conf.iterdir())},
            "settings": [self.run(f"sysctl {name}") for name in settings],
            "addresses": [self.run(f"ip -br address show dev {d}") for d in devices],
            "routes": [self.run(f"ip route show dev {d}") for d in devices],
            "rules": [line.split(" [")[0] for line in self.run("iptables-save").splitlines() if line[0] != "#"],
        }

    def books(self, network: str) -> Mapping[str, str]:
        """Return host-local's books: {address: container}."""
        found = {}
        for file in (self.networks / network).iterdir():
            if file.name[0].isdigit():
                found[file.name] = file.read_bytes().decode().split("\r\n")[0].strip()
        return found


@contextmanager
def served_by(
    name: str,
    file: str,
    configure: Configure,
    *,
    nodes: int = 2,
    routed: bool = True,
    ranges: bool = True,
    settings: Mapping[str, str] | None = None,
) -> Iterator[tuple[TakenNode, ...]]:
    """Build a cluster whose pods another network serves; ``routed`` with a cloud route to each node's range.

    Without ``ranges`` nodes have none, as where pods have addresses of the cloud's subnets.
    """
    more = {**LAB_SETTINGS, **(settings or {})}
    lab = Lab.up(LabSpec(name, nodes=nodes, subnets=nodes, pods=0, agents=False, controller=False, settings=more))
    made: list[TakenNode] = []
    try:
        for record in lab.state.nodes:
            block = ip_network(f"10.65.{record.number}.0/24")
            _as_kubernetes_has_it(lab, record.name, block if ranges else None)
            place = lab.directory / f"{record.name}-host" / "networks"
            made.append(TakenNode(lab, record.name, block, (file, configure(place, block))))
            if routed and ranges:
                route(lab, record.instance, block)
        yield tuple(made)
    finally:
        for node in made:
            for pod in node.pods.values():
                netns.remove(pod.namespace)
        lab.down()


def _as_kubernetes_has_it(lab: Lab, name: str, block: Network | None) -> None:
    """Take away what a cloudnet cluster would have, and leave what any cluster has: the node, with its range."""

    def bare(known: cluster.Cluster) -> None:
        node = known.store.get(Node, name).value
        known.leave(lab.state.node(name))
        known.store.create(replace(node, meta=Metadata(name), vteps=(), pod_cidrs=(block,) if block else ()))
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


# --- flannel ------------------------------------------------------------------------------------------------

_FLANNEL = """#!{python}
# What flannel's plugin does: read the node's range, and let the plugin bridge do all the rest.
import json, os, subprocess, sys
given = json.load(sys.stdin)
ipam = {{"type": "host-local", "ranges": [[{{"subnet": "{block}"}}]], "dataDir": "{networks}"}}
ipam["routes"] = [{{"dst": "{range}"}}]
asked = {{"cniVersion": given["cniVersion"], "name": given["name"], "type": "bridge", "mtu": 1450}}
asked |= {{"ipMasq": False, "isGateway": True, "ipam": ipam, **given["delegate"]}}
done = subprocess.run(["{plugins}/bridge"], input=json.dumps(asked).encode(), env=os.environ)
sys.exit(done.returncode)
"""


def flannel(networks: Path, block: Network) -> Mapping[str, Any]:
    """Return flannel's own list; puts a stand-in for its plugin where the runtime looks."""
    program = networks.parent / "bin" / "flannel"
    program.parent.mkdir(parents=True, exist_ok=True)
    words = {"python": sys.executable, "block": block, "networks": networks, "range": RANGE, "plugins": PLUGINS}
    program.write_text(_FLANNEL.format(**words))
    program.chmod(0o755)
    first = {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.3.1", "name": "cbr0", "plugins": [first, portmap]}


def flanneld(nodes: Sequence[TakenNode]) -> None:
    """Lay what flanneld keeps: its VXLAN device, the way to each other node, and its masquerading."""
    for node in nodes:
        own = _flannel_end(node)
        node.run(
            f"ip link add flannel.1 address {own[2]} type vxlan id 1 local {own[0]} dev eth0 dstport 8472 nolearning"
        )
        node.run(f"ip address add {own[1]}/32 dev flannel.1")
        node.run("ip link set flannel.1 up")
        for other in nodes:
            if other is not node:
                address, end, mac = _flannel_end(other)
                node.run(f"ip neigh add {end} lladdr {mac} dev flannel.1 nud permanent")
                node.run(f"bridge fdb append {mac} dev flannel.1 dst {address}")
                node.run(f"ip route add {other.block} via {end} dev flannel.1 onlink")
        for rule in (
            "-N FLANNEL-POSTRTG",
            "-A POSTROUTING -j FLANNEL-POSTRTG",
            f"-A FLANNEL-POSTRTG -s {RANGE} -d {RANGE} -j RETURN",
            f"-A FLANNEL-POSTRTG -s {RANGE} -j MASQUERADE",
        ):
            node.run(f"iptables -w -t nat {rule}")


def _flannel_end(node: TakenNode) -> tuple[str, str, str]:
    record = node.lab.state.node(node.name)
    return str(record.address.ip), str(node.block.network_address), f"02:42:00:00:00:{record.number:02x}"


# --- the cloud's own ----------------------------------------------------------------------------------------


def of_the_cloud(plugin: str, network: str) -> Configure:
    """Return what makes the list of a cloud's own plugin; its pods are wired with ``attach_natively``."""
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    document = {"cniVersion": "0.4.0", "name": network, "plugins": [{"type": plugin}, portmap]}
    return lambda _networks, _block: document


def attach_natively(node: TakenNode, name: str, prefix: str) -> Pod:
    """Wire a pod with an address of the cloud's, as the AWS VPC CNI does: a link, a route, rules by address."""
    address = _prefix(node)[len(node.pods) + 1]
    namespace = spec.pod_namespace(node.lab.name, node.name, name)
    netns.create(namespace)
    link = f"{prefix}{node.name}{name}"[:15]
    node.run(f"ip link add {link} mtu 1450 type veth peer name eth0 mtu 1450 netns {namespace}")
    mac = json.loads(node.run(f"ip -j link show dev {link}"))[0]["address"]
    node.run(f"ip link set {link} up")
    node.run(f"ip route add {address}/32 dev {link} scope link")
    node.run(f"ip rule add to {address} lookup main priority 512")
    node.run(f"ip rule add from {address} lookup main priority 1536")
    for line in (
        f"ip address add {address}/32 dev eth0",
        "ip link set eth0 up",
        "ip route add 169.254.1.1 dev eth0 scope link",
        "ip route add default via 169.254.1.1 dev eth0",
        f"ip neigh add 169.254.1.1 lladdr {mac} dev eth0 nud permanent",
    ):
        netns.execute(namespace, line.split())
    pod = Pod(name, node.name, namespace, address, Attachment(f"{node.name}{name}"), {})
    node.pods[name] = pod
    return pod


def _prefix(node: TakenNode) -> Network:
    """Return the prefix that the cloud gave the node's interface; ask for one where there is none."""
    interface = node.lab.state.node(node.name).interface
    call = node.lab.cloud.call  # type: ignore[attr-defined]  # the hand of AWS
    (shown,) = call("describe_network_interfaces", NetworkInterfaceIds=[interface])["NetworkInterfaces"]
    if not shown.get("Ipv4Prefixes"):
        call("assign_private_ip_addresses", NetworkInterfaceId=interface, Ipv4PrefixCount=1)
        node.lab.cloud.sync()
        return _prefix(node)
    return ip_network(shown["Ipv4Prefixes"][0]["Ipv4Prefix"])


# --- Calico -------------------------------------------------------------------------------------------------


@contextmanager
def served_by_calico(name: str, *, metric: int) -> Iterator[tuple[TakenNode, ...]]:
    """Build two nodes with two pods each, in the store and in the kernel as Calico leaves them, all by VXLAN.

    A policy keeps pod ``p2`` of the second from ``p1`` of the first.
    """
    lab = Lab.up(LabSpec(name, nodes=2, subnets=2, pods=2, agents=False, controller=False))
    made: list[TakenNode] = []
    try:
        cluster.within(lab.name, lab.store_kind, _all_by_vxlan)
        plugins = [{"type": "calico", "ipam": {"type": "calico-ipam"}}, {"type": "portmap", "snat": True}]
        document = {"cniVersion": "0.3.1", "name": "k8s-pod-network", "plugins": plugins}
        for record in lab.state.nodes:
            made.append(TakenNode(lab, record.name, record.blocks[0], ("10-calico.conflist", document)))
            for pod in lab.node(record.name).pods:
                found = Pod(pod.name, record.name, pod.namespace, pod.address, Attachment(pod.name), {})
                made[-1].pods[pod.name] = found
        barred = made[1].pods["p2"].address
        cluster.within(lab.name, lab.store_kind, lambda known: _bar(known, barred))
        for one, other in (made, reversed(made)):
            _as_felix_lays_it(one, other, metric)
            felix_chains(one, barred)
        yield tuple(made)
    finally:
        for node in made:
            for pod_ in node.pods.values():
                netns.remove(pod_.namespace)
        lab.down()


def _bar(known: cluster.Cluster, address: Address) -> None:
    """Write a policy that keeps an address from pod ``p1`` of node ``n1``."""
    nobody = EntityRule(nets=(ip_network(address),))
    spec_ = PolicySpec(
        selector="node == 'n1' && pod == 'p1'", ingress=(Rule(Action.DENY, source=nobody), Rule(Action.ALLOW))
    )
    known.store.create(GlobalNetworkPolicy(Metadata("barred"), spec_))


def _all_by_vxlan(known: cluster.Cluster) -> None:
    api.change(known.store, IPPool, "default", lambda seen: replace(seen, vxlan_mode=EncapMode.ALWAYS))


def _as_felix_lays_it(node: TakenNode, other: TakenNode, metric: int) -> None:
    names = (node.name, other.name)
    here, there = cluster.within(
        node.lab.name, node.lab.store_kind, lambda known: [known.store.get(Node, name).value for name in names]
    )
    ours, theirs = here.vteps[0], there.vteps[0]
    device = f"vxlan id 4096 local {here.addresses[0].ip} dev eth0 dstport 4789 nolearning"
    for line in (
        f"ip link add vxlan.calico address {ours.mac} mtu 1450 type {device}",
        f"ip address add {ours.address}/32 dev vxlan.calico",
        "ip link set vxlan.calico up",
        f"ip neigh add {theirs.address} lladdr {theirs.mac} dev vxlan.calico nud permanent",
        f"bridge fdb append {theirs.mac} dev vxlan.calico dst {there.addresses[0].ip}",
        f"ip route add {other.block} via {theirs.address} dev vxlan.calico onlink proto 80 metric {metric}",
        f"ip route add blackhole {node.block} proto 80 metric {metric}",
    ):
        node.run(line)


def felix_chains(node: TakenNode, barred: Address) -> None:
    """Write iptables chains as Felix has them: the policy, and a drop of what leaves a pod that is not known."""
    known = [word for word in node.run("ip -o link").replace("@", " ").split() if word.startswith("cali")]
    rules = [
        "*nat",
        ":cali-POSTROUTING - [0:0]",
        '-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING',
        "COMMIT",
        "*filter",
        ":cali-FORWARD - [0:0]",
        ":cali-from-wl-dispatch - [0:0]",
        '-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD',
        f"-A cali-FORWARD -s {barred} -d {node.pods['p1'].address} -j DROP",
        "-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch",
        *(f"-A cali-from-wl-dispatch -i {name} -j RETURN" for name in known),
        '-A cali-from-wl-dispatch -m comment --comment "Unknown interface" -j DROP',
        "COMMIT",
    ]
    netns.execute(node.namespace, ["iptables-restore", "--noflush"], stdin="".join(f"{line}\n" for line in rules))
