"""How one node does, in plain words: its agent, its paths and why they are not native, addresses, policy, BGP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from cloudnet.cli import ask, bgp_sessions, routes
from cloudnet.cli.ask import AgentUnreachable
from cloudnet.cli.bgp_sessions import Sessions
from cloudnet.errors import CloudnetError
from cloudnet.ipam import picture, report
from cloudnet.model.resources import NodeCondition
from cloudnet.store.api import NotFound

_BETTER = ("native", "direct", "bgp")  # paths without an encapsulation


@dataclass(frozen=True, slots=True)
class Addresses:
    """The blocks of the node, and how many of their addresses are taken."""

    blocks: int
    in_use: int
    total: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What policies have decided on this node: packets that opened connections, by verdict."""

    policies: int
    decided: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What was learnt; ``agent`` is the agent's own answer.

    ``paths``: {kind: destinations}; ``why``: {reason: destinations that are encapsulated for it}. ``errors`` says
    what did not answer, and ``unreachable`` whether that was the agent.
    """

    node: str = ""
    ready: bool = False
    agent: Mapping[str, object] | None = None
    paths: Mapping[str, int] = field(default_factory=dict)
    why: Mapping[str, int] = field(default_factory=dict)
    addresses: Addresses | None = None
    policy: Policy | None = None
    bgp: Sessions | None = None
    condition: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    unreachable: bool = False


class _Traffic(msgspec.Struct):
    packets: int = 0


class _Count(msgspec.Struct):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    action: str = ""
    staged: bool = False
    traffic: _Traffic | None = None


class _Counts(msgspec.Struct):
    counts: list[_Count] = []


def read(socket: str, store: str, *, name: str, versions: Mapping[str, str]) -> NodeStatus:
    """Ask agent and store; that one of them is silent is part of the answer. ``name``: where no agent says it."""
    errors: dict[str, str] = {}
    agent: dict[str, object] | None = None
    rows: tuple[routes.PathRow, ...] = ()
    policy: Policy | None = None
    bgp: Sessions | None = None
    unreachable = False
    try:
        agent = msgspec.json.decode(ask.agent(socket, "status"), type=dict[str, object])
        rows = routes.read_paths(socket).paths
        policy = _policy(ask.agent(socket, "policy"))
        bgp = bgp_sessions.read(ask.agent(socket, "bgp"))
    except CloudnetError as error:
        errors["agent"] = str(error)
        unreachable = isinstance(error, AgentUnreachable)
    except msgspec.MsgspecError as error:
        errors["agent"] = f"its answer is not understood ({error}): are agent and command of one version?"
    node = str((agent or {}).get("node") or name)
    addresses, condition = _stored(store, node, errors)
    return NodeStatus(
        node=node,
        ready=bool((agent or {}).get("ready")),
        agent=agent,
        paths=dict(sorted(Counter(row.kind for row in rows).items())),
        why=dict(sorted(Counter(row.reason for row in rows if row.kind not in _BETTER).items())),
        addresses=addresses,
        policy=policy,
        bgp=bgp,
        condition=condition,
        versions=versions,
        errors=errors,
        unreachable=unreachable,
    )


def _policy(line: bytes) -> Policy:
    counts = msgspec.json.decode(line, type=_Counts).counts
    decided: Counter[str] = Counter()
    for one in counts:
        if one.traffic and one.traffic.packets and not one.staged:
            decided[one.action] += one.traffic.packets
    return Policy(len({(one.kind, one.namespace, one.name) for one in counts}), dict(sorted(decided.items())))


def _stored(store: str, node: str, errors: dict[str, str]) -> tuple[Addresses | None, str]:
    try:
        with ask.store(store) as opened:
            rows = report.usage(picture.take(opened), each_block=True)
            mine = [row for row in rows if row.grouping == "block" and row.node == node]
            try:
                said = opened.get(NodeCondition, node).value
                condition = f"{'ready' if said.ready else 'not ready'}: {said.message or said.reason}"
            except NotFound:
                condition = ""
            return Addresses(len(mine), sum(r.in_use for r in mine), sum(r.total for r in mine)), condition
    except CloudnetError as error:
        errors["store"] = str(error)
        return None, ""


def words(status: NodeStatus) -> dict[str, object]:
    """Return what to print, by heading."""
    agent = status.agent or {}
    fields: dict[str, object] = {"node": status.node or "not known"}
    fields["agent"] = "ready" if status.ready else agent.get("message") or "not ready" if agent else "does not answer"
    if agent.get("store_problem"):
        fields["agent's store"] = agent["store_problem"]
    known = agent.get("node_addresses")
    if isinstance(known, Mapping):
        fields |= {f"own {family} address": text for family, text in known.items()}
    fields |= {f"paths {kind}": number for kind, number in status.paths.items()}
    for reason, number in status.why.items():
        meaning = routes.REASONS.get(reason, "a reason that this version does not know")
        fields[f"not native ({reason})"] = f"{number}: {meaning}"
    if status.addresses is not None:
        seen = status.addresses
        fields["addresses"] = f"{seen.in_use} of {seen.total} in use, in {seen.blocks} blocks"
    if status.policy is not None:
        decided = ", ".join(f"{number} {verdict}" for verdict, number in status.policy.decided.items())
        fields["policy"] = f"{status.policy.policies} in force; {decided or 'nothing decided yet'}"
    if status.bgp is not None:
        fields |= bgp_sessions.words(status.bgp)
    if status.condition:
        fields["network, says the controller"] = status.condition
    fields |= {f"{name} version": version for name, version in status.versions.items()}
    fields |= {f"{name} unreachable": reason for name, reason in status.errors.items()}
    return fields
