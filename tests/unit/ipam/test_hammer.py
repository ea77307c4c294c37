import pytest

from cloudnet.testing.etcd import EtcdServer
from cloudnet.testing.hammer import hammer


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
