"""Which store a URL means. The only place that knows the implementations by name.

Each is imported when it is asked for: an agent's start waits for no store that it does not use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cloudnet.errors import BadInput
from cloudnet.store.api import Store


def open_store(url: str, environ: Mapping[str, str] = os.environ, *, node: str = "") -> Store:
    """Return the store of a URL: ``sqlite:///var/lib/cloudnet/store.sqlite``, ``etcd://10.0.0.1:2379``, ``kubernetes://``.

    The environment says how to speak to etcd (TLS files, user, and the members where the URL names none) and where a
    Kubernetes API is (``KUBECONFIG``, or what a pod is given). ``node`` is whose agent reads: a store that can leaves
    out what is about other nodes only.

    Raises:
        BadInput: no store is called that, or the environment makes no sense with it.
        StoreUnavailable: the file cannot be opened; the message says why.
        StoreDamaged: the file is corrupt, of another program, or of a newer one.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory" and not rest:
        from cloudnet.store.memory import MemoryStore  # noqa: PLC0415 - see above

        return MemoryStore()
    if separator and scheme == "sqlite" and rest.startswith("/"):
        from cloudnet.store.sqlite import SqliteStore  # noqa: PLC0415 - see above

        return SqliteStore(Path(rest))
    if separator and scheme in {"etcd", "etcds"}:
        return _etcd(url, environ)
    if scheme == "kubernetes":
        return _kubernetes(url, environ, node)
    raise BadInput(
        f"expected kubernetes://, sqlite:///ABSOLUTE/PATH, etcd://HOST:PORT, etcds://HOST:PORT or memory://, "
        f"found {url!r}",
        path="store",
    )


def _etcd(url: str, environ: Mapping[str, str]) -> Store:
    from cloudnet.store import etcd_settings  # noqa: PLC0415 - see above
    from cloudnet.store.etcd import EtcdStore  # noqa: PLC0415 - see above
    from cloudnet.store.etcd_client import Client  # noqa: PLC0415 - see above

    return EtcdStore(Client(etcd_settings.parse(url, environ)))


def _kubernetes(url: str, environ: Mapping[str, str], node: str) -> Store:
    from cloudnet.store import kubernetes_settings  # noqa: PLC0415 - see above
    from cloudnet.store.kubernetes import KubernetesStore  # noqa: PLC0415 - see above
    from cloudnet.store.kubernetes_client import Client  # noqa: PLC0415 - see above

    return KubernetesStore(Client(kubernetes_settings.parse(url, environ)), node=node)
