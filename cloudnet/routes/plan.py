"""Which prefix stands in which cloud table, what gives way under a quota, and why. Pure: no I/O, clock or chance.

``plan`` looks at one table: the blocks that should be reachable through it, what a read found in it, and the ledger
of what we wrote. It answers with the changes that may be sent now and with the status of each block.

What it refuses to do:

* touch a route that the ledger does not know as ours (or that the cloud does not mark as ours);
* send a change before the ledger records it: the status comes first, the change comes with the next plan;
* delete a route that an agent may still use: it waits until the caller says that all have ``left``;
* fill a table beyond its limit less the headroom, or move routes around that fit where they are.

Prefixes are integers inside (``aggregate.key``): with thousands of blocks, hashing addresses would cost more than
deciding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cloudnet.model.addresses import Family, Network, NodeName, SubnetId, TableId
from cloudnet.model.resources import Cause, NextHop, RouteState, TableStatus
from cloudnet.provider.api import Owner, RouteChange, TableRoute, Verb
from cloudnet.routes import declared
from cloudnet.routes.aggregate import V6, key, prefix, unions, widened


@dataclass(frozen=True, slots=True)
class Wish:
    """One block that a node owns, and where routes to it should point.

    ``direct`` is the subnet whose nodes reach it without a route. Without ``next_hop`` the block cannot be routed,
    and ``cause`` and ``detail`` say why. With a next hop and the cause ``UNAVAILABLE`` nobody can tell whether it
    still holds: what stands stays, and nothing is added.
    """

    key: int
    block: Network
    node: NodeName
    next_hop: NextHop | None = None
    direct: SubnetId | None = None
    cause: Cause = Cause.NONE
    detail: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the cloud said no to. ``probe`` lets one attempt through, to see whether it still says so."""

    cause: Cause
    detail: str
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """All that is known of one table.

    ``routes`` is the last read. ``awaiting`` are changes that the cloud accepted and that no read has shown yet.
    ``refused`` destinations are left alone for now; ``closed`` families take no new route for now. ``left`` are
    withdrawals that every agent has acted on; ``cleared`` are destinations whose deletion was seen through.
    ``zone`` and ``read_only`` are as ``RouteTable`` has them.
    """

    id: TableId
    subnets: frozenset[SubnetId] = frozenset()
    limits: Mapping[Family, int] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[int, TableRoute] = field(default_factory=lambda: MappingProxyType({}))
    awaiting: Mapping[int, RouteChange] = field(default_factory=lambda: MappingProxyType({}))
    refused: Mapping[int, Refusal] = field(default_factory=lambda: MappingProxyType({}))
    closed: Mapping[Family, Refusal] = field(default_factory=lambda: MappingProxyType({}))
    left: Collection[int] = frozenset()
    cleared: Collection[int] = frozenset()
    zone: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do in one table, and what to tell.

    ``changes`` are in the order in which they must be sent. ``statuses`` holds what differs from the ledger; ``None``
    removes an entry. ``used`` and ``limits`` are per family, for metrics and messages.
    """

    changes: tuple[RouteChange, ...] = ()
    statuses: Mapping[int, TableStatus | None] = field(default_factory=dict)
    used: Mapping[Family, int] = field(default_factory=dict)
    limits: Mapping[Family, int] = field(default_factory=dict)


def plan(
    table: Standing, wishes: Mapping[int, Wish], ledger: Mapping[int, TableStatus], *, headroom: int = 0
) -> Plan:
    """Return the changes that are due in one table, and the statuses that differ from ``ledger``."""
    return _Planning(table, wishes, ledger, headroom).plan()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A route that should be there; ``blocks`` are those it serves, more than one when it is a union."""

    key: int
    next_hop: NextHop
    blocks: tuple[int, ...]


def _family(of: int) -> Family:
    return Family.IPV6 if of >= V6 else Family.IPV4


class _Planning:
    """One run of ``plan``, step by step: whose is what, what should be there, what fits, what is left to do."""

    def __init__(
        self, table: Standing, wishes: Mapping[int, Wish], ledger: Mapping[int, TableStatus], headroom: int
    ) -> None:
        self.table = table
        self.ledger = ledger
        self.headroom = headroom
        self.wishes = {k: w for k, w in wishes.items() if w.direct is None or w.direct not in table.subnets}
        self.settled: set[int] = set()  # in place, as the ledger says and as wanted: thousands of these cost little
        self.own: dict[int, NextHop] = {}
        self.foreign: dict[int, TableRoute] = {}
        self.declared: dict[int, TableRoute] = {}
        self.used = dict.fromkeys(Family, 0)
        self.statuses: dict[int, TableStatus | None] = {}
        self.told: set[int] = set()  # whose status is decided, whether or not it differs from the ledger
        self.deletes: list[RouteChange] = []
        self.replaces: list[RouteChange] = []
        self.creates: list[RouteChange] = []
        self._free: dict[Family, int] = {}
        self._probed: set[Family] = set()

    def plan(self) -> Plan:
        self._sort_out_owners()
        routable, denied = self._split()
        kept: dict[int, _Entry] = {}
        for version in Family:
            entries, surplus = self._fit(version, {k: w for k, w in routable.items() if _family(k) is version})
            kept.update(entries)
            denied.update(surplus)
        serving = {block: entry for entry in kept.values() for block in entry.blocks}
        self._withdraw(kept, serving, denied)
        self._make_room()
        for k in sorted(kept):
            if k not in self.told:
                self._raise(kept[k])
        self._speak_for_members(serving)
        for k, refusal in denied.items():
            if k not in self.told:
                self._tell(k, _STATE_OF.get(refusal.cause, RouteState.REFUSED), refusal.cause, refusal.detail)
        return Plan(
            changes=(*self.deletes, *self.replaces, *self.creates),
            statuses=self.statuses,
            used=self.used,
            limits=self.table.limits,
        )

    # --- whose is what --------------------------------------------------------------------------------------

    def _sort_out_owners(self) -> None:
        """Fill ``own`` (where each of our routes leads, as far as known) and ``foreign``; count what takes room."""
        awaiting = self.table.awaiting
        for k, route in self.table.routes.items():
            if k in awaiting:
                continue
            if self._is_settled(k, route):
                self.settled.add(k)
                self.own[k] = route.next_hop
            elif route.owner is Owner.DECLARED:
                self.declared[k] = route
            elif self._is_ours(k, route):
                self.own[k] = route.next_hop
            else:
                self.foreign[k] = route
        for k, change in awaiting.items():
            if change.verb is not Verb.DELETE:
                self.own[k] = change.next_hop
        for of in (self.own, self.foreign):
            v6 = sum(k >= V6 for k in of)
            self.used[Family.IPV6] += v6
            self.used[Family.IPV4] += len(of) - v6

    def _is_settled(self, k: int, route: TableRoute) -> bool:
        status, wish = self.ledger.get(k), self.wishes.get(k)
        return (
            status is not None
            and wish is not None
            and wish.next_hop is not None
            and status.state is RouteState.PROGRAMMED
            and not (status.detail or status.previous or route.black_hole)
            and status.cause is Cause.NONE
            and route.owner is not Owner.FOREIGN
            and (status.next_hop is wish.next_hop or status.next_hop == wish.next_hop)
            and _same(wish.next_hop, route.next_hop)
        )

    def _is_ours(self, k: int, route: TableRoute) -> bool:
        if route.owner is not Owner.UNMARKED:
            return route.owner is Owner.OURS
        status, hop = self.ledger.get(k), route.next_hop
        if status is not None and status.next_hop is not None and _same(status.next_hop, hop):
            return True
        if status is not None and status.previous is not None and _same(status.previous, hop):
            return True
        wish = self.wishes.get(k)
        return wish is not None and wish.next_hop is not None and _same(wish.next_hop, hop)

    # --- what should be there -------------------------------------------------------------------------------

    def _split(self) -> tuple[dict[int, Wish], dict[int, Refusal]]:
        """Return the blocks that can be routed, and those that cannot, with the reason."""
        routable: dict[int, Wish] = {}
        denied: dict[int, Refusal] = {}
        conflicts = self._conflicts()
        self.settled.difference_update(conflicts)
        for k in sorted(self.wishes.keys() - self.settled):
            wish = self.wishes[k]
            if wish.cause is Cause.UNAVAILABLE and wish.next_hop is not None and k not in self.own:
                self.told.add(k)
            elif wish.next_hop is None:
                denied[k] = Refusal(wish.cause, wish.detail)
            elif k in conflicts:
                denied[k] = Refusal(Cause.CONFLICT, conflicts[k])
            elif route := declared.against(self.declared, k, wish.next_hop):
                denied[k] = Refusal(Cause.CONFLICT, self._led_astray(wish, route))
            elif route := declared.serving(self.declared, k):
                self._tell(k, RouteState.PROGRAMMED, detail=f"served by {route.destination}: {route.target}")
            elif why := self._out_of_reach(wish):
                denied[k] = Refusal(Cause.UNSUPPORTED, why)
            else:
                routable[k] = wish
        return routable, denied

    def _out_of_reach(self, wish: Wish) -> str:
        """Say why no route of this table can ever lead to the block; nothing when one can."""
        if self.table.zone and wish.zone != self.table.zone:
            return (
                f"routes of {self.table.id} hold in zone {self.table.zone} and lead to machines there, "
                f"and node {wish.node!r} is in {wish.zone or 'no zone'}: VXLAN carries it"
            )
        if self.table.read_only:
            return f"nobody here can write to {self.table.id}, and no declared route covers the block: declare one"
        return ""

    def _led_astray(self, wish: Wish, route: TableRoute) -> str:
        return (
            f"{route.destination} is declared in {self.table.id} to lead to {route.target}, but {wish.block} belongs "
            f"to node {wish.node!r}: correct the declaration, or give the node another block"
        )

    def _conflicts(self) -> Mapping[int, str]:
        """Return what foreign routes take away from blocks: the whole of it, or a part by a narrower route."""
        lengths = {k & 0xFF for k in self.wishes}
        found: dict[int, str] = {}
        for k in sorted(self.foreign):
            for length in lengths:
                if length <= k & 0xFF and (block := widened(k, length)) in self.wishes and block not in found:
                    found[block] = self._in_the_way(block, self.foreign[k])
        return found

    def _in_the_way(self, block: int, route: TableRoute) -> str:
        hop = route.next_hop
        target = route.target or str(hop.interface or hop.instance or hop.address or "an unknown place")
        part = "" if route.destination == self.wishes[block].block else f" of {self.wishes[block].block}"
        return (
            f"a route of somebody else in {self.table.id} sends {route.destination}{part} to {target}: "
            "remove it, or exclude these addresses from the pool"
        )

    # --- what fits ------------------------------------------------------------------------------------------

    def _capacity(self, version: Family, taken: int) -> int:
        limit = self.table.limits.get(version)
        return 1 << 62 if limit is None else limit - self.headroom - taken

    def _fit(self, version: Family, routable: Mapping[int, Wish]) -> tuple[dict[int, _Entry], dict[int, Refusal]]:
        """Return the routes that fit, those in place first, and the blocks that must do without."""
        foreign = sum(1 for k in self.foreign if _family(k) is version)
        capacity = max(0, self._capacity(version, foreign))
        settled = {k for k in self.settled if _family(k) is version}
        moving = any(_family(k) is version and k not in routable for k in self.own.keys() - self.settled)
        if not moving and len(routable) + len(settled) <= capacity:
            return {k: _Entry(k, _hop(w), (k,)) for k, w in routable.items()}, {}
        self.settled -= settled
        routable = {**routable, **{k: self.wishes[k] for k in settled}}
        entries = {k: _Entry(k, _hop(w), (k,)) for k, w in routable.items()}
        if moving:
            entries = self._with_unions(routable, only_standing=True)
        if len(entries) > capacity:
            entries = self._with_unions(routable, only_standing=False)
        if len(entries) <= capacity:
            return entries, {}
        ranked = sorted(entries.values(), key=self._rank)
        detail = (
            f"route table {self.table.id} has room for {self.table.limits[version]} IPv{version} routes, "
            f"{foreign} are others' and {self.headroom} are kept free: raise the quota of routes per table"
        )
        surplus = {b: Refusal(Cause.QUOTA, detail) for entry in ranked[capacity:] for b in entry.blocks}
        return {entry.key: entry for entry in ranked[:capacity]}, surplus

    def _rank(self, entry: _Entry) -> tuple[int, int]:
        """What is in the table stays, then what a union takes over from it, then by address."""
        if entry.key in self.own:
            return 0, entry.key
        return 1 if any(b in self.own for b in entry.blocks) else 2, entry.key

    def _with_unions(self, routable: Mapping[int, Wish], *, only_standing: bool) -> dict[int, _Entry]:
        """Return a route a block, or one for adjacent blocks of one next hop: all of those, or just the standing."""
        groups: dict[NextHop, list[int]] = {}
        for k, wish in routable.items():
            groups.setdefault(_hop(wish), []).append(k)
        entries: dict[int, _Entry] = {}
        for hop, blocks in groups.items():
            for union, members in unions(blocks).items() if len(blocks) > 1 else [(blocks[0], (blocks[0],))]:
                if len(members) == 1 or not self._may_stand(union, hop, only_standing=only_standing):
                    entries.update({b: _Entry(b, hop, (b,)) for b in members})
                else:
                    entries[union] = _Entry(union, hop, members)
        return entries

    def _may_stand(self, union: int, hop: NextHop, *, only_standing: bool) -> bool:
        if union in self.foreign:
            return False
        standing = self.own.get(union)
        return not only_standing or (standing is not None and _same(standing, hop))

    # --- what is left to do ---------------------------------------------------------------------------------

    def _raise(self, entry: _Entry) -> None:
        """Bring one wanted route about, or tell how far it is."""
        k, hop = entry.key, entry.next_hop
        change = self.table.awaiting.get(k)
        if change is not None:
            self._tell(
                k, RouteState.PENDING, detail=_WAITING[change.verb], next_hop=hop, previous=self._before(k, hop)
            )
            return
        standing = self.own.get(k)
        if standing is None:
            self._create(entry)
        elif not _same(standing, hop):
            self._replace(entry, standing)
        elif self.table.routes[k].black_hole:
            detail = "the cloud says that the route leads nowhere: the node's machine is stopped or detached"
            self._tell(k, RouteState.BLACK_HOLED, detail=detail, next_hop=hop)
        else:
            self._programmed(k, hop)

    def _programmed(self, k: int, hop: NextHop) -> None:
        status = self.ledger.get(k)
        if (
            status is None
            or status.state is not RouteState.PROGRAMMED
            or status.next_hop != hop
            or status.previous is not None
            or status.cause is not Cause.NONE
            or status.detail
        ):
            self._tell(k, RouteState.PROGRAMMED, next_hop=hop)

    def _create(self, entry: _Entry) -> None:
        k, hop, version = entry.key, entry.next_hop, _family(entry.key)
        closed = self.table.closed.get(version)
        refusal = self.table.refused.get(k) or closed
        probed = closed is not None and version in self._probed
        if refusal is not None and (probed or not refusal.probe):
            self._refused(k, hop, refusal)
        elif self._free[version] <= 0:
            waiting = "waits for a route that is being removed"
            self._tell(k, RouteState.PENDING, detail=waiting, next_hop=hop, previous=self._before(k, hop))
        else:
            self._free[version] -= 1
            if closed is not None:
                self._probed.add(version)
            if self._recorded(k, hop):
                self.creates.append(RouteChange(Verb.CREATE, self.table.id, prefix(k), hop))
            if refusal is not None:
                self._refused(k, hop, refusal)
            else:
                self._tell(k, RouteState.PENDING, next_hop=hop, previous=self._before(k, hop))

    def _replace(self, entry: _Entry, standing: NextHop) -> None:
        k, hop = entry.key, entry.next_hop
        refusal = self.table.refused.get(k)
        if self._recorded(k, hop) and (refusal is None or refusal.probe):
            self.replaces.append(RouteChange(Verb.REPLACE, self.table.id, prefix(k), hop))
        state = RouteState.PENDING if refusal is None else _STATE_OF.get(refusal.cause, RouteState.REFUSED)
        cause, detail = (refusal.cause, refusal.detail) if refusal else (Cause.NONE, "leads to another machine")
        self._tell(k, state, cause, detail, next_hop=hop, previous=standing)

    def _refused(self, k: int, hop: NextHop, refusal: Refusal) -> None:
        """Tell of a refusal. The ledger keeps the next hop: a write whose answer was lost may yet have happened."""
        state = _STATE_OF.get(refusal.cause, RouteState.REFUSED)
        self._tell(k, state, refusal.cause, refusal.detail, next_hop=hop, previous=self._before(k, hop))

    def _recorded(self, k: int, hop: NextHop) -> bool:
        """Tell whether the ledger already says that we write this."""
        status = self.ledger.get(k)
        return status is not None and status.next_hop == hop and status.state is not RouteState.WITHDRAWING

    def _before(self, k: int, hop: NextHop) -> NextHop | None:
        """Return the other next hop that we may have written here, when no read has ruled it out."""
        status = self.ledger.get(k)
        if status is None or status.next_hop is None or k in self.table.cleared:
            return None
        return status.previous if status.next_hop == hop else status.next_hop

    def _make_room(self) -> None:
        """Count what may be created: the room that is there, and what this plan's deletions give back."""
        self._free = {v: self._capacity(v, self.used[v]) for v in Family}
        for change in self.deletes:
            k = key(change.destination)
            self._free[_family(k)] += k in self.own

    # --- what must go ---------------------------------------------------------------------------------------

    def _withdraw(
        self, kept: Mapping[int, _Entry], serving: Mapping[int, _Entry], denied: Mapping[int, Refusal]
    ) -> None:
        for k in sorted((self.own.keys() | self.ledger.keys()) - self.settled):
            if k in kept or k in self.told:
                continue
            status = self.ledger.get(k)
            if k in self.own:
                self._withdraw_standing(k, serving, denied.get(k))
            elif k in self.table.awaiting:
                self._keep_until_gone(k, serving)
            elif self._may_be_late(k, status):
                self.told.add(k)
                if status is None or status.state is not RouteState.WITHDRAWING or k in self.table.left:
                    self._delete(k, status)
            elif k not in serving and k not in denied:
                self.statuses[k] = None

    def _keep_until_gone(self, k: int, serving: Mapping[int, _Entry]) -> None:
        """Its deletion is accepted and a read will tell; until then the ledger stays as it is."""
        if k not in serving:
            self.told.add(k)

    def _may_be_late(self, k: int, status: TableStatus | None) -> bool:
        """Tell whether a write of ours may still show up: whoever sent it died, and reads lag behind writes."""
        return (
            status is not None
            and status.state in (RouteState.PENDING, RouteState.WITHDRAWING)
            and status.next_hop is not None
            and k not in self.table.cleared
            and k not in self.foreign
        )

    def _withdraw_standing(self, k: int, serving: Mapping[int, _Entry], refusal: Refusal | None) -> None:
        status = self.ledger.get(k)
        hop = self.own[k]
        if k in serving and self._stands(serving[k]):
            self._delete(k, status)  # a union took over; packets do not notice
            return
        if k in serving and self._room_for(serving[k]):
            return  # make before break: the union comes first
        members = self._members(k)
        for member in members:
            self._tell(member, RouteState.WITHDRAWING, detail="the route that it shares is being taken apart")
        blocked = self.table.refused.get(k)
        refusal = blocked or refusal
        cause, detail = (refusal.cause, refusal.detail) if refusal else (Cause.NONE, "no longer needed")
        recorded = status.next_hop if status is not None and status.next_hop is not None else hop
        previous = None if _same(recorded, hop) else hop
        self._tell(k, RouteState.WITHDRAWING, cause, detail, next_hop=recorded, previous=previous)
        waiting = status is None or status.state is not RouteState.WITHDRAWING
        if waiting or k not in self.table.left or not all(m in self.table.left for m in members):
            return
        if k not in self.table.awaiting and (blocked is None or blocked.probe):
            self._delete(k, status)

    def _members(self, k: int) -> tuple[int, ...]:
        """Return the blocks that only this union serves now, so that agents must leave them first."""
        inside = [b for b in self.wishes if b != k and b & 0xFF > k & 0xFF and widened(b, k & 0xFF) == k]
        return tuple(b for b in sorted(inside) if b not in self.own or b in self.table.awaiting)

    def _stands(self, entry: _Entry) -> bool:
        """Tell whether a read has shown this route, leading where it should and alive."""
        route = self.table.routes.get(entry.key)
        alive = route is not None and entry.key not in self.table.awaiting and not route.black_hole
        return alive and entry.key in self.own and _same(self.own[entry.key], entry.next_hop)

    def _room_for(self, entry: _Entry) -> bool:
        return entry.key in self.own or self._capacity(_family(entry.key), self.used[_family(entry.key)]) > 0

    def _delete(self, k: int, status: TableStatus | None) -> None:
        hop = self.own.get(k) or (status.next_hop if status else None)
        if hop is not None and k not in self.table.awaiting:
            self.deletes.append(RouteChange(Verb.DELETE, self.table.id, prefix(k), hop))

    # --- what to tell ---------------------------------------------------------------------------------------

    def _speak_for_members(self, serving: Mapping[int, _Entry]) -> None:
        """Give blocks that a union serves its state; until it stands, routes of their own serve them."""
        for k, entry in serving.items():
            if k == entry.key or k in self.told:
                continue
            hop = self._ledgered(k)
            of = self.statuses.get(entry.key) or self.ledger.get(entry.key)
            if k in self.own and self._alive(k) and not self._stands(entry):
                self._tell(k, RouteState.PROGRAMMED, next_hop=hop)
            elif of is not None:
                self._tell(k, of.state, of.cause, of.detail or f"served by {prefix(entry.key)}", next_hop=hop)

    def _ledgered(self, k: int) -> NextHop | None:
        """Return where a route of this very prefix leads, as long as one may be in the table."""
        change = self.table.awaiting.get(k)
        return change.next_hop if change is not None else self.own.get(k)

    def _alive(self, k: int) -> bool:
        route = self.table.routes.get(k)
        return route is not None and not route.black_hole and k not in self.table.awaiting

    def _tell(
        self,
        k: int,
        state: RouteState,
        cause: Cause = Cause.NONE,
        detail: str = "",
        *,
        next_hop: NextHop | None = None,
        previous: NextHop | None = None,
    ) -> None:
        self.told.add(k)
        old = self.ledger.get(k)
        new = TableStatus(self.table.id, state, cause, detail, next_hop, previous=previous)
        if old is None or replace(old, since=0.0) != new:
            self.statuses[k] = new
        else:
            self.statuses.pop(k, None)


_WAITING: Mapping[Verb, str] = MappingProxyType(
    {
        Verb.CREATE: "",  # the same words before and after it is accepted: one write less to the store
        Verb.REPLACE: "the cloud accepted the new next hop, a read has yet to show it",
        Verb.DELETE: "its old route is being removed",
    }
)

# A cloud that is busy or away has not said no: nothing changes its mode for that.
_STATE_OF: Mapping[Cause, RouteState] = MappingProxyType(
    {
        Cause.THROTTLED: RouteState.PENDING,
        Cause.UNAVAILABLE: RouteState.PENDING,
        Cause.CONFLICT: RouteState.CONFLICT,
    }
)


def _same(one: NextHop, other: NextHop) -> bool:
    """``NextHop.same_as``, with its most frequent answer first."""
    if one.interface and other.interface:
        return one.interface == other.interface
    return one.same_as(other)


def _hop(wish: Wish) -> NextHop:
    if wish.next_hop is None:
        raise ValueError(f"{wish.block} cannot be routed")
    return wish.next_hop


def wishes_by_key(wishes: Iterable[Wish]) -> Mapping[int, Wish]:
    return {w.key: w for w in wishes}


def reasons(planned: Plan) -> Iterator[str]:
    """Yield what differs from the ledger, one sentence each, for logs."""
    for k, status in sorted(planned.statuses.items()):
        if status is not None and status.detail:
            yield f"{prefix(k)} in {status.table}: {status.state.value}: {status.detail}"
