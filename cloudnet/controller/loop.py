"""The route controller's decisions: events in, actions and the time of the next step out. Pure.

One walk through a change::

    a node joins → its machine is looked up → each table is planned → the ledger is written (pending)
    → the change is sent → a read-back shows it → the ledger is written (programmed)

Each arrow is an action whose outcome is the next event, so a controller that dies anywhere leaves a state from which
another goes on. Nothing is remembered that a fresh start could not find out again from the store and the cloud,
except how long to wait before trying something that was refused.

What it refuses to do: write while it does not lead, plan before it has seen everything once, delete a route before
the agents have left it, or take a write for done before a read shows it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import ceil

from cloudnet.controller import events, words
from cloudnet.controller import ledger as ledgers
from cloudnet.controller.actions import (
    Action,
    AllowForwarding,
    Applied,
    ApplyChanges,
    Changed,
    ForwardingAllowed,
    Input,
    InstancesRead,
    Leading,
    Put,
    ReadInstances,
    ReadTables,
    Remove,
    TablesRead,
    Tell,
    Write,
    WriteOutcome,
    WriteStore,
    Written,
)
from cloudnet.controller.complaints import Complaints
from cloudnet.controller.ledger import Ledger, Mirror
from cloudnet.controller.nodes import Nodes, NodesOptions, merged
from cloudnet.controller.tables import Table, growing
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Family, NodeName, SubnetId, TableId, family
from cloudnet.model.cluster_events import ClusterEvent
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    Cause,
    CloudNode,
    CloudRoute,
    IPPool,
    NextHop,
    Node,
    NodeCondition,
    Resource,
    TableStatus,
)
from cloudnet.provider.api import Capabilities, RouteChange, RouteResult, RouteTable, Verb
from cloudnet.provider.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Unsupported,
)
from cloudnet.routes import plan as plans
from cloudnet.routes.aggregate import key, prefix, widened
from cloudnet.store.api import Event, EventType, Stored

KINDS: tuple[type[Resource], ...] = (
    Node,
    IPPool,
    BlockAffinity,
    AgentReport,
    CloudNode,
    CloudRoute,
    NodeCondition,
)
"""What the loop must be told of."""

NEVER = float("inf")
FORWARD_AT_ONCE = 10  # interfaces: they are written one by one, and the first need not wait for the last


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the loop; times are seconds."""

    resync: float = 900.0
    retry_first: float = 60.0  # quota, permission, conflict: a person has to act
    retry_limit: float = 600.0
    away_first: float = 1.0  # throttled or out of reach: the cloud comes back by itself
    away_limit: float = 30.0
    withdraw_timeout: float = 10.0
    every_route_in_every_table: bool = False
    headroom: int = 0
    debounce: float = 0.05  # events that come together are one plan, one look-up and one read-back
    rest_a_block: float = 0.0001  # a plan costs in proportion: events then wait, half a second with 5,000 blocks
    settle: float = 0.02  # outcomes of parallel batches that arrive together share one read-back
    verify_at_most: float = 10.0  # while batches go on and on, the ledger catches up this often
    lost_first: float = 1.0  # agents report a dead route: look soon, then ever more slowly


@dataclass
class Status:
    """Figures for metrics and health; a snapshot."""

    leader: bool = False
    synced: bool = False
    problem: str = ""
    routes: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # table, state, cause
    used: dict[tuple[str, int], int] = field(default_factory=dict)
    limits: dict[tuple[str, int], int] = field(default_factory=dict)
    nodes: int = 0
    blocks: int = 0
    refused_blocks: int = 0
    warnings: int = 0


class Loop:
    """The controller's mind. Feed it with ``receive``, ask it with ``step``; it never acts."""

    def __init__(self, capabilities: Capabilities, options: Options | None = None) -> None:
        self.options = options or Options()
        self.capabilities = capabilities
        self.nodes = Nodes(
            capabilities, NodesOptions(every_route_in_every_table=self.options.every_route_in_every_table)
        )
        self.ledger = Ledger()
        self.tables: dict[TableId, Table] = {}
        self.leader = False
        self.synced = False
        self._own = Mirror()
        self._inbox: deque[Input] = deque()
        self._now = 0.0
        self._wall = 0.0
        self._complaints = Complaints()
        self._dirty_at = NEVER
        self._rested_at = 0.0  # until then events wait for each other
        self._writing = False
        self._withdrawals: dict[tuple[TableId, int], tuple[int, float]] = {}
        self._tables_due = 0.0
        self._tables_read = False
        self._tables_tries = 0
        self._reading_tables: float | None = None
        self._last_read = -NEVER  # when the last read that succeeded was started
        self._serving: Mapping[SubnetId, tuple[TableId, ...]] = {}
        self._served: frozenset[SubnetId] = frozenset()  # subnets of nodes when tables were last read
        self._instances_due = 0.0
        self._unknown_due = 0.0
        self._instances_tries = 0
        self._reading_instances = False
        self._verify_due = NEVER
        self._verify_tries = 0
        self._lost_tries = 0
        self._blocked_tries = 0
        self._lost_due = NEVER
        self._store_due = 0.0
        self._store_tries = 0
        self._refused_due = NEVER  # when records that the store refused, or cut short, are written again
        self._refused_tries = 0
        self._forwarding_busy = False
        self._handlers: Mapping[type[Input], Callable[[Input], None]] = {
            Changed: self._changed,  # type: ignore[dict-item]  # each handler is called with its own kind
            Leading: self._leading,  # type: ignore[dict-item]  # the same
            TablesRead: self._tables_were_read,  # type: ignore[dict-item]  # the same
            InstancesRead: self._instances_were_read,  # type: ignore[dict-item]  # the same
            Applied: self._applied,  # type: ignore[dict-item]  # the same
            ForwardingAllowed: self._forwarding_allowed,  # type: ignore[dict-item]  # the same
            Written: self._written,  # type: ignore[dict-item]  # the same
        }

    def receive(self, events: Iterable[Input]) -> None:
        self._inbox.extend(events)

    def step(self, now: float, wall: float = 0.0) -> tuple[list[Action], float]:
        """Return the actions that are due, and when to step again at the latest (both times monotonic seconds).

        ``wall`` is seconds since 1970, for people only.
        """
        self._now, self._wall = now, wall
        while self._inbox:
            event = self._inbox.popleft()
            self._handlers[type(event)](event)
        actions: list[Action] = list(self._act()) if self.leader and self.synced else []
        actions[:0] = self._complaints.take()
        return actions, self._next_wakeup()

    # --- what happened --------------------------------------------------------------------------------------

    def _changed(self, batch: Changed) -> None:
        for event in batch.events:
            self._resource(event)
        if batch.synced and not self.synced:
            self.synced = True
            self._dirty(at_once=True)

    def _resource(self, event: Event[Resource]) -> None:
        value, gone = event.value, event.type is EventType.DELETED
        match value:
            case Node():
                if self.nodes.node(value, gone=gone):
                    self._dirty()
            case IPPool():
                self.nodes.pool(value, gone=gone)
                self._dirty()
            case BlockAffinity():
                self.nodes.affinity(value, gone=gone)
                self._dirty()
            case AgentReport():
                self._report(Stored(value, event.revision), gone=gone)
            case _:
                self._own_resource(event, gone=gone)

    def _own_resource(self, event: Event[Resource], *, gone: bool) -> None:
        if isinstance(event.value, CloudNode | NodeCondition):
            self.nodes.touch([event.value.meta.name])
        if gone:
            if self._own.drop(event.value, event.revision):
                self._ledger_dropped(event.value)
                self._dirty()
        elif self._own.put(Stored(event.value, event.revision)):
            self._ledger_put(Stored(event.value, event.revision))
            self._dirty()

    def _report(self, report: Stored[AgentReport], *, gone: bool) -> None:
        if gone:
            self._own.drop(report.value, report.revision)
        else:
            self._own.put(report)
        news = self.nodes.report(report.value, gone=gone)
        if news:
            self._dirty()
            self._stale()
        if news and not self.nodes.lost:
            self._lost_tries, self._lost_due = 0, NEVER
        elif news and self._lost_due == NEVER:
            self._lost_due = self._now + self.options.lost_first

    def _leading(self, event: Leading) -> None:
        if event.leader and not self.leader:
            self._start_over()
        self.leader = event.leader

    def _start_over(self) -> None:
        """A new leader believes nothing that it has not seen itself."""
        self.tables.clear()
        self._withdrawals.clear()
        self._note_withdrawals(self.ledger.routes().values())
        self._tables_read = False
        self._tables_due = self._instances_due = self._now
        self._tables_tries = self._instances_tries = 0
        self._verify_due = NEVER
        self.nodes.touch()
        kinds: tuple[type[Resource], ...] = (CloudNode, NodeCondition, AgentReport)
        self.nodes.touch(s.value.meta.name for kind in kinds for s in self._own.all(kind))
        self.nodes.leave_unknown()
        self._dirty(at_once=True)

    def _tables_were_read(self, event: TablesRead) -> None:
        started, self._reading_tables = self._reading_tables, None
        if started is None:
            return
        if event.error is not None or event.tables is None:
            self._tables_tries += 1
            self._tables_due = self._now + self._wait_after(event.error, self._tables_tries)
            self._complaints.trouble("tables", words.reading("route tables", event.error))
            return
        self._complaints.fine("tables")
        self._tables_tries, self._last_read = 0, started
        changed = self._take_tables(event.tables.tables, started)
        self._blocked_tries = 0 if changed else self._blocked_tries + 1
        self._tables_due = self._now + self._resync()
        self._look_again_where_blocked()
        self._tables_read = True
        self._after_lost_read(changed=changed)
        self._schedule_verification()
        if changed:
            self._dirty(at_once=True)

    def _take_tables(self, tables: Collection[RouteTable], started: float) -> bool:
        found = {t.id: t for t in tables}
        changed = bool(self.tables.keys() ^ found.keys()) or not self._tables_read
        for gone in self.tables.keys() - found.keys():
            del self.tables[gone]
        for table_id, seen in found.items():
            limits = self._limits(seen)
            if table_id not in self.tables:
                self.tables[table_id] = Table(seen, limits)
            changed = self.tables[table_id].read(seen, limits, started=started, now=self._now) or changed
        subnets = {s for t in tables for s in t.subnets}
        serving = {s: tuple(sorted(t.id for t in tables if s in t.subnets)) for s in subnets}
        if serving != self._serving:
            self._serving = serving
            self.nodes.touch()
        self._complaints.settle("none", "" if found else words.no_tables())
        return changed

    def _limits(self, seen: RouteTable) -> Mapping[Family, int]:
        """Return the table's own limits, and the account's where it tells none."""
        common = self.capabilities.routes_per_table
        return {v: seen.limits.get(v, common) for v in Family if v in seen.limits or common > 0}

    def _look_again_where_blocked(self) -> None:
        """While others stand in a block's way, look ever more slowly whether they still do."""
        if self.ledger.blocked:
            options = self.options
            wait = growing(options.retry_first, options.retry_limit * self._pages(), self._blocked_tries + 1)
            self._tables_due = min(self._tables_due, self._now + wait)

    def _after_lost_read(self, *, changed: bool) -> None:
        """Agents saw a dead route; while reads do not explain it, look again, ever more slowly."""
        if not self.nodes.lost:
            return
        self._lost_tries = 0 if changed else self._lost_tries + 1
        wait = growing(self.options.lost_first, self.options.resync, self._lost_tries + 1)
        self._lost_due = self._now + wait

    def _instances_were_read(self, event: InstancesRead) -> None:
        self._reading_instances = False
        everything = len(event.nodes) >= len(self.nodes.names())
        if event.error is not None:
            self._instances_tries += 1
            wait = self._wait_after(event.error, self._instances_tries)
            self.nodes.unavailable(event.nodes, words.reading("instances", event.error))
            self._unknown_due = self._now + wait
            self._instances_due = max(self._instances_due, self._now + wait)
            self._complaints.trouble("instances", words.reading("instances", event.error))
            self._dirty()
            return
        self._complaints.fine("instances")
        changed = self.nodes.found(event.nodes, event.found)
        missing = self.nodes.missing()
        self._instances_tries = self._instances_tries + 1 if missing else 0
        self._unknown_due = self._now
        if everything:
            self._instances_due = self._now + self._resync()
        if missing:
            wait = growing(self.options.away_first * 5, self.options.resync, self._instances_tries)
            self._instances_due = min(self._instances_due, self._now + wait)
        if not self.nodes.subnets() <= self._served:
            self._read_tables_soon()
        if changed:
            self._dirty(at_once=True)

    def _applied(self, event: Applied) -> None:
        table = self.tables.get(event.table)
        if table is None:
            return
        table.busy = False
        for result in event.results:
            if result.error is None:
                table.accept(result.change, self._now)
            else:
                self._refused(table, result, result.error)
        if len(event.results) == 0:
            table.stale = True
        self._schedule_verification()

    def _refused(self, table: Table, result: RouteResult, error: ProviderError) -> None:
        change, of = result.change, family(result.change.destination)
        cause, detail = error.cause_word, words.refusal(error, change, table.limits.get(of))
        options, now, k = self.options, self._now, key(result.change.destination)
        first, limit = options.retry_first, options.retry_limit
        if self._news(table, change, cause):
            self._complaints.warn(detail)
        match error:
            case Throttled() | Unavailable():
                first, limit = max(options.away_first, error.retry_after or 0.0), options.away_limit
                table.close(of, cause, detail, now=now, first=first, limit=max(first, limit))
            case QuotaExceeded() | PermissionDenied() if change.verb is Verb.CREATE:
                trouble = table.close(of, cause, detail, now=now, first=first, limit=limit)
                if trouble.tries == 1 and isinstance(error, QuotaExceeded):
                    self._read_tables_soon()
                return
            case Conflict():
                self._read_tables_soon()
            case NotFound():
                self._read_tables_soon()
                self.nodes.doubt(change.next_hop)
                self._unknown_due = now
            case Unsupported():
                first = limit
        if change.verb is Verb.CREATE and isinstance(error, Throttled | Unavailable):
            return
        table.refuse(k, cause, detail, now=now, first=first, limit=max(first, limit))

    def _news(self, table: Table, change: RouteChange, cause: Cause) -> bool:
        """Tell whether the operator has not heard of this yet: once a table and cause, not once a route."""
        of = table.closed.get(family(change.destination))
        known = table.refused.get(key(change.destination))
        return all(t is None or t.cause is not cause for t in (of, known))

    def _forwarding_allowed(self, event: ForwardingAllowed) -> None:
        self._forwarding_busy = False
        for name, instance in event.instances:
            if name not in event.errors:
                continue
            error = event.errors[name]
            if error is None:
                self.nodes.forwards(name, instance)
                continue
            away = isinstance(error, Throttled | Unavailable)
            first = self.options.away_first if away else self.options.retry_first
            limit = self.options.away_limit if away else self.options.retry_limit
            detail = words.forwarding(name, instance, error)
            if self.nodes.refuses(name, detail, now=self._now, first=first, limit=limit):
                self._complaints.warn(detail)
            if isinstance(error, NotFound):
                self.nodes.doubt(instance.next_hop)
                self._unknown_due = self._now
        self._dirty()

    def _written(self, event: Written) -> None:
        self._writing = False
        failed = ""
        for outcome in event.outcomes:
            failed = self._outcome(outcome) or failed
        if failed or len(event.outcomes) == 0:
            self.nodes.touch()
            self._stale()
        if failed:
            self._store_tries += 1
            self._store_due = self._now + growing(self.options.away_first, self.options.away_limit, self._store_tries)
            self._complaints.trouble("store", words.store(failed))
        else:
            self._store_tries, self._store_due = 0, self._now
            self._complaints.fine("store")
            if self._refused_due == NEVER:
                self._refused_tries = 0
                self._complaints.fine("records")
        # What was heard meanwhile keeps its moment: else whoever overwrites what we write, and is heard before the
        # store's answer, would be overwritten as fast as the store takes it.
        self._dirty(at_once=self._dirty_at == NEVER)

    def _outcome(self, outcome: WriteOutcome) -> str:
        """Take in what the store holds now; return why it could not be written, if that is its own fault."""
        value = outcome.write.value
        if isinstance(outcome.error, BadInput) and not isinstance(value, CloudRoute):
            # Routes do without, so nothing waits for it; of a route itself the ledger must know first.
            self._write_again_later()
            self._complaints.trouble("records", words.store(str(outcome.error)))
            return ""
        if outcome.error is not None and isinstance(value, CloudNode | NodeCondition | AgentReport):
            self.nodes.touch([value.meta.name])
        if outcome.error is not None and isinstance(value, CloudRoute):
            self._stale()
        if _is_cut_short(outcome):
            self._write_again_later()
        if outcome.now is not None:
            if self._own.put(outcome.now):
                self._ledger_put(outcome.now)
        elif outcome.error is None or isinstance(outcome.error, words.GONE):
            revision = outcome.write.expected
            if revision is not None and self._own.drop(value, revision):
                self._ledger_dropped(value)
        return self._fault(outcome)

    def _fault(self, outcome: WriteOutcome) -> str:
        """Return why the store could not be written; nothing where it was, or somebody else was faster."""
        if outcome.error is None:
            return ""
        return "" if isinstance(outcome.error, words.RACES) else str(outcome.error)

    def _write_again_later(self) -> None:
        """Wait for a newer definition: nothing tells of it."""
        if self._refused_due == NEVER:
            self._refused_tries += 1
            wait = growing(self.options.retry_first, self.options.retry_limit, self._refused_tries)
            self._refused_due = self._now + wait

    def _ledger_put(self, stored: Stored[Resource]) -> None:
        if isinstance(stored.value, CloudRoute):
            route = Stored(stored.value, stored.revision)
            self._stale(self.ledger.put(route))
            self._look_again_where_blocked()
            self._note_withdrawals([route])

    def _ledger_dropped(self, value: Resource) -> None:
        if isinstance(value, CloudRoute):
            self._stale(self.ledger.drop(value.cidr))
            for status in value.tables:
                self._withdrawals.pop((status.table, key(value.cidr)), None)

    def _note_withdrawals(self, routes: Iterable[Stored[CloudRoute]]) -> None:
        """Remember since which revision each withdrawal is known, and how long to wait for agents."""
        wait = self.options.withdraw_timeout
        for stored in routes:
            k, going = key(stored.value.cidr), set(ledgers.withdrawing(stored.value))
            for status in stored.value.tables:
                if status.table in going:
                    if (status.table, k) not in self._withdrawals:
                        self._withdrawals[status.table, k] = (stored.revision, self._now + wait)
                        self._stale([status.table])
                else:
                    self._withdrawals.pop((status.table, k), None)

    # --- what to do -----------------------------------------------------------------------------------------

    def _act(self) -> Iterator[Action]:
        yield from self._read()
        if self._may_plan():
            yield from self._plan()
        yield from self._send()
        yield from self._allow_forwarding()

    def _read(self) -> Iterator[Action]:
        due = min(self._tables_due, self._verify_due, self._lost_due)
        if self._reading_tables is None and self._now >= due and not self._scope_unknown():
            self._reading_tables = self._now
            self._served = self.nodes.subnets()
            self._verify_due = self._lost_due = NEVER
            yield ReadTables()
        if self._reading_instances:
            return
        if self._now >= self._instances_due:
            wanted = self.nodes.values()
            self._instances_due = self._now + self._resync()
        elif self._now >= self._unknown_due and not self._waiting():
            wanted = self.nodes.unknown()
        else:
            wanted = ()
        if wanted:
            self._reading_instances = True
            yield ReadInstances(wanted)

    def _scope_unknown(self) -> bool:
        """Tell whether the first read of tables should wait: a cloud finds them by the subnets of nodes."""
        return not self._tables_read and (self._reading_instances or self.nodes.unread())

    def _waiting(self) -> bool:
        """Tell whether more events may be on their way that one look-up or plan could serve as well."""
        return self._dirty_at != NEVER and self._now < self._dirty_at

    def _may_plan(self) -> bool:
        for table in self.tables.values():
            if self._now >= table.retry_at:
                table.stale, table.retry_at = True, NEVER
        if self._now >= self._refused_due:
            self._refused_due = NEVER
            self.nodes.touch()
            self._stale()
            self._dirty(at_once=True)
        self._give_up_waiting_for_agents()
        if any(t.stale and not t.busy for t in self.tables.values()) and self._dirty_at == NEVER:
            self._dirty_at = self._now
        return not self._writing and self._now >= max(self._dirty_at, self._store_due)

    def _give_up_waiting_for_agents(self) -> None:
        for (table_id, k), (revision, deadline) in self._withdrawals.items():
            if deadline <= self._now and deadline != -NEVER:
                self._withdrawals[table_id, k] = (revision, -NEVER)
                self._stale([table_id])

    def _plan(self) -> Iterator[Action]:
        """Yield the writes that the store needs; changes of tables are queued until the ledger has them."""
        self._dirty_at = NEVER
        if self._tables_read and not self.nodes.unread():
            writes = [*self._plan_tables(), *self._node_writes(machines=True)]
        else:
            writes = [*self._node_writes(machines=False)]  # readiness never waits for the cloud
        if writes:
            self._writing = True
            yield WriteStore(tuple(writes))
            yield from map(Tell, self._news_of(writes))

    def _news_of(self, writes: Iterable[Write]) -> Iterator[ClusterEvent]:
        """Yield what changes for a node by these writes, as seen from what the store has so far."""
        for write in writes:
            if isinstance(write, Put):
                old = self._own.get(type(write.value), write.value.meta.name)
                yield from events.of_change(old.value if old else None, write.value, self.nodes.uid)

    def _plan_tables(self) -> Iterator[Write]:
        wishes = self.nodes.wishes(self._last_hop)
        self._rested_at = self._now + self.options.rest_a_block * len(wishes)
        if self.nodes.take_change():
            self._stale()
            self._warn_of_claims()
        statuses: dict[int, dict[TableId, TableStatus | None]] = {}
        for table in self.tables.values():
            if not table.stale or table.busy:
                continue
            self._plan_table(table, wishes, statuses)
        for gone in set(self.ledger.tables()) - self.tables.keys():
            for k in self.ledger.of(gone):
                statuses.setdefault(k, {})[gone] = None
        return self._routes(wishes, statuses)

    def _plan_table(
        self,
        table: Table,
        wishes: Mapping[int, plans.Wish],
        statuses: dict[int, dict[TableId, TableStatus | None]],
    ) -> None:
        ledger = self.ledger.of(table.id)
        table.forget(wishes)
        standing = table.standing(self._now, self._left(table.id))
        planned = plans.plan(standing, wishes, ledger, headroom=self.options.headroom)
        table.planned(planned.changes, self._now)
        table.used = planned.used
        for k, status in planned.statuses.items():
            statuses.setdefault(k, {})[table.id] = status

    def _left(self, table: TableId) -> set[int]:
        """Return the withdrawals of a table that no agent can still be using."""
        observed = self.nodes.observed(self.tables[table].seen.subnets)
        return {
            k
            for (of, k), (revision, deadline) in self._withdrawals.items()
            if of == table and (revision <= observed or self._now >= deadline)
        }

    def _routes(
        self, wishes: Mapping[int, plans.Wish], statuses: Mapping[int, Mapping[TableId, TableStatus | None]]
    ) -> Iterator[Write]:
        """Yield the writes that bring the ledger to these statuses and to the blocks' present owners."""
        moved = {k for k, s in self.ledger.routes().items() if k in wishes and s.value.node != wishes[k].node}
        for k in sorted(statuses.keys() | moved):
            old = self.ledger.route(k)
            node = self._owner(k, wishes, old)
            new = ledgers.edited(old.value if old else None, prefix(k), node, statuses.get(k, {}), wall=self._wall)
            if old is None and new.tables:
                yield Put(new)
            elif old is not None and not new.tables:
                yield Remove(old.value, old.revision)
            elif old is not None and new != old.value:
                yield Put(new, old.revision)

    def _last_hop(self, k: int) -> NextHop | None:
        """Return the next hop that the ledger has for a block, in whichever table."""
        stored = self.ledger.route(k)
        hops = (s.next_hop for s in stored.value.tables if s.next_hop is not None) if stored else ()
        return next(iter(hops), None)

    def _owner(self, k: int, wishes: Mapping[int, plans.Wish], old: Stored[CloudRoute] | None) -> NodeName:
        if k in wishes:
            return wishes[k].node
        if old is not None:
            return old.value.node
        inside = (w.node for w in wishes.values() if w.key & 0xFF >= k & 0xFF and widened(w.key, k & 0xFF) == k)
        return next(inside, NodeName("unknown"))

    def _node_writes(self, *, machines: bool) -> Iterator[Write]:
        """Yield what the store should learn of nodes: readiness, and their machines once those are known."""
        names = self.nodes.take_touched()
        wanted: list[Resource] = list(self.nodes.conditions(names, self._wall))
        if machines:
            wanted += self.nodes.cloud_nodes(names, self._serving)
        else:
            self.nodes.touch(names)
        for value in wanted:
            old = self._own.get(type(value), value.meta.name)
            new = merged(value, old.value if old else None)
            if old is None:
                yield Put(new)
            elif new != old.value:
                yield Put(new, old.revision)
        known = {(type(value), value.meta.name) for value in wanted}
        kinds: list[type[Resource]] = [NodeCondition, AgentReport, *([CloudNode] if machines else [])]
        for kind in kinds:
            for name in names:
                stored = self._own.get(kind, name)
                if stored and (kind, name) not in known and not self.nodes.undecided(stored.value):
                    yield Remove(stored.value, stored.revision)

    def _sorted_tables(self) -> list[Table]:
        return [self.tables[t] for t in sorted(self.tables)]

    def _send(self) -> Iterator[Action]:
        for table in self._sorted_tables():
            if table.queue and not table.busy and not table.stale and not self._writing:
                yield ApplyChanges(table.id, table.send(self.capabilities.batch))

    def _allow_forwarding(self) -> Iterator[Action]:
        if self._forwarding_busy or not self._tables_read:
            return
        closed = tuple(self.nodes.closed(self._now))[:FORWARD_AT_ONCE]
        if closed:
            self._forwarding_busy = True
            yield AllowForwarding(closed)

    # --- when -----------------------------------------------------------------------------------------------

    def _dirty(self, *, at_once: bool = False) -> None:
        """Ask for a plan; events of the next moment join it."""
        due = self._now if at_once else max(self._now + self.options.debounce, self._rested_at)
        self._dirty_at = min(self._dirty_at, due)

    def _stale(self, tables: Iterable[TableId] | None = None) -> None:
        for table_id in self.tables.keys() if tables is None else tables:
            if table_id in self.tables:
                self.tables[table_id].stale = True

    def _read_tables_soon(self) -> None:
        self._verify_due = min(self._verify_due, self._now + self.options.settle)

    def _schedule_verification(self) -> None:
        """A read-back for what was accepted: when everything is sent, or now and then while it goes on."""
        waiting = [at for t in self.tables.values() for at in t.accepted_at.values()]
        if not waiting:
            self._verify_tries = 0
            return
        if any(t.busy or t.queue for t in self.tables.values()):
            due = min(waiting) + self.options.verify_at_most
        elif max(waiting) < self._last_read:
            self._verify_tries += 1
            due = self._now + growing(0.5, self.options.away_limit, self._verify_tries)
        else:
            due = self._now + self.options.settle
        self._verify_due = min(self._verify_due, due)

    def _resync(self) -> float:
        """Return how long what was read stays good: longer in proportion when it takes more than one call each."""
        return self.options.resync * self._pages()

    def _pages(self) -> float:
        """Return how many calls a list of routes or machines takes, of both the average."""
        page = self.capabilities.page
        if not page:
            return 1.0
        routes = sum(len(table.seen.routes) for table in self.tables.values())
        return (max(1, ceil(routes / page)) + max(1, ceil(len(self.nodes.names()) / page))) / 2

    def _wait_after(self, error: ProviderError | None, tries: int) -> float:
        away = isinstance(error, Throttled | Unavailable)
        first = self.options.away_first if away else self.options.retry_first
        limit = self.options.away_limit if away else self.options.retry_limit
        return max(growing(first, limit, tries), (error.retry_after if error else None) or 0.0)

    def _next_wakeup(self) -> float:
        if not (self.leader and self.synced):
            return NEVER
        times = [self.nodes.retry_at(self._now)]
        if self._reading_tables is None:
            times += [self._tables_due, self._verify_due, self._lost_due]
        if not self._reading_instances:
            times.append(self._instances_due if self.nodes.names() else NEVER)
            if self.nodes.unknown():
                times.append(max(self._unknown_due, self._dirty_at if self._waiting() else 0.0))
        if not self._writing:
            times += [max(self._dirty_at, self._store_due), self._refused_due]
            times += [t.retry_at for t in self.tables.values()]
            times += [deadline for _, deadline in self._withdrawals.values() if deadline > self._now]
        return min(times)

    # --- what to say ----------------------------------------------------------------------------------------

    def _warn_of_claims(self) -> None:
        current = {f"claim {w}": w for w in self.nodes.warnings()}
        for topic in [t for t in self._complaints.standing if t.startswith("claim ") and t not in current]:
            self._complaints.forget(topic)
        for topic, message in current.items():
            self._complaints.trouble(topic, message)

    def status(self) -> Status:
        """Return the figures of this moment."""
        routes: Counter[tuple[str, str, str]] = Counter()
        for stored in self.ledger.routes().values():
            routes.update((s.table, s.state.value, s.cause.value) for s in stored.value.tables)
        return Status(
            leader=self.leader,
            synced=self.synced,
            problem="; ".join(m for t, m in sorted(self._complaints.standing.items()) if not t.startswith("claim ")),
            routes=routes,
            used={(t.id, int(v)): n for t in self.tables.values() for v, n in t.used.items()},
            limits={(t.id, int(v)): n for t in self.tables.values() for v, n in t.limits.items()},
            nodes=len(self.nodes.names()),
            blocks=len(self.nodes.claims().owner),
            refused_blocks=len(self.nodes.claims().refused),
            warnings=len(self._complaints.standing),
        )


def _is_cut_short(outcome: WriteOutcome) -> bool:
    """Tell whether the store holds something else than what it took, as with an older definition."""
    wrote, now = outcome.write.value, outcome.now
    if outcome.error is not None or now is None:
        return False
    # replace() knows dataclasses, and the protocol cannot say that every resource is one.
    return replace(wrote, meta=now.value.meta) != now.value  # type: ignore[type-var]
