"""The streams of one watch: over one HTTP/2 connection where the API speaks it, each on a connection of its own else.

A connection that has no room, says good-bye or was made with another certificate takes no more streams, and is closed
with its last one. Requests that are no watches do not come here: they stay on the client's HTTP/1.1 connections
(docs/decisions/watches-over-http2.md).
"""

from __future__ import annotations

import logging
import ssl
import time
from typing import Final

from cloudnet.store import kubernetes_errors
from cloudnet.store.connection import Answer, Connection, Reading, begun
from cloudnet.store.http2 import PROTOCOL, SharedConnection
from cloudnet.store.kubernetes_client import Client, Request
from cloudnet.store.kubernetes_credentials import Certificate, Proof
from cloudnet.store.kubernetes_errors import Refused

log = logging.getLogger(__name__)

_PROTOCOLS: Final = (PROTOCOL, "http/1.1")  # what we speak, the one we like better first


class Streams:
    """Opens the streams of one watch. Not for two threads at once; a stream's ``shutdown`` may come from any."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._shared: list[tuple[Certificate | None, SharedConnection]] = []

    def open(self, request: Request) -> Reading:
        """Return a stream on which the answer to a watch has begun; same errors as ``Client.call``."""
        credentials = self._client.settings.credentials
        proof = credentials.current()
        try:
            return self._open(request, proof)
        except Refused as refused:
            other = credentials.renewed(proof) if refused.code == kubernetes_errors.UNAUTHORIZED else None
            if other is None:
                raise
            return self._open(request, other)

    @property
    def due_at(self) -> float:
        """When ``look`` has something to do, in monotonic seconds."""
        return min((shared.due_at for _, shared in self._shared), default=float("inf"))

    def look(self) -> None:
        """See whether shared connections live; the streams of one that does not end."""
        for _, shared in self._shared:
            shared.look()

    def close(self) -> None:
        """Close all shared connections, with their streams."""
        for _, shared in self._shared:
            shared.close()
        self._shared = []

    # --- inside -------------------------------------------------------------------------------------------

    def _open(self, request: Request, proof: Proof) -> Reading:
        try:
            found = self._ask(request, proof)
        except OSError as error:
            raise self._client.nobody(error) from error
        if isinstance(found, Answer):
            raise kubernetes_errors.read(found.status, found.body, found.retry_after)
        return found

    def _ask(self, request: Request, proof: Proof) -> Reading | Answer:
        """Ask on a connection that is there, and on a new one if that comes to nothing."""
        shared = self._with_room(proof.certificate)
        if shared is not None:
            try:
                return self._on(shared, request, proof)
            except TimeoutError:
                raise
            except OSError as error:
                log.debug("a connection takes no more streams reason=%r", str(error))
        sock, settings = self._client.connect(proof, protocols=_PROTOCOLS), self._client.settings
        if not (isinstance(sock, ssl.SSLSocket) and sock.selected_alpn_protocol() == PROTOCOL):
            path, headers, deadline = self._client.path(request), self._client.headers(proof), self._deadline()
            alone = Connection(sock, settings.endpoint)
            return begun(alone, lambda c: c.open_reading(path, headers, deadline=deadline))
        waits = {"ping_after": settings.ping_after, "pong_within": settings.pong_within}
        shared = SharedConnection(sock, settings.endpoint, **waits)
        self._shared.append((proof.certificate, shared))
        return self._on(shared, request, proof)

    def _with_room(self, certificate: Certificate | None) -> SharedConnection | None:
        kept = []
        for made_with, shared in self._shared:
            if shared.is_used or (made_with == certificate and shared.has_room):
                kept.append((made_with, shared))
            else:
                shared.close()
        self._shared = kept
        return next((shared for made_with, shared in kept if made_with == certificate and shared.has_room), None)

    def _on(self, shared: SharedConnection, request: Request, proof: Proof) -> Reading | Answer:
        client = self._client
        return shared.open(client.path(request), client.headers(proof), deadline=self._deadline())

    def _deadline(self) -> float:
        return time.monotonic() + self._client.settings.timeout
