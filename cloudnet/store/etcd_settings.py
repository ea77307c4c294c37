"""How an etcd store is named: a URL, and the environment variables that Calico users know.

etcd://10.0.0.1:2379,10.0.0.2:2379      plain
etcds://etcd.example:2379               TLS
etcd:// or etcds://                     the addresses stand in ETCD_ENDPOINTS

Names and passwords stand in no URL: URLs end up in process lists and logs. Sources: Calico
``libcalico-go/lib/apiconfig/apiconfig.go`` for the names of the variables.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from cloudnet.errors import BadInput
from cloudnet.store.connection import Endpoint

PORT: Final = 2379
_FORM: Final = "etcd://HOST:PORT[,HOST:PORT...], etcds:// for TLS"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where etcd is and how it knows us. ``timeout`` is the seconds that one request may take."""

    endpoints: tuple[Endpoint, ...]
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 5.0
    connect_timeout: float = 2.0

    def context(self) -> ssl.SSLContext | None:
        """Return how TLS is spoken. Files are read anew, so that certificates can be replaced under us.

        Raises:
            BadInput: a file cannot be used; ``path`` names its variable.
        """
        if not self.tls:
            return None
        with _Reading("ETCD_CA_CERT_FILE", self.ca_file):
            context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.cert_file:
            with _Reading("ETCD_CERT_FILE, ETCD_KEY_FILE", f"{self.cert_file}, {self.key_file}"):
                context.load_cert_chain(self.cert_file, self.key_file, password="")
        return context


class _Reading:
    """Turns what is wrong with a file into what to do about it."""

    def __init__(self, variable: str, file: str) -> None:
        self._variable = variable
        self._file = file

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object, /) -> None:
        if isinstance(error, (OSError, ValueError)):  # ssl.SSLError is an OSError
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise BadInput(
                f"{self._file} is of no use ({reason}): name PEM files that we may read, the key without a password",
                path=self._variable,
            ) from error


def parse(url: str, environ: Mapping[str, str]) -> Settings:
    """Return what a URL and the environment say together.

    Raises:
        BadInput: they make no sense; secrets are never repeated.
    """
    scheme, _, rest = url.partition("://")
    if "@" in rest:
        raise BadInput("expected no user and no password: set ETCD_USERNAME and ETCD_PASSWORD", path="store")
    if rest:
        tls, endpoints = scheme == "etcds", tuple(_endpoint(text, "store") for text in rest.rstrip("/").split(","))
    else:
        tls, endpoints = _from_endpoints(environ.get("ETCD_ENDPOINTS", ""), secure=scheme == "etcds")
    settings = Settings(
        endpoints,
        tls,
        environ.get("ETCD_CA_CERT_FILE", ""),
        environ.get("ETCD_CERT_FILE", ""),
        environ.get("ETCD_KEY_FILE", ""),
        environ.get("ETCD_USERNAME", ""),
        environ.get("ETCD_PASSWORD", ""),
    )
    _check(settings)
    return settings


def _from_endpoints(text: str, *, secure: bool) -> tuple[bool, tuple[Endpoint, ...]]:
    """Return the meaning of ``ETCD_ENDPOINTS``: URLs, all of one scheme."""
    path = "ETCD_ENDPOINTS"
    if not text:
        raise BadInput(f"expected {_FORM}, or the addresses in ETCD_ENDPOINTS", path="store")
    schemes, endpoints = set(), []
    for url in text.split(","):
        scheme, separator, rest = url.strip().partition("://")
        if scheme not in {"http", "https"} or not separator or "@" in rest:
            raise BadInput("expected http://HOST:PORT or https://HOST:PORT, with commas between", path=path)
        schemes.add(scheme)
        endpoints.append(_endpoint(rest.rstrip("/"), path))
    if len(schemes) > 1:
        raise BadInput("expected http:// or https:// throughout, found both", path=path)
    if secure and schemes == {"http"}:
        raise BadInput("expected https:// throughout, for the store is etcds://, found http://", path=path)
    return schemes == {"https"}, tuple(endpoints)


def _endpoint(text: str, path: str) -> Endpoint:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path or parts.query:
        raise BadInput(f"expected {_FORM}, found {text!r}", path=path)
    return Endpoint(host, PORT if port is None else port)


def _check(settings: Settings) -> None:
    if bool(settings.cert_file) != bool(settings.key_file):
        raise BadInput("expected both ETCD_CERT_FILE and ETCD_KEY_FILE, or neither", path="ETCD_CERT_FILE")
    if settings.password and not settings.username:
        raise BadInput("expected a name, for ETCD_PASSWORD is set", path="ETCD_USERNAME")
    settings.context()
