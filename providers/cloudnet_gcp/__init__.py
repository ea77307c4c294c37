"""The Google provider: static routes of a VPC network, by google-cloud-compute. Reference: docs/reference/gcp.md."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Node
from cloudnet.provider.api import Capabilities, Encapsulation, Instance, RouteScope
from cloudnet.provider.budget import Budget
from cloudnet.provider.errors import Unsupported
from cloudnet.provider.preflight import Finding, Needs
from cloudnet_gcp import instances, limits, preflight
from cloudnet_gcp.addresses import GcpAddresses
from cloudnet_gcp.client import A_PAGE, Client, connect
from cloudnet_gcp.config import GcpConfig, parse
from cloudnet_gcp.errors import NAME
from cloudnet_gcp.routes import GcpRoutes

BATCH = 100  # changes: five seconds of the write quota, and more than are under way at its pace


class GcpProvider:
    """One VPC network."""

    def __init__(self, config: GcpConfig, client: Client, clock: Clock) -> None:
        self.budget = client.budget
        self.config = config
        self._client = client
        known = limits.Limits(client, clock, fixed=config.routes_per_network, keep=config.quota_seconds)
        self._routes = GcpRoutes(client, known, clock, config)
        self._addresses = GcpAddresses(client, clock, config) if config.pod_range else None
        self._capabilities = Capabilities(
            families=frozenset(Family),
            l2_adjacent=False,
            encapsulations=frozenset({Encapsulation.VXLAN}),
            route_scope=RouteScope.NETWORK,
            routes_per_table=config.routes_per_network or limits.DEFAULT,
            forwarding_fixed=True,
            batch=BATCH,
            page=A_PAGE,
        )

    @property
    def name(self) -> str:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def routes(self) -> GcpRoutes:
        return self._routes

    @property
    def addresses(self) -> GcpAddresses | None:
        return self._addresses

    def instances(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        found = instances.find(self._client, tuple(nodes), self.config)
        self._routes.serve({name: instance.subnet for name, instance in found.items()})
        return found

    def preflight(self, needs: Needs) -> Sequence[Finding]:
        """Look at the network before anything is written to it."""
        return preflight.look(self, self._client, self.config, needs)

    def allow_forwarding(self, instance: Instance) -> None:
        """Refuse: a machine may carry pods' addresses from its making on, or never.

        Raises:
            Unsupported: the machine was made without; the message says how to make it anew.
        """
        if not instance.forwarding:
            raise cannot_forward(instance)


def cannot_forward(instance: Instance) -> Unsupported:
    zone, _, name = instance.id.partition("/")
    return Unsupported(
        f"instance {name} in {zone} was made without canIpForward, which nothing can change later: make it anew with "
        "gcloud compute instances create --can-ip-forward, or can_ip_forward = true in its template; "
        "until then VXLAN carries its pods",
        provider=NAME,
    )


def make(
    config: Mapping[str, Any],  # parsed JSON, checked in config.py
    *,
    clock: Clock,
    budget: Budget | None = None,
) -> GcpProvider:
    """Return the provider, without calling Google: the entry point ``gcp``.

    Raises:
        BadInput: the configuration is wrong; the message names the field.
        MissingTool: google-cloud-compute is not installed.
        PermissionDenied: there are no credentials.
    """
    parsed = parse(config)
    rng = random.Random()  # noqa: S311  spreads retries and names requests, guards nothing
    spend = budget or Budget(clock, read=parsed.read, write=parsed.write)
    client = Client(parsed, connect(parsed), clock=clock, budget=spend, rng=rng)
    return GcpProvider(parsed, client, clock)
