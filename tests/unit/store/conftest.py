from __future__ import annotations

import time

import pytest

from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.testing import keys


@pytest.fixture(scope="session")
def made_keys(tmp_path_factory):
    return keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def open_at():
    opened = []

    def open_at(api, *, node="", page=500, silent=90.0, clock=time.monotonic, **settings):
        client = Client(api.settings(**settings))
        opened.append(KubernetesStore(client, node=node, page=page, silent=silent, clock=clock))
        return opened[-1]

    yield open_at
    for store in opened:
        store.close()
