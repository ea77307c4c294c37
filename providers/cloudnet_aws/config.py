"""The settings of the AWS provider: what ``--provider-config`` holds. Every field is in docs/reference/aws.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudnet.errors import BadInput
from cloudnet.provider import settings
from cloudnet.provider.budget import Bucket

# The token buckets that EC2 publishes for an account and a region ("Request throttling for the EC2 API").
READ = Bucket(rate=20.0, burst=100.0)  # describes that are filtered and paged
WRITE = Bucket(rate=5.0, burst=50.0)  # mutating calls


@dataclass(frozen=True, slots=True)
class AwsConfig:
    """Where to program routes and as whom. Without keys the SDK finds credentials its usual way (role, profile)."""

    region: str
    vpc_id: str
    cluster: str = ""  # shown in the user agent, so CloudTrail tells clusters apart; the mark of our interfaces
    endpoint_url: str = ""  # instead of the region's own: a VPC endpoint, a lab
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    pod_subnet_ids: tuple[str, ...] = ()  # where further interfaces may be, beside the nodes' own subnets
    security_group_ids: tuple[str, ...] = ()  # of further interfaces; empty: those of the node's primary one
    route_table_ids: tuple[str, ...] = ()  # empty: every table that serves a node's subnet
    routes_per_table: int = 500  # AWS' default, where the account's own quota cannot be read
    every_route_in_every_table: bool = False  # no shortcut inside a subnet: for clients that are not nodes
    mtu: int = 9001  # of every instance type that EC2 offers today
    read_rate: float = READ.rate  # calls a second …
    read_burst: float = READ.burst  # … and at once
    write_rate: float = WRITE.rate
    write_burst: float = WRITE.burst
    deadline: float = 10.0  # seconds that one call may take, all its attempts together
    connect_timeout: float = 3.0
    read_timeout: float = 10.0
    quota_seconds: float = 3600.0  # how long a quota that was read stays true

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(s for s in (self.access_key_id, self.secret_access_key, self.session_token) if s)

    @property
    def read(self) -> Bucket:
        return Bucket(self.read_rate, self.read_burst)

    @property
    def write(self) -> Bucket:
        return Bucket(self.write_rate, self.write_burst)


_POSITIVE = (
    *("routes_per_table", "mtu", "read_rate", "read_burst", "write_rate", "write_burst"),
    *("connect_timeout", "read_timeout", "quota_seconds"),
)


def parse(
    config: Mapping[str, Any],  # parsed JSON, checked here
) -> AwsConfig:
    """Return the checked settings.

    Raises:
        BadInput: a field is unknown, missing, or of the wrong kind; the message names it, never a secret.
    """
    parsed = settings.read(AwsConfig, config, provider="aws")
    check(parsed)
    return parsed


def check_ids(name: str, values: tuple[str, ...], prefix: str) -> None:
    """Refuse ids that are not of their kind."""
    for i, value in enumerate(values):
        if not value.startswith(prefix):
            raise BadInput(f"expected {prefix}…, found {value!r}", path=f"{name}[{i}]")


def check(config: AwsConfig) -> None:
    """Refuse values that no call could work with."""
    for name, value, prefix in (("region", config.region, ""), ("vpc_id", config.vpc_id, "vpc-")):
        if not value or not value.startswith(prefix):
            raise BadInput(f"expected {prefix or 'a region, e.g. eu-west-1'}…, found {value!r}", path=name)
    for name, values, prefix in (
        ("route_table_ids", config.route_table_ids, "rtb-"),
        ("pod_subnet_ids", config.pod_subnet_ids, "subnet-"),
        ("security_group_ids", config.security_group_ids, "sg-"),
    ):
        check_ids(name, values, prefix)
    if bool(config.access_key_id) != bool(config.secret_access_key):
        raise BadInput("set both access_key_id and secret_access_key, or neither", path="access_key_id")
    settings.check_positive(config, _POSITIVE)
    settings.check_bursts(config)
