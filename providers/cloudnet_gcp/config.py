"""The settings of the Google provider: what ``--provider-config`` holds. Every field is in docs/reference/gcp.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudnet.errors import BadInput
from cloudnet.provider import settings
from cloudnet.provider.budget import Bucket

# Google publishes 1,500 calls a minute for reads and as many for writes of global resources ("Compute Engine rate
# quotas"), counted in minutes of the clock. 20 a second and 300 at once never exceed that in any sixty seconds.
A_MINUTE = 1500
READ = WRITE = Bucket(rate=20.0, burst=300.0)

_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")  # the pattern of names in the API's own description


@dataclass(frozen=True, slots=True)
class GcpConfig:
    """Where to program routes and as whom. Without a token or file the SDK finds credentials its usual way."""

    project: str
    network: str
    cluster: str  # marks our routes: two clusters in one network must differ
    endpoint_url: str = ""  # instead of https://compute.googleapis.com: a private endpoint, a lab
    resource_manager_url: str = ""  # instead of https://cloudresourcemanager.googleapis.com; preflight alone asks it
    access_token: str = field(default="", repr=False)
    credentials_file: str = ""  # a service account's key; better none and the machine's own account
    routes_per_network: int = 0  # 0: the project's own quota, and 300 where it cannot be read
    pod_range: str = ""  # the subnets' secondary range that pod addresses come from
    mtu: int = 1460  # of the network: Google's default
    read_rate: float = READ.rate  # calls a second …
    read_burst: float = READ.burst  # … and at once
    write_rate: float = WRITE.rate
    write_burst: float = WRITE.burst
    parallel: int = 8  # writes on the wire at once: an answer takes longer than a token
    deadline: float = 10.0  # seconds that one call may take, all its attempts together
    timeout: float = 10.0  # seconds without a byte until an attempt is given up
    operation_timeout: float = 120.0  # seconds that an accepted write may take until it is done
    quota_seconds: float = 3600.0  # how long a quota that was read stays true

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self.access_token,) if self.access_token else ()

    @property
    def read(self) -> Bucket:
        return Bucket(self.read_rate, self.read_burst)

    @property
    def write(self) -> Bucket:
        return Bucket(self.write_rate, self.write_burst)


_POSITIVE = (
    *("mtu", "read_rate", "read_burst", "write_rate", "write_burst", "parallel"),
    *("timeout", "operation_timeout", "quota_seconds"),
)


def parse(
    config: Mapping[str, Any],  # parsed JSON, checked here
) -> GcpConfig:
    """Return the checked settings.

    Raises:
        BadInput: a field is unknown, missing, or of the wrong kind; the message names it, never a secret.
    """
    parsed = settings.read(GcpConfig, config, provider="gcp")
    check(parsed)
    return parsed


def check_names(config: GcpConfig) -> None:
    for name in ("project", "cluster"):
        if not getattr(config, name):
            raise BadInput("expected a name, found ''", path=name)
    for name in ("network", "pod_range"):
        value = getattr(config, name)
        if not _NAME.fullmatch(value) and (value or name == "network"):
            raise BadInput(f"expected the resource's name, without project or URL, found {value!r}", path=name)


def check(config: GcpConfig) -> None:
    """Refuse values that no call could work with."""
    check_names(config)
    for name in ("endpoint_url", "resource_manager_url"):
        value = getattr(config, name)
        if value and not value.startswith(("https://", "http://")):
            raise BadInput(f"expected https://… or http://…, found {value!r}", path=name)
    if config.access_token and config.credentials_file:
        raise BadInput("set access_token or credentials_file, not both", path="access_token")
    if config.routes_per_network < 0:
        raise BadInput(f"expected 0 or more, found {config.routes_per_network}", path="routes_per_network")
    settings.check_positive(config, _POSITIVE)
    settings.check_bursts(config)
