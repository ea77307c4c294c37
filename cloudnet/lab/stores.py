"""The stores that a lab's cluster can keep its resources in: where each runs, and how agents and controller name it.

A file is seen from every network namespace. A server is a machine of the cloud's network, with an address of its own
outside all subnets (``spec.STORE``): nodes reach it over their uplink, as they reach an API server in real life, and
nothing that the lab breaks in the cloud is in between.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cloudnet.errors import BadInput
from cloudnet.lab import spec
from cloudnet.manifests.options import Options

_ETCD_PORT = 2379
_ETCD_PEERS = "http://127.0.0.1:2380"
_KUBERNETES_PORT = 6443
_TOKEN = "lab"  # noqa: S105 - of a server that nobody outside the lab's namespaces can reach
_ACCOUNT = f"system:serviceaccount:{Options().namespace}:cloudnet-{{}}"  # to the stand-in, an account's token
_STAND_IN = "cloudnet.testing.kube"  # a program, started by name: what the lab itself runs imports no test kit


@dataclass(frozen=True, slots=True)
class StoreKind:
    """One kind of store. ``command`` starts its server with a directory of its own; a file needs none.

    ``url`` is an administrator's. ``url_of`` is an agent's or a controller's, with the rights of its account only.
    """

    name: str
    url: Callable[[Path], str]
    command: Callable[[Path], list[str]] | None = None
    tools: tuple[str, ...] = ()
    has_accounts: bool = False
    older: bool = False  # Calico's resources in the form of crd.projectcalico.org/v1

    def url_of(self, program: str, directory: Path) -> str:
        return _kubernetes_url(directory, program) if self.has_accounts else self.url(directory)


def _etcd(directory: Path) -> list[str]:
    here = f"http://{spec.STORE}:{_ETCD_PORT}"
    return [
        "etcd",
        "--name=lab",
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={here}",
        f"--advertise-client-urls={here}",
        f"--listen-peer-urls={_ETCD_PEERS}",
        f"--initial-advertise-peer-urls={_ETCD_PEERS}",
        f"--initial-cluster=lab={_ETCD_PEERS}",
        "--log-level=error",
    ]


def _api_server(_directory: Path) -> list[str]:
    where = ("--host", str(spec.STORE), "--port", str(_KUBERNETES_PORT))
    return [sys.executable, "-m", _STAND_IN, *where, "--token", _TOKEN]


def kubeconfig(directory: Path, program: str = "") -> Path:
    return directory / (f"kubeconfig-{program}" if program else "kubeconfig")


def write_kubeconfigs(directory: Path) -> None:
    """Write the files by which people, agents and controller find the lab's API server, each with its own rights."""
    _write_kubeconfig(kubeconfig(directory), _TOKEN)
    for program in ("agent", "controller"):
        _write_kubeconfig(kubeconfig(directory, program), _ACCOUNT.format(program))


def _write_kubeconfig(file: Path, token: str) -> None:
    server = f"http://{spec.STORE}:{_KUBERNETES_PORT}"
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": server}}],
            "users": [{"name": "lab", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        },
        indent=2,
    )
    file.touch(mode=0o600)
    file.write_text(text + "\n")


def _kubernetes_url(directory: Path, program: str = "") -> str:
    return f"kubernetes://{kubeconfig(directory, program)}"


def _kubernetes(name: str, *, older: bool = False) -> StoreKind:
    return StoreKind(name, _kubernetes_url, _api_server, has_accounts=True, older=older)


KINDS: Mapping[str, StoreKind] = MappingProxyType(
    {
        each.name: each
        for each in (
            StoreKind("sqlite", lambda directory: f"sqlite://{directory / 'store.sqlite'}"),
            StoreKind("etcd", lambda _: f"etcd://{spec.STORE}:{_ETCD_PORT}", _etcd, tools=("etcd",)),
            _kubernetes("kubernetes"),
            _kubernetes("kubernetes-older", older=True),
        )
    }
)


def kind(name: str) -> StoreKind:
    """Return one kind of store.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in KINDS:
        raise BadInput(f"expected one of {', '.join(KINDS)}, found {name!r}", path="store")
    return KINDS[name]
