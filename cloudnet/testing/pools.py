"""A small cluster with native addresses on a clock that stands still, for tests and benchmarks.

Node ``n<k>`` is instance ``i-<k>`` in subnet ``subnet-<j>``; pods come and go through the allocator, as agents' do.
``check`` says what must hold at any moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network

from cloudnet.addresses.plan import Settings
from cloudnet.clock import ManualClock
from cloudnet.controller.simulate import Simulation
from cloudnet.ipam import native
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.ipam.errors import IpamError
from cloudnet.model.addresses import Address, Family, Network, NodeName
from cloudnet.model.cloud_addresses import CloudAddresses, PrefixState
from cloudnet.model.resources import BlockAffinity, EncapMode, IPAMBlock, IPPool, Metadata, Node
from cloudnet.policy.selectors import Matches
from cloudnet.provider.api import Room
from cloudnet.provider.memory import MemoryCloud, MemoryProvider
from cloudnet.provider.memory_addresses import ROOM, AddressSpace
from cloudnet.store.api import NotFound
from cloudnet.store.memory import MemoryData, MemoryStore

POOL = ip_network("10.65.0.0/16")
_KEEP = 1_000_000  # changes: thousands of pods start before the controller looks


class PoolCluster:
    """Cloud, store and controller in memory. ``pods`` are {pod: its address}, as they were given."""

    def __init__(
        self, settings: Settings | None = None, *, subnets: int = 1, size: int = 24, room: Room = ROOM
    ) -> None:
        self.settings = settings or Settings()
        self.clock = ManualClock()
        self.cloud = MemoryCloud(self.clock)
        self.space = AddressSpace(self.clock)
        self.store = MemoryStore(MemoryData(keep=_KEEP))
        self.room = room
        self.pods: dict[str, Address] = {}
        self.ipam = Allocator(
            self.store, now=lambda: datetime.fromtimestamp(self.clock.wall(), UTC), matches=Matches()
        )
        self.store.create(IPPool(Metadata("overlay"), POOL, vxlan_mode=EncapMode.ALWAYS))
        for j in range(1, subnets + 1):
            network = ip_network(f"10.{j}.0.0/{size}")
            self.space.add_subnet(f"subnet-{j}", str(network), f"fd00:{j}::/64")
            self.cloud.add_table(f"rtb-{j}", subnets=[f"subnet-{j}"])
        self.restart()

    def restart(self) -> Simulation:
        """Start another controller, which knows only what cloud and store tell."""
        provider = MemoryProvider(self.cloud, self.clock, space=self.space)
        self.sim = Simulation(self.store, provider, self.clock, native=self.settings)
        return self.sim

    def run(self, seconds: float = 5.0) -> None:
        self.sim.run(seconds)

    # --- nodes and pods -------------------------------------------------------------------------------------

    def join(self, k: int, subnet: int = 1, *, limit: int | str = 0) -> None:
        """Start machine and node ``k``."""
        network = ip_network(f"10.{subnet}.0.0/16")
        address = ip_address(int(network.network_address) + 4 + k)
        machine = self.cloud.add_instance(f"i-{k}", f"subnet-{subnet}", [address], forwarding=True)
        self.space.add_machine(machine, self.room)
        annotations = {"cloudnet.io/pod-limit": str(limit)} if limit else {}
        self.store.create(
            Node(
                Metadata(f"n{k}", annotations=annotations),
                (ip_interface(f"{address}/24"),),
                provider_id=f"memory:///zone-a/i-{k}",
            )
        )

    def leave(self, k: int, *, machine: bool = True) -> None:
        """Take node ``k`` away, and its machine."""
        self.store.delete(Node, f"n{k}")
        if machine:
            self.cloud.remove_instance(f"i-{k}")
            self.space.remove_machine(f"i-{k}")

    def start_pod(self, k: int, pod: str, of: Family = Family.IPV4) -> Address | None:
        """Start a pod on node ``k``: with a native address if there is one, else with one of the pool."""
        handle, node = f"net.{pod}", NodeName(f"n{k}")
        request = Request(node, handle, {"pod": pod, "namespace": "default", "node": node}, native=True)
        with suppress(IpamError):
            (given,) = self.ipam.auto_assign(of, 1, request)
            self.pods[pod] = given.ip
            return given.ip
        return None

    def stop_pod(self, pod: str) -> None:
        self.ipam.release_by_handle(f"net.{pod}")
        self.pods.pop(pod)

    # --- looking --------------------------------------------------------------------------------------------

    def record(self, k: int) -> CloudAddresses | None:
        try:
            return self.store.get(CloudAddresses, f"n{k}").value
        except NotFound:
            return None

    def held(self, k: int, state: PrefixState = PrefixState.HELD) -> tuple[Network, ...]:
        record = self.record(k)
        return tuple(p.cidr for p in record.prefixes if p.state is state) if record else ()

    def blocks(self, k: int) -> frozenset[Network]:
        """Return the native blocks that a node may give addresses of."""
        found = (s.value for s in self.store.list(BlockAffinity).items)
        return frozenset(a.cidr for a in found if a.node == f"n{k}" and native.is_native(a))

    def delivered(self, k: int) -> frozenset[Network]:
        """Return what the cloud delivers to a node's machine."""
        mine = (i for i in self.space.interfaces.values() if i.instance == f"i-{k}")
        return frozenset(c for i in mine for c in i.cidrs)

    def interfaces(self, k: int) -> int:
        return sum(i.instance == f"i-{k}" for i in self.space.interfaces.values())

    def calls(self) -> Mapping[str, int]:
        """Return how many calls of each verb for native addresses the cloud has seen."""
        verbs = sorted({c.verb for c in self.cloud.log})
        return {v: self.cloud.count(v) for v in verbs if v not in {"describe_tables", "describe_instances"}}

    def is_native(self, address: Address) -> bool:
        return address not in POOL

    def check(self) -> None:
        """Assert what must hold at any moment, whatever was killed: no two owners, and pods' addresses are theirs."""
        blocks = {s.value.cidr: s.value for s in self.store.list(IPAMBlock).items}
        owners: dict[Network, str] = {}
        for stored in self.store.list(BlockAffinity).items:
            affinity = stored.value
            if native.is_native(affinity) and affinity.cidr in blocks and blocks[affinity.cidr].affinity:
                owner = blocks[affinity.cidr].affinity
                assert owner is not None
                assert owners.setdefault(affinity.cidr, owner.host) == owner.host
        for pod, address in self.pods.items():
            holders = [b for b in blocks.values() if b.cidr.version == address.version and address in b.cidr]
            assert len(holders) == 1, f"{pod}: {address} is in blocks {holders}"
            (block,) = holders
            if self.is_native(address) and block.affinity is not None:
                k = int(block.affinity.host[1:])
                alive = any(i.instance == f"i-{k}" for i in self.space.interfaces.values())
                delivered = any(address in c for c in self.delivered(k) if c.version == address.version)
                assert delivered or not alive, f"{pod}: the cloud does not deliver {address} to n{k}"
