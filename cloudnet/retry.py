"""Try again, politely: the only user of tenacity.

An error that says ``retry`` is tried again until ``deadline`` seconds after the first attempt; every other error
leaves at once. Waits have full jitter (anything from nothing to a bound that doubles), and are never shorter than
the ``retry_after`` that the other side named. Time and randomness are arguments.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import tenacity

from cloudnet.clock import Clock
from cloudnet.errors import CloudnetError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Bounds of the wait before each further attempt, in seconds: ``first``, doubling up to ``limit``."""

    first: float = 0.2
    limit: float = 5.0

    def bound(self, failures: int) -> float:
        """Return the longest wait after that many failures in a row; the first failure counts 1."""
        return float(min(self.limit, self.first * 2.0 ** min(failures - 1, 60)))


@dataclass(frozen=True, slots=True)
class Retry:
    """A way of trying again. ``deadline`` is seconds for all attempts together; 0 means one attempt."""

    clock: Clock
    rng: random.Random
    deadline: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)

    def call(self, function: Callable[[], T], *, deadline: float | None = None) -> T:
        """Return what ``function`` returns, from the first attempt that does not ask to be retried.

        Raises:
            CloudnetError: the last attempt's own error, when another attempt would end after the deadline.
        """
        until = self.clock.now() + (self.deadline if deadline is None else deadline)

        def too_late(state: tenacity.RetryCallState) -> bool:
            return self.clock.now() + state.upcoming_sleep >= until

        def wait(state: tenacity.RetryCallState) -> float:
            bound = self.backoff.bound(state.attempt_number)
            return named_delay(state) + self.rng.uniform(0.0, bound)

        attempts = tenacity.Retrying(
            sleep=self.clock.sleep,
            stop=too_late,
            wait=wait,
            retry=tenacity.retry_if_exception(wants_retry),
            reraise=True,
        )
        return attempts(function)


def wants_retry(error: BaseException) -> bool:
    return isinstance(error, CloudnetError) and error.retry


def named_delay(state: tenacity.RetryCallState) -> float:
    """Return the ``retry_after`` of the failed attempt's error, 0 when it names none."""
    error = state.outcome.exception() if state.outcome else None
    return float(getattr(error, "retry_after", None) or 0.0)
