"""The settings of the two programs: frozen values with their defaults, units and reasons."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Settings of ``cloudnet agent``. All times are seconds."""

    node: str
    store: str = "sqlite:///var/lib/cloudnet/store.sqlite"
    socket: str = "/run/cloudnet/agent.sock"
    metrics: str = "127.0.0.1:9091"
    allow_host_network: bool = False
    log_level: str = "info"
    resync_seconds: float = 90.0  # Calico's routeRefreshInterval
    vxlan_vni: int = 4096
    vxlan_port: int = 4789
    vxlan_mtu: int = 0  # 0: the underlay's MTU less the encapsulation
    probe_port: int = 4793
    probe_interval: float = 0.1
    probe_budget: float = 2000.0  # probes a second that one agent sends at most; the interval grows instead
    lost_probes: int = 4  # unanswered in a row …
    lost_after: float = 0.5  # … and this long since the last answer: the native path is lost
    prove_seconds: float = 1.0  # answers this long in a row: the native path is proven
    hold_first: float = 2.0  # hold-down after a native path was lost; doubles with each flap
    hold_limit: float = 300.0


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """Settings of ``cloudnet controller``. All times are seconds."""

    store: str = "sqlite:///var/lib/cloudnet/store.sqlite"
    provider: str = "aws"
    provider_config: str = ""  # a JSON file
    metrics: str = "127.0.0.1:9092"
    identity: str = ""  # empty: host name and process id
    log_level: str = "info"
    lease_seconds: float = 15.0
    resync_seconds: float = 900.0  # four table reads and four instance reads an hour
    retry_first: float = 60.0  # after a refusal (quota, permission, conflict); doubles …
    retry_limit: float = 600.0  # … up to this
    withdraw_timeout: float = 10.0  # how long a silent agent can hold up the deletion of a cloud route
    every_route_in_every_table: bool = False  # also for nodes of the table's own subnets
    headroom: int = 0  # entries of each table left free for others
