"""How we prove to a Kubernetes API who we are: a fixed token, a token in a file that changes, or a program to ask.

A proof is taken before each request and costs nothing while it is good. One that the API refuses (401) is renewed
once. Sources: Kubernetes ``client-go/transport/token_source.go`` and ``client-go/plugin/pkg/client/auth/exec``.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from cloudnet.store.api import StoreUnavailable

_FILE_AGE: Final = (
    60.0  # seconds; the kubelet replaces a token when a fifth of its life is left, a year or an hour long
)
_EXEC_WITHIN: Final = 60.0  # seconds; cloud vendors' programs ask their own API first
_EXEC_EARLY: Final = 60.0  # seconds before it runs out that a proof is renewed
_EXEC_VERSIONS: Final = frozenset({"client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"})


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate with its key, both PEM."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request carries: the value of ``Authorization``, or a certificate, or neither."""

    authorization: str = field(default="", repr=False)
    certificate: Certificate | None = None


class Credentials(Protocol):
    """Where proofs come from. Calls may come from any thread."""

    def current(self) -> Proof:
        """Return the proof for the next request.

        Raises:
            StoreUnavailable: there is none.
        """

    def renewed(self, refused: Proof) -> Proof | None:
        """Return another proof than the refused one; nothing when there is no other."""


class Fixed:
    """The same proof for ever."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof

    def current(self) -> Proof:
        return self._proof

    def renewed(self, refused: Proof) -> Proof | None:  # noqa: ARG002 - there is no other
        return None


class TokenFile:
    """A token in a file that somebody replaces, as the kubelet does with those of service accounts."""

    def __init__(
        self, path: Path, *, certificate: Certificate | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._certificate = certificate
        self._clock = clock
        self._lock = threading.Lock()
        self._proof: Proof | None = None
        self._read_at = 0.0

    def current(self) -> Proof:
        with self._lock:
            if self._proof is None or self._clock() >= self._read_at + _FILE_AGE:
                self._proof, self._read_at = self._read(), self._clock()
            return self._proof

    def renewed(self, refused: Proof) -> Proof | None:
        with self._lock:
            self._proof, self._read_at = self._read(), self._clock()
            return None if self._proof == refused else self._proof

    def _read(self) -> Proof:
        try:
            token = self._path.read_text().strip()
        except OSError as error:
            raise StoreUnavailable(
                f"the token in {self._path} cannot be read ({error.strerror}): mount the service account's token, "
                f"or name a kubeconfig"
            ) from error
        return Proof(f"Bearer {token}", self._certificate)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that prints a proof: ``user.exec`` of a kubeconfig. ``cluster`` is what it is told of the cluster."""

    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    version: str = "client.authentication.k8s.io/v1"
    hint: str = ""
    cluster: Mapping[str, Any] | None = None  # Any: as it stands in the kubeconfig


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct):
    status: _Status


Run = Callable[[Sequence[str], Mapping[str, str]], bytes]
"""Runs a program with an environment and returns what it printed; raises ``OSError`` or ``SubprocessError``."""


def run(command: Sequence[str], env: Mapping[str, str]) -> bytes:
    return subprocess.run(
        command, env=dict(env), capture_output=True, timeout=_EXEC_WITHIN, stdin=subprocess.DEVNULL, check=True
    ).stdout


class Asked:
    """Proofs that a program prints, each good for the time that it says."""

    def __init__(
        self,
        program: Program,
        *,
        run: Run = run,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._program = program
        self._run = run
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._proof: Proof | None = None
        self._until = float("inf")

    def current(self) -> Proof:
        with self._lock:
            if self._proof is None or self._clock() >= self._until - _EXEC_EARLY:
                self._ask()
            return self._proof or Proof()

    def renewed(self, refused: Proof) -> Proof | None:
        with self._lock:
            if self._proof == refused:
                self._ask()
            return None if self._proof == refused else self._proof

    def _ask(self) -> None:
        status = self._answer()
        certificate = None
        if status.client_certificate_data:
            certificate = Certificate(status.client_certificate_data, status.client_key_data)
        self._proof = Proof(f"Bearer {status.token}" if status.token else "", certificate)
        self._until = status.expiration_timestamp.timestamp() if status.expiration_timestamp else float("inf")

    def _answer(self) -> _Status:
        """What the program prints is never repeated: it is a secret."""
        program = self._program
        if program.version not in _EXEC_VERSIONS:
            raise StoreUnavailable(
                f"the kubeconfig wants {program.command!r} asked by {program.version}, which Kubernetes has dropped: "
                f"write the kubeconfig anew with your cloud's tool"
            )
        info: dict[str, Any] = {
            "apiVersion": program.version,
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        if program.cluster is not None:
            info["spec"]["cluster"] = program.cluster
        env = {**self._environ, **program.env, "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}
        try:
            printed = self._run([program.command, *program.args], env)
            return msgspec.json.decode(printed, type=_ExecCredential).status
        except (OSError, subprocess.SubprocessError) as error:
            raise StoreUnavailable(
                f"{program.command!r} of the kubeconfig gives no credentials ({_why(error)}): "
                f"{program.hint.strip() or 'see that it is installed, and that you are logged in'}"
            ) from None
        except msgspec.MsgspecError:
            raise StoreUnavailable(
                f"{program.command!r} of the kubeconfig prints no ExecCredential: run it by hand and see"
            ) from None


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        return f"exit status {error.returncode}" + (f": {said[-1][:200]}" if said else "")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {error.timeout:.0f} s"
    return getattr(error, "strerror", None) or str(error)
