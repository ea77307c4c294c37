"""What the agent says on its Unix socket: paths, its state, what policy has let through, BGP sessions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from cloudnet.agent.owner import Agent
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput
from cloudnet.model.addresses import order
from cloudnet.model.paths import Path


def answer(config: AgentConfig, agent: Agent, request: Mapping[str, object]) -> object:
    """Answer one request on the Unix socket.

    Raises:
        BadInput: there is no such verb.
    """
    seen = agent.snapshot
    match request.get("verb"):
        case "paths":
            ordered = sorted(seen.paths, key=lambda path: order(path.block))
            return {"node": config.node, "paths": [spell(path) for path in ordered]}
        case "status":
            return {
                "node": config.node,
                "ready": not agent.not_ready(),
                "message": agent.not_ready(),
                "store_problem": agent.store_problem(),
                "node_addresses": dict(agent.node_addresses()),
                "pod_mtu": seen.mtu,
                "observed": seen.observed,
                "destinations": {f"{kind}/{reason}": n for (kind, reason), n in sorted(seen.kinds.items()) if n},
                "flaps": seen.flaps,
                "kernel_repairs": seen.repairs,
                "kernel_failures": seen.failures,
            }
        case "policy":
            return {"node": config.node, "counts": [asdict(count) for count in agent.policy_traffic()]}
        case "bgp":
            return {"node": config.node, **agent.bgp.answer()}
    raise BadInput(f"expected bgp, paths, policy or status, found {request.get('verb')!r}", path="verb")


def spell(path: Path) -> dict[str, object]:
    """Return a path as the socket spells it."""
    return {
        "block": str(path.block),
        "node": path.node,
        "kind": path.kind.value,
        "reason": path.reason.value,
        "next_hop": str(path.next_hop) if path.next_hop else None,
        "mtu": path.mtu,
        "detail": path.detail,
        "since": path.since,
    }
