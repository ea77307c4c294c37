"""The AWS provider: VPC route tables and pod addresses, by boto3. What it does and needs: docs/reference/aws.md."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudnet.clock import Clock
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import Node
from cloudnet.provider.api import Capabilities, Encapsulation, Instance, RouteScope
from cloudnet.provider.budget import Budget
from cloudnet.provider.preflight import Finding, Needs
from cloudnet_aws import instances, preflight
from cloudnet_aws.addresses import AwsAddresses
from cloudnet_aws.client import Client, connect
from cloudnet_aws.config import AwsConfig, parse
from cloudnet_aws.errors import NAME
from cloudnet_aws.limits import Limits
from cloudnet_aws.routes import AwsRoutes

log = logging.getLogger(__name__)


class AwsProvider:
    """One VPC."""

    def __init__(self, config: AwsConfig, client: Client, clock: Clock) -> None:
        self.budget = client.budget
        self._config = config
        self._client = client
        limits = Limits(client, clock, fallback=config.routes_per_table, keep=config.quota_seconds)
        self._routes = AwsRoutes(client, limits, clock, only=config.route_table_ids)
        self._addresses = AwsAddresses(config, client, clock)
        self._capabilities = Capabilities(
            families=frozenset(Family),
            l2_adjacent=not config.every_route_in_every_table,
            encapsulations=frozenset(Encapsulation),
            route_scope=RouteScope.SUBNET,
            routes_per_table=config.routes_per_table,
        )

    @property
    def name(self) -> str:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def routes(self) -> AwsRoutes:
        return self._routes

    @property
    def addresses(self) -> AwsAddresses:
        """The VPC's own pod addresses.

        Raises:
            BadInput: the configuration names no cluster, and so interfaces of ours would have no mark.
        """
        if not self._config.cluster:
            raise BadInput("name the cluster: the interfaces that cloudnet makes carry its name", path="cluster")
        return self._addresses

    def instances(self, nodes: Iterable[Node]) -> Mapping[NodeName, Instance]:
        found = instances.find(self._client, nodes, mtu=self._config.mtu)
        self._routes.serve({name: instance.subnet for name, instance in found.items()})
        return found

    def preflight(self, needs: Needs) -> Sequence[Finding]:
        """Look at the VPC before anything is written to it."""
        return preflight.look(self, self._client, self._config, needs)

    def allow_forwarding(self, instance: Instance) -> None:
        """Switch the source/destination check of the interface off, if it is on."""
        if instance.forwarding:
            return
        self._client.switch_source_check_off(instance.interface)
        log.info("source check off interface=%s instance=%s", instance.interface, instance.id)


def make(
    config: Mapping[str, Any],  # parsed JSON, checked in config.py
    *,
    clock: Clock,
    budget: Budget | None = None,
) -> AwsProvider:
    """Return the provider, without calling AWS: the entry point ``aws``.

    Raises:
        BadInput: the configuration is wrong; the message names the field.
        MissingTool: boto3 is not installed.
    """
    parsed = parse(config)
    rng = random.Random()  # noqa: S311  spreads retries, guards nothing
    spend = budget or Budget(clock, read=parsed.read, write=parsed.write)
    client = Client(parsed, connect(parsed), clock=clock, budget=spend, rng=rng)
    return AwsProvider(parsed, client, clock)
