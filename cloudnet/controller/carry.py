"""Carries the loop's actions out: talks to the cloud and the store, decides nothing. Called from worker threads.

Every function returns the outcome as an event and raises nothing that the cloud or the store may cause. ``leads`` is
asked before each write to the cloud, so that a batch stops when leadership is lost under it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from cloudnet.controller import lease
from cloudnet.controller.actions import (
    AllowForwarding,
    Applied,
    ApplyChanges,
    ForwardingAllowed,
    Input,
    InstancesRead,
    Put,
    ReadInstances,
    ReadTables,
    TablesRead,
    Write,
    WriteOutcome,
    WriteStore,
    Written,
)
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import Lease, Resource
from cloudnet.provider.api import Provider, RouteTables
from cloudnet.provider.errors import ProviderError
from cloudnet.store.api import AlreadyExists, Conflict, NotFound, Store, Stored, StoreError, StoreUnavailable

CloudAction = ReadTables | ReadInstances | ApplyChanges | AllowForwarding

Leads = Callable[[], bool]


def cloud(action: CloudAction, provider: Provider, leads: Leads) -> Input:
    """Carry one action out against the cloud; return its outcome."""
    match action:
        case ReadTables():
            return _read_tables(provider)
        case ReadInstances():
            return _read_instances(action, provider)
        case ApplyChanges():
            return _apply(action, provider, leads)
        case AllowForwarding():
            return _allow(action, provider, leads)


def _read_tables(provider: Provider) -> TablesRead:
    if provider.routes is None:
        return TablesRead(RouteTables())
    try:
        return TablesRead(provider.routes.read())
    except ProviderError as error:
        return TablesRead(None, error)


def _read_instances(action: ReadInstances, provider: Provider) -> InstancesRead:
    try:
        return InstancesRead(action.nodes, provider.instances(action.nodes))
    except ProviderError as error:
        return InstancesRead(action.nodes, {}, error)


def _apply(action: ApplyChanges, provider: Provider, leads: Leads) -> Applied:
    if provider.routes is None or not leads():
        return Applied(action.table, ())
    return Applied(action.table, tuple(provider.routes.apply(action.changes)))


def _allow(action: AllowForwarding, provider: Provider, leads: Leads) -> ForwardingAllowed:
    errors: dict[NodeName, ProviderError | None] = {}
    for name, instance in action.instances:
        if not leads():
            break
        try:
            provider.allow_forwarding(instance)
            errors[name] = None
        except ProviderError as error:
            errors[name] = error
            if error.retry:
                break  # the cloud is busy or away; the others would only find the same
    return ForwardingAllowed(action.instances, errors)


_OF_ONE: Final = (Conflict, AlreadyExists, NotFound, BadInput)
"""What is wrong with one resource, not with the store."""


def store(action: WriteStore, to: Store, leads: Leads) -> Written:
    """Write to the store, in order; when it does not answer the rest is left for later.

    What it refuses, as an older definition may, holds up nothing else.
    """
    outcomes: list[WriteOutcome] = []
    for write in action.writes:
        if not leads():
            break
        outcome = _write(write, to)
        outcomes.append(outcome)
        if outcome.error is not None and not isinstance(outcome.error, _OF_ONE):
            break
    return Written(tuple(outcomes))


def _write(write: Write, to: Store) -> WriteOutcome:
    try:
        if not isinstance(write, Put):
            to.delete(type(write.value), write.value.meta.name, expected=write.expected)
            return WriteOutcome(write)
        if write.expected is None:
            return WriteOutcome(write, to.create(write.value))
        return WriteOutcome(write, to.update(write.value, expected=write.expected))
    except (Conflict, AlreadyExists) as error:
        return WriteOutcome(write, _now(write.value, to), error)
    except CloudnetError as error:
        return WriteOutcome(write, None, error)


def _now(value: Resource, to: Store) -> Stored[Resource] | None:
    """Return what stands there instead, when it can be had."""
    try:
        return cast("Stored[Resource]", to.get(type(value), value.meta.name))
    except StoreError:
        return None  # the informer will tell


def take_lease(attempt: lease.Try, to: Store) -> lease.Outcome | None:
    """Try to write the lease; ``None`` when the store does not answer."""
    try:
        if attempt.expected is None:
            return lease.Outcome(to.create(attempt.value), ours=True)
        return lease.Outcome(to.update(attempt.value, expected=attempt.expected), ours=True)
    except (Conflict, AlreadyExists, NotFound):
        return look_at_lease(to)
    except StoreError:
        return None


def look_at_lease(to: Store) -> lease.Outcome | None:
    """Return the lease as the store holds it; ``None`` when it does not answer."""
    try:
        return lease.Outcome(to.get(Lease, lease.NAME), ours=False)
    except NotFound:
        return lease.Outcome(None, ours=False)
    except (StoreUnavailable, StoreError):
        return None
