"""How many static routes fit into the network: the project's quota. Read rarely, kept for long."""

from __future__ import annotations

import logging

from cloudnet.clock import Clock
from cloudnet.provider.errors import ProviderError
from cloudnet_gcp.client import Client

log = logging.getLogger(__name__)

DEFAULT = 300  # routes: what new projects are commonly given; no more is assumed where the quota cannot be read
ASK_AGAIN = 60.0  # seconds that a quota stays true while it matters: nearly used up, or it could not be read
NEARLY = 0.9  # of the limit: somebody may just be having it raised


class Limits:
    """The quota of static routes, kept for ``keep`` seconds; ``fixed`` overrides it where it is not 0.

    The quota that the API tells is the project's, for all its networks together. A limit on the network itself may
    be lower and is told nowhere in this API: it shows when a write meets it.
    """

    def __init__(self, client: Client, clock: Clock, *, fixed: int, keep: float) -> None:
        self._client = client
        self._clock = clock
        self._fixed = fixed
        self._keep = keep
        self._limit = DEFAULT
        self._elsewhere = 0  # routes of the project that other networks hold
        self._until = clock.now()

    def routes(self, held: int) -> int:
        """Return how many static routes this network may have, given that it holds ``held`` now."""
        if self._fixed:
            return self._fixed
        now = self._clock.now()
        if now >= self._until:
            self._ask(held, now)
        limit = max(0, self._limit - self._elsewhere)
        if held >= NEARLY * limit:
            self._until = min(self._until, now + ASK_AGAIN)
        return limit

    def forget(self) -> None:
        """Ask again at the next look: a write has just met a limit."""
        self._until = self._clock.now()

    def _ask(self, held: int, now: float) -> None:
        try:
            quota = self._client.routes_quota()
        except ProviderError as error:
            self._until = now + (ASK_AGAIN if error.retry else self._keep)
            log.warning("cannot read the quota of static routes, going on with %d: %s", self._limit, error)
            return
        self._until = now + self._keep
        if quota is None:
            self._limit, self._elsewhere = DEFAULT, 0
        else:
            self._limit, self._elsewhere = int(quota.limit), max(0, int(quota.usage) - held)
