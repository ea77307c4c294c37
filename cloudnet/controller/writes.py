"""What the store must be told, by what it holds and what is so: the ledger of routes, machines, verdicts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from cloudnet.controller import ledger as ledgers
from cloudnet.controller import words
from cloudnet.controller.actions import Put, Remove, Write, WriteOutcome
from cloudnet.controller.ledger import Ledger, Mirror
from cloudnet.controller.nodes import Nodes, merged
from cloudnet.model.addresses import NodeName, SubnetId, TableId
from cloudnet.model.resources import AgentReport, CloudNode, CloudRoute, NodeCondition, Resource, TableStatus
from cloudnet.routes import plan as plans
from cloudnet.routes.aggregate import prefix, widened
from cloudnet.store.api import Stored


def of_routes(
    ledger: Ledger,
    wishes: Mapping[int, plans.Wish],
    statuses: Mapping[int, Mapping[TableId, TableStatus | None]],
    *,
    wall: float,
) -> Iterator[Write]:
    """Yield what brings the ledger to these statuses and to the blocks' present owners."""
    moved = {k for k, s in ledger.routes().items() if k in wishes and s.value.node != wishes[k].node}
    for k in sorted(statuses.keys() | moved):
        old = ledger.route(k)
        node = _owner(k, wishes, old)
        new = ledgers.edited(old.value if old else None, prefix(k), node, statuses.get(k, {}), wall=wall)
        if old is None and new.tables:
            yield Put(new)
        elif old is not None and not new.tables:
            yield Remove(old.value, old.revision)
        elif old is not None and new != old.value:
            yield Put(new, old.revision)


def _owner(k: int, wishes: Mapping[int, plans.Wish], old: Stored[CloudRoute] | None) -> NodeName:
    if k in wishes:
        return wishes[k].node
    if old is not None:
        return old.value.node
    inside = (w.node for w in wishes.values() if w.key & 0xFF >= k & 0xFF and widened(w.key, k & 0xFF) == k)
    return next(inside, NodeName("unknown"))


def of_nodes(
    nodes: Nodes,
    mirror: Mirror,
    names: Iterable[NodeName],
    *,
    machines: Mapping[SubnetId, tuple[TableId, ...]] | None,
    wall: float,
) -> Iterator[Write]:
    """Yield what the store should learn of nodes: readiness, and their machines once those are known.

    ``machines`` are the tables that serve each subnet; nothing while machines are not known.
    """
    names = tuple(names)
    kinds: list[type[Resource]] = [NodeCondition, AgentReport, *([CloudNode] if machines is not None else [])]
    wanted: list[Resource] = list(nodes.conditions(names, wall))
    if machines is not None:
        wanted += nodes.cloud_nodes(names, machines)
    for value in wanted:
        old = mirror.get(type(value), value.meta.name)
        new = merged(value, old.value if old else None)
        if old is None:
            yield Put(new)
        elif new != old.value:
            yield Put(new, old.revision)
    known = {(type(value), value.meta.name) for value in wanted}
    for kind in kinds:
        for name in names:
            stored = mirror.get(kind, name)
            if stored and (kind, name) not in known and not nodes.undecided(stored.value):
                yield Remove(stored.value, stored.revision)


# --- what became of them ------------------------------------------------------------------------------------


def fault(outcome: WriteOutcome) -> str:
    """Return why the store could not be written; nothing where it was, or somebody else was faster."""
    if outcome.error is None or isinstance(outcome.error, words.RACES):
        return ""
    return str(outcome.error)


def is_cut_short(outcome: WriteOutcome) -> bool:
    """Tell whether the store holds something else than what it took, as with an older definition."""
    wrote, now = outcome.write.value, outcome.now
    if outcome.error is not None or now is None:
        return False
    # replace() knows dataclasses, and the protocol cannot say that every resource is one.
    return replace(wrote, meta=now.value.meta) != now.value  # type: ignore[type-var]
