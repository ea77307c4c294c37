"""A simulated cloud's API: the same core for every cloud that speaks JSON over HTTP.

It has no endpoint of its own: the calls come from a ``Contract``. A request that the contract does not know, an
answer whose status it does not know, and whatever a test's ``judge`` finds are *violations*, and a test that made one
fails. What the calls do is the cloud's ``Handler``; how it refuses is its ``Dialect``. Requests are handled one at a
time, faults first, then the meter, then identity and permission, then the handler.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from cloudnet.clock import Clock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.contract import Contract, Endpoint
from cloudnet.lab.clouds.trouble import Fault, Faults, Trouble
from cloudnet.provider.budget import Bucket, TokenBucket


def _empty() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """One call. ``parameters`` are the values of the path's template; names of headers are in small letters."""

    call: str
    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=_empty, hash=False)
    query: Mapping[str, str] = field(default_factory=_empty, hash=False)
    headers: Mapping[str, str] = field(default_factory=_empty, hash=False)
    body: Any = None  # parsed JSON, whatever came
    outsider: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. ``raw`` replaces the JSON of ``body``.

    ``lost``: the connection ends without it. ``slow`` is how many seconds the body takes.
    """

    status: int = 200
    body: Any = None  # JSON
    headers: Mapping[str, str] = field(default_factory=_empty, hash=False)
    raw: bytes | None = None
    lost: bool = False
    slow: float = 0.0

    @property
    def payload(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return b"" if self.body is None else json.dumps(self.body).encode()


Handler: TypeAlias = Callable[[Request], Answer]
"""Carries a call out on the cloud's state."""

Judge: TypeAlias = Callable[[Request, Answer], Iterable[str]]
"""Holds a call against the vendor's description and returns what is wrong with it; empty when nothing is."""


class Dialect(Protocol):
    """How one cloud says what every cloud says."""

    def refuse(self, request: Request, fault: Fault) -> Answer:
        """Return the cloud's answer to a call that meets a refusal: its status, its code, its shape of body."""

    def credential(self, request: Request) -> str:
        """Return what identifies the caller; empty when there is nothing."""

    def operation_failed(self, request: Request, answer: Answer, fault: Fault) -> Answer:
        """Let the operation that an accepted call started end in failure, and undo what it did."""


@dataclass(slots=True)
class _Meter:
    """The buckets that calls are paid from."""

    limits: Mapping[str, Bucket]
    buckets: dict[str, TokenBucket] = field(default_factory=dict)

    def wait(self, endpoint: Endpoint, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        limit = self.limits.get(endpoint.bucket)
        if limit is None:
            return 0.0
        bucket = self.buckets.setdefault(endpoint.bucket, TokenBucket(limit, now))
        return 0.0 if bucket.take(now) else bucket.wait(now)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the account as it ended."""

    name: str
    path: str
    status: int
    at: float


class Simulator:
    """One cloud's API. ``conditions`` and ``faults`` may change at any time."""

    def __init__(
        self,
        contract: Contract,
        handler: Handler,
        dialect: Dialect,
        *,
        clock: Clock,
        limits: Mapping[str, Bucket] = MappingProxyType({}),
        conditions: Conditions = Conditions(),  # noqa: B008 - a frozen value
        judge: Judge | None = None,
    ) -> None:
        self.conditions = conditions
        self.faults = Faults()
        self.judge = judge
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.log: list[Call] = []
        """Calls of the account, in order; outsiders' are not here."""
        self._contract = contract
        self.handler = handler
        self._dialect = dialect
        self._clock = clock
        self._meter = _Meter(limits)
        self.lock = threading.RLock()
        """Held while a call is carried out; whoever looks at the cloud's state takes it too."""

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes, *, outsider: bool) -> Answer:
        """Answer one HTTP request; ``target`` is the path with its query."""
        parts = urlsplit(target)
        found = self._contract.match(method, parts.path)
        if found is None:
            return self._violated(f"{method} {parts.path} is no call of the contract")
        endpoint, parameters = found
        try:
            parsed = json.loads(body) if body else None
        except ValueError:
            return self._violated(f"{endpoint.name} has a body that is no JSON")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if wrong := {k: v for k, v in endpoint.query.items() if query.get(k) != v}:
            return self._violated(f"{endpoint.name} needs {wrong} in its query, found {query}")
        request = Request(
            call=endpoint.name,
            method=method,
            path=parts.path,
            parameters=parameters,
            query=query,
            headers={name.lower(): value for name, value in headers.items()},
            body=parsed,
            outsider=outsider,
        )
        with self.lock:
            answer = self._answer(endpoint, request)
            self._check(endpoint, request, answer)
        return answer

    def _violated(self, what: str) -> Answer:
        self.violations.append(what)
        return Answer(501, {"error": {"code": "ContractViolation", "message": what}})

    def _answer(self, endpoint: Endpoint, request: Request) -> Answer:
        if request.outsider:
            return self.handler(request)
        self.counts[request.call] += 1
        fault = self.faults.hit(request.call, request.path)
        answer = self._admitted(endpoint, request, fault)
        self.log.append(Call(request.call, request.path, answer.status, self._clock.now()))
        return answer

    def _admitted(self, endpoint: Endpoint, request: Request, fault: Fault | None) -> Answer:
        """Answer a call of the account: refused by a fault, the meter, a condition, or carried out."""
        if fault and fault.trouble not in _AFTERWARDS:
            return self._dialect.refuse(request, fault)
        if refusal := self._refusal(endpoint, request):
            return self._dialect.refuse(request, refusal)
        answer = self.handler(request)
        return self._spoilt(request, answer, fault) if fault else answer

    def _refusal(self, endpoint: Endpoint, request: Request) -> Fault | None:
        now, rules = self._clock.now(), self.conditions
        if rules.api == "unavailable":
            return Fault(request.call, Trouble.UNAVAILABLE)
        if rules.throttled:
            return Fault(request.call, Trouble.THROTTLE, retry_after=rules.retry_after)
        if wait := self._meter.wait(endpoint, now):
            return Fault(request.call, Trouble.THROTTLE, retry_after=wait)
        if rules.keys and self._dialect.credential(request) not in rules.keys:
            return Fault(request.call, Trouble.AUTHENTICATION)
        return Fault(request.call, Trouble.PERMISSION) if request.call in rules.denied else None

    def _spoilt(self, request: Request, answer: Answer, fault: Fault) -> Answer:
        """Return what becomes of the answer to a call that was carried out."""
        if fault.trouble is Trouble.OPERATION_FAILED:
            return self._dialect.operation_failed(request, answer, fault)
        if fault.trouble is Trouble.TIMEOUT:
            return replace(answer, lost=True)
        if fault.trouble is Trouble.SLOW:
            return replace(answer, slow=fault.seconds)
        page = b"<html><body>502 from a proxy that took itself for a cloud</body></html>"
        return Answer(200, headers={"Content-Type": "text/html"}, raw=page)

    def _check(self, endpoint: Endpoint, request: Request, answer: Answer) -> None:
        if answer.raw is not None:  # garbage on purpose
            return
        if answer.status < 400 and answer.status not in endpoint.statuses:  # noqa: PLR2004 - HTTP's errors
            self.violations.append(f"{endpoint.name} answers {answer.status}, the contract knows {endpoint.statuses}")
        if self.judge:
            self.violations.extend(f"{endpoint.name}: {found}" for found in self.judge(request, answer))


_AFTERWARDS = frozenset({Trouble.OPERATION_FAILED, Trouble.TIMEOUT, Trouble.GARBAGE, Trouble.SLOW})
