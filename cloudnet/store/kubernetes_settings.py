"""How a Kubernetes store is named: a URL, a kubeconfig, and what a pod is given.

kubernetes://                                     inside a pod its service account, else the kubeconfig
kubernetes:///home/me/.kube/config                that kubeconfig
kubernetes:///home/me/.kube/config?context=prod   one context of it
kubernetes://?namespace=networking                where our leases stand

Without a path, ``KUBECONFIG`` names the kubeconfig (the first file, where it names several), else it is
``~/.kube/config``. ``CALICO_API_GROUP`` says in which of Calico's groups its resources stand, where discovery
should not decide. Sources: Kubernetes ``client-go/tools/clientcmd/api/v1/types.go`` and ``client-go/rest/config.go``.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import manifests
from cloudnet.store.connection import Endpoint, Proxy
from cloudnet.store.kubernetes_credentials import Asked, Certificate, Credentials, Fixed, Program, Proof, TokenFile

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NAMESPACE: Final = "cloudnet-system"
"""Where our leases stand unless the URL or a pod's own namespace says otherwise."""

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the API is and how it knows us.

    ``path`` stands before every path, for an API behind a gateway. ``timeout`` is the seconds that one request may
    take; ``patience`` is how long one is tried again while the API asks us to wait. A shared connection that has been
    silent for ``ping_after`` is asked whether it lives, and given up ``pong_within`` later; both as client-go does
    (``apimachinery/pkg/util/net/http.go``).
    """

    endpoint: Endpoint
    credentials: Credentials
    tls: bool = True
    path: str = ""
    server_name: str = ""
    ca: str = ""
    insecure: bool = False
    proxy: Proxy | None = None
    namespace: str = NAMESPACE
    group: str = ""
    timeout: float = 15.0
    connect_timeout: float = 3.0
    patience: float = 30.0
    ping_after: float = 30.0
    pong_within: float = 15.0

    def context(self, certificate: Certificate | None, protocols: Sequence[str] = ()) -> ssl.SSLContext | None:
        """Return how TLS is spoken, as whom, and with which protocols for the server to choose from.

        Raises:
            BadInput: a certificate cannot be used.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cadata=self.ca or None)
            if self.insecure:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if certificate:
                _load(context, certificate)
            if protocols:
                context.set_alpn_protocols(list(protocols))
        except (ssl.SSLError, ValueError) as error:
            raise BadInput(
                f"the certificates for {self.endpoint} are of no use ({error}): write the kubeconfig anew",
                path="store",
            ) from error
        return context


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    """The standard library reads a chain from files only; this one is ours alone and gone at once."""
    with tempfile.NamedTemporaryFile(mode="w", prefix="cloudnet-") as file:
        file.write(f"{certificate.chain.strip()}\n{certificate.key.strip()}\n")
        file.flush()
        context.load_cert_chain(file.name)


def parse(url: str, environ: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT) -> Settings:
    """Return what a URL, the kubeconfig and the environment say together.

    Raises:
        BadInput: they make no sense, or there is no kubeconfig; secrets are never repeated.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    wrong = sorted(query.keys() - {"context", "namespace"})
    if parts.netloc or wrong:
        raise BadInput(
            f"expected kubernetes://[/PATH/KUBECONFIG][?context=NAME&namespace=NAME], found {url!r}", path="store"
        )
    context, namespace = query.get("context", [""])[0], query.get("namespace", [""])[0]
    group = environ.get("CALICO_API_GROUP", "")
    path = unquote(parts.path)
    if not path and not context and "KUBERNETES_SERVICE_HOST" in environ and (service_account / "token").exists():
        return _in_cluster(environ, service_account, namespace, group)
    return _from_kubeconfig(_file(path, environ), context, namespace, group, environ)


def _in_cluster(environ: Mapping[str, str], account: Path, namespace: str, group: str) -> Settings:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    own = _text(account / "namespace") if (account / "namespace").exists() else ""
    return Settings(
        Endpoint(host, int(port)),
        TokenFile(account / "token"),
        ca=_text(account / "ca.crt"),
        namespace=namespace or own.strip() or NAMESPACE,
        group=group,
    )


# --- kubeconfig ---------------------------------------------------------------------------------------------


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    proxy_url: str = ""


class _Variable(msgspec.Struct):
    name: str
    value: str


class _Exec(msgspec.Struct, rename="camel"):
    command: str
    api_version: str = ""
    args: list[str] | None = None
    env: list[_Variable] | None = None
    install_hint: str = ""
    interactive_mode: str = ""
    provide_cluster_info: bool = False


class _User(msgspec.Struct, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(name="tokenFile", default="")
    username: str = ""
    password: str = ""
    exec: _Exec | None = None
    auth_provider: Any = None  # gone from Kubernetes since 1.26


class _Context(msgspec.Struct):
    cluster: str
    user: str = ""


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context


class _Kubeconfig(msgspec.Struct, rename="kebab"):
    clusters: list[_NamedCluster] | None = None
    contexts: list[_NamedContext] | None = None
    users: list[_NamedUser] | None = None
    current_context: str = ""


def _file(path: str, environ: Mapping[str, str]) -> Path:
    if path:
        return Path(path)
    named = [part for part in environ.get("KUBECONFIG", "").split(":") if part]
    return Path(named[0]) if named else Path(environ.get("HOME", "/root")) / ".kube" / "config"


def _from_kubeconfig(file: Path, wanted: str, namespace: str, group: str, environ: Mapping[str, str]) -> Settings:
    config = _read(file)
    name = wanted or config.current_context
    context = next((one.context for one in config.contexts or () if one.name == name), None)
    if context is None:
        known = ", ".join(repr(one.name) for one in config.contexts or ()) or "none"
        raise BadInput(f"{file} has no context {name!r}: name one of {known} as ?context=", path="store")
    cluster = next((one.cluster for one in config.clusters or () if one.name == context.cluster), None)
    if cluster is None:
        raise BadInput(f"{file} has no cluster {context.cluster!r}, which context {name!r} names", path="store")
    user = next((one.user for one in config.users or () if one.name == context.user), None) or _User()
    parts = urlsplit(cluster.server)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise BadInput(
            f"{file}: expected a URL as the server of {context.cluster!r}, found {cluster.server!r}", path="store"
        )
    return Settings(
        Endpoint(parts.hostname, parts.port or _PORTS[parts.scheme]),
        _credentials(user, cluster, file, environ),
        tls=parts.scheme == "https",
        path=parts.path.rstrip("/"),
        server_name=cluster.tls_server_name,
        ca=_pem(cluster.certificate_authority_data, cluster.certificate_authority, file, "certificate-authority"),
        insecure=cluster.insecure_skip_tls_verify,
        proxy=_proxy(cluster.proxy_url, parts, environ),
        namespace=namespace or NAMESPACE,
        group=group,
    )


def _read(file: Path) -> _Kubeconfig:
    try:
        documents = manifests.load_all(file.read_text(), str(file))
        return msgspec.convert(documents[0] if documents else {}, _Kubeconfig)
    except OSError as error:
        raise BadInput(
            f"no kubeconfig at {file} ({error.strerror}): name one as kubernetes:///PATH or in KUBECONFIG",
            path="store",
        ) from error
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} is no kubeconfig: {error}", path="store") from error


def _credentials(user: _User, cluster: _Cluster, file: Path, environ: Mapping[str, str]) -> Credentials:
    certificate = _certificate(user, file)
    if user.token_file:
        return TokenFile(file.parent / user.token_file, certificate=certificate)
    if user.token:
        return Fixed(Proof(f"Bearer {user.token}", certificate))
    if user.exec:
        return Asked(_program(user.exec, cluster, file), environ=environ)
    if user.username:
        both = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return Fixed(Proof(f"Basic {both}", certificate))
    if user.auth_provider:
        raise BadInput(
            f"{file} uses an auth-provider, which Kubernetes dropped in 1.26: write it anew with your cloud's tool",
            path="store",
        )
    return Fixed(Proof(certificate=certificate))


def _certificate(user: _User, file: Path) -> Certificate | None:
    chain = _pem(user.client_certificate_data, user.client_certificate, file, "client-certificate")
    key = _pem(user.client_key_data, user.client_key, file, "client-key")
    return Certificate(chain, key) if chain else None


def _program(found: _Exec, cluster: _Cluster, file: Path) -> Program:
    if found.interactive_mode == "Always":
        raise BadInput(f"{file}: {found.command!r} wants a person at a terminal, and we are none", path="store")
    told = None
    if found.provide_cluster_info:
        told = {"server": cluster.server, "certificate-authority-data": cluster.certificate_authority_data}
    command = found.command
    if "/" in command and not command.startswith("/"):
        command = str(file.parent / command)
    env = {one.name: one.value for one in found.env or ()}
    return Program(command, tuple(found.args or ()), env, found.api_version, found.install_hint, told)


def _pem(data: str, path: str, file: Path, field: str) -> str:
    if not data:
        return _text(file.parent / path) if path else ""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise BadInput(f"{file}: expected base64 of PEM in {field}-data", path="store") from None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{file} cannot be read ({error}): see the kubeconfig or the pod's volumes", path="store"
        ) from error


# --- proxies ------------------------------------------------------------------------------------------------


def _proxy(named: str, server: SplitResult, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy of the kubeconfig, else of the environment; Go reads the same variables."""
    both = {key.lower(): value for key, value in environ.items()}
    url = named or both.get(f"{server.scheme}_proxy", "")
    if not url or (not named and _is_excepted(server.hostname or "", both.get("no_proxy", ""))):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise BadInput(f"expected an http:// proxy, found {parts.scheme}://{parts.hostname}", path="store")
    authorization = ""
    if parts.username:
        both_words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(both_words.encode()).decode()}"
    return Proxy(Endpoint(parts.hostname, parts.port or _PORTS["http"]), authorization)


def _is_excepted(host: str, exceptions: str) -> bool:
    return any(_matches(host, one.strip()) for one in exceptions.split(",") if one.strip())


def _matches(host: str, exception: str) -> bool:
    if exception == "*":
        return True
    try:
        return ip_address(host) in ip_network(exception, strict=False)
    except ValueError:
        bare = exception.lstrip(".")
        return host == bare or host.endswith(f".{bare}")
