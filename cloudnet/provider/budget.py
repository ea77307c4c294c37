"""The call budget: how fast, at most, this program talks to one cloud.

``TokenBucket`` is the arithmetic, without a clock. ``Budget`` is what every call to a cloud goes through: one
bucket for reads and one for writes, additive increase and multiplicative decrease when the cloud throttles, one
hold for everybody when it names a Retry-After, and counters for each verb and outcome.

Every plugin brings the buckets that its cloud publishes; there is no default, because no number is right for two
clouds. Other callers of the account share them; the decrease finds what is left for us.
"""

from __future__ import annotations

import enum
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cloudnet.clock import Clock
from cloudnet.provider.errors import ProviderError, Throttled

T = TypeVar("T")

_NEARLY = 1e-9  # a token that rounding took away is still a token

DECREASE = 0.5  # what one throttled answer leaves of the rate
SLOWEST = 1 / 64  # of the full rate: less would look like an outage of our own
RECOVERY = 1 / 60  # of the full rate, won back each second: from half to full in half a minute


class Kind(enum.Enum):
    """The class of a call: clouds meter reads and writes apart."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A limit: ``burst`` calls at once, ``rate`` more a second."""

    rate: float
    burst: float


class TokenBucket:
    """A bucket and what is in it. ``now`` is monotonic seconds and never goes back."""

    __slots__ = ("_at", "_rate", "_tokens", "limit")

    def __init__(self, limit: Bucket, now: float) -> None:
        self.limit = limit
        self._tokens = limit.burst
        self._rate = limit.rate
        self._at = now

    @property
    def rate(self) -> float:
        """Tokens a second at the last look."""
        return self._rate

    @property
    def tokens(self) -> float:
        """What was in the bucket at the last look."""
        return self._tokens

    def wait(self, now: float) -> float:
        """Return the seconds until a token is there, 0 when one is."""
        self._fill(now)
        missing = 1.0 - self._tokens
        return 0.0 if missing <= _NEARLY else missing / self._rate

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        if self.wait(now) > 0.0:
            return False
        self._tokens = max(0.0, self._tokens - 1.0)
        return True

    def slow_down(self, now: float) -> None:
        """Empty the bucket and refill it half as fast; the full rate comes back bit by bit."""
        self._fill(now)
        self._tokens = 0.0
        self._rate = max(self._rate * DECREASE, self.limit.rate * SLOWEST)

    def _fill(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        step = self.limit.rate * RECOVERY
        climbing = min(passed, (self.limit.rate - self._rate) / step) if step else 0.0
        gained = self._rate * climbing + step * climbing * climbing / 2 + self.limit.rate * (passed - climbing)
        self._rate = min(self.limit.rate, self._rate + step * climbing)
        self._tokens = min(self.limit.burst, self._tokens + gained)


Observer = Callable[[str, str, float], None]
"""Called after each attempt with verb, outcome (``ok`` or the error's cause) and seconds."""


class Budget:
    """What all calls to one cloud may spend together. Safe to share between threads."""

    def __init__(self, clock: Clock, *, read: Bucket, write: Bucket, observe: Observer | None = None) -> None:
        self.observe = observe
        self.calls: Counter[tuple[str, str]] = Counter()
        """``{(verb, outcome): attempts}``, refused ones included."""
        self._clock = clock
        self._lock = threading.Lock()
        now = clock.now()
        self._buckets = {Kind.READ: TokenBucket(read, now), Kind.WRITE: TokenBucket(write, now)}
        self._hold_until = now

    def acquire(self, kind: Kind) -> None:
        """Wait until a call of that kind may be made, and pay for it."""
        while (wait := self._try(kind)) > 0.0:
            self._clock.sleep(wait)

    def throttled(self, kind: Kind, retry_after: float | None = None) -> None:
        """The cloud said: too fast. Slow that kind down; a named delay holds every call of both kinds."""
        with self._lock:
            now = self._clock.now()
            self._buckets[kind].slow_down(now)
            self._hold_until = max(self._hold_until, now + (retry_after or 0.0))

    def call(self, verb: str, kind: Kind, function: Callable[[], T]) -> T:
        """Make one attempt: wait for a token, call, count, and slow down if the cloud throttles.

        Raises:
            ProviderError: whatever ``function`` raised.
        """
        self.acquire(kind)
        started = self._clock.now()
        try:
            answer = function()
        except ProviderError as error:
            if isinstance(error, Throttled):
                self.throttled(kind, error.retry_after)
            self._count(verb, error.cause_word.value, self._clock.now() - started)
            raise
        self._count(verb, "ok", self._clock.now() - started)
        return answer

    def rate(self, kind: Kind) -> float:
        """Return the calls a second that the bucket refills with now; for metrics."""
        with self._lock:
            bucket = self._buckets[kind]
            bucket.wait(self._clock.now())
            return bucket.rate

    def _try(self, kind: Kind) -> float:
        """Take a token and return 0, or return the seconds to wait before trying again."""
        with self._lock:
            now = self._clock.now()
            bucket = self._buckets[kind]
            wait = max(self._hold_until - now, bucket.wait(now))
            if wait <= 0.0:
                bucket.take(now)
            return wait

    def _count(self, verb: str, outcome: str, seconds: float) -> None:
        with self._lock:
            self.calls[verb, outcome] += 1
        if self.observe is not None:
            self.observe(verb, outcome, seconds)
