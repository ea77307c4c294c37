"""How a cloud says no, by what the caller does about it.

    ProviderError
    ├── Throttled          wait ``retry_after`` and slow everybody down
    ├── Unavailable        the cloud is broken or out of reach: try again later
    ├── QuotaExceeded      leave these destinations on VXLAN, try again slowly
    │   └── Exhausted      the subnet has no such addresses: take smaller pieces, or addresses of a pool
    ├── PermissionDenied   leave what is there alone, name the missing permission
    ├── Conflict           read again, find out whose it is
    ├── NotFound           the thing is gone: for a delete that is success
    └── Unsupported        this cloud or this machine cannot do it, ever

Each keeps the cloud's own code, message and request id. Adapters classify on the HTTP status first, then on
the family of the code, so that a code nobody has seen yet still lands in the right class.
"""

from __future__ import annotations

from typing import ClassVar

from cloudnet.errors import CloudnetError
from cloudnet.model.resources import Cause


class ProviderError(CloudnetError):
    """A cloud call failed."""

    cause_word: ClassVar[Cause] = Cause.UNAVAILABLE

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        code: str = "",
        request_id: str = "",
        status: int = 0,
        retry_after: float | None = None,
    ) -> None:
        suffix = ", ".join(
            part for part in (f"code {code}" if code else "", f"request {request_id}" if request_id else "") if part
        )
        super().__init__(f"{provider}: {message} ({suffix})" if suffix else f"{provider}: {message}")
        self.provider = provider
        self.code = code
        self.request_id = request_id
        self.status = status
        self.retry_after = retry_after


class Throttled(ProviderError):
    """Too many calls; ``retry_after`` is the cloud's wish in seconds, where it named one."""

    retry = True
    cause_word = Cause.THROTTLED


class Unavailable(ProviderError):
    """The cloud is broken, slow beyond the deadline, or out of reach; nobody knows whether a write happened."""

    retry = True
    cause_word = Cause.UNAVAILABLE


class QuotaExceeded(ProviderError):
    """A limit of the account, the table or the interface is reached."""

    cause_word = Cause.QUOTA


class Exhausted(QuotaExceeded):
    """The subnet has no such prefix, or no address at all, left: it is fragmented or full."""

    cause_word = Cause.EXHAUSTED


class PermissionDenied(ProviderError):
    """The credentials are wrong, expired, or lack a permission."""

    cause_word = Cause.PERMISSION


class Conflict(ProviderError):
    """Something else stands where we wanted to write, or changed between our read and our write."""

    cause_word = Cause.CONFLICT


class NotFound(ProviderError):
    """The table, route, interface or instance does not exist."""

    cause_word = Cause.NOT_FOUND


class Unsupported(ProviderError):
    """The request can never work here: wrong shape, wrong machine type, missing ability."""

    cause_word = Cause.UNSUPPORTED
