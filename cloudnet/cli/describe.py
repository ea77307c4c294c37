"""A resource in plain words, and what hangs together with it: ``cloudnet describe``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from cloudnet.cli import output, resource_view
from cloudnet.ipam import picture, report
from cloudnet.model import kinds
from cloudnet.model.cloud_addresses import CloudAddresses
from cloudnet.model.kubernetes import Pod
from cloudnet.model.policies import Profile, Tier
from cloudnet.model.resources import (
    AgentReport,
    BlockAffinity,
    CloudNode,
    CloudRoute,
    IPAMBlock,
    IPPool,
    Node,
    NodeCondition,
    Resource,
    RouteState,
)
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy import cluster as clusters
from cloudnet.policy import convert, feed
from cloudnet.policy.rules import policy_order
from cloudnet.store.api import NotFound, Store, Stored

R = TypeVar("R", bound=Resource)

_MOST = 50  # endpoints of one list; `get` shows all of them


def lines(stored: Stored[Resource], store: Store) -> Iterator[str]:
    """Yield what there is to say of a resource, line by line."""
    document = resource_view.document(stored)
    yield from _heads(document)
    for part in ("spec", "status"):
        if document.get(part):
            yield f"{part.capitalize()}:"
            yield from resource_view.fields(document[part], depth=1)
    for title, found in _related(stored.value, store):
        yield f"{title}:"
        told = list(found)
        yield from (f"  {line}" for line in told[:_MOST] or ["none"])
        if len(told) > _MOST:
            yield f"  and {len(told) - _MOST} more"


def _heads(document: Mapping[str, Any]) -> Iterator[str]:
    metadata = document["metadata"]
    yield f"Name: {metadata['name']}"
    if metadata.get("namespace"):
        yield f"Namespace: {metadata['namespace']}"
    yield f"Kind: {document['kind']} ({document['apiVersion']})"
    for heading, key in (("Labels", "labels"), ("Annotations", "annotations")):
        if metadata.get(key):
            yield f"{heading}:"
            yield from resource_view.fields(metadata[key], depth=1)
    if metadata.get("creationTimestamp"):
        yield f"Created: {metadata['creationTimestamp']}"
    yield f"Revision: {metadata['resourceVersion']}"


_Section = tuple[str, Iterable[str]]


def _related(value: Resource, store: Store) -> Iterable[_Section]:
    if isinstance(value, convert.POLICY_KINDS):
        return _of_policy(value, store)
    of = _RELATED.get(type(value))
    return of(value, store) if of else ()


# --- addresses --------------------------------------------------------------------------------------------------


def _of_pool(pool: IPPool, store: Store) -> Iterable[_Section]:
    seen = picture.take(store)
    rows = report.usage(seen, each_block=True)
    own = next((row for row in rows if row.grouping == f"pool {pool.meta.name}"), None)
    if own is not None:
        yield "Use", [f"{own.in_use} of {own.total} addresses in use, {own.reserved} reserved, {own.free} free"]
    blocks = [row for row in rows if row.grouping == "block" and row.cidr.subnet_of(pool.cidr)]  # type: ignore[arg-type]  # of one family, as below
    yield "Blocks", [f"{row.cidr} of {row.node or 'nobody'}: {row.in_use} of {row.total} in use" for row in blocks]


def _of_block(block: IPAMBlock, store: Store) -> Iterable[_Section]:
    seen = picture.take(store)
    wanted = [found.address for found in picture.allocations(block)]
    yield "Addresses", [f"{h.address} {h.owner} (handle {h.handle or '-'})" for h in report.holders(seen, wanted)]


# --- nodes ------------------------------------------------------------------------------------------------------


def _of_node(node: Node, store: Store) -> Iterable[_Section]:
    name = node.meta.name
    yield "Network", _condition(_maybe(store, NodeCondition, name))
    yield "Agent", _agent(_maybe(store, AgentReport, name))
    yield "Cloud", _cloud(_maybe(store, CloudNode, name))
    yield "Native addresses", list(_native(_maybe(store, CloudAddresses, name)))
    mine = [stored.value for stored in store.list(BlockAffinity).items if stored.value.node == name]
    yield "Blocks", [f"{one.cidr} ({one.state.value})" for one in mine if one.type == "host" and not one.deleted]
    routes = [stored.value for stored in store.list(CloudRoute).items if stored.value.node == name]
    yield "Cloud routes", [line for route in routes for line in _route(route)]
    endpoints = [stored.value for stored in store.list(WorkloadEndpoint).items if stored.value.node == name]
    yield "Endpoints", [f"{e.meta.namespace}/{e.pod or e.workload} {_addresses(e)}" for e in endpoints]


def _condition(condition: NodeCondition | None) -> list[str]:
    if condition is None:
        return ["the controller has not said anything of it yet: is one running?"]
    said = "ready" if condition.ready else "not ready"
    since = f" for {output.ago(condition.since, output.wall())}" if condition.since else ""
    return [f"{said}{since}: {condition.message or condition.reason}"]


def _agent(found: AgentReport | None) -> list[str]:
    if found is None:
        return ["has never reported: is it running?"]
    ground = "VXLAN ground laid" if found.ready else "VXLAN ground not laid yet"
    lost = f"; native paths lost to {', '.join(map(str, found.lost))}" if found.lost else ""
    return [f"{ground}{lost}{f'; {found.message}' if found.message else ''}"]


def _cloud(found: CloudNode | None) -> list[str]:
    if found is None:
        return ["no provider speaks for it"]
    where = f"instance {found.instance} in {found.subnet}{f', zone {found.zone}' if found.zone else ''}"
    forwards = (
        "forwards for pods" if found.forwarding else f"drops pods' packets: {found.problem or 'not set up yet'}"
    )
    return [f"{where}; {forwards}; MTU {found.mtu}"]


def _native(found: CloudAddresses | None) -> Iterator[str]:
    if found is None:
        return
    room = ", ".join(f"{number} IPv{of:d}" for of, number in sorted(found.capacity.items())) or "no"
    yield f"{room} addresses fit on the machine, on {len(found.interfaces)} interfaces now"
    for prefix in found.prefixes:
        yield f"{prefix.cidr} on {prefix.interface}: {prefix.state.value}"
    if found.detail:
        yield f"further pods get addresses of pools ({found.cause.value}): {found.detail}"


def _route(route: CloudRoute) -> Iterator[str]:
    if not route.tables:
        yield f"{route.cidr}: in no table"
    for status in route.tables:
        why = "" if status.state is RouteState.PROGRAMMED else f" ({status.detail or status.cause.value})"
        yield f"{route.cidr} in {status.table}: {status.state.value}{why}"


def _addresses(endpoint: WorkloadEndpoint) -> str:
    return ", ".join(str(network.network_address) for network in endpoint.networks) or "without an address"


def _maybe(store: Store, kind: type[R], name: str) -> R | None:
    try:
        return store.get(kind, name).value
    except NotFound:
        return None


# --- policy -----------------------------------------------------------------------------------------------------


def _cluster(store: Store) -> clusters.Cluster:
    read: tuple[type[Resource], ...] = (Pod, *feed.KINDS)
    return clusters.build(stored.value for kind in read for stored in store.list(kind).items)


def _of_policy(value: Resource, store: Store) -> Iterable[_Section]:
    cluster, meta = _cluster(store), value.meta
    kind = kinds.of(type(value)).name
    keys = {
        key for key in cluster.documents if (key.kind, key.namespace, key.name) == (kind, meta.namespace, meta.name)
    }
    titles = {member.id: title for title, member in cluster.members.items()}
    chosen = {
        titles[entry.endpoint.id]
        for entry in cluster.state.endpoints.values()
        if any(key in keys for tier in entry.tiers for key in tier.policies) and entry.endpoint.id in titles
    }
    yield "Applies to", sorted(chosen)


def _of_tier(tier: Tier, store: Store) -> Iterable[_Section]:
    found = sorted(_cluster(store).policies.values(), key=policy_order)
    yield "Policies, in their order", [str(policy.key) for policy in found if policy.tier == tier.meta.name]


def _of_profile(profile: Profile, store: Store) -> Iterable[_Section]:
    endpoints = [stored.value for stored in store.list(WorkloadEndpoint).items]
    yield (
        "Endpoints",
        [f"{e.meta.namespace}/{e.pod or e.workload}" for e in endpoints if profile.meta.name in e.profiles],
    )


# Any: each function takes values of its own key alone.
_RELATED: Mapping[type[Resource], Callable[[Any, Store], Iterable[_Section]]] = {
    IPPool: _of_pool,
    IPAMBlock: _of_block,
    Node: _of_node,
    Tier: _of_tier,
    Profile: _of_profile,
}
