"""The controller's metrics, on a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cloudnet.controller.pools import PoolStatus
from cloudnet.controller.status import Status
from cloudnet.ipam import report
from cloudnet.ipam.picture import Picture
from cloudnet.ipam.sweep import Swept

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Metrics:
    """What ``/metrics`` of a controller tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.leader = Gauge("cloudnet_controller_leader", "1 while this controller leads.", registry=registry)
        self.routes = Gauge(
            "cloudnet_cloud_routes",
            "Blocks by route table, state and cause.",
            ["table", "state", "cause"],
            registry=registry,
        )
        self.used = Gauge(
            "cloudnet_cloud_table_routes",
            "Routes in a table, others' included.",
            ["table", "family"],
            registry=registry,
        )
        self.limit = Gauge(
            "cloudnet_cloud_table_limit", "How many routes fit into a table.", ["table", "family"], registry=registry
        )
        self.nodes = Gauge("cloudnet_nodes", "Nodes known.", registry=registry)
        self.blocks = Gauge("cloudnet_blocks", "Blocks with one owner.", registry=registry)
        self.refused_blocks = Gauge(
            "cloudnet_blocks_refused", "Blocks refused because several nodes claim them.", registry=registry
        )
        self.problems = Gauge(
            "cloudnet_controller_problems", "Problems that a person should see to.", registry=registry
        )
        self.pool_addresses = Gauge(
            "cloudnet_ipam_pool_addresses", "Addresses that a pool has.", ["pool"], registry=registry
        )
        self.in_use = Gauge(
            "cloudnet_ipam_addresses_in_use", "Addresses of a pool that are taken.", ["pool"], registry=registry
        )
        self.reserved = Gauge(
            "cloudnet_ipam_addresses_reserved",
            "Free addresses of a pool that are reserved.",
            ["pool"],
            registry=registry,
        )
        self.borrowed = Gauge(
            "cloudnet_ipam_addresses_borrowed", "Addresses that nodes have from others' blocks.", registry=registry
        )
        self.suspects = Gauge(
            "cloudnet_ipam_suspects", "What looks leaked and has its grace period.", registry=registry
        )
        self.collected = Counter(
            "cloudnet_ipam_collected", "Leaked things taken back, by kind.", ["kind"], registry=registry
        )
        self.calls = Counter(
            "cloudnet_cloud_calls", "Cloud calls by verb and outcome.", ["verb", "outcome"], registry=registry
        )
        self.call_seconds = Histogram(
            "cloudnet_cloud_call_seconds", "Seconds that a cloud call took.", ["verb"], registry=registry
        )
        self.step_seconds = Histogram(
            "cloudnet_controller_step_seconds", "Seconds that one decision took.", buckets=_SECONDS, registry=registry
        )

        self.native_nodes = Gauge(
            "cloudnet_native_nodes",
            "Nodes by the cause for which further pods get addresses of pools; none is fine.",
            ["cause"],
            registry=registry,
        )
        self.native_prefixes = Gauge(
            "cloudnet_native_prefixes",
            "Prefixes and single addresses that the cloud gave nodes, by state and prefix length.",
            ["state", "length"],
            registry=registry,
        )
        self.native_addresses = Gauge(
            "cloudnet_native_addresses",
            "Native addresses: of adopted blocks (held), of pods (used), and what machines can hold (capacity).",
            ["what"],
            registry=registry,
        )
        self.native_strays = Gauge(
            "cloudnet_native_stray_interfaces",
            "Interfaces that cloudnet made and no node has; they go after leak_seconds.",
            registry=registry,
        )

    def called(self, verb: str, outcome: str, seconds: float) -> None:
        """Count one call; the budget's observer."""
        self.calls.labels(verb, outcome).inc()
        self.call_seconds.labels(verb).observe(seconds)

    def show_addresses(self, picture: Picture, suspects: int) -> None:
        """Show how full the pools are."""
        for gauge in (self.pool_addresses, self.in_use, self.reserved):
            gauge.clear()
        names = {pool.cidr: pool.meta.name for pool in picture.pools}
        for row in report.usage(picture):
            if row.cidr in names:
                self.pool_addresses.labels(names[row.cidr]).set(row.total)
                self.in_use.labels(names[row.cidr]).set(row.in_use)
                self.reserved.labels(names[row.cidr]).set(row.reserved)
        self.borrowed.set(len(report.borrowers(picture)))
        self.suspects.set(suspects)

    def collected_some(self, swept: Swept) -> None:
        """Count what was taken back."""
        for kind, number in (("address", swept.addresses), ("handle", swept.handles), ("block", swept.blocks)):
            self.collected.labels(kind).inc(number)

    def show_native(self, status: PoolStatus) -> None:
        """Show how native addresses stand."""
        self.native_nodes.clear()
        self.native_prefixes.clear()
        for cause, count in status.nodes.items():
            self.native_nodes.labels(cause).set(count)
        for (state, length), count in status.prefixes.items():
            self.native_prefixes.labels(state, str(length)).set(count)
        for what, number in (("held", status.held), ("used", status.used), ("capacity", status.capacity)):
            self.native_addresses.labels(what).set(number)
        self.native_strays.set(status.strays)

    def show(self, status: Status) -> None:
        """Show the figures of this moment."""
        self.leader.set(status.leader)
        self.nodes.set(status.nodes)
        self.blocks.set(status.blocks)
        self.refused_blocks.set(status.refused_blocks)
        self.problems.set(status.warnings)
        for gauge in (self.routes, self.used, self.limit):
            gauge.clear()
        for (table, state, cause), count in status.routes.items():
            self.routes.labels(table, state, cause).set(count)
        for (table, version), count in status.used.items():
            self.used.labels(table, str(version)).set(count)
        for (table, version), count in status.limits.items():
            self.limit.labels(table, str(version)).set(count)
