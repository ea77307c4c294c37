"""Native addresses, decided: events in, actions and the time of the next step out. Pure.

One walk through a node's life::

    its machine is found → the cloud is read → more addresses are asked for → the record names them (held)
    → their blocks are adopted → pods use them … → the record says that some leave → their blocks are let go,
    those that nobody uses → after the quarantine the cloud gets them back → the record forgets them

As in ``loop.py`` each arrow is an action whose outcome is the next event, so a controller that dies anywhere leaves a
state from which another goes on: what the cloud gave and nobody recorded is found by the next read, and what leaves
goes on leaving. One change a node is under way at most; nodes wait for nobody but the call budget.

What it refuses to do: ask the cloud for more than the pod limit, give back what has a block, or touch an interface
without our mark.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from cloudnet.addresses import ledger as ledgers
from cloudnet.addresses import plan
from cloudnet.addresses.ledger import Verdicts
from cloudnet.addresses.plan import Add, Assign, Member, Settings, Shortage
from cloudnet.addresses.supply import Supply
from cloudnet.controller import events, words
from cloudnet.controller.actions import Changed, Leading, Put, Remove, Tell, Write
from cloudnet.controller.books import Books
from cloudnet.controller.complaints import Complaints
from cloudnet.controller.options import Waits
from cloudnet.controller.pool_actions import (
    AddInterface,
    AddressesRead,
    AdoptBlocks,
    Adopted,
    GiveAddresses,
    LedgerWritten,
    LetBlocksGo,
    LetGo,
    Mutated,
    Mutation,
    PoolAction,
    PoolInput,
    ReadAddresses,
    RemoveInterface,
    TakeAddresses,
    WriteLedger,
)
from cloudnet.controller.sight import Sight
from cloudnet.controller.tables import NEVER, Trouble, growing
from cloudnet.model.addresses import InterfaceId, Network, NodeName, SubnetId, family, order
from cloudnet.model.cloud_addresses import CloudAddresses, PrefixState
from cloudnet.model.cluster_events import ClusterEvent
from cloudnet.model.resources import BlockAffinity, Resource
from cloudnet.provider.api import Instance, NetworkInterface
from cloudnet.provider.errors import (
    Conflict,
    Exhausted,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet.store.api import Event, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions(Waits):
    """Settings of the loop; times are seconds."""

    resync: float = 3600.0  # what others change is rare, and what we change we know
    read_gap: float = 1.0  # between reads: machines that join one by one share some


@dataclass
class PoolStatus:
    """Figures for metrics; a snapshot."""

    nodes: Counter[str] = field(default_factory=Counter)  # by the cause for which pods get addresses of pools
    prefixes: Counter[tuple[str, int]] = field(default_factory=Counter)  # state, length
    held: int = 0
    used: int = 0
    capacity: int = 0
    strays: int = 0


@dataclass(slots=True)
class _Pool:
    """What is remembered of one node. Times are monotonic seconds."""

    busy: bool = False  # a change in the cloud is under way
    storing: bool = False  # so is one of its blocks
    trouble: Trouble | None = None
    shortage: Shortage | None = None
    fixed: bool = False  # a running machine gets no more interfaces here
    spare_since: dict[Network, float] = field(default_factory=dict)
    idle_since: dict[InterfaceId, float] = field(default_factory=dict)
    let_go: dict[Network, float] = field(default_factory=dict)  # {prefix without any block: since when}
    staying: set[Network] = field(default_factory=set)  # leaving ones that a pod uses, or that are needed again
    gone: dict[Network, float] = field(default_factory=dict)  # {given back: when}: late reads still show them
    adopted: set[Network] = field(default_factory=set)  # blocks that are ours, and the informer has not said so
    later: dict[Network, float] = field(default_factory=dict)  # {block or prefix: not to be tried before}
    due: float = NEVER


class Pools:
    """The mind. Feed it with ``receive``, ask it with ``step``; it never acts."""

    def __init__(self, settings: Settings, options: PoolOptions | None = None) -> None:
        self.settings = settings
        self.options = options or PoolOptions()
        self.leader = False
        self.synced = False
        self._supply = self._new_supply()
        self._inbox: deque[PoolInput] = deque()
        self._books = Books()
        self._machines: Mapping[NodeName, Instance] = {}
        self._pools: dict[NodeName, _Pool] = defaultdict(_Pool)
        self._sight = Sight()
        self._removing: set[InterfaceId] = set()
        self._calls = 0  # changes in the cloud that are under way
        self._dirty: dict[NodeName, None] = {}
        self._writing = False
        self._store_due, self._store_tries = 0.0, 0
        self._reading: float | None = None
        self._read_due, self._read_at, self._read_tries = 0.0, -NEVER, 0
        self._closed: Trouble | None = None  # nothing is asked of the cloud meanwhile
        self._complaints = Complaints()
        self._now = self._wall = 0.0

    def receive(self, events: Iterable[PoolInput]) -> None:
        self._inbox.extend(events)

    def step(self, now: float, wall: float, machines: Mapping[NodeName, Instance]) -> tuple[list[PoolAction], float]:
        """Return the actions that are due, and when to step again at the latest (monotonic seconds)."""
        self._now, self._wall = now, wall
        while self._inbox:
            self._hear(self._inbox.popleft())
        self._see_machines(machines)
        actions: list[PoolAction] = list(self._act()) if self.leader and self.synced else []
        actions[:0] = self._complaints.take()
        return actions, self._next_wakeup()

    # --- what happened --------------------------------------------------------------------------------------

    def _hear(self, event: PoolInput) -> None:
        match event:
            case Changed():
                for change in event.events:
                    self._resource(change)
                self.synced = self.synced or event.synced
            case Leading():
                if event.leader and not self.leader:
                    self._start_over()
                self.leader = event.leader
            case AddressesRead():
                self._were_read(event)
            case Mutated():
                self._mutated(event)
            case Adopted():
                self._adopted(event)
            case LetGo():
                self._let_go(event)
            case LedgerWritten():
                self._written(event)

    def _start_over(self) -> None:
        """A new leader believes nothing that it has not seen itself."""
        self._pools.clear()
        self._removing.clear()
        self._sight, self._supply = Sight(), self._new_supply()
        self._calls = 0
        self._closed = None
        self._read_due, self._read_tries = self._now, 0
        self._dirty.update(dict.fromkeys(self._books.names()))

    def _new_supply(self) -> Supply:
        """A subnet that has none is asked again later than a cloud that refused: twice as late."""
        return Supply(2 * self.options.retry_first, 2 * self.options.retry_limit)

    def _resource(self, event: Event[Resource]) -> None:
        value = event.value
        if isinstance(value, BlockAffinity):
            self._pools[value.node].adopted.discard(value.cidr)
        self._dirty.update(dict.fromkeys(self._books.hear(event)))

    def _see_machines(self, machines: Mapping[NodeName, Instance]) -> None:
        if machines == self._machines:
            return
        for name in machines.keys() | self._machines.keys():
            if machines.get(name) != self._machines.get(name):
                self._dirty[name] = None
        self._machines = dict(machines)
        if any(self._sight.room(m.id) is None for m in machines.values()):
            self._read_soon()

    def _were_read(self, event: AddressesRead) -> None:
        started, self._reading = self._reading, None
        if event.holdings is None or started is None:
            self._read_tries += 1
            self._read_due = self._now + self.options.wait_after(event.error, self._read_tries)
            self._complaints.trouble("addresses", words.reading("native addresses", event.error))
            return
        self._complaints.fine("addresses")
        self._read_tries = 0
        nodes = {m.id for m in self._machines.values()}
        self._sight.take_in(event.holdings, nodes, started=started, now=self._now)
        self._dirty.update(dict.fromkeys(self._books.names()))

    def _mutated(self, event: Mutated) -> None:
        action, error = event.action, event.error
        pool = self._pools[action.node]
        pool.busy = False
        self._calls = max(0, self._calls - 1)
        if isinstance(action, RemoveInterface):
            self._removing.discard(action.interface.id)
        self._dirty[action.node] = None
        if error is not None:
            self._refused(action, error, pool)
        elif event.interface is not None:
            pool.trouble, self._closed = None, None
            self._complaints.fine("calls")
            self._done(action, event.interface, pool)

    def _done(self, action: Mutation, interface: NetworkInterface, pool: _Pool) -> None:
        if isinstance(action, RemoveInterface):
            self._sight.removed(interface.id, now=self._now)
            return
        if isinstance(action, TakeAddresses):
            pool.gone.update(dict.fromkeys(action.cidrs, self._now))
            if self._sight.interface(interface.id) is not None:
                self._sight.changed(interface, now=self._now)
        else:
            self._sight.changed(interface, now=self._now)
            self._supply.given(interface.subnet, action.wanted)
            for cidr in interface.cidrs:
                pool.gone.pop(cidr, None)

    def _refused(self, action: Mutation, error: ProviderError, pool: _Pool) -> None:
        options, detail = self.options, words.addresses(action, error)
        match error:
            case Exhausted() if isinstance(action, GiveAddresses | AddInterface):
                subnet = action.interface.subnet if isinstance(action, GiveAddresses) else action.subnet
                self._supply.refused(subnet, action.wanted, now=self._now)
                return
            case Throttled() | Unavailable():
                self._close(error, detail, options.away_first, options.away_limit)
                self._read_soon()
                return
            case PermissionDenied():
                self._close(error, detail, options.retry_first, options.retry_limit)
                return
            case Unsupported() if isinstance(action, AddInterface):
                pool.fixed = True
                return
            case QuotaExceeded() | NotFound() | Unsupported() | Conflict():
                self._read_soon()
        tries = pool.trouble.tries + 1 if pool.trouble else 1
        until = self._now + growing(options.retry_first, options.retry_limit, tries)
        pool.trouble = Trouble(error.cause_word, detail, until, tries)

    def _close(self, error: ProviderError, detail: str, first: float, limit: float) -> None:
        """Ask the cloud for nothing for a while, longer each time; calls that were under way together count once."""
        self._complaints.trouble("calls", detail)
        if self._closed is not None and self._now < self._closed.until:
            return
        tries = self._closed.tries + 1 if self._closed else 1
        wait = max(growing(first, limit, tries), error.retry_after or 0.0)
        self._closed = Trouble(error.cause_word, detail, self._now + wait, tries)

    def _adopted(self, event: Adopted) -> None:
        action, pool = event.action, self._pools[event.action.node]
        pool.storing = False
        pool.adopted.update(b for b in action.blocks if b not in event.errors)
        pool.later |= dict.fromkeys(event.errors, self._now + self.options.away_limit)
        self._dirty[action.node] = None
        first = next(iter(event.errors.items()), None)
        self._complaints.settle(f"blocks of {action.node}", words.adopting(action.node, *first) if first else "")

    def _let_go(self, event: LetGo) -> None:
        action, pool = event.action, self._pools[event.action.node]
        pool.storing = False
        self._dirty[action.node] = None
        if event.gone:
            pool.let_go[action.cidr] = self._now
            return
        pool.later[action.cidr] = self._now + self.options.away_limit
        if event.error is None:
            pool.staying.add(action.cidr)

    def _written(self, event: LedgerWritten) -> None:
        self._writing = False
        failed = ""
        for outcome in event.outcomes:
            name = NodeName(outcome.write.value.meta.name)
            self._dirty[name] = None
            value = outcome.now.value if outcome.now is not None else outcome.write.value
            gone = outcome.now is None and (
                isinstance(outcome.write, Remove) or isinstance(outcome.error, words.GONE)
            )
            if isinstance(value, CloudAddresses) and (outcome.now is not None or gone):
                self._books.recorded(value, outcome.now.revision if outcome.now is not None else None)
            if outcome.error is not None and not isinstance(outcome.error, words.RACES):
                failed = str(outcome.error)
        if failed or not event.outcomes:
            self._store_tries += 1
            self._store_due = self._now + growing(self.options.away_first, self.options.away_limit, self._store_tries)
            self._dirty.update(dict.fromkeys(self._books.names()))
        else:
            self._store_tries = 0
        self._complaints.settle("store", words.store(failed) if failed else "")

    # --- what to do -----------------------------------------------------------------------------------------

    def _act(self) -> Iterator[PoolAction]:
        if self._reading is None and self._now >= self._due_to_read():
            self._reading = self._read_at = self._now
            self._read_due = NEVER
            yield ReadAddresses(tuple(self._machines[n] for n in sorted(self._machines)))
        if not self._sight.known:
            return
        yield from self._collect_leaks()
        due = [name for name, pool in self._pools.items() if pool.due <= self._now]
        names = sorted({*self._dirty, *due})
        self._dirty.clear()
        writes: list[Write] = []
        for name in names:
            yield from self._look(name, writes)
        if writes:
            self._writing = True
            yield WriteLedger(tuple(writes))
            yield from map(Tell, self._news_of(writes))

    def _news_of(self, writes: Iterable[Write]) -> Iterator[ClusterEvent]:
        """Yield what changes for a node by these writes, as seen from what the store has so far."""
        for write in writes:
            if isinstance(write, Put):
                old = self._books.record(NodeName(write.value.meta.name))
                yield from events.of_change(old, write.value, self._books.uid)

    def _due_to_read(self) -> float:
        if self._books.nodes and not self._machines:
            return NEVER  # they are being looked up
        aged = min(self._sight.strays.values(), default=NEVER) + self.settings.leak
        return min(self._read_due, self._read_at + self.options.resync, aged if aged > self._read_at else NEVER)

    def _may_call(self) -> bool:
        """Tell whether the cloud may be asked for a change; after trouble one at a time until one succeeds."""
        return self._closed is None or (self._closed.until <= self._now and not self._calls)

    def _look(self, name: NodeName, writes: list[Write]) -> Iterator[PoolAction]:
        """Yield what one node needs now; its record's change joins the others'."""
        pool, stored = self._pools[name], self._books.records.get(name)
        pool.due = NEVER
        pool.gone = {c: at for c, at in pool.gone.items() if self._now < at + _LATE}
        if name not in self._books.nodes:
            yield from self._farewell(name, pool, stored, writes)
            return
        member = self._member(name, pool)
        if member is None:
            return
        if revived := self._revived(name, member, pool):
            pool.staying |= revived
            member = self._member(name, pool) or member
        step = self._next_step(member, pool)
        new = ledgers.updated(
            stored.value if stored else None,
            name,
            member,
            self.settings,
            verdicts=Verdicts(self._idle(member, pool), pool.staying, pool.gone),
            shortage=pool.shortage,
            wall=self._wall,
        )
        if stored is None or new != stored.value:
            self._want(Put(new, stored.revision if stored else None), name, writes)
        else:
            pool.staying.clear()
            yield from self._blocks(name, pool, new, member)
        yield from self._change(name, pool, member, step)

    def _want(self, write: Write, name: NodeName, writes: list[Write]) -> None:
        """Let a write join the batch; later, while one is under way or the store does not answer."""
        if self._writing or self._now < self._store_due:
            self._dirty[name] = None
        else:
            writes.append(write)

    def _member(self, name: NodeName, pool: _Pool) -> Member | None:
        """Return the node as a plan sees it; nothing while its machine, or what the cloud says of it, is unknown."""
        machine = self._machines.get(name)
        room = self._sight.room(machine.id) if machine else None
        if machine is None or room is None:
            return None
        interfaces = tuple(
            replace(i, cidrs=tuple(c for c in i.cidrs if c not in pool.gone)) for i in self._sight.of(machine.id)
        )
        going = {p.cidr for p in self._books.leaving(name)} - pool.staying
        held = tuple(c for i in interfaces for c in i.cidrs if c not in going and family(c) in self.settings.families)
        return Member(
            machine,
            replace(room, interfaces=len(interfaces)) if pool.fixed else room,
            interfaces,
            held,
            self._books.used(name, held),
            {of: self._books.pods(name, of) for of in self.settings.families},
            self._limit(name),
        )

    def _limit(self, name: NodeName) -> int:
        text = self._books.pod_limit(name)
        if not text:
            return self.settings.pod_limit
        wrong = not text.isdecimal()
        self._complaints.settle(
            f"limit {name}", words.pod_limit(name, text, self.settings.pod_limit) if wrong else ""
        )
        return self.settings.pod_limit if wrong else int(text)

    def _idle(self, member: Member, pool: _Pool) -> tuple[Network, ...]:
        """Return the prefixes that were not needed for long enough; what is needed again starts anew."""
        spare = plan.spare(member, self.settings)
        pool.spare_since = {c: pool.spare_since.get(c, self._now) for c in spare}
        ripe = {c: at + self.settings.idle for c, at in pool.spare_since.items()}
        pool.due = min([pool.due, *(at for at in ripe.values() if at > self._now)])
        return tuple(c for c, at in ripe.items() if at <= self._now)

    def _revived(self, name: NodeName, member: Member, pool: _Pool) -> set[Network]:
        """Return leaving prefixes that the node needs again and whose blocks still stand."""
        revived: set[Network] = set()
        shown = {c for i in member.interfaces for c in i.cidrs}
        for of in self.settings.families:
            number = plan.lacking(member, of, self.settings)
            for prefix in self._books.leaving(name):
                standing = prefix.cidr in shown and prefix.cidr not in pool.let_go and not pool.storing
                if number > 0 and family(prefix.cidr) is of and standing:
                    revived.add(prefix.cidr)
                    number -= prefix.cidr.num_addresses
        return revived

    def _next_step(self, member: Member, pool: _Pool) -> Assign | Add | None:
        """Return what to ask for; what stands in the way is noted."""
        trouble = next((t for t in (pool.trouble, self._closed) if t is not None and t.until > self._now), None)
        step = plan.grow(member, self.settings, self._supply, self._sight.subnets, now=self._now)
        pool.shortage = step if isinstance(step, Shortage) else None
        if step is None:
            return None
        if trouble is not None:
            pool.shortage = Shortage(trouble.cause, trouble.detail)
            pool.due = min(pool.due, trouble.until)
            return None
        if isinstance(step, Shortage):
            pool.due = min(pool.due, self._supply.reopens(self._now))
            return None
        return step

    def _blocks(self, name: NodeName, pool: _Pool, record: CloudAddresses, member: Member) -> Iterator[PoolAction]:
        """Yield what brings the node's blocks in line with its record: new ones first."""
        kept = {p.cidr for p in record.prefixes}
        pool.let_go = {c: at for c, at in pool.let_go.items() if c in kept}
        if pool.storing:
            return
        if missing := self._unadopted(name, pool, record, member):
            pool.storing = True
            yield AdoptBlocks(name, missing)
            return
        for prefix in self._books.leaving(name):
            if prefix.cidr not in pool.let_go and self._is_time(prefix.cidr, pool):
                pool.storing = True
                yield LetBlocksGo(name, prefix.cidr, self._standing(name, prefix.cidr))
                return

    def _unadopted(
        self, name: NodeName, pool: _Pool, record: CloudAddresses, member: Member
    ) -> Mapping[Network, InterfaceId]:
        missing: dict[Network, InterfaceId] = {}
        for prefix in record.prefixes:
            if prefix.state is PrefixState.LEAVING or family(prefix.cidr) not in self.settings.families:
                continue
            for block in plan.blocks(prefix.cidr, plan.needed(member, family(prefix.cidr), self.settings)):
                known = block in pool.adopted or self._books.adopted(name, block, prefix.interface)
                if not known and self._is_time(block, pool):
                    missing[block] = prefix.interface
        return missing

    def _is_time(self, what: Network, pool: _Pool) -> bool:
        at = pool.later.get(what, 0.0)
        if at <= self._now:
            pool.later.pop(what, None)
            return True
        pool.due = min(pool.due, at)
        return False

    def _standing(self, name: NodeName, cidr: Network) -> tuple[Network, ...]:
        """Return the blocks of a prefix that the node has; of one without any the first, to be sure."""
        return self._books.blocks(name, cidr) or plan.blocks(cidr, 1)

    def _change(self, name: NodeName, pool: _Pool, member: Member, step: Assign | Add | None) -> Iterator[PoolAction]:
        """Yield the one change in the cloud that comes next: more addresses before anything goes back."""
        if pool.busy:
            return
        action: PoolAction | None
        match step:
            case Assign():
                action = GiveAddresses(name, step.interface, step.wanted)
            case Add():
                action = AddInterface(name, member.instance, step.subnet, step.wanted)
            case None:
                action = self._take(name, pool) or self._drop_interface(name, pool, member)
        yield from self._call(pool, action)

    def _call(self, pool: _Pool, action: PoolAction | None) -> Iterator[PoolAction]:
        if action is not None and self._may_call():
            pool.busy = True
            self._calls += 1
            yield action
        elif action is not None and self._closed is not None:
            pool.due = min(pool.due, max(self._closed.until, self._now + self.options.away_first))

    def _take(self, name: NodeName, pool: _Pool) -> TakeAddresses | None:
        """Return the request that gives one interface's ripe prefixes back; note those that are gone already."""
        ripe: dict[InterfaceId, list[Network]] = {}
        for prefix in self._books.leaving(name):
            if prefix.cidr not in pool.let_go or prefix.cidr in pool.gone:
                continue
            at = pool.let_go[prefix.cidr] + self.settings.quarantine
            known = self._sight.interface(prefix.interface)
            if name in self._books.nodes and (known is None or prefix.cidr not in known.cidrs):
                pool.gone[prefix.cidr] = self._now
                self._dirty[name] = None
            elif at <= self._now:
                ripe.setdefault(prefix.interface, []).append(prefix.cidr)
            else:
                pool.due = min(pool.due, at)
        for interface, cidrs in sorted(ripe.items()):
            seen = self._sight.interface(interface) or self._recorded(name, interface)
            return TakeAddresses(name, seen, tuple(sorted(cidrs, key=order)))
        return None

    def _recorded(self, name: NodeName, interface: InterfaceId) -> NetworkInterface:
        """Return what the record says of an interface that no read shows."""
        record = self._books.record(name)
        entry = record.interface(interface) if record else None
        return NetworkInterface(interface, entry.subnet if entry else SubnetId(""))

    def _drop_interface(self, name: NodeName, pool: _Pool, member: Member) -> RemoveInterface | None:
        """Return the removal of an interface of ours that has delivered nothing for long enough."""
        record = self._books.record(name)
        recorded = {p.interface for p in record.prefixes} if record else set()
        idle = [i for i in plan.idle_interfaces(member) if i.id not in recorded]
        pool.idle_since = {i.id: pool.idle_since.get(i.id, self._now) for i in idle}
        for interface in idle:
            at = pool.idle_since[interface.id] + self.settings.idle
            if at <= self._now:
                return RemoveInterface(name, interface)
            pool.due = min(pool.due, at)
        return None

    def _farewell(
        self, name: NodeName, pool: _Pool, stored: Stored[CloudAddresses] | None, writes: list[Write]
    ) -> Iterator[PoolAction]:
        """Let everything of a node that is no more go, once nobody uses it."""
        if stored is None:
            if not pool.busy and not pool.storing:
                self._pools.pop(name, None)
            return
        new = ledgers.leaving(stored.value, pool.gone, wall=self._wall)
        if not new.prefixes:
            self._want(Remove(stored.value, stored.revision), name, writes)
        elif new != stored.value:
            self._want(Put(new, stored.revision), name, writes)
        else:
            pool.staying.clear()
            yield from self._let_all_go(name, pool)
        if not pool.busy:
            yield from self._call(pool, self._take(name, pool))

    def _let_all_go(self, name: NodeName, pool: _Pool) -> Iterator[PoolAction]:
        for prefix in self._books.leaving(name):
            if not pool.storing and prefix.cidr not in pool.let_go and self._is_time(prefix.cidr, pool):
                pool.storing = True
                yield LetBlocksGo(name, prefix.cidr, self._standing(name, prefix.cidr))

    def _collect_leaks(self) -> Iterator[PoolAction]:
        """Yield the removal of interfaces of ours that two reads, long enough apart, found at no node."""
        for name, since in list(self._sight.strays.items()):
            interface = self._sight.interface(name)
            seen_again = self._reading is None and self._read_at >= since + self.settings.leak
            if interface is None or not seen_again or name in self._removing or not self._may_call():
                continue
            if self._wall >= interface.made_at + self.settings.leak and not self._books.speaks_of(
                name, interface.cidrs
            ):
                self._removing.add(name)
                self._calls += 1
                yield RemoveInterface(NodeName(""), interface)

    # --- when -----------------------------------------------------------------------------------------------

    def _read_soon(self) -> None:
        self._read_due = min(self._read_due, max(self._now, self._read_at + self.options.read_gap))

    def _next_wakeup(self) -> float:
        if not (self.leader and self.synced):
            return NEVER
        times = [self._due_to_read()] if self._reading is None else []
        times += [pool.due for pool in self._pools.values()]
        if self._dirty and self._sight.known and not self._writing:
            times.append(max(self._now, self._store_due))
        return max(self._now, min(times, default=NEVER))

    # --- what to say ----------------------------------------------------------------------------------------

    def status(self) -> PoolStatus:
        """Return the figures of this moment."""
        status = PoolStatus(strays=len(self._sight.strays))
        for name, stored in self._books.records.items():
            record = stored.value
            status.nodes[record.cause.value] += 1
            status.capacity += sum(record.capacity.values())
            cidrs = [prefix.cidr for prefix in record.prefixes]
            status.used += sum(self._books.used(name, cidrs).values())
            status.held += sum(b.num_addresses for c in cidrs for b in self._books.blocks(name, c))
            status.prefixes.update((p.state.value, p.cidr.prefixlen) for p in record.prefixes)
        return status


_LATE = 120.0  # seconds that a read may still show what was given back
