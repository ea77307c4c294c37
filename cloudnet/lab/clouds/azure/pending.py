"""Long-running operations and the locks that they hold. Takes the time as an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from cloudnet.lab.clouds.azure.bodies import Json


@dataclass(slots=True)
class Operation:
    """One operation. ``holds`` is the resource that no other write may touch until it ends."""

    id: str
    namespace: str
    holds: str
    ends_at: float
    error: Json | None = None
    undo: Callable[[], None] = field(default=lambda: None)


class Operations:
    """All operations of the account, by id."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._by_id: dict[str, Operation] = {}
        self._holders: dict[str, Operation] = {}
        self.newest: Operation | None = None

    def start(self, namespace: str, holds: str, undo: Callable[[], None], *, now: float) -> Operation:
        made = Operation(str(uuid4()), namespace, holds.lower(), now + self.seconds, undo=undo)
        self._by_id[made.id] = self._holders[made.holds] = self.newest = made
        return made

    def held(self, resource: str, *, now: float) -> float:
        """Return the seconds until a resource may be written again; 0 when it may be now."""
        holder = self._holders.get(resource.lower())
        return max(0.0, holder.ends_at - now) if holder else 0.0

    def status(self, operation: str, *, now: float) -> Json | None:
        """Return what an operation's URL answers; nothing when there is no such operation."""
        found = self._by_id.get(operation)
        if found is None:
            return None
        done = now >= found.ends_at
        body: Json = {"status": ("Failed" if found.error else "Succeeded") if done else "InProgress"}
        if done and found.error:
            body["error"] = found.error
        if found.namespace == "Microsoft.Compute":
            body = {"startTime": "2001-02-03T04:05:06Z", **body, "name": found.id}
            if done:
                body["endTime"] = "2001-02-03T04:05:06Z"
        return body
