"""Requests to an etcd cluster through its JSON gateway: which member, as which user, and what its errors mean.

The gateway is part of every etcd since 3.4 (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/); ``etcd_wire`` has
its messages.

* Members are asked in turn, beginning with the one that answered last. A request that may have been carried out
  although no answer came is asked again only when that does no harm; a write is not.
* Every request says ``hasleader``: a member that lost its quorum refuses at once instead of waiting.
* A token lives about five minutes, and dies with the member that gave it: it is renewed when it is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from cloudnet.store import etcd_errors, records
from cloudnet.store.connection import Answer, Connection, Endpoint, begun, connect
from cloudnet.store.etcd_errors import Refused
from cloudnet.store.etcd_settings import Settings
from cloudnet.store.etcd_wire import AUTHENTICATE, Json, from_json, to_json

T = TypeVar("T")

_KEPT: Final = 8  # idle connections; more threads than that dial anew
_OK: Final = 200


class Client:
    """One user's requests to one cluster. Calls may come from any thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._logging_in = threading.Lock()
        self._idle: list[Connection] = []
        self._preferred = 0
        self._token: str | None = None  # empty where etcd asks for none
        self._closed = False

    def call(self, path: str, message: Json, *, repeatable: bool = True) -> Json:
        """Return the answer to a request.

        ``repeatable``: asking twice does no harm.

        Raises:
            StoreUnavailable: nobody answers, etcd does not let us, or whether a write was made is not known.
            Compacted: it is about a revision that is gone.
            BadInput: etcd takes no request that large.
        """
        body = to_json(message)
        answer = self._as_user(lambda: self._ask_in_turn(path, body, repeatable=repeatable))
        result: Json = from_json(answer.body)
        return result

    def open_stream(self, path: str, *messages: Json) -> Connection:
        """Return a connection on which a two-way request has begun; same errors."""
        bodies = [to_json(message) for message in messages]
        return self._as_user(lambda: self._open_in_turn(path, bodies))

    def avoid(self, endpoint: Endpoint) -> None:
        """Begin with another member from now on."""
        endpoints = self.settings.endpoints
        if endpoints[self._preferred] == endpoint:
            self._preferred = (self._preferred + 1) % len(endpoints)

    def renew_token(self) -> bool:
        """Forget the token; tell whether there will be another."""
        self._token = None
        return bool(self.settings.username)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # --- which member -----------------------------------------------------------------------------------

    def _ask_in_turn(self, path: str, body: bytes, *, repeatable: bool) -> Answer:
        problems: list[str] = []
        for endpoint in self._in_turn():
            try:
                connection = self._take(endpoint)
            except OSError as error:
                problems.append(etcd_errors.unreachable(endpoint, error))
                continue
            try:
                answer = self._exchange(connection, path, body)
            except OSError as error:
                problems.append(etcd_errors.unreachable(endpoint, error))
                if repeatable:
                    continue
                raise etcd_errors.uncertain(problems[-1]) from error
            if not self._is_elsewhere(endpoint, answer, problems, repeatable=repeatable):
                return answer
        raise etcd_errors.nobody_answers(problems)

    def _exchange(self, connection: Connection, path: str, body: bytes) -> Answer:
        deadline = time.monotonic() + self.settings.timeout
        try:
            answer = connection.request(path, self._headers(path), body, deadline=deadline)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection, reusable=answer.reusable)
        return answer

    def _open_in_turn(self, path: str, messages: Sequence[bytes]) -> Connection:
        problems: list[str] = []
        for endpoint in self._in_turn():
            try:
                opened = self._open(endpoint, path, messages)
            except OSError as error:
                problems.append(etcd_errors.unreachable(endpoint, error))
                continue
            if isinstance(opened, Connection):
                return opened
            self._is_elsewhere(endpoint, opened, problems, repeatable=True)
        raise etcd_errors.nobody_answers(problems)

    def _open(self, endpoint: Endpoint, path: str, messages: Sequence[bytes]) -> Connection | Answer:
        connection = self._dial(endpoint)
        deadline = time.monotonic() + self.settings.timeout
        return begun(connection, lambda c: c.open_stream(path, self._headers(path), *messages, deadline=deadline))

    def _in_turn(self) -> Iterator[Endpoint]:
        """Go through the members, beginning with the one that answered last; stop when we are closed."""
        endpoints, first = self.settings.endpoints, self._preferred
        for i in range(len(endpoints)):
            if self._closed:
                raise records.closed("store")
            self._preferred = (first + i) % len(endpoints)
            yield endpoints[self._preferred]

    def _is_elsewhere(self, endpoint: Endpoint, answer: Answer, problems: list[str], *, repeatable: bool) -> bool:
        """Tell whether another member should be asked; raise what no member would answer otherwise."""
        if answer.status == _OK:
            return False
        refused = etcd_errors.read(answer.status, answer.body)
        if not refused.is_of_one_member:
            raise refused
        if refused.may_be_done and not repeatable:
            raise etcd_errors.uncertain(f"{endpoint}: {refused.message}")
        problems.append(f"{endpoint}: {refused.message}")
        return True

    # --- connections ------------------------------------------------------------------------------------

    def _take(self, endpoint: Endpoint) -> Connection:
        with self._lock:
            found = [connection for connection in self._idle if connection.endpoint == endpoint]
            for connection in found:
                self._idle.remove(connection)
                if not connection.is_stale():
                    return connection
                connection.close()
        return self._dial(endpoint)

    def _dial(self, endpoint: Endpoint) -> Connection:
        settings = self.settings
        return Connection(connect(endpoint, settings.context(), timeout=settings.connect_timeout), endpoint)

    def _give_back(self, connection: Connection, *, reusable: bool) -> None:
        with self._lock:
            if reusable and not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    # --- the user ---------------------------------------------------------------------------------------

    def _as_user(self, ask: Callable[[], T]) -> T:
        """Ask with a token; with another one when this is refused, which means that nothing was done."""
        used = self._login("") if self._token is None else self._token
        try:
            return ask()
        except Refused as refused:
            if not (refused.is_about_token and self.settings.username):
                raise etcd_errors.explain(refused, self.settings.username) from refused
        self._login(used)
        try:
            return ask()
        except Refused as refused:
            raise etcd_errors.explain(refused, self.settings.username) from refused

    def _login(self, refused: str) -> str:
        """Return a token other than the refused one; empty where etcd asks for none."""
        with self._logging_in:
            if self._token is None or self._token == refused:
                self._token = self._new_token() if self.settings.username else ""
            return self._token

    def _new_token(self) -> str:
        body = to_json({"name": self.settings.username, "password": self.settings.password})
        try:
            answer = self._ask_in_turn(AUTHENTICATE, body, repeatable=True)
        except Refused as refused:
            if refused.says("authentication is not enabled"):
                return ""
            raise etcd_errors.explain(refused, self.settings.username) from refused
        token: str = from_json(answer.body)["token"]
        return token

    def _headers(self, path: str) -> list[str]:
        headers = ["Grpc-Metadata-hasleader: true"]
        if self._token and path != AUTHENTICATE:
            headers.append(f"Authorization: {self._token}")
        return headers
