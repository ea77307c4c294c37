"""One lab: built, looked into, broken, healed and removed. The only place that knows the order of things.

Everything that a lab makes is found again without its memory: namespaces by their prefix, processes by the
namespace they are in, files by their directory. So ``remove`` cleans up after any crash.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from cloudnet.errors import BadInput, MissingTool
from cloudnet.lab import cluster, control, faults, nodes, processes, spec, state, stores
from cloudnet.lab.clouds import registry
from cloudnet.lab.clouds.api import KEY, Cloud, Kind, Tenant
from cloudnet.lab.cluster import Cluster
from cloudnet.lab.errors import LabError
from cloudnet.lab.results import Rights
from cloudnet.lab.spec import LabSpec
from cloudnet.lab.state import Fault, LabState, NodeRecord, PodRecord
from cloudnet.lab.stores import StoreKind
from cloudnet.model.addresses import Address, Interface, Network, NodeName
from cloudnet.model.paths import Path as RoutePath
from cloudnet.model.paths import PathKind, Reason
from cloudnet.model.resources import Cause, Lease
from cloudnet.store import api

TOOLS = ("ip", "bridge", "nft", "nsenter", "sysctl")
CLOUDS = tuple(registry.KINDS)
STORES = tuple(stores.KINDS)
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05
_TERM_SECONDS = 10.0
_STANDBY = "standby"  # the second controller

Say = Callable[[str], None]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod of a lab node."""

    name: str
    namespace: str
    address: Address
    block: Network


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node of a lab."""

    name: str
    namespace: str
    subnet: str
    addresses: tuple[Interface, ...]
    agent_socket: Path
    pods: tuple[LabPod, ...]
    blocks: tuple[Network, ...] = ()
    zone: str = ""

    @property
    def native(self) -> tuple[Network, ...]:
        """The blocks of its pods that the cloud gave, the first pod's first."""
        return tuple(dict.fromkeys(pod.block for pod in self.pods if pod.block not in self.blocks))


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as ``lab status`` shows it."""

    name: str
    namespace: str
    subnet: str
    zone: str
    addresses: tuple[Interface, ...]
    instance: str
    blocks: tuple[Network, ...]
    pods: tuple[LabPod, ...]
    agent: str


@dataclass(frozen=True, slots=True)
class LabStatus:
    """A lab as ``lab status`` shows it. ``calls`` counts the account's API calls by action; ``store`` is its URL."""

    name: str
    cloud: str
    directory: Path
    nodes: tuple[NodeStatus, ...]
    controller: str
    control_plane: str
    store: str
    store_server: str
    faults: tuple[Fault, ...]
    calls: Mapping[str, int]
    drops: Mapping[str, int]


def _quiet(_: str) -> None:
    """Say nothing."""


class Lab:
    """A lab that is up. Several processes may hold one: its memory is in its directory."""

    def __init__(self, name: str, say: Say = _quiet) -> None:
        self.name = name
        self._say = say

    @classmethod
    def up(cls, wanted: LabSpec, say: Say = _quiet) -> Lab:
        """Build a lab and start everything in it; removes it again when something fails.

        Raises:
            MissingTool: the machine lacks a program, a right or a package.
            BadInput: the description cannot be built.
            LabError: there is such a lab already, or a part did not start.
        """
        wanted.check()
        kind = registry.kind(wanted.cloud)
        if wanted.native and kind.tenant is None:
            raise BadInput(f"pods get no addresses of the cloud in a {kind.name} lab: use routes", path="addresses")
        _require(kind, stores.kind(wanted.store))
        where = state.directory(wanted.name)
        try:
            where.mkdir(parents=True, mode=0o755)
        except FileExistsError:
            raise LabError(
                f"lab {wanted.name!r} is there already: remove it with cloudnet lab down --name {wanted.name}"
            ) from None
        with state.building(wanted.name):
            lab = cls(wanted.name, say)
            try:
                lab._build(wanted)
            except BaseException:
                _remove(wanted.name)
                raise
        return lab

    @classmethod
    def load(cls, name: str = "lab", say: Say = _quiet) -> Lab:
        """Return a lab that is up.

        Raises:
            LabError: there is none of that name.
        """
        state.load(name)
        return cls(name, say)

    @property
    def state(self) -> LabState:
        return state.load(self.name)

    @property
    def directory(self) -> Path:
        return state.directory(self.name)

    @property
    def kind(self) -> Kind:
        return registry.kind(self.state.spec.cloud)

    @property
    def store_kind(self) -> StoreKind:
        return stores.kind(self.state.spec.store)

    @property
    def store_url(self) -> str:
        return cluster.url(self.name, self.store_kind)

    @property
    def cloud(self) -> Cloud:
        return self.kind.hand(self.directory / "cloud.sock", self.name)

    @property
    def tenant(self) -> Tenant | None:
        """Return somebody else in the account; nobody where pods get no addresses of the cloud."""
        return self.kind.tenant(self.cloud) if self.kind.tenant else None

    # --- looking ------------------------------------------------------------------------------------------------

    def nodes(self) -> tuple[LabNode, ...]:
        now = self.state
        return tuple(self._view(record, now) for record in now.nodes)

    def node(self, name: str) -> LabNode:
        now = self.state
        return self._view(now.node(name), now)

    def namespace(self, place: str) -> str:
        """Return the namespace of ``NODE``, ``NODE/POD``, ``cloud`` or ``outside``.

        Raises:
            LabError: the lab has no such place.
        """
        if place == "cloud":
            return spec.cloud_namespace(self.name)
        if place == "outside":
            return spec.outside_namespace(self.name)
        node, _, pod = place.partition("/")
        found = self.node(node)
        if not pod:
            return found.namespace
        return self.pod(place).namespace

    def pod(self, place: str) -> LabPod:
        """Return the pod ``NODE/POD``.

        Raises:
            LabError: the lab has no such pod.
        """
        node, _, name = place.partition("/")
        pods = self.node(node).pods
        for pod in pods:
            if pod.name == name:
                return pod
        raise LabError(f"no pod {name!r} on node {node!r}: it has {', '.join(p.name for p in pods) or 'none'}")

    def status(self) -> LabStatus:
        now = self.state
        try:
            stats = self.cloud.stats()
        except LabError:
            stats = {}
        return LabStatus(
            name=self.name,
            cloud=now.spec.cloud,
            directory=self.directory,
            nodes=tuple(self._node_status(record, now) for record in now.nodes),
            controller=_alive(now, "controller"),
            control_plane=_alive(now, "cloud"),
            store=self.store_url,
            store_server=_alive(now, "store") if self.store_kind.command else "a file",
            faults=now.faults,
            calls=stats.get("calls", {}),
            drops=stats.get("drops", {}),
        )

    def _node_status(self, record: NodeRecord, now: LabState) -> NodeStatus:
        view = self._view(record, now)
        return NodeStatus(
            name=view.name,
            namespace=view.namespace,
            subnet=view.subnet,
            zone=view.zone,
            addresses=view.addresses,
            instance=record.instance,
            blocks=record.blocks,
            pods=view.pods,
            agent=_alive(now, _agent_role(record.name)),
        )

    def paths(self, node: str) -> tuple[RoutePath, ...]:
        """Return the paths that a node's agent has chosen.

        Raises:
            LabError: the agent does not answer.
        """
        answer = control.ask(self._socket(node), {"verb": "paths"})
        return tuple(_path(item) for item in answer["paths"])

    def wait_native(self, timeout: float = 30.0) -> None:
        """Wait until every agent reaches every remote block natively or directly, where the cloud has such a way.

        Raises:
            LabError: one does not within ``timeout`` seconds; the message says which and why.
        """
        end = time.monotonic() + timeout
        while missing := self._not_native():
            if time.monotonic() > end:
                raise LabError(f"not native after {timeout:g} s: {missing}")
            time.sleep(_POLL_SECONDS)

    def _not_native(self) -> str:
        now, zonal = self.state, self.kind.zonal
        zones = {record.name: _zone(record, now) for record in now.nodes}
        for record in now.nodes:
            near = [r for r in now.nodes if not zonal or zones[r.name] == zones[record.name]]
            blocks = {block: other.name for other in near for block in other.blocks}
            if _alive(now, _agent_role(record.name)) != "running":
                continue
            try:
                chosen = {path.block: path for path in self.paths(record.name)}
            except LabError as error:
                return str(error)
            for block, owner in blocks.items():
                path = chosen.get(block)
                if owner != record.name and (path is None or path.kind not in {PathKind.NATIVE, PathKind.DIRECT}):
                    why = f"{path.kind.value}, {path.reason.value} {path.detail}".strip() if path else "unknown"
                    return f"{record.name} to {block} on {owner}: {why}"
        return ""

    # --- changing -----------------------------------------------------------------------------------------------

    def add_node(self, name: str = "", subnet: str = "", *, agent: bool = True) -> LabNode:
        """Start another machine with its first block, and its agent.

        Raises:
            BadInput: the name is taken or the subnet unknown.
        """
        now = self.state
        number = max((record.number for record in now.nodes), default=0) + 1
        name = name or f"n{number}"
        spec.check_name(name, path="name")
        if any(record.name == name for record in now.nodes) or name in spec.RESERVED_NAMES:
            raise BadInput(f"{name!r} is taken", path="name")
        plans = {plan.name: plan for plan in spec.subnets(now.spec)}
        plan = plans.get(subnet or f"s{(number - 1) % now.spec.subnets + 1}")
        if plan is None:
            raise BadInput(f"expected one of {', '.join(plans)}, found {subnet!r}", path="subnet")
        address = spec.node_address(plan, number, native=now.spec.native)
        machine = self.cloud.launch(name, now.cloud.subnets[plan.name], address.ip)
        record = NodeRecord(
            name=name,
            number=number,
            subnet=plan.name,
            address=address,
            instance=machine.instance,
            interface=machine.interface,
            mac=machine.mac,
            agent=agent,
            blocks=(spec.block(number),),
        )
        nodes.build_node(self.name, record, gateway=plan.gateway, mtu=now.spec.mtu, flat=self.kind.flat)
        self.cloud.sync()
        self._edit(lambda s: replace(s, nodes=(*s.nodes, record)))
        provider_id = self.cloud.provider_id(record.instance, plan.zone)
        self._in_cluster(lambda found: found.join(record, provider_id=provider_id))
        if agent:
            self.start_agent(name)
        return self._view(record, now)

    def remove_node(self, name: str) -> None:
        """Take a node away: its agent, its machine, its pods and what the store knows of it."""
        record = self.state.node(name)
        self.kill_agent(name)
        self.cloud.terminate(record.instance)
        places = [spec.pod_namespace(self.name, name, pod.name) for pod in record.pods]
        for namespace in [*places, spec.node_namespace(self.name, name)]:
            nodes.remove_namespace(namespace)
        self.cloud.sync()
        self._in_cluster(lambda found: found.leave(record))
        self._edit(lambda s: replace(s, nodes=tuple(r for r in s.nodes if r.name != name)))

    def add_block(self, node: str) -> Network:
        """Give a node another block, as IPAM does when one is full."""
        record = self.state.node(node)
        block = spec.block(record.number, len(record.blocks))
        self._edit_node(node, lambda r: replace(r, blocks=(*r.blocks, block)))
        self._in_cluster(lambda found: found.give_block(node, block))
        return block

    def add_pod(self, node: str, block: Network | None = None) -> LabPod:
        """Start a pod with the block's next address; in the node's first block when none is named."""
        now = self.state
        record = now.node(node)
        chosen = block or record.blocks[0]
        if not isinstance(chosen, IPv4Network) or chosen not in record.blocks:
            raise BadInput(f"{chosen} is no block of node {node!r}", path="block")
        address = spec.pod_address(chosen, sum(pod.block == chosen for pod in record.pods))
        pod = PodRecord(f"p{len(record.pods) + 1}", address, chosen)
        self._in_cluster(lambda found: found.add_pod(node, pod))
        nodes.build_pod(self.name, node, pod, mtu=now.spec.pod_mtu)
        self._edit_node(node, lambda r: replace(r, pods=(*r.pods, pod)))
        return self._pod_view(record, pod)

    def add_native_pod(self, node: str, block: Network) -> LabPod:
        """Start a pod with an address of a block that the cloud gave the node.

        Raises:
            LabError: the block has no free address, or is not the node's.
        """
        now = self.state
        record = now.node(node)
        if not isinstance(block, IPv4Network):
            raise BadInput(f"expected an IPv4 block, found {block}", path="block")
        name = f"p{len(record.pods) + 1}"
        pod = self._in_cluster(lambda found: found.add_native_pod(node, name, block))
        nodes.build_pod(self.name, node, pod, mtu=now.spec.pod_mtu)
        self._edit_node(node, lambda r: replace(r, pods=(*r.pods, pod)))
        return self._pod_view(record, pod)

    def start_pod(self, node: str) -> LabPod:
        """Start a pod with the address that is at hand: a native one, and one of the pool where there is none."""
        now = self.state
        record = now.node(node)
        name = f"p{len(record.pods) + 1}"
        pod = self._in_cluster(lambda c: c.start_pod(node, name))
        nodes.build_pod(self.name, node, pod, mtu=now.spec.pod_mtu)
        self._edit_node(node, lambda r: replace(r, pods=(*r.pods, pod)))
        return self._pod_view(record, pod)

    def crowd(self, node: str) -> None:
        """Take every native address that a node has at hand, as so many pods would."""
        self._in_cluster(lambda c: c.crowd(node))

    def disperse(self, node: str) -> None:
        """Give back what ``crowd`` took."""
        self._in_cluster(lambda c: c.disperse(node))

    def supply(self, node: str) -> tuple[int, Cause]:
        """Return how many native addresses a node has at hand, and why it does not get more."""
        return self._in_cluster(lambda c: (c.at_hand(node), c.shortage(node)))

    def add_outside(self, subnet: str = "s1") -> None:
        """Put a host outside the cluster behind a transit gateway whose end in the VPC is in ``subnet``.

        Its answers find the nodes, but pods only after ``route_outside``, and then as that subnet's table says.
        """
        nodes.build_outside(self.name, mtu=self.state.spec.mtu)
        self.cloud.attach_outside(self.state.cloud, subnet)
        self.cloud.sync()

    def route_outside(self, prefix: IPv4Network) -> None:
        """Tell the host outside that a prefix lies behind the cloud."""
        nodes.route_outside(self.name, prefix)

    def store(self) -> api.Store:
        """Open the lab's store; the caller closes it. A server is reached inside the cloud's namespace only."""
        return cluster.open_store(self.name, self.store_kind)

    def rights(self) -> Rights | None:
        """Return what agents and controllers asked of the API so far; nothing where the store knows no accounts."""
        return self._in_cluster(lambda cluster: cluster.rights())

    def _in_cluster(self, work: Callable[[Cluster], R]) -> R:
        return cluster.within(self.name, self.store_kind, work)

    # --- processes ----------------------------------------------------------------------------------------------

    def start_agent(self, node: str) -> None:
        """Start a node's agent, unless it runs."""
        arguments = ("agent", "--node", node, "--store", self._url_of("agent"), "--socket", str(self._socket(node)))
        pods = (
            "--cni-socket",
            str(self.directory / f"{node}.cni"),
            "--state",
            str(self.directory / f"{node}-state"),
            "--cni-state",
            str(self.directory / f"{node}.state"),
        )
        self._start(_agent_role(node), spec.node_namespace(self.name, node), _program(*arguments, *pods))

    def start_controller(self, role: str = "controller") -> None:
        """Start a controller in the cloud's namespace, unless it runs; of several, one leads."""
        arguments = ("--provider", self.state.spec.cloud, "--provider-config", str(self._provider_file))
        command = _program("controller", "--store", self._url_of("controller"), *arguments, "--identity", role)
        self._start(role, spec.cloud_namespace(self.name), command)

    def _url_of(self, program: str) -> str:
        return self.store_kind.url_of(program, self.directory)

    def kill_agent(self, node: str) -> None:
        self._kill(_agent_role(node))

    def kill_controller(self) -> None:
        self._kill("controller")

    def lose_leader(self) -> None:
        """Start a second controller, kill the first, and wait until the second leads.

        Raises:
            LabError: it does not; the message names its log.
        """
        self.start_controller(_STANDBY)
        self.kill_controller()
        end = time.monotonic() + _START_SECONDS
        while self._in_cluster(lambda found: found.leader()) != _STANDBY:
            if time.monotonic() > end:
                raise LabError(
                    f"the second controller does not lead after {_START_SECONDS:g} s (log {self._log(_STANDBY)})"
                )
            time.sleep(_POLL_SECONDS)

    def restore_leader(self) -> None:
        """Start the first controller again, and end the second in order, so that the lease is free at once."""
        self.start_controller()
        if standby := self.state.processes.get(_STANDBY):
            processes.kill([standby], grace=_TERM_SECONDS)

    def power_off(self, node: str) -> None:
        """Stop a node's machine: no process, no link, nothing left in its kernel of what was set there."""
        record = self.state.node(node)
        self.kill_agent(node)
        self.cloud.stop(record.instance)
        nodes.power_off(self.name, node)

    def power_on(self, node: str) -> None:
        record = self.state.node(node)
        self.cloud.start(record.instance)
        if record.agent:
            self.start_agent(node)

    def wait_agents(self, timeout: float = _START_SECONDS) -> None:
        """Wait until every agent that was started answers.

        Raises:
            LabError: one ended or does not answer; the message names its log.
        """
        for record in self.state.nodes:
            if record.agent:
                self._wait_answer(_agent_role(record.name), self._socket(record.name), timeout)

    def _wait_answer(self, role: str, socket: Path, timeout: float) -> None:
        process = self.state.processes[role]
        end = time.monotonic() + timeout
        while True:
            try:
                control.ask(socket, {"verb": "status" if role != "cloud" else "stats"}, timeout=timeout)
            except LabError:
                if not process.alive():
                    raise LabError(f"{role} ended: {_last_line(self._log(role))} (log {self._log(role)})") from None
                if time.monotonic() > end:
                    raise LabError(f"{role} does not answer after {timeout:g} s (log {self._log(role)})") from None
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _start(self, role: str, namespace: str, command: list[str]) -> None:
        known = self.state.processes.get(role)
        if known and known.alive():
            return
        process = processes.start(
            command,
            namespace=namespace,
            log=self._log(role),
            mark=self.directory,
            environment={**self.kind.environment, **self.state.spec.environment, "PYTHONUNBUFFERED": "1"},
        )
        self._edit(lambda s: replace(s, processes={**s.processes, role: process}))

    def _kill(self, role: str) -> None:
        process = self.state.processes.get(role)
        if process:
            processes.kill([process])

    def _log(self, role: str) -> Path:
        return self.directory / "logs" / f"{role.replace(' ', '-')}.log"

    # --- faults -------------------------------------------------------------------------------------------------

    def break_(self, fault: str, *, target: str = "", value: str = "") -> None:
        """Make a fault.

        Raises:
            BadInput: the fault is unknown, or its target or value is wrong.
        """
        made = Fault(fault, target, value)
        found = faults.kind(made)
        if fault in self.kind.without:
            raise BadInput(
                f"{fault} cannot be where nobody programs routes: not in a {self.kind.name} lab", path="fault"
            )
        found.make(self, made)
        others = [f for f in self.state.faults if (f.name, f.target) != (fault, target)]
        self._edit(lambda s: replace(s, faults=(*others, made)))

    def heal(self, fault: str, *, target: str = "") -> None:
        """Take a fault back; without a target, everywhere. Healing what is not broken is success."""
        known = [f for f in self.state.faults if f.name == fault and target in {"", f.target}]
        for made in known or ([Fault(fault, target)] if target or not faults.needs_target(fault) else []):
            faults.kind(made).heal(self, made)
        self._edit(lambda s: replace(s, faults=tuple(f for f in s.faults if f not in known)))

    def block_of(self, target: str) -> IPv4Network:
        """Return the block that a fault aims at: a prefix, or a node's first block.

        Raises:
            BadInput: it is neither.
        """
        record = next((r for r in self.state.nodes if r.name == target), None)
        if record:
            return record.blocks[0]
        try:
            return IPv4Network(target)
        except ValueError as error:
            raise BadInput(f"expected a block or a node, found {target!r}", path="target") from error

    # --- building and removing ----------------------------------------------------------------------------------

    def _build(self, wanted: LabSpec) -> None:
        self._say(f"lab {wanted.name}: {wanted.nodes} nodes in {wanted.subnets} subnets and {wanted.zones} zones")
        (self.directory / "logs").mkdir()
        state.save(LabState(wanted))
        plans = spec.subnets(wanted)
        nodes.build_cloud(wanted.name, plans, mtu=wanted.mtu, flat=self.kind.flat)
        self._start("cloud", spec.cloud_namespace(wanted.name), self._cloud_command(wanted))
        self._start_store()
        self._in_cluster(lambda c: c.found(overlay=wanted.native))
        self._wait_answer("cloud", self.directory / "cloud.sock", _START_SECONDS)
        made = self.cloud.make_network(plans)
        self._edit(lambda s: replace(s, cloud=made))
        self._provider_file.write_text(json.dumps(self.cloud.provider_config(made, mtu=wanted.mtu), indent=2) + "\n")
        self._say(f"cloud: {wanted.cloud}, network {made.vpc}, {len(set(made.tables.values()))} route tables")
        if wanted.controller:
            self.start_controller()
        for _ in range(wanted.nodes):
            node = self.add_node(agent=wanted.agents)
            for _ in range(wanted.pods):
                self.add_pod(node.name)
            self._say(f"node {node.name}: {node.addresses[0]} in {node.subnet}, block {node.blocks[0]}")
        self.wait_agents()

    def _start_store(self) -> None:
        """Start the store's server, if it is one, and wait until it answers.

        Raises:
            LabError: it ended or does not answer; the message names its log.
        """
        kind = self.store_kind
        if kind.command is None:
            return
        if kind.name == stores.KUBERNETES:
            stores.write_kubeconfigs(self.directory)
        self._start("store", spec.cloud_namespace(self.name), kind.command(self.directory))
        end = time.monotonic() + _START_SECONDS
        while problem := self._in_cluster(_unanswered):
            if not self.state.processes["store"].alive():
                raise LabError(f"store ended: {_last_line(self._log('store'))} (log {self._log('store')})")
            if time.monotonic() > end:
                raise LabError(f"store does not answer after {_START_SECONDS:g} s: {problem}")
            time.sleep(_POLL_SECONDS)

    @property
    def _provider_file(self) -> Path:
        return self.directory / "provider.json"

    def _cloud_command(self, wanted: LabSpec) -> list[str]:
        return [
            sys.executable,
            "-m",
            self.kind.process,
            "--socket",
            str(self.directory / "cloud.sock"),
            "--routes-per-table",
            str(wanted.routes_per_table),
            "--propagation",
            str(wanted.propagation),
            "--read-delay",
            str(wanted.read_delay),
            "--key",
            KEY,
        ]

    def down(self) -> None:
        remove(self.name)

    # --- small things -------------------------------------------------------------------------------------------

    def _edit(self, change: Callable[[LabState], LabState]) -> None:
        state.edit(self.name, change)

    def _edit_node(self, name: str, change: Callable[[NodeRecord], NodeRecord]) -> None:
        self._edit(lambda s: replace(s, nodes=tuple(change(r) if r.name == name else r for r in s.nodes)))

    def _socket(self, node: str) -> Path:
        return self.directory / f"{node}.sock"

    def _view(self, record: NodeRecord, now: LabState) -> LabNode:
        return LabNode(
            name=record.name,
            namespace=spec.node_namespace(self.name, record.name),
            subnet=record.subnet,
            addresses=(record.address,),
            agent_socket=self._socket(record.name),
            pods=tuple(self._pod_view(record, pod) for pod in record.pods),
            blocks=record.blocks,
            zone=_zone(record, now),
        )

    def _pod_view(self, record: NodeRecord, pod: PodRecord) -> LabPod:
        return LabPod(pod.name, spec.pod_namespace(self.name, record.name, pod.name), pod.address, pod.block)


def remove(name: str) -> bool:
    """Remove a lab and whatever an interrupted one left; return whether there was anything.

    Raises:
        MissingTool: the machine lacks a program or a right.
        LabError: another process builds or removes it now.
    """
    spec.check_name(name, path="name")
    processes.require(TOOLS)
    if not state.directory(name).is_dir():
        return _remove(name)
    with state.building(name):
        return _remove(name)


def _remove(name: str) -> bool:
    """Remove until nothing is found: a process that was just starting may appear while we look."""
    where = state.directory(name)
    found = where.is_dir()
    while True:
        places = nodes.namespaces(name)
        running = processes.inside(places, mark=where)
        if not places and not running:
            break
        found = True
        processes.kill(running, grace=2.0)
        for place in places:
            nodes.remove_namespace(place)
    if where.is_dir():
        shutil.rmtree(where)
    if state.ROOT.is_dir() and not any(state.ROOT.iterdir()):
        state.ROOT.rmdir()
    return found


def labs() -> list[str]:
    """Return the names of the labs that are up."""
    return sorted(path.parent.name for path in state.ROOT.glob("*/lab.json"))


def _require(kind: Kind, store: StoreKind) -> None:
    processes.require((*TOOLS, *store.tools))
    missing = [module for module in kind.packages if not _importable(module)]
    if missing:
        raise MissingTool(f"the lab's {kind.name} needs {', '.join(missing)}: pip install 'cloudnet[lab]'")


def _importable(module: str) -> bool:
    """Tell whether a module is installed; the packages around a dotted one are imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _unanswered(cluster: Cluster) -> str:
    """Return why a store does not answer; empty when it does."""
    try:
        cluster.store.list(Lease)
    except api.StoreUnavailable as error:
        return str(error)
    return ""


def _program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cloudnet.cli.main", *arguments]


def _agent_role(node: str) -> str:
    return f"agent {node}"


def _zone(record: NodeRecord, now: LabState) -> str:
    return next(plan.zone for plan in spec.subnets(now.spec) if plan.name == record.subnet)


def _alive(now: LabState, role: str) -> str:
    process = now.processes.get(role)
    if process is None:
        return "not started"
    return "running" if process.alive() else "dead"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "it said nothing"


def _path(item: Mapping[str, Any]) -> RoutePath:  # JSON from the agent's socket
    return RoutePath(
        block=ip_network(item["block"]),
        node=NodeName(item["node"]),
        kind=PathKind(item["kind"]),
        reason=Reason(item["reason"]),
        next_hop=ip_address(item["next_hop"]) if item.get("next_hop") else None,
        mtu=item.get("mtu", 0),
        detail=item.get("detail", ""),
        since=item.get("since", 0.0),
    )
