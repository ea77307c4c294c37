"""Address sets: who is in which, kept up to date one change at a time, and told as additions and removals.

An item (an endpoint or a network set) lends its addresses and named ports to the sets whose selectors select it; an
EndpointSlice lends to those of its service. A member stays in a set as long as somebody lends it: two pods of the
host's network share an address, two network sets a prefix, and a pod that ends lingers beside its successor. Calico
``felix/labelindex`` and ``felix/serviceindex``.

Only sets that somebody wants have members. What is told is the sum of what happened since the last telling: what came
and went in between is not mentioned.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar, cast

from cloudnet.model.addresses import Network
from cloudnet.policy.index import LabelIndex, Match
from cloudnet.policy.rules import Members, PortMember, SetChanged, SetGone, SetId
from cloudnet.policy.selectors import Selector, parse
from cloudnet.policy.sources import SelectedPort, ServiceEndpoints, Source, of_ports, set_id

I = TypeVar("I", bound=Hashable)  # noqa: E741 - an item

Member: TypeAlias = Network | PortMember


@dataclass(frozen=True, slots=True)
class Port:
    """A port that an endpoint names."""

    name: str
    protocol: int
    number: int


@dataclass(frozen=True, slots=True)
class Loan:
    """What an item lends to sets that select it: an endpoint its addresses and ports, a network set its prefixes."""

    networks: tuple[Network, ...] = ()
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """What an EndpointSlice lends to its service. A port without a number stands for none. Calico serviceindex.go."""

    namespace: str
    service: str
    addresses: tuple[Network, ...] = ()
    ports: tuple[Port, ...] = ()


class _Set:
    """One set that is wanted: who is in it, how often lent, and what has come and gone since it was told."""

    __slots__ = ("added", "id", "known", "lent", "of_ports", "removed", "selector", "source", "users")

    def __init__(self, source: Source, name: SetId) -> None:
        self.source = source
        self.id = name
        self.of_ports = of_ports(source)
        self.selector: Selector | None = None if isinstance(source, ServiceEndpoints) else parse(source.selector)
        self.users = 0
        self.known = False  # told at least once; until then, all there is will be told
        self.lent: dict[Member, int] = {}
        self.added: set[Member] = set()
        self.removed: set[Member] = set()

    def lend(self, members: Iterable[Member]) -> None:
        lent = self.lent
        for member in members:
            number = lent.get(member, 0)
            lent[member] = number + 1
            if not number and self.known:
                if member in self.removed:
                    self.removed.remove(member)
                else:
                    self.added.add(member)

    def take_back(self, members: Iterable[Member]) -> None:
        lent = self.lent
        for member in members:
            number = lent[member] - 1
            if number:
                lent[member] = number
                continue
            del lent[member]
            if self.known:
                if member in self.added:
                    self.added.remove(member)
                else:
                    self.removed.add(member)

    def is_news(self) -> bool:
        return not self.known or bool(self.added or self.removed)

    def told(self) -> SetChanged:
        """Return what has not been told, as told from now on."""
        # All members of a set are of the one kind that its source has, which the checker cannot know.
        added = cast("Members", frozenset(self.added if self.known else self.lent))
        removed = cast("Members", frozenset(self.removed))
        self.known, self.added, self.removed = True, set(), set()
        return SetChanged(self.id, self.of_ports, added, removed)


class Membership(Generic[I]):
    """Items and slices on one side, wanted sets on the other."""

    def __init__(self) -> None:
        self._index: LabelIndex[I] = LabelIndex()
        self._loans: dict[I, Loan] = {}
        self._slices: dict[str, Slice] = {}
        self._slices_of: dict[tuple[str, str], dict[str, Slice]] = {}
        self._sets: dict[SetId, _Set] = {}
        self._by_selector: dict[str, list[_Set]] = {}
        self._by_service: dict[tuple[str, str], list[_Set]] = {}
        self._untold: dict[SetId, None] = {}  # a set in order: one run tells in the same order as the next

    # --- items ----------------------------------------------------------------------------------------------

    def put_item(self, item: I, labels: Mapping[str, str], parents: Sequence[str], loan: Loan) -> None:
        """Add an item or change anything about it."""
        before = self._loans.get(item)
        self._loans[item] = loan
        if before is not None and before != loan:
            for name in self._index.selectors(item):
                for each in self._by_selector[name]:
                    self._exchange(each, _lent(before, each.source), _lent(loan, each.source))
        self._follow(self._index.put_item(item, labels, parents))

    def remove_item(self, item: I) -> None:
        """Forget an item; an unknown one is ignored."""
        self._follow(self._index.remove_item(item))
        self._loans.pop(item, None)

    def put_parent(self, name: str, labels: Mapping[str, str]) -> None:
        self._follow(self._index.put_parent(name, labels))

    def remove_parent(self, name: str) -> None:
        self._follow(self._index.remove_parent(name))

    def _follow(self, matches: Iterable[Match[I]]) -> None:
        for selector, item, started in matches:
            loan = self._loans[item]
            for each in self._by_selector[selector]:
                if started:
                    self._exchange(each, (), _lent(loan, each.source))
                else:
                    self._exchange(each, _lent(loan, each.source), ())

    # --- services -------------------------------------------------------------------------------------------

    def put_slice(self, name: str, new: Slice) -> None:
        """Add a slice or change it; ``name`` holds its namespace too."""
        before = self._slices.get(name)
        self._slices[name] = new
        self._slices_of.setdefault((new.namespace, new.service), {})[name] = new
        for each in self._by_service.get((new.namespace, new.service), ()):
            self._exchange(each, (), _lent_by_slice(new, with_ports=each.of_ports))
        if before is not None:
            self._take_back_slice(
                name, before, keep=(before.namespace, before.service) == (new.namespace, new.service)
            )

    def remove_slice(self, name: str) -> None:
        """Forget a slice; an unknown one is ignored."""
        before = self._slices.pop(name, None)
        if before is not None:
            self._take_back_slice(name, before, keep=False)

    def _take_back_slice(self, name: str, before: Slice, *, keep: bool) -> None:
        service = before.namespace, before.service
        for each in self._by_service.get(service, ()):
            self._exchange(each, _lent_by_slice(before, with_ports=each.of_ports), ())
        if not keep:
            del self._slices_of[service][name]
            if not self._slices_of[service]:
                del self._slices_of[service]

    # --- sets -----------------------------------------------------------------------------------------------

    def want(self, source: Source) -> SetId:
        """Fill a set on behalf of one more user."""
        name = set_id(source)
        each = self._sets.get(name)
        if each is None:
            each = self._sets[name] = _Set(source, name)
            self._untold[name] = None
            self._fill(each)
        each.users += 1
        return name

    def _fill(self, each: _Set) -> None:
        match each.source:
            case ServiceEndpoints(namespace, name, _):
                self._by_service.setdefault((namespace, name), []).append(each)
                for slice_ in self._slices_of.get((namespace, name), {}).values():
                    each.lend(_lent_by_slice(slice_, with_ports=each.of_ports))
            case source:
                selector = parse(source.selector)
                self._index.want(selector)
                self._by_selector.setdefault(selector.uid(), []).append(each)
                for item in self._index.items(selector.uid()):
                    each.lend(_lent(self._loans[item], source))

    def release(self, name: SetId) -> None:
        """Fill a set on behalf of one user less; without any it goes, unless it is wanted before the next telling."""
        each = self._sets[name]
        each.users -= 1
        if not each.users:
            self._untold[name] = None

    def _empty(self, each: _Set) -> None:
        del self._sets[each.id]
        if isinstance(each.source, ServiceEndpoints):
            _remove(self._by_service, (each.source.namespace, each.source.name), each)
        elif each.selector is not None:
            self._index.release(each.selector)
            _remove(self._by_selector, each.selector.uid(), each)

    # --- what is told ---------------------------------------------------------------------------------------

    def flush(self) -> tuple[list[SetChanged], list[SetGone]]:
        """Tell what has happened to sets since the last telling; a set that is new is told even if empty."""
        changed, gone = [], []
        for name in self._untold:
            each = self._sets[name]
            if not each.users:
                self._empty(each)
                if each.known:
                    gone.append(SetGone(name))
            elif each.is_news():
                changed.append(each.told())
        self._untold.clear()
        return changed, gone

    def members(self, name: SetId) -> frozenset[Member]:
        """Return who is in a wanted set now."""
        return frozenset(self._sets[name].lent)

    def is_of_ports(self, name: SetId) -> bool:
        """Tell whether a wanted set has ``PortMember``, not ``Network``."""
        return self._sets[name].of_ports

    def _exchange(self, each: _Set, old: Iterable[Member], new: Iterable[Member]) -> None:
        each.lend(new)  # first: what stays is then neither taken out nor put back
        each.take_back(old)
        if each.is_news():
            self._untold[each.id] = None


def _lent(loan: Loan, source: Source) -> Iterable[Member]:
    """Return what an item lends to a set of a selector that selects it."""
    match source:
        case SelectedPort(_, name, protocol):
            ports = [port for port in loan.ports if port.name == name and protocol in {None, port.protocol}]
            return [PortMember(address, port.protocol, port.number) for port in ports for address in loan.networks]
        case _:
            return loan.networks


def _lent_by_slice(slice_: Slice, *, with_ports: bool) -> Iterable[Member]:
    if not with_ports:
        return slice_.addresses
    return [PortMember(address, port.protocol, port.number) for port in slice_.ports for address in slice_.addresses]


K = TypeVar("K", bound=Hashable)


def _remove(lists: dict[K, list[_Set]], key: K, each: _Set) -> None:
    lists[key].remove(each)
    if not lists[key]:
        del lists[key]
