import pytest

from cloudnet.manifests import crds
from cloudnet.testing.etcd import EtcdServer
from cloudnet.testing.hammer import hammer
from cloudnet.testing.kube.server import ApiServer


def sound(outcome):
    assert outcome.twice == ()
    assert outcome.killed > 5
    assert outcome.given > 20  # on a machine with other work, too
    assert outcome.left == 0
    assert outcome.problems == ()


@pytest.mark.slow
def test_eight_processes_on_one_file_never_give_an_address_twice(tmp_path):
    sound(hammer(f"sqlite://{tmp_path}/store.sqlite", tmp_path))


@pytest.mark.server
@pytest.mark.slow
def test_eight_processes_on_a_real_etcd_never_give_an_address_twice(tmp_path):
    (tmp_path / "etcd").mkdir()
    with EtcdServer(tmp_path / "etcd") as etcd:
        sound(hammer(etcd.url, tmp_path))


@pytest.mark.slow
def test_eight_processes_on_kubernetes_never_give_an_address_twice(tmp_path):
    with ApiServer() as api:
        api.install([*crds.own_crds(), *crds.calico_crds()])
        config = tmp_path / "config"
        cluster = f'{{name: c, cluster: {{server: "http://127.0.0.1:{api.port}"}}}}'
        config.write_text(
            f"current-context: c\nclusters: [{cluster}]\ncontexts: [{{name: c, context: {{cluster: c}}}}]\n"
        )
        sound(hammer(f"kubernetes://{config}", tmp_path))
