"""NodeCondition shown where Kubernetes looks for it: ``NetworkUnavailable`` in the status of the Node. Pure.

The scheduler's taint follows from it (``node.kubernetes.io/network-unavailable``), so a node gets no pods before its
network is there. The controller is its one owner; what others say of it is replaced with the next verdict.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cloudnet.model.resources import NodeCondition
from cloudnet.model.wire import Json

TYPE: Final = "NetworkUnavailable"


def patch(condition: NodeCondition, now: str) -> Json:
    """Return the strategic merge patch of a Node's status; conditions are merged by their type."""
    since = datetime.fromtimestamp(condition.since, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "status": {
            "conditions": [
                {
                    "type": TYPE,
                    "status": "False" if condition.ready else "True",
                    "reason": condition.reason,
                    "message": condition.message,
                    "lastTransitionTime": since,
                    "lastHeartbeatTime": now,
                }
            ]
        }
    }
