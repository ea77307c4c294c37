"""The IBM Cloud provider: VPC routing tables, by ibm-vpc. What it does and needs: docs/reference/ibm.md."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Node
from cloudnet.provider.api import Capabilities, Encapsulation, Instance, RouteScope
from cloudnet.provider.budget import Budget
from cloudnet.provider.preflight import Finding, Needs
from cloudnet_ibm import preflight
from cloudnet_ibm.client import A_PAGE, Client, connect
from cloudnet_ibm.config import IbmConfig, parse
from cloudnet_ibm.errors import NAME
from cloudnet_ibm.instances import Machines
from cloudnet_ibm.routes import IbmRoutes

log = logging.getLogger(__name__)


class IbmProvider:
    """One VPC."""

    def __init__(self, config: IbmConfig, client: Client, clock: Clock) -> None:
        self.budget = client.budget
        self.config = config
        self._client = client
        self._machines = Machines(client, clock, mtu=config.mtu, keep=config.flag_seconds)
        self._routes = IbmRoutes(client, config)
        self._capabilities = Capabilities(
            families=frozenset({Family.IPV4}),
            l2_adjacent=False,
            encapsulations=frozenset(Encapsulation),
            route_scope=RouteScope.ZONE,
            routes_per_table=config.routes_per_table,
            page=A_PAGE,
        )

    @property
    def name(self) -> str:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def routes(self) -> IbmRoutes:
        return self._routes

    @property
    def addresses(self) -> None:
        return None

    def instances(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        found = self._machines.find(nodes)
        self._routes.serve(found)
        return found

    def preflight(self, needs: Needs) -> Sequence[Finding]:
        """Look at the VPC before anything is written to it."""
        return preflight.look(self, self._client, needs)

    def allow_forwarding(self, instance: Instance) -> None:
        """Let the interface send and take packets of addresses that are not its own, if it does not yet."""
        if instance.forwarding:
            return
        self._machines.allow_spoofing(instance)
        log.info("ip spoofing allowed interface=%s instance=%s", instance.interface, instance.id)


def make(
    config: Mapping[str, Any],  # parsed JSON, checked in config.py
    *,
    clock: Clock,
    budget: Budget | None = None,
) -> IbmProvider:
    """Return the provider, without calling IBM Cloud: the entry point ``ibm``.

    Raises:
        BadInput: the configuration is wrong; the message names the field.
        MissingTool: ibm-vpc is not installed.
    """
    parsed = parse(config)
    rng = random.Random()  # noqa: S311  spreads retries, guards nothing
    spend = budget or Budget(clock, read=parsed.read, write=parsed.write)
    client = Client(parsed, connect(parsed), clock=clock, budget=spend, rng=rng)
    return IbmProvider(parsed, client, clock)
