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

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from math import ceil

from cloudnet.controller import events, words, writes
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
    TablesRead,
    Tell,
    Write,
    WriteOutcome,
    WriteStore,
    Written,
)
from cloudnet.controller.complaints import Complaints
from cloudnet.controller.ledger import Ledger, Mirror
from cloudnet.controller.nodes import Nodes, NodesOptions
from cloudnet.controller.options import Options
from cloudnet.controller.reading import InstanceReading, TableReading
from cloudnet.controller.status import Status, counted
from cloudnet.controller.tables import NEVER, Table, growing
from cloudnet.controller.withdrawals import Withdrawals
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Family, SubnetId, TableId, family
from cloudnet.model.cluster_events import ClusterEvent
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    Cause,
    CloudNode,
    CloudRoute,
    IPPool,
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
from cloudnet.routes.aggregate import key
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

FORWARD_AT_ONCE = 10  # interfaces: they are written one by one, and the first need not wait for the last


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
        self._withdrawals = Withdrawals(self.options.withdraw_timeout)
        self._reads = TableReading(self.options)
        self._machines = InstanceReading(self.options)
        self._serving: Mapping[SubnetId, tuple[TableId, ...]] = {}
        self._served: frozenset[SubnetId] = frozenset()  # subnets of nodes when tables were last read
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
            self._reads.reported(self._now, lost=bool(self.nodes.lost))

    def _leading(self, event: Leading) -> None:
        if event.leader and not self.leader:
            self._start_over()
        self.leader = event.leader

    def _start_over(self) -> None:
        """A new leader believes nothing that it has not seen itself."""
        self.tables.clear()
        self._withdrawals.clear()
        self._stale(self._withdrawals.note(self.ledger.routes().values(), self._now))
        self._reads.start_over(self._now)
        self._machines.start_over(self._now)
        self.nodes.touch()
        kinds: tuple[type[Resource], ...] = (CloudNode, NodeCondition, AgentReport)
        self.nodes.touch(s.value.meta.name for kind in kinds for s in self._own.all(kind))
        self.nodes.leave_unknown()
        self._dirty(at_once=True)

    def _tables_were_read(self, event: TablesRead) -> None:
        begun = self._reads.end()
        if begun is None:
            return
        if event.error is not None or event.tables is None:
            self._reads.failed(event.error, self._now)
            self._complaints.trouble("tables", words.reading("route tables", event.error))
            return
        self._complaints.fine("tables")
        changed = self._take_tables(event.tables.tables, begun)
        self._reads.succeeded(begun, changed=changed, resync=self._resync(), now=self._now)
        self._look_again_where_blocked()
        if self.nodes.lost:
            self._reads.still_lost(self._now, changed=changed)
        self._see_through()
        if changed:
            self._dirty(at_once=True)

    def _take_tables(self, tables: Collection[RouteTable], begun: float) -> bool:
        found = {t.id: t for t in tables}
        changed = bool(self.tables.keys() ^ found.keys()) or not self._reads.known
        for gone in self.tables.keys() - found.keys():
            del self.tables[gone]
        for table_id, seen in found.items():
            limits = self._limits(seen)
            if table_id not in self.tables:
                self.tables[table_id] = Table(seen, limits)
            changed = self.tables[table_id].read(seen, limits, started=begun, now=self._now) or changed
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
        if self.ledger.blocked:
            self._reads.blocked(self._pages(), self._now)

    def _instances_were_read(self, event: InstancesRead) -> None:
        if event.error is not None:
            why = words.reading("instances", event.error)
            self._machines.failed(event.error, self._now)
            self.nodes.unavailable(event.nodes, why)
            self._complaints.trouble("instances", why)
            self._dirty()
            return
        self._complaints.fine("instances")
        everything = len(event.nodes) >= len(self.nodes.names())
        changed = self.nodes.found(event.nodes, event.found)
        missing = bool(self.nodes.missing())
        self._machines.succeeded(self._now, missing=missing, everything=everything, resync=self._resync())
        if not self.nodes.subnets() <= self._served:
            self._reads.soon(self._now)
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
        self._see_through()

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
                    self._reads.soon(self._now)
                return
            case Conflict():
                self._reads.soon(self._now)
            case NotFound():
                self._reads.soon(self._now)
                self.nodes.doubt(change.next_hop)
                self._machines.doubt(now)
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
            first, limit = self.options.bounds(error)
            detail = words.forwarding(name, instance, error)
            if self.nodes.refuses(name, detail, now=self._now, first=first, limit=limit):
                self._complaints.warn(detail)
            if isinstance(error, NotFound):
                self.nodes.doubt(instance.next_hop)
                self._machines.doubt(self._now)
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
        if writes.is_cut_short(outcome):
            self._write_again_later()
        if outcome.now is not None:
            if self._own.put(outcome.now):
                self._ledger_put(outcome.now)
        elif outcome.error is None or isinstance(outcome.error, words.GONE):
            revision = outcome.write.expected
            if revision is not None and self._own.drop(value, revision):
                self._ledger_dropped(value)
        return writes.fault(outcome)

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
            self._stale(self._withdrawals.note([route], self._now))

    def _ledger_dropped(self, value: Resource) -> None:
        if isinstance(value, CloudRoute):
            self._stale(self.ledger.drop(value.cidr))
            self._withdrawals.drop(value)

    # --- what to do -----------------------------------------------------------------------------------------

    def _act(self) -> Iterator[Action]:
        yield from self._read()
        if self._may_plan():
            yield from self._plan()
        yield from self._send()
        yield from self._allow_forwarding()

    def _read(self) -> Iterator[Action]:
        if self._reads.is_due(self._now) and not self._scope_unknown():
            self._served = self.nodes.subnets()
            self._reads.begin(self._now)
            yield ReadTables()
        if not self._machines.under_way and (wanted := self._wanted_machines()):
            self._machines.under_way = True
            yield ReadInstances(wanted)

    def _wanted_machines(self) -> tuple[Node, ...]:
        if self._machines.all_are_due(self._now):
            self._machines.begin_all(self._resync(), self._now)
            return self.nodes.values()
        if self._machines.unknown_are_due(self._now) and not self._waiting():
            return self.nodes.unknown()
        return ()

    def _scope_unknown(self) -> bool:
        """Tell whether the first read of tables should wait: a cloud finds them by the subnets of nodes."""
        return not self._reads.known and (self._machines.under_way or self.nodes.unread())

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
        self._stale(self._withdrawals.give_up_waiting(self._now))
        if any(t.stale and not t.busy for t in self.tables.values()) and self._dirty_at == NEVER:
            self._dirty_at = self._now
        return not self._writing and self._now >= max(self._dirty_at, self._store_due)

    def _plan(self) -> Iterator[Action]:
        """Yield the writes that the store needs; changes of tables are queued until the ledger has them."""
        self._dirty_at = NEVER
        known = self._reads.known and not self.nodes.unread()
        wanted = list(self._plan_tables()) if known else []
        names = self.nodes.take_touched()
        machines = self._serving if known else None
        wanted += writes.of_nodes(self.nodes, self._own, names, machines=machines, wall=self._wall)
        if not known:  # readiness never waits for the cloud
            self.nodes.touch(names)
        if wanted:
            self._writing = True
            yield WriteStore(tuple(wanted))
            yield from map(Tell, self._news_of(wanted))

    def _news_of(self, wanted: Iterable[Write]) -> Iterator[ClusterEvent]:
        """Yield what changes for a node by these writes, as seen from what the store has so far."""
        for write in wanted:
            if isinstance(write, Put):
                old = self._own.get(type(write.value), write.value.meta.name)
                yield from events.of_change(old.value if old else None, write.value, self.nodes.uid)

    def _plan_tables(self) -> Iterator[Write]:
        wishes = self.nodes.wishes(self.ledger.last_hop)
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
        return writes.of_routes(self.ledger, wishes, statuses, wall=self._wall)

    def _plan_table(
        self,
        table: Table,
        wishes: Mapping[int, plans.Wish],
        statuses: dict[int, dict[TableId, TableStatus | None]],
    ) -> None:
        ledger = self.ledger.of(table.id)
        table.forget(wishes)
        observed = self.nodes.observed(table.seen.subnets)
        left = self._withdrawals.left(table.id, observed=observed, now=self._now)
        standing = table.standing(self._now, left)
        planned = plans.plan(standing, wishes, ledger, headroom=self.options.headroom)
        table.planned(planned.changes, self._now)
        table.used = planned.used
        for k, status in planned.statuses.items():
            statuses.setdefault(k, {})[table.id] = status

    def _sorted_tables(self) -> list[Table]:
        return [self.tables[t] for t in sorted(self.tables)]

    def _send(self) -> Iterator[Action]:
        for table in self._sorted_tables():
            if table.queue and not table.busy and not table.stale and not self._writing:
                yield ApplyChanges(table.id, table.send(self.capabilities.batch))

    def _allow_forwarding(self) -> Iterator[Action]:
        if self._forwarding_busy or not self._reads.known:
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

    def _see_through(self) -> None:
        accepted = [at for t in self.tables.values() for at in t.accepted_at.values()]
        sending = any(t.busy or t.queue for t in self.tables.values())
        self._reads.see_through(accepted, self._now, sending=sending)

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

    def _next_wakeup(self) -> float:
        if not (self.leader and self.synced):
            return NEVER
        times = [self.nodes.retry_at(self._now)]
        times += self._reads.wakeups()
        times += self._machines.wakeups(
            known=bool(self.nodes.names()),
            unknown=bool(self.nodes.unknown()),
            waiting_until=self._dirty_at if self._waiting() else 0.0,
        )
        if not self._writing:
            times += [max(self._dirty_at, self._store_due), self._refused_due]
            times += [t.retry_at for t in self.tables.values()]
            times += self._withdrawals.deadlines(self._now)
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
        return Status(
            leader=self.leader,
            synced=self.synced,
            problem="; ".join(m for t, m in sorted(self._complaints.standing.items()) if not t.startswith("claim ")),
            routes=counted(stored.value for stored in self.ledger.routes().values()),
            used={(t.id, int(v)): n for t in self.tables.values() for v, n in t.used.items()},
            limits={(t.id, int(v)): n for t in self.tables.values() for v, n in t.limits.items()},
            nodes=len(self.nodes.names()),
            blocks=len(self.nodes.claims().owner),
            refused_blocks=len(self.nodes.claims().refused),
            warnings=len(self._complaints.standing),
        )
