"""The calls that this plugin makes to the router, one method each. Your SDK is imported in this file only.

Every attempt passes the call budget, and every failure leaves as one of ``cloudnet.provider.errors``.
"""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import msgspec

from cloudnet.clock import Clock
from cloudnet.provider.budget import Budget, Kind
from cloudnet.provider.errors import ProviderError, Unavailable
from cloudnet.provider.refusals import Refusal
from cloudnet.retry import Retry
from cloudnet_example import errors
from cloudnet_example.config import ExampleConfig

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the router tells of it."""

    name: str
    port: str
    segment: str
    addresses: tuple[str, ...]
    running: bool
    forwarding: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A route as the router tells of it: to a port, or to an uplink."""

    prefix: str
    port: str = ""
    uplink: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the router tells of it."""

    name: str
    segments: tuple[str, ...]
    limit: int
    routes: tuple[Entry, ...]


class Client:
    """The router. ``deadline`` is seconds for all attempts; ``None`` the configured one."""

    def __init__(self, config: ExampleConfig, *, clock: Clock, budget: Budget, rng: random.Random) -> None:
        self.budget = budget
        self._config = config
        self._retry = Retry(clock, rng, deadline=config.deadline)
        self._opener = build_opener(ProxyHandler({}))

    def machines(self) -> tuple[Machine, ...]:
        return self._read("ListMachines", "/machines", tuple[Machine, ...])

    def tables(self) -> tuple[Table, ...]:
        return self._read("ListTables", "/tables", tuple[Table, ...])

    def create_route(self, table: str, prefix: str, port: str, *, deadline: float | None) -> None:
        self._write("CreateRoute", "POST", f"/tables/{table}/routes", {"prefix": prefix, "port": port}, deadline)

    def replace_route(self, table: str, prefix: str, port: str, *, deadline: float | None) -> None:
        self._write("ReplaceRoute", "PUT", f"/tables/{table}/routes", {"prefix": prefix, "port": port}, deadline)

    def delete_route(self, table: str, prefix: str, *, deadline: float | None) -> None:
        self._write("DeleteRoute", "DELETE", f"/tables/{table}/routes", {"prefix": prefix}, deadline)

    def switch_forwarding_on(self, port: str) -> None:
        self._write("ChangePort", "PUT", f"/ports/{port}", {"forwarding": True}, None)

    def _read(self, call: str, path: str, kind: type[T]) -> T:
        def attempt() -> T:
            body = self._send(call, "GET", path, None)
            try:
                return msgspec.json.decode(body, type=kind)
            except msgspec.DecodeError as error:
                where = self._config.url
                raise Unavailable(
                    f"{call} was answered by something that is not the router, at {where}", provider=errors.NAME
                ) from error

        return self._call(call, Kind.READ, attempt, None)

    def _write(self, call: str, method: str, path: str, body: Mapping[str, object], deadline: float | None) -> None:
        self._call(call, Kind.WRITE, lambda: self._send(call, method, path, body), deadline)

    def _call(self, call: str, kind: Kind, attempt: Callable[[], T], deadline: float | None) -> T:
        return self._retry.call(lambda: self.budget.call(call, kind, attempt), deadline=deadline)

    def _send(self, call: str, method: str, path: str, body: Mapping[str, object] | None) -> bytes:
        """Send one request; return the body of the answer."""
        request = Request(  # noqa: S310  config.py allows http and https only
            self._config.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._config.token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=self._config.timeout) as answer:
                return bytes(answer.read())
        except HTTPError as error:
            with error:
                raise errors.translate(refusal(call, error)) from error
        except (URLError, OSError, http.client.HTTPException) as error:
            raise self._unreachable(call, error) from error

    def _unreachable(self, call: str, error: Exception) -> ProviderError:
        return Unavailable(
            f"{call} got no answer from {self._config.url}: check the network and url ({type(error).__name__})",
            provider=errors.NAME,
        )


def refusal(call: str, error: HTTPError) -> Refusal:
    """Return the parts of an error answer that we act on."""
    try:
        message = str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        message = str(error.reason)
    after = error.headers.get("Retry-After", "")
    return Refusal(
        call,
        status=error.code,
        message=message,
        request_id=error.headers.get("Request-Id", ""),
        retry_after=float(after) if after.isdecimal() else None,
    )
