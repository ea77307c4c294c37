"""A provider for the shelf router: the smallest plugin that keeps cloudnet's contract."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Node
from cloudnet.provider.api import Capabilities, Instance, RouteScope
from cloudnet.provider.budget import Bucket, Budget
from cloudnet.provider.preflight import Finding, Needs
from cloudnet_example import instances, preflight
from cloudnet_example.client import Client
from cloudnet_example.config import ExampleConfig, parse
from cloudnet_example.errors import NAME
from cloudnet_example.routes import ExampleRoutes

log = logging.getLogger(__name__)

READS = Bucket(rate=10.0, burst=20.0)  # the router's published limits: calls a second, and calls at once
WRITES = Bucket(rate=10.0, burst=100.0)


class ExampleProvider:
    """One shelf router."""

    def __init__(self, config: ExampleConfig, client: Client) -> None:
        self.budget = client.budget
        self._client = client
        self._routes = ExampleRoutes(client)
        self._mtu = config.mtu

    @property
    def name(self) -> str:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(families=frozenset(Family), l2_adjacent=False, route_scope=RouteScope.SUBNET)

    @property
    def routes(self) -> ExampleRoutes:
        return self._routes

    @property
    def addresses(self) -> None:
        return None

    def instances(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        return instances.find(self._client, nodes, mtu=self._mtu)

    def preflight(self, needs: Needs) -> Sequence[Finding]:
        """Look at the router before anything is written to it."""
        return preflight.look(self, needs)

    def allow_forwarding(self, instance: Instance) -> None:
        """Let the machine's port pass packets of pods, if it does not yet."""
        if instance.forwarding:
            return
        self._client.switch_forwarding_on(instance.interface)
        log.info("forwarding on port=%s machine=%s", instance.interface, instance.id)


def make(
    config: Mapping[str, Any],  # parsed JSON, checked in config.py
    *,
    clock: Clock,
    budget: Budget | None = None,
) -> ExampleProvider:
    """Return the provider, without calling the router: the entry point ``example``.

    Raises:
        BadInput: the configuration is wrong; the message names the field.
    """
    parsed = parse(config)
    rng = random.Random()  # noqa: S311  spreads retries, guards nothing
    spend = budget or Budget(clock, read=READS, write=WRITES)
    return ExampleProvider(parsed, Client(parsed, clock=clock, budget=spend, rng=rng))
