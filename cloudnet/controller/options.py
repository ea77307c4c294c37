"""Settings of the route controller's loop, and how long both of the controller's loops wait after a failure. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cloudnet.controller.tables import growing
from cloudnet.provider.errors import ProviderError, Throttled, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long to wait after a failure, in seconds: the first time, and at most."""

    retry_first: float = 60.0  # quota, permission, conflict: a person has to act
    retry_limit: float = 600.0
    away_first: float = 1.0  # throttled or out of reach: the cloud comes back by itself
    away_limit: float = 30.0

    def bounds(self, error: ProviderError | None) -> tuple[float, float]:
        """Return the first wait after such an error, and the longest."""
        away = isinstance(error, Throttled | Unavailable)
        return (self.away_first, self.away_limit) if away else (self.retry_first, self.retry_limit)

    def wait_after(self, error: ProviderError | None, tries: int) -> float:
        """Return how long to wait after so many failures in a row, of which this is the last."""
        first, limit = self.bounds(error)
        return max(growing(first, limit, tries), (error.retry_after if error else None) or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Waits):
    """Settings of the loop; times are seconds."""

    resync: float = 900.0
    withdraw_timeout: float = 10.0
    every_route_in_every_table: bool = False
    headroom: int = 0
    debounce: float = 0.05  # events that come together are one plan, one look-up and one read-back
    rest_a_block: float = 0.0001  # a plan costs in proportion: events then wait, half a second with 5,000 blocks
    settle: float = 0.02  # outcomes of parallel batches that arrive together share one read-back
    verify_at_most: float = 10.0  # while batches go on and on, the ledger catches up this often
    lost_first: float = 1.0  # agents report a dead route: look soon, then ever more slowly
