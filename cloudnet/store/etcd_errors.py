"""What etcd's errors mean to us, each with the next step. A password never gets here.

etcd's errors have a gRPC code and a text (``api/v3rpc/rpctypes/error.go``); the texts are the finer of the two.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cloudnet.errors import BadInput, CloudnetError
from cloudnet.store.api import Compacted, StoreDamaged, StoreUnavailable
from cloudnet.store.connection import Endpoint

_ELSEWHERE: Final = frozenset({4, 14})  # gRPC: DEADLINE_EXCEEDED, UNAVAILABLE
_PROXY_SAYS_ELSEWHERE: Final = frozenset({502, 503, 504})
_TOKEN: Final = ("invalid auth token", "revision of auth store is old")
_NOT_FOUND: Final = 404
_LONGEST: Final = 300  # characters of an answer that is not etcd's


class Refused(Exception):
    """An answer that is no."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    @property
    def is_of_one_member(self) -> bool:
        """Whether another member may say yes."""
        return self.code in _ELSEWHERE or self.status in _PROXY_SAYS_ELSEWHERE

    @property
    def may_be_done(self) -> bool:
        """Whether what was asked may be carried out all the same."""
        return not self.says("no leader")

    @property
    def is_about_token(self) -> bool:
        return any(self.says(text) for text in _TOKEN)

    @property
    def is_known(self) -> bool:
        """Whether we know what to do about it."""
        return any(self.says(text) for text, _ in _MEANINGS)

    def says(self, text: str) -> bool:
        return text in self.message


def read(status: int, body: bytes) -> Refused:
    """Return what an answer with another status than 200 says."""
    try:
        return from_stream(msgspec.json.decode(body), status)
    except (msgspec.DecodeError, TypeError, AttributeError):
        return Refused(status, 0, body[:_LONGEST].decode("utf-8", "replace").strip() or f"HTTP status {status}")


def from_stream(answer: dict[str, Any], status: int = 0) -> Refused:
    """Return what an error says; its form differs between requests, streams and versions of the gateway."""
    inner = answer.get("error")
    found = inner if isinstance(inner, dict) else answer
    code = found.get("code") or found.get("grpc_code") or 0
    message = found.get("message") or (inner if isinstance(inner, str) else "") or f"HTTP status {status}"
    return Refused(status or int(found.get("http_code") or 0), int(code), str(message))


def explain(refused: Refused, username: str) -> CloudnetError:
    """Return what a refusal means to whoever asked."""
    for text, make in _MEANINGS:
        if refused.says(text):
            return make(refused, username)
    if refused.status == _NOT_FOUND:
        return StoreUnavailable(
            "etcd has its JSON gateway switched off, or is older than 3.4: start it with --enable-grpc-gateway=true"
        )
    return StoreUnavailable(f"etcd refuses: {refused.message}: see what its log says, and try again")


def _compacted(refused: Refused, _: str) -> CloudnetError:
    return Compacted(f"etcd has no longer the changes from there on ({refused.message}): list again")


def _full(_: Refused, __: str) -> CloudnetError:
    return StoreUnavailable(
        "etcd takes no more writes, for its database has reached its quota: free space with 'etcdctl compact' and "
        "'etcdctl defrag', or raise --quota-backend-bytes, and then run 'etcdctl alarm disarm'"
    )


def _denied(_: Refused, username: str) -> CloudnetError:
    return StoreUnavailable(
        f"etcd user {username!r} may not do this: give its role readwrite with --prefix on /calico/ and /cloudnet/ "
        f"('etcdctl role grant-permission')"
    )


def _wrong_password(_: Refused, username: str) -> CloudnetError:
    return StoreUnavailable(
        f"etcd does not let user {username!r} in: see that ETCD_USERNAME and ETCD_PASSWORD are right"
    )


def _no_user(_: Refused, __: str) -> CloudnetError:
    return StoreUnavailable(
        "etcd wants a user: set ETCD_USERNAME and ETCD_PASSWORD; the name in a client certificate does not count here"
    )


def _token(_: Refused, username: str) -> CloudnetError:
    return StoreUnavailable(f"etcd refuses user {username!r} right after letting it in: see what its log says")


def _too_many(_: Refused, __: str) -> CloudnetError:
    return BadInput("more writes at once than etcd takes: write fewer, or start etcd with a larger --max-txn-ops")


def _too_large(_: Refused, __: str) -> CloudnetError:
    return BadInput("larger than etcd takes: write less, or start etcd with a larger --max-request-bytes")


def _plain(_: Refused, __: str) -> CloudnetError:
    return StoreUnavailable("etcd speaks TLS there: name the store etcds://, or use https:// in ETCD_ENDPOINTS")


def _corrupt(refused: Refused, _: str) -> CloudnetError:
    return StoreDamaged(f"etcd finds its data corrupt ({refused.message}): restore a snapshot, see etcd's handbook")


_MEANINGS: Final = (
    ("revision has been compacted", _compacted),
    ("required revision is a future revision", _compacted),
    ("database space exceeded", _full),
    ("permission denied", _denied),
    ("authentication failed", _wrong_password),
    ("user name is empty", _no_user),
    *((text, _token) for text in _TOKEN),
    ("too many operations in txn request", _too_many),
    ("request is too large", _too_large),
    ("message larger than max", _too_large),
    ("HTTP request to an HTTPS server", _plain),
    ("corrupt", _corrupt),
)


# --- nobody there -------------------------------------------------------------------------------------------


def unreachable(endpoint: Endpoint, error: OSError) -> str:
    """Return in a few words why a member could not be asked."""
    if isinstance(error, TimeoutError):
        return f"{endpoint}: does not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{endpoint}: its certificate is not trusted ({error.verify_message}), see ETCD_CA_CERT_FILE"
    if isinstance(error, ssl.SSLError):
        return f"{endpoint}: TLS fails ({error.reason or error}), see ETCD_CERT_FILE and whether it speaks TLS"
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, ConnectionResetError):
        reason += ", as when the sides disagree on TLS (etcd:// or etcds://, ETCD_CERT_FILE)"
    return f"{endpoint}: {reason}"


def nobody_answers(problems: Sequence[str]) -> StoreUnavailable:
    return StoreUnavailable(
        f"no etcd endpoint answers ({'; '.join(problems)}): see that etcd runs there and has a leader"
    )


def uncertain(problem: str) -> StoreUnavailable:
    return StoreUnavailable(f"etcd did not say whether it has written ({problem}): read again before writing again")
