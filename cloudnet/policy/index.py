"""Which selectors select which items, kept up to date one change at a time.

An item is an endpoint or a network set: labels of its own, and parents (profiles) in order, from which it inherits
the labels that it has not; the first parent that has one gives it. An item's own label always wins. Calico
``felix/labelindex``.

What makes it fast:

* Items that are labelled alike, as the pods of one deployment are, form one *group*; a selector is asked once for all
  of them, and a pod that joins a group costs no question at all.
* A selector waits at **one** place: a label that everything it selects must have, with the values it may have there.
  A new group asks only the selectors that wait at its own labels.
* Labels lead to groups, and through parents to the groups below them, so a new selector asks only the groups that
  have the label it waits at.
* A parent whose label changes concerns only selectors that ask for this label, and the groups below it.

Where a selector waits is guessed from what is there when it comes, so it depends on the order of events. Which
matches there are in the end does not.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from cloudnet.model.expressions import Step, holds
from cloudnet.policy.selectors import Selector

I = TypeVar("I", bound=Hashable)  # noqa: E741 - an item

SAMPLE = 32  # parents that are counted before a label counts as common: a guess needs no more


class Match(NamedTuple, Generic[I]):
    """A selector, by its uid, has begun or, if not ``started``, ceased to select an item."""

    selector: str
    item: I
    started: bool


GroupKey: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Names and values of own labels, and names of parents."""


class _Parent(Generic[I]):
    __slots__ = ("groups", "labels")

    def __init__(self) -> None:
        self.labels: Mapping[str, str] = {}
        self.groups: set[_Group[I]] = set()


class _Group(Generic[I]):
    """Items that are labelled alike; ``labels`` are all that count, inherited ones among them."""

    __slots__ = ("items", "key", "labels", "parents", "waiters")

    def __init__(self, key: GroupKey, parents: tuple[_Parent[I], ...]) -> None:
        self.key = key
        self.parents = parents
        self.labels: Mapping[str, str] = {}
        self.items: set[I] = set()
        self.waiters: set[_Waiter[I]] = set()  # the selectors that select it

    def inherit(self) -> None:
        names, values, _ = self.key
        labels: dict[str, str] = {}
        for parent in reversed(self.parents):
            labels.update(parent.labels)
        labels.update(zip(names, values, strict=True))
        self.labels = labels


class _Waiter(Generic[I]):
    """A selector that somebody wants; it waits at ``label`` with each of ``values``, or at any value (None)."""

    __slots__ = ("first", "groups", "label", "selector", "uid", "users", "values")

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.uid = selector.uid()
        self.first: Step = selector.first_step
        self.users = 0
        self.groups: set[_Group[I]] = set()
        self.label: str | None = None
        self.values: Iterable[str | None] = ()


class LabelIndex(Generic[I]):
    """Items, their parents and selectors. Each change returns the matches that it starts and stops."""

    def __init__(self) -> None:
        self._group_of: dict[I, _Group[I]] = {}
        self._groups: dict[GroupKey, _Group[I]] = {}
        self._groups_with: dict[str, dict[str, set[_Group[I]]]] = {}  # own label, value
        self._parents: dict[str, _Parent[I]] = {}
        self._parents_with: dict[str, dict[str, set[_Parent[I]]]] = {}
        self._waiters: dict[str, _Waiter[I]] = {}
        self._waiting: dict[str, dict[str | None, set[_Waiter[I]]]] = {}
        self._waiting_anywhere: set[_Waiter[I]] = set()
        self._asking_for: dict[str, set[_Waiter[I]]] = {}

    # --- what is asked of it --------------------------------------------------------------------------------

    def items(self, selector: str) -> Iterator[I]:
        """Yield what a wanted selector, by its uid, selects now."""
        for group in self._waiters[selector].groups:
            yield from group.items

    def selectors(self, item: I) -> Iterator[str]:
        """Yield the uids of the wanted selectors that select an item now."""
        return (waiter.uid for waiter in self._group_of[item].waiters)

    # --- items ----------------------------------------------------------------------------------------------

    def put_item(self, item: I, labels: Mapping[str, str], parents: Sequence[str] = ()) -> list[Match[I]]:
        """Add an item or change its labels; nobody may change the mapping afterwards."""
        key = (tuple(labels), tuple(labels.values()), tuple(parents))
        before = self._group_of.get(item)
        group = self._groups.get(key)
        if group is None:
            group = self._new_group(key)
        elif group is before:
            return []
        group.items.add(item)
        self._group_of[item] = group
        if before is None:
            return [Match(waiter.uid, item, started=True) for waiter in group.waiters]
        old, new = before.waiters, group.waiters
        changes = [Match(waiter.uid, item, started=False) for waiter in old if waiter not in new]
        changes += [Match(waiter.uid, item, started=True) for waiter in new if waiter not in old]
        self._leave(before, item)
        return changes

    def remove_item(self, item: I) -> list[Match[I]]:
        """Forget an item; an unknown one is ignored."""
        group = self._group_of.pop(item, None)
        if group is None:
            return []
        changes = [Match(waiter.uid, item, started=False) for waiter in group.waiters]
        self._leave(group, item)
        return changes

    def _new_group(self, key: GroupKey) -> _Group[I]:
        names, values, parents = key
        group = self._groups[key] = _Group(key, tuple(self._parent(name) for name in parents))
        group.inherit()
        for parent in group.parents:
            parent.groups.add(group)
        for name, value in zip(names, values, strict=True):
            self._groups_with.setdefault(name, {}).setdefault(value, set()).add(group)
        for waiter in self._candidates(group.labels):
            if holds(waiter.first, group.labels):
                group.waiters.add(waiter)
                waiter.groups.add(group)
        return group

    def _leave(self, group: _Group[I], item: I) -> None:
        group.items.discard(item)
        if group.items:
            return
        names, values, parents = group.key
        del self._groups[group.key]
        for waiter in group.waiters:
            waiter.groups.discard(group)
        for name, value in zip(names, values, strict=True):
            _discard(self._groups_with, name, value, group)
        for name, parent in zip(parents, group.parents, strict=True):
            parent.groups.discard(group)
            self._forget_parent_if_unused(name, parent)

    def _candidates(self, labels: Mapping[str, str]) -> Iterator[_Waiter[I]]:
        """Yield the selectors that may select what has these labels; each once, as each waits at one label."""
        yield from self._waiting_anywhere
        for name, value in labels.items():
            waiting = self._waiting.get(name)
            if waiting is not None:
                if value in waiting:
                    yield from waiting[value]
                if None in waiting:
                    yield from waiting[None]

    # --- parents --------------------------------------------------------------------------------------------

    def put_parent(self, name: str, labels: Mapping[str, str]) -> list[Match[I]]:
        """Say which labels a parent gives to its items; nobody may change the mapping afterwards."""
        parent = self._parent(name)
        before, parent.labels = parent.labels, labels
        changed = {key for key in before.keys() | labels.keys() if before.get(key) != labels.get(key)}
        for key in changed:
            if key in before:
                _discard(self._parents_with, key, before[key], parent)
            if key in labels:
                self._parents_with.setdefault(key, {}).setdefault(labels[key], set()).add(parent)
        concerned: set[_Waiter[I]] = set().union(*(self._asking_for.get(key, ()) for key in changed))
        changes: list[Match[I]] = []
        for group in parent.groups if changed else ():
            group.inherit()
            if concerned:
                changes += self._asked_again(group, concerned)
        self._forget_parent_if_unused(name, parent)
        return changes

    def remove_parent(self, name: str) -> list[Match[I]]:
        """Take a parent's labels from its items; they may still name it."""
        return self.put_parent(name, {})

    def _parent(self, name: str) -> _Parent[I]:
        parent = self._parents.get(name)
        if parent is None:
            parent = self._parents[name] = _Parent()
        return parent

    def _forget_parent_if_unused(self, name: str, parent: _Parent[I]) -> None:
        if not parent.groups and not parent.labels:
            self._parents.pop(name, None)

    def _asked_again(self, group: _Group[I], concerned: set[_Waiter[I]]) -> Iterator[Match[I]]:
        labels = group.labels
        stopped = [waiter for waiter in group.waiters if waiter in concerned and not holds(waiter.first, labels)]
        for waiter in stopped:
            yield from self._part(waiter, group)
        for waiter in self._candidates(labels):
            if waiter in concerned and waiter not in group.waiters and holds(waiter.first, labels):
                yield from self._join(waiter, group)

    def _join(self, waiter: _Waiter[I], group: _Group[I]) -> Iterator[Match[I]]:
        waiter.groups.add(group)
        group.waiters.add(waiter)
        return (Match(waiter.uid, item, started=True) for item in group.items)

    def _part(self, waiter: _Waiter[I], group: _Group[I]) -> Iterator[Match[I]]:
        waiter.groups.discard(group)
        group.waiters.discard(waiter)
        return (Match(waiter.uid, item, started=False) for item in group.items)

    # --- selectors ------------------------------------------------------------------------------------------

    def want(self, selector: Selector) -> list[Match[I]]:
        """Follow a selector on behalf of one more user; only the first one's call starts matches."""
        waiter = self._waiters.get(selector.uid())
        if waiter is not None:
            waiter.users += 1
            return []
        waiter = self._waiters[selector.uid()] = _Waiter(selector)
        waiter.users = 1
        for label in selector.labels():
            self._asking_for.setdefault(label, set()).add(waiter)
        self._place(waiter)
        changes: list[Match[I]] = []
        for group in self._groups_at(waiter):
            if holds(waiter.first, group.labels):
                changes += self._join(waiter, group)
        return changes

    def release(self, selector: Selector) -> list[Match[I]]:
        """Follow a selector on behalf of one user less; the last one's call stops its matches."""
        waiter = self._waiters[selector.uid()]
        waiter.users -= 1
        if waiter.users:
            return []
        del self._waiters[waiter.uid]
        for label in selector.labels():
            asking = self._asking_for[label]
            asking.discard(waiter)
            if not asking:
                del self._asking_for[label]
        self._displace(waiter)
        changes: list[Match[I]] = []
        for group in list(waiter.groups):
            changes += self._part(waiter, group)
        return changes

    def _place(self, waiter: _Waiter[I]) -> None:
        """Let a selector wait where it meets few groups, and where few selectors wait already."""
        best = float("inf")
        for label, allowed in waiter.selector.restrictions().items():
            values: Iterable[str | None] = (None,) if allowed is None else allowed
            cost = sum(self._groups_number(label, v) * (1 + self._waiting_number(label, v)) for v in values)
            if cost < best:
                best, waiter.label, waiter.values = cost, label, values
        if waiter.label is None:
            self._waiting_anywhere.add(waiter)
            return
        waiting = self._waiting.setdefault(waiter.label, {})
        for value in waiter.values:
            waiting.setdefault(value, set()).add(waiter)

    def _displace(self, waiter: _Waiter[I]) -> None:
        if waiter.label is None:
            self._waiting_anywhere.discard(waiter)
            return
        for value in waiter.values:
            _discard(self._waiting, waiter.label, value, waiter)
        if not self._waiting.get(waiter.label, True):
            del self._waiting[waiter.label]

    def _waiting_number(self, label: str, value: str | None) -> int:
        return len(self._waiting.get(label, {}).get(value, ()))

    def _groups_number(self, label: str, value: str | None) -> int:
        """Guess how many groups have a label with a value, or with any; at least one."""
        own, inherited = self._groups_with.get(label, {}), self._parents_with.get(label, {})
        if value is None:
            groups = sum(map(len, islice(own.values(), SAMPLE)))
            parents = [parent for some in islice(inherited.values(), SAMPLE) for parent in islice(some, SAMPLE)]
            common = len(own) > SAMPLE or len(inherited) > SAMPLE
        else:
            groups, below = len(own.get(value, ())), inherited.get(value, set())
            parents = list(islice(below, SAMPLE))
            common = len(below) > SAMPLE
        return 1 + (len(self._groups) if common else groups + sum(len(parent.groups) for parent in parents))

    def _groups_at(self, waiter: _Waiter[I]) -> Collection[_Group[I]]:
        """Return the groups that may have the label that a selector waits at."""
        if waiter.label is None:
            return self._groups.values()
        own, inherited = self._groups_with.get(waiter.label, {}), self._parents_with.get(waiter.label, {})
        found: set[_Group[I]] = set()
        for value in waiter.values:
            found.update(*(own.values() if value is None else (own.get(value, ()),)))
            for parents in inherited.values() if value is None else (inherited.get(value, ()),):
                found.update(*(parent.groups for parent in parents))
        return found


A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")


def _discard(tree: dict[A, dict[B, set[E]]], name: A, value: B, entry: E) -> None:
    """Take an entry away, and what is empty then."""
    by_value = tree[name]
    entries = by_value[value]
    entries.discard(entry)
    if not entries:
        del by_value[value]
        if not by_value:
            del tree[name]
