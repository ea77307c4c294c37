from __future__ import annotations

import stat

import pytest

from cloudnet.errors import BadInput
from cloudnet.lab import spec, stores
from cloudnet.store import etcd_settings, kubernetes_settings


def test_a_file_needs_no_server(tmp_path):
    assert stores.kind("sqlite").command is None
    assert stores.kind("sqlite").url(tmp_path) == f"sqlite://{tmp_path}/store.sqlite"


def test_etcd_is_named_where_it_listens(tmp_path):
    kind = stores.kind("etcd")

    (endpoint,) = etcd_settings.parse(kind.url(tmp_path), {}).endpoints

    assert kind.command
    assert f"--listen-client-urls=http://{endpoint}" in kind.command(tmp_path)
    assert f"--data-dir={tmp_path}/etcd" in kind.command(tmp_path)


def test_the_kubeconfig_leads_to_the_api_server_and_is_for_root_alone(tmp_path):
    kind = stores.kind("kubernetes")
    stores.write_kubeconfigs(tmp_path)

    settings = kubernetes_settings.parse(kind.url(tmp_path), {})

    assert kind.command
    command = kind.command(tmp_path)
    assert command[command.index("--host") + 1 :][:3] == [
        settings.endpoint.host,
        "--port",
        str(settings.endpoint.port),
    ]
    assert settings.credentials.current().authorization == f"Bearer {command[command.index('--token') + 1]}"
    assert stat.S_IMODE(stores.kubeconfig(tmp_path).stat().st_mode) == 0o600


def test_programs_have_the_rights_of_their_account_and_people_all(tmp_path):
    kind = stores.kind("kubernetes")
    stores.write_kubeconfigs(tmp_path)

    urls = [kind.url_of("agent", tmp_path), kind.url_of("controller", tmp_path), kind.url(tmp_path)]
    tokens = [kubernetes_settings.parse(url, {}).credentials.current().authorization for url in urls]

    assert [token.rpartition(":")[2] for token in tokens] == ["cloudnet-agent", "cloudnet-controller", "Bearer lab"]
    assert stores.kind("sqlite").url_of("agent", tmp_path) == stores.kind("sqlite").url(tmp_path)


def test_servers_stand_in_the_network_of_the_cloud_and_in_none_of_its_subnets():
    plans = spec.subnets(spec.LabSpec(subnets=spec.MAX_SUBNETS))

    assert spec.STORE in spec.VPC
    assert not any(spec.STORE in plan.cidr for plan in plans)


def test_an_unknown_store_is_refused_with_those_there_are():
    with pytest.raises(
        BadInput, match="store: expected one of sqlite, etcd, kubernetes, kubernetes-older, found 'redis'"
    ):
        stores.kind("redis")
