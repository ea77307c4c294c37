"""How many routes fit into a table: the account's quota, less what prefix lists take. Read rarely, kept for long."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cloudnet.clock import Clock
from cloudnet.model.addresses import Family, family
from cloudnet.provider.api import RouteTable
from cloudnet.provider.errors import ProviderError
from cloudnet_aws.client import Client

log = logging.getLogger(__name__)

UNKNOWN_LIST = 55  # entries: the most that a list managed by AWS counts (CloudFront's), for lists that tell nothing
ASK_AGAIN = 60.0  # seconds that a quota stays true while it matters: a table is nearly full, or it could not be read
NEARLY = 0.9  # of the limit: somebody may just be having it raised


@dataclass(frozen=True, slots=True)
class PrefixList:
    """What one prefix list counts against a table; without ``family`` it may be either."""

    entries: int = UNKNOWN_LIST
    family: Family | None = None


class Limits:
    """The account's quota of routes a table and the sizes of prefix lists, each kept for ``keep`` seconds."""

    def __init__(self, client: Client, clock: Clock, *, fallback: int, keep: float) -> None:
        self._client = client
        self._clock = clock
        self._keep = keep
        self._quota = fallback
        self._quota_until = clock.now()
        self._lists: dict[str, PrefixList] = {}
        self._lists_until = clock.now()

    def quota(self) -> int:
        """Return the routes of one family that fit into a table; the configured number until AWS told its own."""
        now = self._clock.now()
        if now >= self._quota_until:
            try:
                self._quota = self._client.routes_quota()
                self._quota_until = now + self._keep
            except ProviderError as error:
                self._quota_until = now + (ASK_AGAIN if error.retry else self._keep)
                log.warning("cannot read the quota of routes per table, going on with %d: %s", self._quota, error)
        return self._quota

    def watch(self, tables: Iterable[RouteTable]) -> None:
        """Ask again sooner while one of these is nearly full, so that a raised quota is seen soon."""
        if any(used(t, f) >= NEARLY * limit for t in tables for f, limit in t.limits.items()):
            self._quota_until = min(self._quota_until, self._clock.now() + ASK_AGAIN)

    def forget(self) -> None:
        """Ask again at the next look: a write has just met a limit."""
        self._quota_until = self._clock.now()

    def lists(self, ids: Collection[str]) -> Mapping[str, PrefixList]:
        """Return ``{prefix list id: what it counts}`` of all ``ids``; one call for those not seen lately."""
        now = self._clock.now()
        if now >= self._lists_until:
            self._lists.clear()
            self._lists_until = now + self._keep
        missing = sorted(set(ids) - self._lists.keys())
        if missing:
            self._lists |= self._ask(missing)
        return MappingProxyType(self._lists)

    def _ask(self, ids: list[str]) -> dict[str, PrefixList]:
        found = dict.fromkeys(ids, PrefixList())
        try:
            answers = self._client.prefix_lists(ids)
        except ProviderError as error:
            log.warning("cannot read prefix lists, counting %d entries for each: %s", UNKNOWN_LIST, error)
            return found
        for answer in answers:
            of = {"IPv4": Family.IPV4, "IPv6": Family.IPV6}.get(answer.get("AddressFamily", ""))
            found[answer["PrefixListId"]] = PrefixList(answer.get("MaxEntries") or UNKNOWN_LIST, of)
        return found


def used(table: RouteTable, of: Family) -> int:
    return sum(family(route.destination) is of for route in table.routes)
