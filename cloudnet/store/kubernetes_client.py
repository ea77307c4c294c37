"""Requests to a Kubernetes API: on kept connections, as whoever we are, patient where the API asks for patience.

* A request that may have been carried out although no answer came is asked again only when that does no harm.
* 429, and 503 with ``Retry-After``, mean that nothing was done (``apiserver/pkg/server/filters``): we ask again after
  the time that they name, for ``Settings.patience`` in all.
* A proof that is refused (401) is renewed once; nothing was done.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from cloudnet.store import kubernetes_errors, records
from cloudnet.store.connection import Answer, Connection, connect
from cloudnet.store.kubernetes_credentials import Proof
from cloudnet.store.kubernetes_settings import Settings

_KEPT: Final = 8  # idle connections; more threads than that dial anew
_AGENT: Final = "User-Agent: cloudnet"
_METHODS: Final = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
_MERGE_PATCH: Final = "application/merge-patch+json"
_STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
_PLEASE_WAIT: Final = frozenset({kubernetes_errors.TOO_MANY, 503})
_SHORTEST_WAIT: Final = 0.05  # seconds; some answer "Retry-After: 0"
_NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Request:
    """What we want of the API: a verb, as RBAC calls it, of a resource such as ``ippools.projectcalico.org``.

    ``strategic``: a patch merges lists as Kubernetes' own types say, instead of replacing them.
    """

    verb: str
    what: str
    path: str
    query: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    body: bytes = b""
    strategic: bool = False

    @property
    def content_type(self) -> str:
        if self.verb != "patch":
            return "application/json"
        return _STRATEGIC_PATCH if self.strategic else _MERGE_PATCH

    @property
    def is_reading(self) -> bool:
        return _METHODS[self.verb] == "GET"


class Client:
    """One user's requests to one API. Calls may come from any thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._idle: list[tuple[Proof, Connection]] = []

    def call(self, request: Request) -> bytes:
        """Return the answer to a request.

        Raises:
            Refused: it is about the object: 404, 409, 410 and 422; ``kubernetes_errors.explain`` says what it means.
            StoreUnavailable: the API does not answer, does not let us, or whether a write was made is not known.
        """
        answer = self._as_user(request)
        if answer.status < 300:  # noqa: PLR2004 - success
            return answer.body
        refused = kubernetes_errors.read(answer.status, answer.body, answer.retry_after)
        if refused.code in _ABOUT_OBJECT:
            raise refused
        if refused.code >= kubernetes_errors.BROKEN and not request.is_reading:
            raise kubernetes_errors.uncertain(f"{self.settings.endpoint}: {refused.status.message}")
        raise kubernetes_errors.explain(refused, request.verb, request.what)

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    # --- for streams -------------------------------------------------------------------------------------

    def connect(self, proof: Proof, *, protocols: Sequence[str] = ()) -> socket.socket:
        """Return a new socket; ``protocols`` are what the server may choose from, where TLS is spoken."""
        settings = self.settings
        return connect(
            settings.endpoint,
            settings.context(proof.certificate, protocols),
            timeout=settings.connect_timeout,
            server_name=settings.server_name,
            proxy=settings.proxy,
        )

    def nobody(self, error: OSError) -> Exception:
        return kubernetes_errors.nobody_answers(kubernetes_errors.unreachable(self.settings.endpoint, error))

    def path(self, request: Request) -> str:
        query = f"?{urlencode(request.query)}" if request.query else ""
        return f"{self.settings.path}{request.path}{query}"

    def headers(self, proof: Proof) -> list[str]:
        headers = [_AGENT, "Accept: application/json"]
        if proof.authorization:
            headers.append(f"Authorization: {proof.authorization}")
        return headers

    # --- asking -----------------------------------------------------------------------------------------

    def _as_user(self, request: Request) -> Answer:
        proof = self.settings.credentials.current()
        answer = self._patiently(request, proof)
        if answer.status != kubernetes_errors.UNAUTHORIZED:
            return answer
        other = self.settings.credentials.renewed(proof)
        return self._patiently(request, other) if other else answer

    def _patiently(self, request: Request, proof: Proof) -> Answer:
        until = time.monotonic() + self.settings.patience
        while True:
            answer = self._ask(request, proof)
            if answer.status not in _PLEASE_WAIT or answer.retry_after is None:
                return answer
            wait = max(answer.retry_after, _SHORTEST_WAIT)
            if time.monotonic() + wait > until:
                return answer
            if self._closing.wait(wait):
                raise records.closed("store")

    def _ask(self, request: Request, proof: Proof) -> Answer:
        """Ask on a connection, and once more on a new one where that does no harm."""
        for last in (False, True):
            try:
                connection = self._take(proof)
            except OSError as error:
                raise self.nobody(error) from error
            try:
                return self._exchange(connection, request, proof)
            except OSError as error:
                if not request.is_reading:
                    problem = kubernetes_errors.unreachable(self.settings.endpoint, error)
                    raise kubernetes_errors.uncertain(problem) from error
                if last or isinstance(error, TimeoutError):
                    raise self.nobody(error) from error
        raise AssertionError("the second try returns or raises")

    def _exchange(self, connection: Connection, request: Request, proof: Proof) -> Answer:
        deadline = time.monotonic() + self.settings.timeout
        try:
            answer = connection.request(
                self.path(request),
                self.headers(proof),
                request.body,
                deadline=deadline,
                method=_METHODS[request.verb],
                content_type=request.content_type,
            )
        except BaseException:
            connection.close()
            raise
        self._give_back(proof, connection, reusable=answer.reusable)
        return answer

    # --- connections ------------------------------------------------------------------------------------

    def _take(self, proof: Proof) -> Connection:
        """Return a connection that was made with the same certificate."""
        with self._lock:
            if self._closing.is_set():
                raise records.closed("store")
            while self._idle:
                made_with, connection = self._idle.pop()
                if made_with.certificate == proof.certificate and not connection.is_stale():
                    return connection
                connection.close()
        return Connection(self.connect(proof), self.settings.endpoint)

    def _give_back(self, proof: Proof, connection: Connection, *, reusable: bool) -> None:
        with self._lock:
            if reusable and not self._closing.is_set() and len(self._idle) < _KEPT:
                self._idle.append((proof, connection))
                return
        connection.close()


_ABOUT_OBJECT: Final = frozenset(
    {kubernetes_errors.NOT_FOUND, kubernetes_errors.CONFLICT, kubernetes_errors.GONE, kubernetes_errors.INVALID}
)
