"""Follow accepted writes until they are done: all of them together, by one filtered list for fifty.

A write that returns has only been accepted; whether it happened its operation tells later. Asking for each by itself
would cost as many reads as writes and, one after the other, minutes for a thousand routes.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudnet.clock import Clock
from cloudnet.provider.errors import ProviderError, Unavailable
from cloudnet.provider.refusals import Refusal
from cloudnet_gcp import wire
from cloudnet_gcp.client import Client
from cloudnet_gcp.errors import NAME, translate

FIRST_LOOK = 0.5  # seconds after the write
SLOWEST = 1.0  # second between looks, after ever longer ones
SLOWER = 1.5


class Followed:
    """Operations that are under way, with what each was for. ``timeout`` is seconds for each."""

    def __init__(self, client: Client, clock: Clock, *, timeout: float, secrets: Sequence[str] = ()) -> None:
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._secrets = secrets
        self._waiting: dict[wire.Operation, tuple[str, float]] = {}
        self._wait = FIRST_LOOK
        self._next = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, action: str, operation: wire.Operation) -> None:
        now = self._clock.now()
        if not self._waiting:
            self._wait, self._next = FIRST_LOOK, now + FIRST_LOOK
        self._waiting[operation] = (action, now + self._timeout)

    def due(self) -> bool:
        return bool(self._waiting) and self._clock.now() >= self._next

    def look(self, *, wait: bool) -> dict[str, ProviderError | None]:
        """Return ``{operation name: its failure}`` of those that ended; ``wait`` until the next look is due.

        A look that fails ends those that have no time left; the others are asked for again.
        """
        if wait:
            self._clock.sleep(self._next - self._clock.now())
        trouble: ProviderError | None = None
        ended: dict[str, ProviderError | None] = {}
        for zone in sorted({o.zone for o in self._waiting}):
            try:
                found = self._client.operations([o.name for o in self._waiting if o.zone == zone], zone=zone)
            except ProviderError as error:
                trouble = error
                continue
            ended |= {o.name: self._failure(o) for o in found if o.done}
        ended |= self._given_up(trouble, ended)
        self._waiting = {o: kept for o, kept in self._waiting.items() if o.name not in ended}
        self._wait = min(SLOWEST, self._wait * SLOWER)
        self._next = self._clock.now() + self._wait
        return ended

    def _failure(self, operation: wire.Operation) -> ProviderError | None:
        if operation.failure is None:
            return None
        action = next((a for o, (a, _) in self._waiting.items() if o.name == operation.name), "compute")
        why = operation.failure
        refusal = Refusal(action, why.status, why.code, why.message, request_id=operation.name)
        return translate(refusal, secrets=self._secrets)

    def _given_up(
        self, trouble: ProviderError | None, ended: dict[str, ProviderError | None]
    ) -> dict[str, ProviderError | None]:
        """Return those of which nothing more will be known; all when their list is refused for good."""
        now = self._clock.now()
        for_good = trouble is not None and not trouble.retry
        return {
            o.name: trouble if for_good else _unfinished(o, action, self._timeout)
            for o, (action, until) in self._waiting.items()
            if o.name not in ended and (for_good or now >= until)
        }


def _unfinished(operation: wire.Operation, action: str, timeout: float) -> Unavailable:
    return Unavailable(
        f"{action} was accepted but not done after {timeout:g} s: the next read shows what became of it",
        provider=NAME,
        request_id=operation.name,
    )


def finish(followed: Followed) -> dict[str, ProviderError | None]:
    """Follow everything to its end; return ``{operation name: its failure}``."""
    ended: dict[str, ProviderError | None] = {}
    while len(followed):
        ended |= followed.look(wait=True)
    return ended
