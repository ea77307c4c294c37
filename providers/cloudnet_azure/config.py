"""The settings of the Azure provider: what ``--provider-config`` holds. Every field is in docs/reference/azure.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudnet.errors import BadInput
from cloudnet.provider import settings
from cloudnet.provider.budget import Bucket

# Azure Resource Manager's buckets of a subscription, principal and region (docs: "throttling", since 2024).
ARM_READ = Bucket(rate=25.0, burst=250.0)
ARM_WRITE = Bucket(rate=10.0, burst=200.0)


@dataclass(frozen=True, slots=True)
class AzureConfig:
    """Where to program routes and as whom. Without a secret azure-identity finds credentials its usual way."""

    subscription_id: str
    resource_group: str  # of the nodes' machines, scale sets and interfaces
    cluster: str  # the mark in the names of our routes: two clusters that share a table need two names
    route_table_resource_group: str = ""  # empty: resource_group
    route_tables: tuple[str, ...] = ()  # empty: every table that serves a node's subnet
    scale_sets: tuple[str, ...] = ()  # of nodes without a provider id; the others name theirs
    endpoint_url: str = "https://management.azure.com"  # of another Azure cloud, or a lab
    authority_host: str = ""  # of another Azure cloud's Entra, e.g. login.microsoftonline.us
    tenant_id: str = ""
    client_id: str = ""  # of a service principal; alone, of a user-assigned managed identity
    client_secret: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)  # as it is, for a lab: Azure's expire within the hour
    routes_per_table: int = 400  # Azure tells nobody its limit
    pod_prefixes: bool = True  # false where the subscription may have no prefixes on interfaces
    bulk: int = 4  # changes of one table from which on the whole table is written at once
    mtu: int = 1500
    read_rate: float = ARM_READ.rate  # calls a second …
    read_burst: float = ARM_READ.burst  # … and at once
    write_rate: float = ARM_WRITE.rate
    write_burst: float = ARM_WRITE.burst
    deadline: float = 10.0  # seconds that one call may take, all its attempts together
    poll_seconds: float = 0.5  # to the first look at an operation; later ones come slower
    power_seconds: float = 1800.0  # how long a power state that was read stays true
    operation_seconds: float = 120.0  # until an operation that does not end is given up
    connect_timeout: float = 3.0
    read_timeout: float = 10.0

    @property
    def tables_group(self) -> str:
        return self.route_table_resource_group or self.resource_group

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(s for s in (self.client_secret, self.access_token) if s)

    @property
    def read(self) -> Bucket:
        return Bucket(self.read_rate, self.read_burst)

    @property
    def write(self) -> Bucket:
        return Bucket(self.write_rate, self.write_burst)


_POSITIVE = (
    *("routes_per_table", "bulk", "mtu", "read_rate", "read_burst", "write_rate", "write_burst"),
    *("poll_seconds", "power_seconds", "operation_seconds", "connect_timeout", "read_timeout"),
)
_CLUSTER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,23}[A-Za-z0-9])?")  # with mark and prefix, 80 are Azure's limit


def parse(
    config: Mapping[str, Any],  # parsed JSON, checked here
) -> AzureConfig:
    """Return the checked settings.

    Raises:
        BadInput: a field is unknown, missing, or of the wrong kind; the message names it, never a secret.
    """
    parsed = settings.read(AzureConfig, config, provider="azure")
    check(parsed)
    return parsed


def check(config: AzureConfig) -> None:
    """Refuse values that no call could work with."""
    for name in ("subscription_id", "resource_group"):
        if not getattr(config, name) or "/" in getattr(config, name):
            raise BadInput(f"expected a name, found {getattr(config, name)!r}", path=name)
    if not _CLUSTER.fullmatch(config.cluster):
        raise BadInput(
            f"expected 1 to 25 letters, digits, '_', '.' or '-' as route names have them, found {config.cluster!r}",
            path="cluster",
        )
    if not config.endpoint_url.startswith(("https://", "http://")):
        raise BadInput(f"expected a URL, found {config.endpoint_url!r}", path="endpoint_url")
    if config.client_secret and not (config.tenant_id and config.client_id):
        raise BadInput("a client_secret needs tenant_id and client_id", path="client_secret")
    settings.check_positive(config, _POSITIVE)
    settings.check_bursts(config)
