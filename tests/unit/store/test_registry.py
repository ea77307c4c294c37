from __future__ import annotations

import pytest

from cloudnet.errors import BadInput
from cloudnet.model.resources import Metadata, Node
from cloudnet.store.memory import MemoryStore
from cloudnet.store.registry import open_store


def test_a_sqlite_url_names_an_absolute_path(tmp_path):
    store = open_store(f"sqlite://{tmp_path}/store.sqlite")
    store.create(Node(Metadata("n1")))
    store.close()

    assert (tmp_path / "store.sqlite").exists()


def test_a_memory_url_gives_a_store_of_its_own_each_time():
    one, other = open_store("memory://"), open_store("memory://")
    one.create(Node(Metadata("n1")))

    assert isinstance(one, MemoryStore)
    assert other.list(Node).items == ()


@pytest.mark.parametrize("url", ["", "sqlite://relative/path", "/just/a/path", "etc://host", "memory:///x"])
def test_other_urls_are_refused_with_the_form_to_use(url):
    with pytest.raises(
        BadInput, match=r"store: expected kubernetes://, sqlite:///ABSOLUTE/PATH, etcd://.* or memory://, found"
    ) as caught:
        open_store(url)

    assert repr(url) in str(caught.value)
