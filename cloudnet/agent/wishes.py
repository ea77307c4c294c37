"""What the kernel should hold, by who wishes it; and the order in which changes keep packets alive."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from cloudnet.delta import DeltaTracker
from cloudnet.kernel.api import (
    MAIN_TABLE,
    Change,
    FdbEntry,
    KernelObject,
    Key,
    Neighbour,
    Put,
    Remove,
    Route,
    Rule,
    VxlanDevice,
)
from cloudnet.overlay import vxlan

NATIVE_METRIC = 512
"""Native routes lie on top of the ground, whose metric is Calico's default of 1024."""

Wisher = tuple[Hashable, ...]


def is_native(value: KernelObject) -> bool:
    """Tell whether it is a native route laid over the ground."""
    return isinstance(value, Route) and value.table == MAIN_TABLE and value.metric == NATIVE_METRIC


class Wishes:
    """Wished and actual kernel state. Of two wishes for one key the lesser wisher's holds, whoever came first."""

    def __init__(self) -> None:
        self._of: dict[Wisher, dict[Key, KernelObject]] = {}
        self._for: dict[Key, dict[Wisher, KernelObject]] = {}
        self._tracker: DeltaTracker[Key, KernelObject] = DeltaTracker()

    @property
    def actual(self) -> Mapping[Key, KernelObject]:
        return self._tracker.actual

    @property
    def desired(self) -> Mapping[Key, KernelObject]:
        return self._tracker.desired

    def wish(self, wisher: Wisher, objects: Iterable[KernelObject]) -> None:
        """Let ``wisher`` wish exactly these objects, instead of whatever it wished before."""
        before = self._of.get(wisher)
        after = {value.key: value for value in objects}
        if (before or {}) == after:
            return
        gone = before.keys() - after.keys() if before else ()
        for key in gone:
            del self._for[key][wisher]
        for key, value in after.items():
            self._for.setdefault(key, {})[wisher] = value
        if after:
            self._of[wisher] = after
        else:
            self._of.pop(wisher, None)
        for key in (*gone, *after):
            self._settle(key)

    def found(self, actual: Mapping[Key, KernelObject]) -> int:
        """Take a fresh read of the kernel in; return how many objects it holds otherwise than we believed."""
        before = self._tracker.actual
        differing = sum(1 for key, value in actual.items() if before.get(key) != value)
        differing += sum(1 for key in before if key not in actual)
        if differing:
            self._tracker.resync(actual)
        return differing

    def applied(self, change: Change) -> None:
        """Record that the kernel took a change."""
        match change:
            case Put(value):
                self._tracker.saw(value.key, value)
            case Remove(value):
                self._tracker.lost(value.key)

    def changes(self) -> tuple[Change, ...]:
        """Return what is left to do: leave native paths, lay ground, lay native paths upon it, then clear away.

        A native route whose ground is not there yet is removed only after the ground is laid.
        """
        if not self._tracker:
            return ()
        removals = [Remove(value) for _, value in self._tracker.deletions()]
        puts = [Put(value) for _, value in self._tracker.updates()]
        leaving = [r for r in removals if is_native(r.value) and not self._ground_is_due(r.value)]
        rest = [r for r in removals if not (is_native(r.value) and not self._ground_is_due(r.value))]
        puts.sort(key=lambda put: _rank(put.value))
        rest.sort(key=lambda removal: -_rank(removal.value))
        return (*leaving, *puts, *rest)

    def unlaid(self) -> tuple[KernelObject, ...]:
        """Return the wished objects of the ground that the kernel does not hold."""
        return tuple(value for _, value in self._tracker.updates() if not is_native(value))

    def _ground_is_due(self, value: KernelObject) -> bool:
        if not isinstance(value, Route):
            return False
        ground = replace(value, metric=vxlan.METRIC).key
        return ground in self._tracker.desired and ground not in self._tracker.actual

    def _settle(self, key: Key) -> None:
        wishers = self._for.get(key)
        if wishers:
            self._tracker.want(
                key, wishers[min(wishers, key=repr)] if len(wishers) > 1 else next(iter(wishers.values()))
            )
        else:
            self._for.pop(key, None)
            self._tracker.drop(key)


_LAYERS: Mapping[type[KernelObject], int] = MappingProxyType({VxlanDevice: 0, FdbEntry: 1, Neighbour: 2, Rule: 3})


def _rank(value: KernelObject) -> int:
    """Return the layer: what stands on another has the greater one."""
    if not isinstance(value, Route):
        return _LAYERS[type(value)]
    return 6 if is_native(value) else 4 if value.table == MAIN_TABLE else 5
