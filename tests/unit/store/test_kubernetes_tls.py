from __future__ import annotations

import base64
import threading
import time
from pathlib import Path

import pytest

from cloudnet.errors import BadInput
from cloudnet.model.resources import Lease
from cloudnet.store.api import StoreUnavailable
from cloudnet.store.registry import open_store
from cloudnet.testing.batches import SOON, collect, lease
from cloudnet.testing.kube.server import ApiServer


@pytest.fixture
def keys(made_keys):
    return made_keys.folder


@pytest.fixture
def api(made_keys):
    with ApiServer(tls=made_keys.server(clients_too=True)) as api:
        yield api


def data(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


@pytest.fixture
def kubeconfig(api, keys, tmp_path):
    def kubeconfig(*, ca="ca.pem", client="client", name="kubernetes"):
        user = f"client-certificate-data: {data(keys / f'{client}.pem')}, client-key: {keys / f'{client}.key'}"
        file = tmp_path / "config"
        file.write_text(
            f"""
current-context: c
clusters:
- name: c
  cluster:
    server: https://127.0.0.1:{api.port}
    tls-server-name: {name}
    certificate-authority-data: {data(keys / ca)}
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
users: [{{name: u, user: {{{user if client else ""}}}}}]
"""
        )
        return f"kubernetes://{file}"

    return kubeconfig


def test_both_sides_show_their_certificates_and_a_watch_can_be_woken(kubeconfig):
    store = open_store(kubeconfig(), {})
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        made = store.create(lease("a"))
        events = collect(watch, 1)
        waking = threading.Timer(0.3, watch.close)
        waking.start()
        began = time.monotonic()
        assert watch.next(SOON) == ()
        assert time.monotonic() - began < SOON / 2
        waking.join()
    store.close()

    assert [event.value for event in events] == [made.value]


def test_many_changes_at_once_leave_none_in_the_tls_layer(kubeconfig):
    store = open_store(kubeconfig(), {})
    with store.watch([Lease], since=store.list(Lease).revision) as watch:
        watch.next(0)
        for i in range(200):
            store.create(lease(f"l{i}"))

        assert len(collect(watch, 200)) == 200
    store.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"ca": "other.pem"}, "certificate is not trusted"), ({"name": "elsewhere"}, "certificate is not trusted")],
    ids=["another authority", "another name"],
)
def test_a_certificate_that_is_not_trusted_is_said(kubeconfig, changes, said):
    store = open_store(kubeconfig(**changes), {})

    with pytest.raises(StoreUnavailable, match=said):
        store.list(Lease)
    store.close()


def test_a_key_that_does_not_fit_is_said_without_the_key(keys, kubeconfig, tmp_path):
    url = kubeconfig()
    file = tmp_path / "config"
    file.write_text(file.read_text().replace(str(keys / "client.key"), str(keys / "ca.key")))
    store = open_store(url, {})

    with pytest.raises(BadInput, match=r"certificates for 127.0.0.1:.* are of no use") as caught:
        store.list(Lease)
    store.close()
    assert "PRIVATE" not in str(caught.value)
