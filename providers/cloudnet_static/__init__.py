"""Nodes on a network without an API: an Ethernet segment, racks behind routers. See docs/reference/static.md.

It programs nothing. Inside a subnet nodes reach each other directly; between subnets it tells the controller what
the operator declared of the routers, and probes decide whether that is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Node
from cloudnet.provider.api import Capabilities, Encapsulation, Instance, RouteScope
from cloudnet.provider.budget import Budget
from cloudnet.provider.preflight import Finding, Needs
from cloudnet_static import instances, preflight
from cloudnet_static.config import NAME, StaticConfig, parse
from cloudnet_static.routes import StaticRoutes


class StaticProvider:
    """One network."""

    def __init__(self, config: StaticConfig) -> None:
        self._config = config
        self._routes = StaticRoutes(config)
        self._capabilities = Capabilities(
            families=frozenset(Family),
            l2_adjacent=config.l2,
            encapsulations=frozenset(Encapsulation),
            route_scope=RouteScope.SUBNET,
        )

    @property
    def name(self) -> str:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def routes(self) -> StaticRoutes:
        return self._routes

    @property
    def addresses(self) -> None:
        return None

    def instances(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        found = instances.find(self._config, nodes)
        self._routes.serve({name: instance.subnet for name, instance in found.items()})
        return found

    def preflight(self, needs: Needs) -> Sequence[Finding]:
        """Hold what was declared against the cluster's nodes and pools."""
        return preflight.look(self._config, needs, self.instances(needs.nodes), self._routes.read())

    def allow_forwarding(self, instance: Instance) -> None:
        """Nothing to allow: a plain network asks no machine whose packets it sends."""


def make(
    config: Mapping[str, Any],  # parsed JSON, checked in config.py
    *,
    clock: Clock,  # noqa: ARG001  part of what every plugin is given
    budget: Budget | None = None,  # noqa: ARG001  the same
) -> StaticProvider:
    """Return the provider: the entry point ``static``.

    Raises:
        BadInput: the configuration is wrong; the message names the field.
    """
    return StaticProvider(parse(config))
