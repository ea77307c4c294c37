"""What a simulated cloud does wrong on purpose: faults that hit calls by name, some times, after some calls. Pure.

A cloud's ``Dialect`` turns the refusals into its own status, code and body; what happens below HTTP (a body of
garbage, a slow one, an answer that is lost after the deed) is alike everywhere.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase


class Trouble(enum.Enum):
    """What happens to a call."""

    THROTTLE = "throttle"
    PERMISSION = "permission"
    AUTHENTICATION = "authentication"  # the credential itself is not valid
    QUOTA = "quota"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    PRECONDITION = "precondition"
    UNAVAILABLE = "unavailable"  # 503
    INTERNAL = "internal"  # 500
    OPERATION_FAILED = "operation_failed"  # accepted, and the operation behind it fails
    TIMEOUT = "timeout"  # carried out, and the answer is lost
    GARBAGE = "garbage"  # carried out or not, a proxy's page comes back with status 200
    SLOW = "slow"  # the body comes in bits


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault. ``calls`` is a name of the contract, or a pattern of them (``Routes_*``).

    ``times`` is how often it still hits, ``None`` for good; ``skip`` how many calls pass before. ``code`` replaces
    the cloud's own code. ``retry_after`` and ``seconds`` (of a slow body) are seconds. ``only`` picks by path.
    """

    calls: str
    trouble: Trouble
    times: int | None = None
    skip: int = 0
    code: str = ""
    retry_after: float | None = None
    seconds: float = 5.0
    only: Callable[[str], bool] | None = None


class Faults:
    """The faults of one cloud, the oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self, calls: str = "*") -> None:
        """Forget the faults of calls that fit a pattern."""
        self._faults = [fault for fault in self._faults if not fnmatchcase(fault.calls, calls)]

    def hit(self, call: str, path: str) -> Fault | None:
        """Return the first fault that a call meets now, and count it."""
        for at, fault in enumerate(self._faults):
            if not fnmatchcase(call, fault.calls) or fault.times == 0 or (fault.only and not fault.only(path)):
                continue
            if fault.skip:
                self._faults[at] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times is not None:
                self._faults[at] = replace(fault, times=fault.times - 1)
            return fault
        return None
