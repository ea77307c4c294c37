"""Which machines are switched off: Azure routes to them as if they were on, so only their power state tells.

A look costs a call for each resource group and scale set, so what it showed stays true for ``power_seconds``, and the
first look comes after as long: who has just joined is running. Without permission to look, nobody is off.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from cloudnet.clock import Clock
from cloudnet.model.addresses import InstanceId
from cloudnet.provider.errors import ProviderError
from cloudnet_azure import ids
from cloudnet_azure.client import Client, Json

log = logging.getLogger(__name__)

_ON = frozenset({"running", "starting"})
_STATE = "PowerState/"
_OF_A_SCALE_SET = 3  # names in the id of a scale set's machine


class Power:
    """What the last look showed."""

    def __init__(self, client: Client, clock: Clock, *, keep: float) -> None:
        self._client = client
        self._clock = clock
        self._keep = keep
        self._until = clock.now() + keep
        self._off: frozenset[InstanceId] = frozenset()

    def off(self, machines: Iterable[InstanceId]) -> frozenset[InstanceId]:
        """Return those machines that are switched off, as far as is known."""
        now = self._clock.now()
        if now >= self._until:
            self._until = now + self._keep
            try:
                self._off = look(self._client, machines)
            except ProviderError as error:
                log.warning("cannot read power states, taking every machine for running: %s", error)
                self._off = frozenset()
        return self._off


def look(client: Client, machines: Iterable[InstanceId]) -> frozenset[InstanceId]:
    """Return those machines that are switched off now, and others of their groups and scale sets that are."""
    names = [ids.names(machine) for machine in machines]
    groups = sorted({n[0] for n in names if len(n) < _OF_A_SCALE_SET})
    scale_sets = sorted({(n[0], n[1]) for n in names if len(n) == _OF_A_SCALE_SET})
    found = [machine for group in groups for machine in client.machines(group)]
    found += [machine for each in scale_sets for machine in client.scale_set_machines(*each)]
    return frozenset(InstanceId(ids.short(machine["id"])) for machine in found if is_off(machine))


def is_off(machine: Json) -> bool:
    """Tell whether a machine is switched off; one without a power state may be on."""
    view = machine.get("properties", {}).get("instanceView") or {}
    codes = [str(status.get("code", "")) for status in view.get("statuses") or []]
    states = [code.removeprefix(_STATE) for code in codes if code.startswith(_STATE)]
    return bool(states) and states[-1] not in _ON
