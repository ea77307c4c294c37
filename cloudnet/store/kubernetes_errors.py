"""What a Kubernetes API's refusals mean to us, each with the next step. A token never gets here.

The API answers with a ``Status`` (``apimachinery/pkg/apis/meta/v1/types.go``): a code, a reason that programs may
rely on, and a message for people.
"""

from __future__ import annotations

import ssl
from typing import Final

import msgspec

from cloudnet.errors import BadInput, CloudnetError
from cloudnet.store.api import Compacted, StoreUnavailable
from cloudnet.store.connection import Endpoint

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
GONE: Final = 410
TOO_LARGE: Final = 413
INVALID: Final = 422
TOO_MANY: Final = 429
BROKEN: Final = 500  # and above
_LONGEST: Final = 300  # characters of an answer that is not Kubernetes'
_CAUSES: Final = 5  # wrong fields in one message
_DEFINED: Final = ("cloudnet.io", "projectcalico.org")  # whose kinds a cluster has to be taught


class _Cause(msgspec.Struct):
    field: str = ""
    message: str = ""
    reason: str = ""


class _Details(msgspec.Struct, rename="camel"):
    name: str = ""
    causes: list[_Cause] | None = None
    retry_after_seconds: int = 0


class Status(msgspec.Struct):
    """A refusal on the wire."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


class Refused(Exception):
    """An answer that is no. ``status.details.name`` is set when it is about one object."""

    def __init__(self, status: Status, retry_after: float | None = None) -> None:
        super().__init__(status.message)
        self.status = status
        self.retry_after = retry_after

    @property
    def code(self) -> int:
        return self.status.code

    @property
    def is_about_object(self) -> bool:
        """Whether an object is missing, not the kind of it."""
        return bool(self.status.details and self.status.details.name)


def read(code: int, body: bytes, retry_after: float | None = None) -> Refused:
    """Return what an answer says that is not one of success."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        status = Status(message=body[:_LONGEST].decode("utf-8", "replace").strip())
    status.code = status.code or code
    status.message = status.message or f"HTTP status {code}"
    if retry_after is None and status.details and status.details.retry_after_seconds:
        retry_after = float(status.details.retry_after_seconds)
    return Refused(status, retry_after)


def explain(refused: Refused, verb: str, what: str) -> CloudnetError:  # noqa: PLR0911 - a table
    """Return what a refusal means to whoever asked to ``verb`` a ``what``, such as ``ippools.projectcalico.org``."""
    said = refused.status.message
    if refused.code == UNAUTHORIZED:
        return StoreUnavailable(
            "Kubernetes does not know who we are: see that the kubeconfig's user or the service account still exists"
        )
    if refused.code == FORBIDDEN:
        return StoreUnavailable(
            f"Kubernetes forbids us to {verb} {what} ({said}): give our ClusterRole the verb {verb!r} on {what!r}, "
            f"as 'cloudnet manifests' has it"
        )
    if refused.code == NOT_FOUND:
        return StoreUnavailable(
            f"this cluster has no {what}: install what 'cloudnet manifests' prints, its definitions first"
        )
    if refused.code == GONE:
        return Compacted(f"Kubernetes no longer has the changes of {what} from there on ({said}): list again")
    if refused.code in (INVALID, TOO_LARGE, 400):
        return _bad_input(refused, what)
    if refused.code == TOO_MANY:
        return StoreUnavailable(f"Kubernetes has too much to do to {verb} {what}: it is asked again later")
    return StoreUnavailable(f"Kubernetes fails to {verb} {what}: {said}: see what its API server logs")


def _bad_input(refused: Refused, what: str) -> BadInput:
    causes = (refused.status.details and refused.status.details.causes) or []
    if not causes:
        return BadInput(f"Kubernetes refuses this of {what}: {refused.status.message}")
    said = [causes[0].message, *(f"{cause.field}: {cause.message}" for cause in causes[1:_CAUSES])]
    if what.endswith(_DEFINED) and not causes[0].field.startswith("metadata"):
        said.append(f"so says the cluster's definition of {what}: apply a newer one if it is older than this program")
    return BadInput("; ".join(said), path=causes[0].field)


def unreachable(endpoint: Endpoint, error: OSError) -> str:
    """Return in a few words why the API could not be asked."""
    if isinstance(error, TimeoutError):
        return f"{endpoint}: does not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{endpoint}: its certificate is not trusted ({error.verify_message}), see the kubeconfig"
    if isinstance(error, ssl.SSLError):
        return f"{endpoint}: TLS fails ({error.reason or error})"
    return f"{endpoint}: {(error.strerror or str(error)).lower()}"


def nobody_answers(problem: str) -> StoreUnavailable:
    return StoreUnavailable(f"the Kubernetes API does not answer ({problem}): see that it runs and can be reached")


def uncertain(problem: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"Kubernetes did not say whether it has written ({problem}): read again before writing again"
    )
