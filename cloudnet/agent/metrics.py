"""The agent's metrics, on a registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cloudnet.agent.actions import PathChanged
from cloudnet.agent.bgp import Counts as BgpCounts
from cloudnet.agent.bgp import Peering
from cloudnet.agent.nat import Counts
from cloudnet.agent.policy import Counts as PolicyCounts
from cloudnet.policy.statistics import Count

_RTTS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)  # seconds: a zone … a continent
_ANSWERS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)  # seconds: wired … an IPAM plugin


class Metrics:
    """What ``/metrics`` of an agent tells."""

    def __init__(self, registry: CollectorRegistry, *, store_age: Callable[[], float]) -> None:
        self.registry = registry
        self.destinations = Gauge(
            "cloudnet_destinations", "Remote blocks by path and reason.", ["kind", "reason"], registry=registry
        )
        self.path_changes = Counter(
            "cloudnet_path_changes",
            "Destinations that changed path.",
            ["before", "after", "reason"],
            registry=registry,
        )
        self.flaps = Counter("cloudnet_path_flaps", "Native paths lost under way and held down.", registry=registry)
        self.probes_sent = Counter(
            "cloudnet_probes_sent", "Probes sent over native paths, and calls to agents.", registry=registry
        )
        self.probes_unsent = Counter(
            "cloudnet_probes_unsent", "Probes that could not leave this host.", registry=registry
        )
        self.probe_rtt = Histogram(
            "cloudnet_probe_rtt_seconds",
            "Round-trip time of answered probes; its count is the number of answers.",
            buckets=_RTTS,
            registry=registry,
        )
        self.kernel_changes = Counter("cloudnet_kernel_changes", "Changes given to the kernel.", registry=registry)
        self.kernel_failures = Counter(
            "cloudnet_kernel_failures", "Changes that the kernel refused.", registry=registry
        )
        self.repairs = Counter(
            "cloudnet_kernel_repairs", "Objects of ours that somebody else had changed.", registry=registry
        )
        self.store_age = Gauge(
            "cloudnet_store_age_seconds", "Seconds since the store last delivered a change.", registry=registry
        )
        self.store_age.set_function(store_age)
        self.ready = Gauge("cloudnet_agent_ready", "1 when the ground is in the kernel.", registry=registry)
        self.cni_requests = Counter(
            "cloudnet_cni_requests", "Requests of container runtimes.", ["command", "code"], registry=registry
        )
        self.cni_seconds = Histogram(
            "cloudnet_cni_request_seconds",
            "How long the agent took to answer a runtime.",
            ["command"],
            buckets=_ANSWERS,
            registry=registry,
        )
        self.nat_changes = Counter(
            "cloudnet_nat_changes", "Transactions that changed outgoing NAT.", registry=registry
        )
        self.nat_failures = Counter(
            "cloudnet_nat_failures", "Transactions of outgoing NAT that failed.", registry=registry
        )
        self.nat_repairs = Counter(
            "cloudnet_nat_repairs", "Times that somebody else had changed outgoing NAT.", registry=registry
        )
        self.nat_ready = Gauge("cloudnet_nat_ready", "1 when outgoing NAT is as the pools say.", registry=registry)
        self.policy_changes = Counter(
            "cloudnet_policy_changes", "Transactions that changed policy in the kernel.", registry=registry
        )
        self.policy_failures = Counter(
            "cloudnet_policy_failures", "Transactions of policy that failed.", registry=registry
        )
        self.policy_repairs = Counter(
            "cloudnet_policy_repairs", "Times that somebody else had changed policy.", registry=registry
        )
        self.policy_ready = Gauge(
            "cloudnet_policy_ready", "1 when policy is in force as the store says.", registry=registry
        )
        self.policy_packets = Gauge(
            "cloudnet_policy_packets",
            "First packets of connections that a policy decided on.",
            ["kind", "namespace", "name", "direction", "action", "staged"],
            registry=registry,
        )
        self.policy_bytes = Gauge(
            "cloudnet_policy_bytes",
            "Bytes of these packets.",
            ["kind", "namespace", "name", "direction", "action", "staged"],
            registry=registry,
        )
        self.fast_path_devices = Gauge(
            "cloudnet_fast_path_devices",
            "Devices between which established connections bypass netfilter.",
            registry=registry,
        )
        self.bgp_sessions = Gauge(
            "cloudnet_bgp_sessions", "BGP sessions of this node by state.", ["state"], registry=registry
        )
        self.bgp_routes = Gauge(
            "cloudnet_bgp_routes", "Routes of a session.", ["address", "direction"], registry=registry
        )
        self.bgp_changes = Counter(
            "cloudnet_bgp_changes", "Times that BIRD was told something new.", registry=registry
        )
        self.bgp_failures = Counter("cloudnet_bgp_failures", "Times that BIRD did not do as told.", registry=registry)
        self.bgp_not_done = Gauge(
            "cloudnet_bgp_not_done",
            "What BGP resources ask for and is not done; the log says why.",
            registry=registry,
        )
        self.bgp_ready = Gauge(
            "cloudnet_bgp_ready", "1 when BIRD does what it should, or nothing is asked of it.", registry=registry
        )
        self._bgp = BgpCounts()
        self._policy = PolicyCounts()
        self._shown: set[tuple[str, str]] = set()
        self._repairs = 0
        self._nat = Counts()

    def cni_answered(self, command: str, code: int, seconds: float) -> None:
        """Count one request; code 0 is success, all others are those of the specification and ours."""
        self.cni_requests.labels(command, str(code)).inc()
        self.cni_seconds.labels(command).observe(seconds)

    def path_changed(self, change: PathChanged) -> None:
        """Count a destination that goes another way than before; joining and leaving are no change."""
        before, after = change.before, change.after
        if before and after and before.kind is not after.kind:
            self.path_changes.labels(before.kind.value, after.kind.value, after.reason.value).inc()
        if change.flapped:
            self.flaps.inc()

    def show(self, kinds: Mapping[tuple[str, str], int], *, ready: bool, repairs: int, rtts: Iterable[float]) -> None:
        """Publish what the loop counts: destinations of each kind and reason (what vanished is 0), and the rest."""
        for labels in self._shown | set(kinds):
            self.destinations.labels(*labels).set(kinds.get(labels, 0))
        self._shown |= set(kinds)
        self.ready.set(ready)
        self.repairs.inc(repairs - self._repairs)
        self._repairs = repairs
        for rtt in rtts:
            self.probe_rtt.observe(rtt)

    def show_policy(self, counts: PolicyCounts, traffic: Iterable[Count], *, problem: str) -> None:
        """Publish what the policy thread counts, and what the kernel counted for it when it was last read."""
        seen = replace(counts)
        self.policy_changes.inc(seen.changes - self._policy.changes)
        self.policy_failures.inc(seen.failures - self._policy.failures)
        self.policy_repairs.inc(seen.repairs - self._policy.repairs)
        self.policy_ready.set(not problem)
        self._policy = seen
        self.policy_packets.clear()
        self.policy_bytes.clear()
        for one in traffic:
            labels = (one.kind, one.namespace, one.name, one.direction, one.action, str(one.staged).lower())
            self.policy_packets.labels(*labels).set(one.traffic.packets)
            self.policy_bytes.labels(*labels).set(one.traffic.bytes)

    def show_bgp(self, counts: BgpCounts, peerings: Iterable[Peering], *, problem: str, not_done: int) -> None:
        """Publish what the BGP thread counts, and how the sessions are."""
        seen = replace(counts)
        self.bgp_changes.inc(seen.changes - self._bgp.changes)
        self.bgp_failures.inc(seen.failures - self._bgp.failures)
        self.bgp_ready.set(not problem)
        self.bgp_not_done.set(not_done)
        self._bgp = seen
        self.bgp_sessions.clear()
        self.bgp_routes.clear()
        for peering in peerings:
            self.bgp_sessions.labels(peering.state).inc()
            for direction, number in peering.routes.items():
                self.bgp_routes.labels(str(peering.session.address), direction).set(number)

    def show_nat(self, counts: Counts, *, problem: str) -> None:
        """Publish what the NAT thread counts."""
        seen = replace(counts)
        self.nat_changes.inc(seen.changes - self._nat.changes)
        self.nat_failures.inc(seen.failures - self._nat.failures)
        self.nat_repairs.inc(seen.repairs - self._nat.repairs)
        self.nat_ready.set(not problem)
        self._nat = seen
