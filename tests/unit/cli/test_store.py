import json

import pytest
from typer.testing import CliRunner

from cloudnet.cli import exits, main
from cloudnet.errors import BadInput
from cloudnet.model.calico_cluster import ClusterInformation
from cloudnet.model.resources import Metadata, Node
from cloudnet.store.migrate import MigrationRefused
from cloudnet.store.registry import open_store


@pytest.fixture
def urls(tmp_path):
    """Return the URLs of a store with two nodes and of one that is not there yet."""
    source = f"sqlite://{tmp_path}/source.sqlite"
    store = open_store(source)
    for name in ("n1", "n2"):
        store.create(Node(Metadata(name)))
    store.close()
    return source, f"sqlite://{tmp_path}/target.sqlite"


def run(*words):
    return CliRunner().invoke(main.build(lab=False), ["store", *words], catch_exceptions=False)


def ready(url):
    store = open_store(url)
    found = store.get(ClusterInformation, "default").value.spec.datastore_ready
    store.close()
    return found


def test_a_migration_says_what_became_of_each_kind(urls):
    source, target = urls

    done = run("migrate", "--from", source, "--to", target)

    assert [line.split() for line in done.stdout.splitlines()] == [
        ["KIND", "SOURCE", "EQUAL", "CREATED", "REPLACED", "REMOVED"],
        ["Node", "2", "0", "2", "0", "0"],
    ]
    assert (ready(source), ready(target)) == (False, True)


def test_a_check_fails_until_both_are_equal_and_makes_no_store(urls):
    source, target = urls

    with pytest.raises(BadInput, match="there is no store"):
        run("migrate", "--from", source, "--to", target, "--check")
    open_store(target).close()
    before = run("migrate", "--from", source, "--to", target, "--check", "-o", "json")
    run("migrate", "--from", source, "--to", target)
    after = run("migrate", "--from", source, "--to", target, "--check")

    (nodes,) = [one for one in json.loads(before.stdout)["kinds"] if one["kind"] == "Node"]
    assert (before.exit_code, nodes["created"]) == (1, 2)
    assert after.exit_code == 0


def test_a_store_is_not_copied_into_itself(urls):
    with pytest.raises(BadInput, match="--to: is the store of --from"):
        run("migrate", "--from", urls[0], "--to", urls[0])


def test_a_store_is_locked_and_unlocked(urls):
    run("lock", "--store", urls[0])
    locked = ready(urls[0])
    run("unlock", "--store", urls[0])

    assert (locked, ready(urls[0])) == (False, True)


def test_a_refused_migration_has_the_exit_code_of_what_is_there_already():
    assert exits.code(MigrationRefused("x")) == 5
