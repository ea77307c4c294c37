"""The settings of the IBM provider: what ``--provider-config`` holds. Every field is in docs/reference/ibm.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudnet.errors import BadInput
from cloudnet.provider import settings
from cloudnet.provider.budget import Bucket

READ = Bucket(rate=10.0, burst=50.0)  # IBM publishes no figures: these are ours, and Retry-After is believed
WRITE = Bucket(rate=5.0, burst=20.0)

_CLUSTER = re.compile(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?")
_CREDENTIALS = ("api_key", "trusted_profile_id", "token")


@dataclass(frozen=True, slots=True)
class IbmConfig:
    """Where to program routes and as whom. One of ``api_key``, ``trusted_profile_id`` and ``token`` is set."""

    region: str
    vpc_id: str
    cluster: str  # part of every route's name: two clusters in one VPC tell their routes apart by it
    api_key: str = field(default="", repr=False)
    trusted_profile_id: str = ""  # of the instance that the controller runs on
    token: str = field(default="", repr=False)  # a bearer token that somebody else keeps fresh
    endpoint_url: str = ""  # instead of the region's own: a private endpoint, a lab
    iam_url: str = ""  # instead of IAM's own, for private endpoints
    resource_group_id: str = ""  # the only one to look for virtual network interfaces in
    routing_table_ids: tuple[str, ...] = ()  # empty: every table that serves a node's subnet
    routes_per_table: int = 200  # IBM's default; the API does not tell the account's own
    prefix_lengths_per_table: int = 14
    priority: int = 4  # the least urgent: a route that somebody else has for the same prefix keeps its packets
    mtu: int = 1500
    read_rate: float = READ.rate  # calls a second …
    read_burst: float = READ.burst  # … and at once
    write_rate: float = WRITE.rate
    write_burst: float = WRITE.burst
    deadline: float = 10.0  # seconds that one call may take, all its attempts together
    connect_timeout: float = 3.0
    read_timeout: float = 10.0
    flag_seconds: float = 86400.0  # how long an interface that was seen to forward is believed

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(s for s in (self.api_key, self.token) if s)

    @property
    def url(self) -> str:
        return self.endpoint_url or f"https://{self.region}.iaas.cloud.ibm.com/v1"

    @property
    def read(self) -> Bucket:
        return Bucket(self.read_rate, self.read_burst)

    @property
    def write(self) -> Bucket:
        return Bucket(self.write_rate, self.write_burst)


_POSITIVE = (
    *("routes_per_table", "prefix_lengths_per_table", "mtu", "read_rate", "write_rate"),
    *("deadline", "connect_timeout", "read_timeout", "flag_seconds"),
)


def parse(
    config: Mapping[str, Any],  # parsed JSON, checked here
) -> IbmConfig:
    """Return the checked settings.

    Raises:
        BadInput: a field is unknown, missing, or of the wrong kind; the message names it, never a secret.
    """
    parsed = settings.read(IbmConfig, config, provider="ibm")
    check(parsed)
    return parsed


def check(config: IbmConfig) -> None:
    """Refuse values that no call could work with."""
    for name in ("region", "vpc_id"):
        if not getattr(config, name):
            raise BadInput("expected a value, found an empty one", path=name)
    if sum(bool(getattr(config, name)) for name in _CREDENTIALS) != 1:
        raise BadInput(f"set exactly one of {', '.join(_CREDENTIALS)}", path="api_key")
    _check_forms(config)
    _check_numbers(config)


def _check_forms(config: IbmConfig) -> None:
    if not _CLUSTER.fullmatch(config.cluster):
        raise BadInput(
            f"expected up to 20 small letters, digits and dashes, a letter first, found {config.cluster!r}",
            path="cluster",
        )
    for name in ("endpoint_url", "iam_url"):
        if getattr(config, name) and not getattr(config, name).startswith(("https://", "http://")):
            raise BadInput(f"expected https://…, found {getattr(config, name)!r}", path=name)


def _check_numbers(config: IbmConfig) -> None:
    if not 0 <= config.priority <= 4:  # noqa: PLR2004  IBM's range
        raise BadInput(f"expected 0 to 4, found {config.priority}", path="priority")
    settings.check_positive(config, _POSITIVE)
    settings.check_bursts(config)
