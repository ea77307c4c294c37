"""The Azure provider: route tables and native pod addresses, by Azure's SDK. Reference: docs/reference/azure.md."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Node
from cloudnet.provider.api import Capabilities, Encapsulation, Instance, RouteScope
from cloudnet.provider.budget import Budget
from cloudnet.provider.preflight import Finding, Needs
from cloudnet_azure import forwarding, instances, preflight
from cloudnet_azure.addresses import AzureAddresses
from cloudnet_azure.client import Client, connect
from cloudnet_azure.config import AzureConfig, parse
from cloudnet_azure.errors import NAME
from cloudnet_azure.power import Power
from cloudnet_azure.routes import AzureRoutes

log = logging.getLogger(__name__)

WHOLE_TABLE = 10_000  # changes: more than any table holds


class AzureProvider:
    """The route tables of one resource group, and the machines of the nodes that they serve."""

    def __init__(self, config: AzureConfig, client: Client, clock: Clock) -> None:
        self.budget = client.budget
        self._config = config
        self._client = client
        self._power = Power(client, clock, keep=config.power_seconds)
        self._routes = AzureRoutes(client, clock, config)
        self._addresses = AzureAddresses(client, clock, config)
        self._capabilities = Capabilities(
            families=frozenset(Family),
            l2_adjacent=False,  # the fabric looks every packet up by its destination, also inside a subnet
            encapsulations=frozenset({Encapsulation.VXLAN}),  # Azure drops IPIP
            route_scope=RouteScope.SUBNET,
            routes_per_table=config.routes_per_table,
            batch=WHOLE_TABLE,
        )

    @property
    def name(self) -> str:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def routes(self) -> AzureRoutes:
        return self._routes

    @property
    def addresses(self) -> AzureAddresses:
        return self._addresses

    def instances(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        found = instances.find(self._client, nodes, self._config)
        if found:
            off = self._power.off(instance.id for instance in found.values())
            found = {name: replace(i, running=i.running and i.id not in off) for name, i in found.items()}
        self._routes.serve(found)
        return found

    def preflight(self, needs: Needs) -> Sequence[Finding]:
        """Look at the subscription before anything is written to it."""
        return preflight.look(self, self._client, self._config, needs)

    def allow_forwarding(self, instance: Instance) -> None:
        """Switch IP forwarding of the interface on, if it is off."""
        if instance.forwarding:
            return
        forwarding.allow(self._client, instance.interface, group=self._config.resource_group)
        log.info("forwarding on interface=%s instance=%s", instance.interface, instance.id)


def make(
    config: Mapping[str, Any],  # parsed JSON, checked in config.py
    *,
    clock: Clock,
    budget: Budget | None = None,
) -> AzureProvider:
    """Return the provider, without calling Azure: the entry point ``azure``.

    Raises:
        BadInput: the configuration is wrong; the message names the field.
        MissingTool: the SDK is not installed.
    """
    parsed = parse(config)
    rng = random.Random()  # noqa: S311  spreads retries, guards nothing
    spend = budget or Budget(clock, read=parsed.read, write=parsed.write)
    client = Client(parsed, connect(parsed), clock=clock, budget=spend, rng=rng)
    return AzureProvider(parsed, client, clock)
