"""A cloud in memory: the twin of the provider door, for tests (yours too), dry runs and tutorials.

``MemoryCloud`` is the far side: tables, instances, quotas and an API metered by token buckets, with EC2's manners.
``MemoryProvider`` is the plugin that talks to it through a budget and retries, as a real plugin does. A test
builds a cloud, gives a provider to the code under test, breaks things in the cloud, and looks at ``cloud.log``::

    cloud = MemoryCloud(clock)
    cloud.add_table("rtb-a", subnets=["subnet-a"])
    cloud.add_instance("i-1", "subnet-a", [ip_address("10.0.0.11")])
    provider = MemoryProvider(cloud, clock)
    cloud.fail("create_route", Fault.QUOTA, times=2)

It makes no thread and never sleeps; delays happen on the clock that it is given.
"""

from __future__ import annotations

import enum
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import msgspec

from cloudnet.clock import Clock
from cloudnet.errors import BadInput
from cloudnet.model.addresses import (
    Address,
    Family,
    InstanceId,
    InterfaceId,
    Network,
    NodeName,
    SubnetId,
    TableId,
    family,
    order,
)
from cloudnet.model.resources import NextHop, Node
from cloudnet.provider import memory_addresses, writes
from cloudnet.provider.api import (
    Capabilities,
    Encapsulation,
    Instance,
    Owner,
    RouteChange,
    RouteResult,
    RouteTable,
    RouteTables,
    TableRoute,
    Verb,
)
from cloudnet.provider.budget import Bucket, Budget, Kind, TokenBucket
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
)
from cloudnet.provider.memory_addresses import AddressSpace, MemoryAddresses
from cloudnet.retry import Retry

T = TypeVar("T")

NAME = "memory"
ROUTES_PER_TABLE = 500  # AWS' default since June 2025
READ = Bucket(rate=20.0, burst=100.0)  # what the cloud grants, and what the plugin spends: EC2's published buckets
WRITE = Bucket(rate=5.0, burst=50.0)

READS = frozenset({"describe_tables", "describe_instances"}) | memory_addresses.READS
WRITES = frozenset({"create_route", "replace_route", "delete_route", "modify_interface"}) | memory_addresses.WRITES


class Fault(enum.Enum):
    """A way for one call to fail."""

    THROTTLE = "throttle"
    PERMISSION = "permission"
    QUOTA = "quota"
    CONFLICT = "conflict"
    NOT_FOUND = "not-found"
    UNAVAILABLE = "unavailable"  # the call never arrived
    TIMEOUT = "timeout"  # the call was carried out, the answer was lost


_REFUSALS: Mapping[Fault, tuple[type[ProviderError], str, int]] = {
    Fault.THROTTLE: (Throttled, "RequestLimitExceeded", 503),
    Fault.PERMISSION: (PermissionDenied, "UnauthorizedOperation", 403),
    Fault.QUOTA: (QuotaExceeded, "RouteLimitExceeded", 400),
    Fault.CONFLICT: (Conflict, "RouteAlreadyExists", 400),
    Fault.NOT_FOUND: (NotFound, "InvalidRouteTableID.NotFound", 400),
    Fault.UNAVAILABLE: (Unavailable, "", 0),
    Fault.TIMEOUT: (Unavailable, "", 0),
}


@dataclass(slots=True)
class _Planned:
    """A fault that waits for its calls: after ``skip`` matching calls it strikes ``left`` times."""

    verb: str
    fault: Fault
    left: float
    skip: int
    destination: Network | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Call:
    """One API call as the cloud saw it; ``outcome`` is ``ok`` or the cause of the refusal, ``at`` monotonic."""

    verb: str
    outcome: str
    at: float
    table: str = ""
    destination: Network | None = None


@dataclass(slots=True)
class _Table:
    """A route table; ``routes`` is what is true, ``shown`` what reads show (later, with a read delay)."""

    id: TableId
    subnets: set[SubnetId]
    main: bool
    limits: Mapping[Family, int]
    name: str
    routes: dict[Network, TableRoute] = field(default_factory=dict)
    shown: dict[Network, TableRoute] = field(default_factory=dict)


class MemoryCloud:
    """Route tables, instances and a metered API. Safe to share between threads.

    ``read``/``write`` are the cloud's own token buckets: a call that finds none is ``Throttled``.
    ``read_delay`` is how many seconds later reads show a write.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        read: Bucket = READ,
        write: Bucket = WRITE,
        limits: Mapping[Family, int] | None = None,
        read_delay: float = 0.0,
    ) -> None:
        self.log: list[Call] = []
        self.read_delay = read_delay
        self._clock = clock
        self._lock = threading.RLock()
        self._buckets = {Kind.READ: TokenBucket(read, clock.now()), Kind.WRITE: TokenBucket(write, clock.now())}
        self._limits = dict.fromkeys(Family, ROUTES_PER_TABLE) if limits is None else dict(limits)
        self._tables: dict[TableId, _Table] = {}
        self._instances: dict[InstanceId, Instance] = {}
        self._faults: list[_Planned] = []
        self._late: deque[tuple[float, TableId, Network, TableRoute | None]] = deque()

    # --- build and change the world: no API calls, no metering ----------------------------------------------

    def add_table(
        self,
        table: str,
        *,
        subnets: Iterable[str] = (),
        main: bool = False,
        limits: Mapping[Family, int] | None = None,
        name: str = "",
    ) -> TableId:
        """Add a table for these subnets; the ``main`` table serves every subnet that has no other."""
        with self._lock:
            own = self._limits if limits is None else dict(limits)
            made = _Table(TableId(table), {SubnetId(s) for s in subnets}, main, own, name)
            self._tables[made.id] = made
            return made.id

    def remove_table(self, table: str) -> None:
        with self._lock:
            del self._tables[TableId(table)]

    def set_limit(self, table: str, of: Family, limit: int) -> None:
        """Change how many routes of a family fit; what is there already stays."""
        with self._lock:
            found = self._tables[TableId(table)]
            found.limits = {**found.limits, of: limit}

    def add_instance(
        self,
        instance: str,
        subnet: str,
        addresses: Sequence[Address],
        *,
        interface: str = "",
        zone: str = "zone-a",
        forwarding: bool = False,
        mtu: int = 9001,
    ) -> Instance:
        """Add a running instance, its source check on; the interface is named after it (``i-1`` has ``eni-1``)."""
        made = Instance(
            id=InstanceId(instance),
            interface=InterfaceId(interface or "eni-" + instance.removeprefix("i-")),
            subnet=SubnetId(subnet),
            zone=zone,
            addresses=tuple(addresses),
            forwarding=forwarding,
            mtu=mtu,
        )
        with self._lock:
            self._instances[made.id] = made
        return made

    def stop_instance(self, instance: str) -> None:
        """Stop it: it keeps its interface, and routes to it become black holes."""
        self._change_instance(instance, running=False)

    def start_instance(self, instance: str) -> None:
        self._change_instance(instance, running=True)

    def remove_instance(self, instance: str) -> None:
        """Terminate it: it is gone, routes to it stay as black holes."""
        with self._lock:
            del self._instances[InstanceId(instance)]

    def instance(self, instance: str) -> Instance:
        with self._lock:
            return self._instances[InstanceId(instance)]

    def add_foreign_route(self, table: str, destination: Network, target: str) -> None:
        """Let somebody else route ``destination`` to something that surely is not a node."""
        self._put(TableId(table), TableRoute(destination, NextHop(), Owner.FOREIGN, target=target))

    def put_route(self, table: str, destination: Network, next_hop: NextHop) -> None:
        """Let somebody else write a route to an instance or interface, over whatever is there."""
        self._put(TableId(table), TableRoute(destination, next_hop, target=_words(next_hop)))

    def remove_route(self, table: str, destination: Network) -> None:
        """Let somebody else delete a route."""
        with self._lock:
            del self._tables[TableId(table)].routes[destination]
            self._show(TableId(table), destination, None)

    def routes(self, table: str) -> Mapping[Network, TableRoute]:
        """Return what is true now, whatever reads show."""
        with self._lock:
            return {d: self._lit(r) for d, r in self._tables[TableId(table)].routes.items()}

    # --- faults ---------------------------------------------------------------------------------------------

    def fail(
        self,
        verb: str,
        fault: Fault,
        *,
        times: int | None = None,
        skip: int = 0,
        destination: Network | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Let calls of ``verb`` fail: ``times`` calls (``None``: until healed), after letting ``skip`` pass.

        ``verb`` is one of ``READS`` or ``WRITES``, or ``*`` for all. With ``destination`` only calls about that
        route count, so that one change of a batch can fail.
        """
        if verb not in READS | WRITES | {"*"}:
            raise BadInput(f"no verb is named {verb!r}; there are {', '.join(sorted(READS | WRITES))} and *")
        left = float("inf") if times is None else float(times)
        with self._lock:
            self._faults.append(_Planned(verb, fault, left, skip, destination, retry_after))

    def heal(self, verb: str = "*") -> None:
        """Forget the planned faults of that verb, or all of them."""
        with self._lock:
            self._faults = [f for f in self._faults if verb not in ("*", f.verb)]

    def count(self, *verbs: str) -> int:
        """Return how many calls of these verbs arrived, refused ones included; of all verbs when none is named."""
        with self._lock:
            seen = Counter(call.verb for call in self.log)
        return sum(seen[verb] for verb in verbs) if verbs else seen.total()

    # --- the API: metered, logged, faulty -------------------------------------------------------------------

    def describe_tables(self) -> RouteTables:
        """Return every table, in the order of ids."""
        with self._lock:
            self._admit("describe_tables")
            self._arrive()
            taken = {s for t in self._tables.values() for s in t.subnets}
            rest = {i.subnet for i in self._instances.values()} - taken
            return RouteTables(tuple(self._view(t, rest) for _, t in sorted(self._tables.items())))

    def describe_instances(self, ids: Collection[InstanceId], addresses: Collection[Address]) -> tuple[Instance, ...]:
        """Return the instances with one of these ids or addresses, in the order of ids."""
        with self._lock:
            self._admit("describe_instances")
            wanted = set(addresses)
            return tuple(
                i for _, i in sorted(self._instances.items()) if i.id in ids or not wanted.isdisjoint(i.addresses)
            )

    def create_route(self, table: TableId, destination: Network, next_hop: NextHop) -> None:
        with self._lock:
            lost = self._admit("create_route", table, destination)
            routes = self._routes_of(table)
            if destination in routes:
                self._refuse(Fault.CONFLICT, f"the route identified by {destination} already exists")
            used = sum(family(d) == family(destination) for d in routes)
            limit = self._tables[table].limits.get(family(destination))
            if limit is not None and used >= limit:
                self._refuse(Fault.QUOTA, f"{table} holds {used} of {limit} IPv{destination.version} routes")
            self._put(table, self._route_to(destination, next_hop))
            self._lose(lost)

    def replace_route(self, table: TableId, destination: Network, next_hop: NextHop) -> None:
        with self._lock:
            lost = self._admit("replace_route", table, destination)
            if destination not in self._routes_of(table):
                self._refuse(Fault.NOT_FOUND, f"there is no route defined for {destination} in {table}")
            self._put(table, self._route_to(destination, next_hop))
            self._lose(lost)

    def delete_route(self, table: TableId, destination: Network) -> None:
        with self._lock:
            lost = self._admit("delete_route", table, destination)
            if destination not in self._routes_of(table):
                self._refuse(Fault.NOT_FOUND, f"no route with destination {destination} in {table}")
            self.remove_route(table, destination)
            self._lose(lost)

    def modify_interface(self, interface: InterfaceId) -> None:
        """Switch the source check of the interface off."""
        with self._lock:
            lost = self._admit("modify_interface")
            owner = next((i for i in self._instances.values() if i.interface == interface), None)
            if owner is None:
                self._refuse(Fault.NOT_FOUND, f"interface {interface} does not exist")
            self._change_instance(owner.id, forwarding=True)
            self._lose(lost)

    def metered(self, verb: str, function: Callable[[], T]) -> T:
        """Make one call of a verb that somebody else carries out: counted, metered, and refused when planned."""
        with self._lock:
            lost = self._admit(verb)
            answer = function()
            self._lose(lost)
            return answer

    # --- inside ---------------------------------------------------------------------------------------------

    def _admit(self, verb: str, table: str = "", destination: Network | None = None) -> _Planned | None:
        """Log and meter the call, let a planned fault strike; return the timeout that must strike after it."""
        now = self._clock.now()
        bucket = self._buckets[Kind.READ if verb in READS else Kind.WRITE]
        fault = self._strike(verb, destination)
        if not bucket.take(now):
            fault = _Planned(verb, Fault.THROTTLE, 0, 0, None, None)
        outcome = "ok" if fault is None else _REFUSALS[fault.fault][0].cause_word.value
        self.log.append(Call(verb, outcome, now, table, destination))
        if fault is not None and fault.fault is not Fault.TIMEOUT:
            self._refuse(fault.fault, f"{verb} was refused", retry_after=fault.retry_after)
        return fault

    def _strike(self, verb: str, destination: Network | None) -> _Planned | None:
        for fault in self._faults:
            if fault.verb not in ("*", verb) or fault.destination not in (None, destination) or fault.left <= 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.left -= 1
            return fault
        return None

    def _lose(self, timeout: _Planned | None) -> None:
        if timeout is not None:
            self._refuse(Fault.TIMEOUT, f"{timeout.verb} did not answer in time")

    def _refuse(self, fault: Fault, message: str, *, retry_after: float | None = None) -> NoReturn:
        error, code, status = _REFUSALS[fault]
        raise error(message, provider=NAME, code=code, status=status, retry_after=retry_after)

    def _routes_of(self, table: TableId) -> dict[Network, TableRoute]:
        if table not in self._tables:
            self._refuse(Fault.NOT_FOUND, f"route table {table} does not exist")
        return self._tables[table].routes

    def _route_to(self, destination: Network, next_hop: NextHop) -> TableRoute:
        """Return the route, its next hop completed with what the cloud knows of the interface."""
        found = next((i for i in self._instances_at(next_hop) if i.next_hop.same_as(next_hop)), None)
        if found is None:
            self._refuse(Fault.NOT_FOUND, f"{_words(next_hop)} does not exist")
        whole = replace(next_hop, interface=found.interface, instance=found.id)
        return TableRoute(destination, whole, target=_words(whole))

    def _put(self, table: TableId, route: TableRoute) -> None:
        with self._lock:
            self._tables[table].routes[route.destination] = route
            self._show(table, route.destination, route)

    def _show(self, table: TableId, destination: Network, route: TableRoute | None) -> None:
        self._late.append((self._clock.now() + self.read_delay, table, destination, route))

    def _arrive(self) -> None:
        """Let reads show the writes whose delay is over, in the order of the writes."""
        now = self._clock.now()
        while self._late and self._late[0][0] <= now:
            _, table, destination, route = self._late.popleft()
            shown = self._tables[table].shown if table in self._tables else {}
            if route is None:
                shown.pop(destination, None)
            else:
                shown[destination] = route

    def _lit(self, route: TableRoute) -> TableRoute:
        """Return the route with its black hole flag as the instances are now."""
        hop = route.next_hop
        if hop == NextHop():
            return route
        alive = any(i.running and i.next_hop.same_as(hop) for i in self._instances_at(hop))
        return route if route.black_hole is not alive else replace(route, black_hole=not alive)

    def _instances_at(self, hop: NextHop) -> Iterable[Instance]:
        if hop.instance is not None:
            return [self._instances[hop.instance]] if hop.instance in self._instances else []
        return self._instances.values()

    def _view(self, table: _Table, rest: set[SubnetId]) -> RouteTable:
        return RouteTable(
            id=table.id,
            subnets=frozenset(table.subnets | rest if table.main else table.subnets),
            routes=tuple(self._lit(table.shown[d]) for d in sorted(table.shown, key=order)),
            limits=MappingProxyType(dict(table.limits)),
            name=table.name,
        )

    def _change_instance(self, instance: str, *, running: bool | None = None, forwarding: bool | None = None) -> None:
        with self._lock:
            old = self._instances[InstanceId(instance)]
            self._instances[old.id] = replace(
                old,
                running=old.running if running is None else running,
                forwarding=old.forwarding if forwarding is None else forwarding,
            )


def _words(hop: NextHop) -> str:
    """Name the next hop for messages."""
    if hop.interface:
        return f"interface {hop.interface}"
    if hop.instance:
        return f"instance {hop.instance}"
    return f"address {hop.address}" if hop.address else "nothing"


class MemoryRoutes:
    """Programs the tables of a ``MemoryCloud``."""

    def __init__(self, cloud: MemoryCloud, budget: Budget, retry: Retry) -> None:
        self._cloud = cloud
        self._budget = budget
        self._retry = retry

    def read(self, tables: Collection[TableId] | None = None) -> RouteTables:
        found = self._retry.call(lambda: self._budget.call("describe_tables", Kind.READ, self._cloud.describe_tables))
        return found if tables is None else RouteTables(tuple(t for t in found.tables if t.id in tables))

    def apply(self, changes: Sequence[RouteChange]) -> Sequence[RouteResult]:
        return writes.apply(changes, read=self.read, write=self._write, provider=NAME)

    def _write(self, change: RouteChange, deadline: float | None) -> None:
        self._retry.call(
            lambda: self._budget.call(f"{change.verb.value}_route", Kind.WRITE, lambda: self._send(change)),
            deadline=deadline,
        )

    def _send(self, change: RouteChange) -> None:
        if change.verb is Verb.CREATE:
            self._cloud.create_route(change.table, change.destination, change.next_hop)
        elif change.verb is Verb.REPLACE:
            self._cloud.replace_route(change.table, change.destination, change.next_hop)
        else:
            self._cloud.delete_route(change.table, change.destination)


class MemoryProvider:
    """The plugin for a ``MemoryCloud``: budget, retries and all; native addresses where there is a ``space``."""

    def __init__(
        self,
        cloud: MemoryCloud,
        clock: Clock,
        *,
        budget: Budget | None = None,
        rng: random.Random | None = None,
        deadline: float = 10.0,
        l2_adjacent: bool = True,
        space: AddressSpace | None = None,
    ) -> None:
        self.budget = budget or Budget(clock, read=READ, write=WRITE)
        self._cloud = cloud
        self._retry = Retry(clock, rng or random.Random(0), deadline=deadline)  # noqa: S311  jitter, no secret
        self._routes = MemoryRoutes(cloud, self.budget, self._retry)
        self._addresses = MemoryAddresses(cloud, space, self.budget, self._retry) if space else None
        self._capabilities = Capabilities(
            families=frozenset(Family),
            l2_adjacent=l2_adjacent,
            encapsulations=frozenset(Encapsulation),
            routes_per_table=ROUTES_PER_TABLE,
        )

    @property
    def name(self) -> str:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def routes(self) -> MemoryRoutes:
        return self._routes

    @property
    def addresses(self) -> MemoryAddresses | None:
        return self._addresses

    def instances(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        """Return the machine of each node: by the last part of its provider id, else by its address."""
        nodes = tuple(nodes)
        ids = {n.name: InstanceId(n.provider_id.rpartition("/")[2]) for n in nodes if n.provider_id}
        addresses = {a.ip: n.name for n in nodes if not n.provider_id for a in n.addresses}
        if not nodes:
            return {}
        found = self._retry.call(
            lambda: self.budget.call(
                "describe_instances",
                Kind.READ,
                lambda: self._cloud.describe_instances(frozenset(ids.values()), addresses),
            )
        )
        by_id = {i.id: i for i in found}
        by_name = {name: by_id[i] for name, i in ids.items() if i in by_id}
        return by_name | {addresses[a]: i for i in found for a in i.addresses if a in addresses}

    def allow_forwarding(self, instance: Instance) -> None:
        if instance.forwarding:
            return
        self._retry.call(
            lambda: self.budget.call(
                "modify_interface", Kind.WRITE, lambda: self._cloud.modify_interface(instance.interface)
            )
        )


class TableConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of the configuration file."""

    id: str
    subnets: tuple[str, ...] = ()
    main: bool = False
    foreign: Mapping[str, str] = {}
    """``{destination: target}`` of routes that are somebody else's."""


class InstanceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One instance of the configuration file."""

    id: str
    subnet: str
    addresses: tuple[str, ...]
    zone: str = "zone-a"


class MemoryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``--provider-config`` holds for the provider ``memory``."""

    tables: tuple[TableConfig, ...] = ()
    instances: tuple[InstanceConfig, ...] = ()
    routes_per_table: int = ROUTES_PER_TABLE


def make(
    config: Mapping[str, Any],  # parsed JSON, checked here
    *,
    clock: Clock,
    budget: Budget | None = None,
) -> MemoryProvider:
    """Return a provider with a cloud of its own, as the configuration describes it: the entry point ``memory``.

    Raises:
        BadInput: the configuration is wrong; the message names the field.
    """
    try:
        wanted = msgspec.convert(config, MemoryConfig)
        cloud = MemoryCloud(clock, limits=dict.fromkeys(Family, wanted.routes_per_table))
        for table in wanted.tables:
            cloud.add_table(table.id, subnets=table.subnets, main=table.main)
            for destination, target in table.foreign.items():
                cloud.add_foreign_route(table.id, ip_network(destination), target)
        for instance in wanted.instances:
            addresses = [ip_address(a) for a in instance.addresses]
            cloud.add_instance(instance.id, instance.subnet, addresses, zone=instance.zone)
    except ValueError as error:  # msgspec's own errors are ValueErrors too, and name their field
        raise BadInput(str(error), path="provider config") from error
    return MemoryProvider(cloud, clock, budget=budget)
