"""One lab: built, looked into, broken, healed and removed. The only place that knows the order of things.

Everything that a lab makes is found again without its memory: namespaces by their prefix, processes by the
namespace they are in, files by their directory. So ``remove`` cleans up after any crash.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

from cloudnet.errors import BadInput
from cloudnet.lab import cluster, control, faults, nodes, removal, requirements, spec, state, stores, views
from cloudnet.lab.clouds import registry
from cloudnet.lab.clouds.api import Cloud, Kind, Tenant
from cloudnet.lab.cluster import Cluster
from cloudnet.lab.errors import LabError
from cloudnet.lab.programs import CONTROLLER, POLL_SECONDS, STANDBY, START_SECONDS, Programs
from cloudnet.lab.results import Rights
from cloudnet.lab.spec import LabSpec
from cloudnet.lab.state import Fault, LabState, NodeRecord, PodRecord
from cloudnet.lab.stores import StoreKind
from cloudnet.lab.views import LabNode, LabPod, LabStatus
from cloudnet.model.addresses import Network
from cloudnet.model.paths import Path as RoutePath
from cloudnet.model.paths import PathKind
from cloudnet.model.resources import Cause, Lease
from cloudnet.store import api

CLOUDS = tuple(registry.KINDS)
STORES = tuple(stores.KINDS)
Say = Callable[[str], None]
R = TypeVar("R")


def _quiet(_: str) -> None:
    """Say nothing."""


class Lab:
    """A lab that is up. Several processes may hold one: its memory is in its directory."""

    def __init__(self, name: str, say: Say = _quiet) -> None:
        self.name = name
        self._say = say
        self._programs = Programs(name)

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
        requirements.require(kind, stores.kind(wanted.store))
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
                removal.clear(wanted.name)
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
        return self.kind.hand(self._programs.cloud_socket, self.name)

    @property
    def tenant(self) -> Tenant | None:
        """Return somebody else in the account; nobody where pods get no addresses of the cloud."""
        return self.kind.tenant(self.cloud) if self.kind.tenant else None

    # --- looking ------------------------------------------------------------------------------------------------

    def nodes(self) -> tuple[LabNode, ...]:
        now = self.state
        return tuple(views.node(now, record) for record in now.nodes)

    def node(self, name: str) -> LabNode:
        now = self.state
        return views.node(now, now.node(name))

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
            nodes=tuple(views.node_status(now, record) for record in now.nodes),
            controller=views.life(now, CONTROLLER),
            control_plane=views.life(now, "cloud"),
            store=self.store_url,
            store_server=views.life(now, "store") if self.store_kind.command else "a file",
            faults=now.faults,
            calls=stats.get("calls", {}),
            drops=stats.get("drops", {}),
        )

    def paths(self, node: str) -> tuple[RoutePath, ...]:
        """Return the paths that a node's agent has chosen.

        Raises:
            LabError: the agent does not answer.
        """
        answer = control.ask(views.agent_socket(self.name, node), {"verb": "paths"})
        return tuple(views.path(item) for item in answer["paths"])

    def wait_native(self, timeout: float = 30.0) -> None:
        """Wait until every agent reaches every remote block natively or directly, where the cloud has such a way.

        Raises:
            LabError: one does not within ``timeout`` seconds; the message says which and why.
        """
        end = time.monotonic() + timeout
        while missing := self._not_native():
            if time.monotonic() > end:
                raise LabError(f"not native after {timeout:g} s: {missing}")
            time.sleep(POLL_SECONDS)

    def _not_native(self) -> str:
        now, zonal = self.state, self.kind.zonal
        zones = {record.name: views.zone(now, record) for record in now.nodes}
        for record in now.nodes:
            near = [r for r in now.nodes if not zonal or zones[r.name] == zones[record.name]]
            blocks = {block: other.name for other in near for block in other.blocks}
            if views.life(now, views.agent_role(record.name)) != "running":
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
        return views.node(now, record)

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
        self._edit(lambda s: _without(s, name))

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
        return views.pod(self.name, record, pod)

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
        return views.pod(self.name, record, pod)

    def start_pod(self, node: str) -> LabPod:
        """Start a pod with the address that is at hand: a native one, and one of the pool where there is none."""
        now = self.state
        record = now.node(node)
        name = f"p{len(record.pods) + 1}"
        pod = self._in_cluster(lambda c: c.start_pod(node, name))
        nodes.build_pod(self.name, node, pod, mtu=now.spec.pod_mtu)
        self._edit_node(node, lambda r: replace(r, pods=(*r.pods, pod)))
        return views.pod(self.name, record, pod)

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
        self._programs.start_agent(node)

    def start_controller(self) -> None:
        """Start a controller, unless it runs."""
        self._programs.start_controller()

    def kill_agent(self, node: str) -> None:
        self._programs.kill(views.agent_role(node))

    def kill_controller(self) -> None:
        self._programs.kill(CONTROLLER)

    def lose_leader(self) -> None:
        """Start a second controller, kill the first, and wait until the second leads.

        Raises:
            LabError: it does not; the message names its log.
        """
        self._programs.start_controller(STANDBY)
        self.kill_controller()
        end = time.monotonic() + START_SECONDS
        while self._in_cluster(lambda found: found.leader()) != STANDBY:
            if time.monotonic() > end:
                log = self._programs.log(STANDBY)
                raise LabError(f"the second controller does not lead after {START_SECONDS:g} s (log {log})")
            time.sleep(POLL_SECONDS)

    def restore_leader(self) -> None:
        """Start the first controller again, and end the second in order, so that the lease is free at once."""
        self.start_controller()
        self._programs.end(STANDBY)

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

    def wait_agents(self, timeout: float = START_SECONDS) -> None:
        """Wait until every agent that was started answers.

        Raises:
            LabError: one ended or does not answer; the message names its log.
        """
        for record in self.state.nodes:
            if record.agent:
                self._programs.wait_agent(record.name, timeout)

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
        self._programs.start_cloud(wanted)
        self._programs.start_store(lambda: self._in_cluster(_unanswered))
        self._in_cluster(lambda c: c.found(overlay=wanted.native))
        self._programs.wait_cloud()
        made = self.cloud.make_network(plans)
        self._edit(lambda s: replace(s, cloud=made))
        config = json.dumps(self.cloud.provider_config(made, mtu=wanted.mtu), indent=2)
        self._programs.provider_file.write_text(config + "\n")
        self._say(f"cloud: {wanted.cloud}, network {made.vpc}, {len(set(made.tables.values()))} route tables")
        if wanted.controller:
            self.start_controller()
        for _ in range(wanted.nodes):
            node = self.add_node(agent=wanted.agents)
            for _ in range(wanted.pods):
                self.add_pod(node.name)
            self._say(f"node {node.name}: {node.addresses[0]} in {node.subnet}, block {node.blocks[0]}")
        self.wait_agents()

    def down(self) -> None:
        removal.remove(self.name)

    # --- small things -------------------------------------------------------------------------------------------

    def _edit(self, change: Callable[[LabState], LabState]) -> None:
        state.edit(self.name, change)

    def _edit_node(self, name: str, change: Callable[[NodeRecord], NodeRecord]) -> None:
        self._edit(lambda s: replace(s, nodes=tuple(change(r) if r.name == name else r for r in s.nodes)))


def _without(lab: LabState, node: str) -> LabState:
    """Return what a lab remembers when a node and its agent are gone."""
    role = views.agent_role(node)
    return replace(
        lab,
        nodes=tuple(record for record in lab.nodes if record.name != node),
        processes={name: process for name, process in lab.processes.items() if name != role},
    )


def _unanswered(cluster: Cluster) -> str:
    """Return why a store does not answer; empty when it does."""
    try:
        cluster.store.list(Lease)
    except api.StoreUnavailable as error:
        return str(error)
    return ""
