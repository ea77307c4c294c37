"""The API server's HTTP side, its watches, and what can be made to go wrong with it.

with ApiServer() as api:
    api.install(crds)
    store = KubernetesStore(Client(api.settings()))
    api.faults.forbidden.add(("watch", "pods"))

Watches speak as ``apiserver/pkg/endpoints/handlers/watch.go`` does: chunks of JSON lines, a bookmark now and then
(``cacher.go``: every minute), an ``ERROR`` event with a ``Status`` where the past is gone, an end after
``timeoutSeconds``.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from cloudnet.store.connection import Endpoint
from cloudnet.store.kubernetes_credentials import Fixed, Proof
from cloudnet.store.kubernetes_settings import Settings
from cloudnet.testing.kube import discovery, rbac, status, table
from cloudnet.testing.kube.api import Api, is_asked_for
from cloudnet.testing.kube.faults import Faults
from cloudnet.testing.kube.objects import Json, Objects, Type
from cloudnet.testing.kube.status import Refusal

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# JSON is YAML, too, and the only YAML that is read here.
_APPLY = "application/apply-patch+yaml"
_PATCHES = {"application/merge-patch+json", "application/strategic-merge-patch+json", _APPLY}
_WRITES = {"create", "update", "patch"}
_REMEMBERED = 10_000


@dataclass(frozen=True)
class Seen:
    """A request as the server understood it."""

    verb: str
    what: str
    query: dict[str, str]


class ApiServer:
    """One API server, on a port of the loopback unless told; stopped and started again it has lost nothing."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keep: int = 10_000,
        namespaces: Iterable[str] = ("default", "cloudnet-system"),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self.objects = Objects(keep=keep)
        self.api = Api(self.objects)
        self.rights = rbac.Rights(self.objects)
        self.faults = Faults()
        self.seen: deque[Seen] = deque(maxlen=_REMEMBERED)
        self.host = host
        self.port = port
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None
        for name in namespaces:
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._http = _Http((self.host, self.port), self)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="api-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._http is None or self._thread is None:
            return
        self._http.shutdown()
        self._thread.join()
        self.drop_connections()
        self._http.server_close()
        self._http = self._thread = None

    def drop_connections(self) -> None:
        """Break every connection, watches included."""
        if self._http is not None:
            self._http.break_off()
        with self.objects.changed:
            self.objects.changed.notify_all()

    @property
    def is_serving(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def settings(self, **changes: Any) -> Settings:
        wanted: dict[str, Any] = {"credentials": Fixed(Proof()), "tls": False, "patience": 5.0, "timeout": 10.0}
        return Settings(Endpoint(self.host, self.port), **{**wanted, **changes})

    # --- what other clients do ----------------------------------------------------------------------------

    def create(self, document: Json) -> Json:
        """Create an object past HTTP, as another client would."""
        type_ = self._type_of(document)
        with self.objects.changed:
            return self.api.create(type_, document["metadata"].get("namespace", "default"), document)

    def renew(self, document: Json) -> Json:
        """Create an object in place of its namesake, if there is one."""
        with contextlib.suppress(Refusal):
            self.delete(document)
        return self.create(document)

    def delete(self, document: Json) -> None:
        """Delete an object, by the name in it."""
        type_, meta = self._type_of(document), document["metadata"]
        with self.objects.changed:
            self.api.delete(type_, meta.get("namespace", ""), meta["name"], {})

    def replace(self, document: Json) -> Json:
        """Write an object over its namesake, as ``kubectl replace`` does; what a definition defines stays."""
        type_, meta = self._type_of(document), document["metadata"]
        with self.objects.changed:
            return self.api.replace(type_, meta.get("namespace", ""), meta["name"], document)

    def patch(self, version: str, plural: str, name: str, patch: Json, namespace: str = "") -> Json:
        with self.objects.changed:
            return self.api.patch(self.objects.types[version, plural], namespace, name, patch)

    def patch_status(self, version: str, plural: str, name: str, patch: Json, namespace: str = "") -> Json:
        with self.objects.changed:
            return self.api.patch(self.objects.types[version, plural], namespace, name, patch, sub="status")

    def find(self, version: str, plural: str, name: str, namespace: str = "") -> Json:
        return self.api.get(self.objects.types[version, plural], namespace, name)

    def install(self, crds: Iterable[Json]) -> None:
        for crd in crds:
            self.create(crd)

    def _type_of(self, document: Json) -> Type:
        said = (document["apiVersion"], document["kind"])
        return next(one for one in self.objects.types.values() if (one.version, one.kind) == said)


class _Http(ThreadingHTTPServer):
    daemon_threads = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], server: ApiServer) -> None:
        self.kube = server
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self.closing = threading.Event()
        super().__init__(address, _Handler)
        if server.tls is not None:
            # The handshake is the handler's: one client that does not speak holds up nobody.
            self.socket = server.tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def note(self, connection: socket.socket, *, is_open: bool) -> None:
        with self._guard:
            (self._open.add if is_open else self._open.discard)(connection)

    def break_off(self) -> None:
        if not self.kube.is_serving:
            self.closing.set()
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break all the time here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of an answer leave together

    def setup(self) -> None:
        super().setup()
        self.server.note(self.connection, is_open=True)

    def finish(self) -> None:
        self.server.note(self.connection, is_open=False)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        """Tests need no log."""

    def _any(self) -> None:
        try:
            self._serve()
        except Refusal as refusal:
            self._answer(refusal.code, refusal.body, refusal.retry_after)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - as the library calls them

    def _serve(self) -> None:
        kube, parts = self.server.kube, urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if kube.faults.latency:
            time.sleep(kube.faults.latency)
        account = self._account()
        self._fail()
        if (found := self._said(account, parts.path)) is not None:
            kube.seen.append(Seen("get", parts.path, query))
            self._answer(200, found)
            return
        target = _Target.of(kube.objects, parts.path)
        verb = self._verb(target, query)
        kube.seen.append(Seen(verb, target.what, query))
        self._authorize(account, target, verb, query)
        if verb == "watch":
            self._watch(target, query)
            return
        body = self._body(data)
        with kube.objects.changed:
            kube.api.settle()
            code, answer = self._do(verb, target, query, body)
            if verb in {"get", "list"} and target.type.schema is not None and table.ACCEPTED in self._accepted:
                answer = table.table(target.type, answer, datetime.now(UTC))
            text = json.dumps(answer).encode()
        if kube.faults.unanswered > 0:
            kube.faults.unanswered -= 1
            raise ConnectionResetError
        self._send(code, text)

    def _said(self, account: rbac.Account | None, path: str) -> Json | None:
        """Return what is to be read of no object: discovery, and to an administrator what accounts asked for."""
        kube = self.server.kube
        if path == rbac.PATH and account is None:
            return kube.rights.said()
        with kube.objects.changed:
            return discovery.said(kube.objects.types.values(), path)

    def _account(self) -> rbac.Account | None:
        """Return which service account asks; nothing of anybody else who may."""
        kube, token = self.server.kube, self.headers.get("Authorization", "").removeprefix("Bearer ")
        with kube.objects.changed:
            account = rbac.Account.of(token, kube.objects)
        if kube.faults.tokens and account is None and token not in kube.faults.tokens:
            raise status.unauthorized()
        return account

    def _fail(self) -> None:
        """Refuse what is not to work now."""
        faults = self.server.kube.faults
        if faults.too_many > 0:
            faults.too_many -= 1
            raise status.too_many(faults.retry_after)
        if faults.broken > 0:
            faults.broken -= 1
            raise status.broken()

    def _authorize(self, account: rbac.Account | None, target: _Target, verb: str, query: dict[str, str]) -> None:
        kube, right = self.server.kube, (verb, target.what)
        user = account.user if account else "system:serviceaccount:cloudnet-system:cloudnet"
        if right in kube.faults.forbidden or (account and not kube.rights.may(account, target.asked(verb, query))):
            raise status.forbidden(user, verb, target.what, target.name)

    @property
    def _accepted(self) -> str:
        return self.headers.get("Accept", "")

    def _verb(self, target: _Target, query: dict[str, str]) -> str:
        verb = _VERBS[self.command]
        if verb == "get" and not target.name:
            return "watch" if query.get("watch") in {"1", "true"} else "list"
        return verb

    def _body(self, data: bytes) -> Json:
        if not data:
            return {}
        content = self.headers.get("Content-Type", "").partition(";")[0]
        if self.command == "PATCH" and content not in _PATCHES:
            raise Refusal(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content}")
        try:
            body = json.loads(data)
        except ValueError:
            raise status.bad_request("the body is no JSON") from None
        if not isinstance(body, dict):
            raise status.bad_request("the body is no object")
        return body

    def _do(self, verb: str, target: _Target, query: dict[str, str], body: Json) -> tuple[int, Json]:
        api = self.server.kube.api
        if verb in _WRITES and query.get("fieldValidation") == "Strict":
            api.refuse_unknown(target.type, body)
        match verb:
            case "list":
                return 200, api.page(target.type, target.namespace, query)
            case "get":
                return 200, api.get(target.type, target.namespace, target.name)
            case "create":
                return 201, api.create(target.type, target.namespace, body)
            case "update":
                return 200, api.replace(target.type, target.namespace, target.name, body, sub=target.sub)
            case "patch":
                return self._patch(target, query, body)
            case _:
                return 200, api.delete(target.type, target.namespace, target.name, body)

    def _patch(self, target: _Target, query: dict[str, str], body: Json) -> tuple[int, Json]:
        api, content = self.server.kube.api, self.headers.get("Content-Type", "")
        where = (target.type, target.namespace, target.name)
        if not content.startswith(_APPLY):
            strategic = content.startswith("application/strategic")
            return 200, api.patch(*where, body, sub=target.sub, strategic=strategic)
        if not query.get("fieldManager"):
            raise status.bad_request("PatchOptions is invalid: fieldManager: is required for apply patch")
        return api.apply(*where, body)

    # --- watches ----------------------------------------------------------------------------------------

    def _watch(self, target: _Target, query: dict[str, str]) -> None:
        self.close_connection = True
        objects, faults = self.server.kube.objects, self.server.kube.faults
        position = int(query.get("resourceVersion") or 0)
        self._begin_stream()
        if 0 < position < objects.oldest:
            # A watch cache answers 200 and says it in the stream (cacher.go: newErrWatcher).
            self._event("ERROR", status.gone(position, objects.oldest).body)
            self._chunk(b"")
            return
        if query.get("sendInitialEvents") == "true":
            position = self._begin_with_all(target, query)
        self.wfile.flush()
        until = time.monotonic() + int(query.get("timeoutSeconds", 1800))
        bookmark_at = time.monotonic() + faults.bookmark_every
        while not self.server.closing.is_set() and time.monotonic() < until and not self._is_gone():
            silent = faults.silent
            with objects.changed:
                self.server.kube.api.settle()
                changes = [] if silent else objects.since(target.type, position)
                newest = objects.revision
                if not changes:
                    objects.changed.wait(max(0.0, min(0.05, until - time.monotonic())))
            if silent:
                continue
            for change in changes:
                if is_asked_for(change.object, target.namespace, query):
                    self._event(change.word, change.object)
            position = max(position, newest) if not changes else changes[-1].revision
            if changes:
                self.wfile.flush()
            if "allowWatchBookmarks" in query and time.monotonic() >= bookmark_at:
                bookmark_at = time.monotonic() + faults.bookmark_every
                self._event("BOOKMARK", self._bookmark(target.type, newest))
                self.wfile.flush()
        self._chunk(b"")

    def _begin_with_all(self, target: _Target, query: dict[str, str]) -> int:
        """Give everything there is, and say where that ends (Kubernetes KEP-3157)."""
        objects = self.server.kube.objects
        with objects.changed:
            items = [one for one in objects.of(target.type).values() if is_asked_for(one, target.namespace, query)]
            position = objects.revision
        for item in items:
            self._event("ADDED", item)
        end = self._bookmark(target.type, position)
        end["metadata"]["annotations"] = {"k8s.io/initial-events-end": "true"}
        self._event("BOOKMARK", end)
        return position

    def _bookmark(self, type_: Type, position: int) -> Json:
        meta: Json = {"resourceVersion": str(position), "creationTimestamp": None}
        return {"kind": type_.kind, "apiVersion": type_.version, "metadata": meta}

    def _is_gone(self) -> bool:
        try:
            # Under TLS, too: a client says nothing more on a watch but good-bye.
            found = socket.socket.recv(self.connection, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return not found or isinstance(self.connection, ssl.SSLSocket)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json;stream=watch")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _event(self, word: str, document: Json) -> None:
        self._chunk(json.dumps({"type": word, "object": document}).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    # --- answers ----------------------------------------------------------------------------------------

    def _answer(self, code: int, body: Json, retry_after: int | None = None) -> None:
        self._send(code, json.dumps(body).encode(), retry_after)

    def _send(self, code: int, text: bytes, retry_after: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(text)


@dataclass(frozen=True)
class _Target:
    """What a path names."""

    type: Type
    namespace: str = ""
    name: str = ""
    sub: str = ""

    @property
    def what(self) -> str:
        return f"{self.type.what}/{self.sub}" if self.sub else self.type.what

    def asked(self, verb: str, query: dict[str, str]) -> rbac.Asked:
        name = self.name
        if not name and query.get("fieldSelector", "").startswith("metadata.name="):
            name = query["fieldSelector"].removeprefix("metadata.name=")
        group = self.type.version.rpartition("/")[0]
        resource = f"{self.type.plural}/{self.sub}" if self.sub else self.type.plural
        return rbac.Asked(verb, group, resource, self.namespace, name)

    @classmethod
    def of(cls, objects: Objects, path: str) -> _Target:
        """Read ``/apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME[/SUB]]``, or ``/api/v1/...``.

        Raises:
            Refusal: there is no such type.
        """
        steps = path.strip("/").split("/")
        version, rest = (steps[1], steps[2:]) if steps[0] == "api" else ("/".join(steps[1:3]), steps[3:])
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces" and (version, rest[2]) in objects.types:
            namespace, rest = rest[1], rest[2:]
        found = objects.types.get((version, rest[0])) if rest else None
        if found is None or (namespace and not found.namespaced) or len(rest) > 3:
            raise status.no_such_resource()
        sub = rest[2] if len(rest) > 2 else ""
        if sub and not (sub == "status" and found.status):
            raise status.no_such_resource()
        return cls(found, namespace, rest[1] if len(rest) > 1 else "", sub)
