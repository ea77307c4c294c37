import json
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from typer.testing import CliRunner

from cloudnet.cli import main
from cloudnet.errors import BadInput
from cloudnet.ipam.allocator import Allocator, Request
from cloudnet.model.addresses import Family, NodeName
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy.selectors import Matches
from cloudnet.store.registry import open_store


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite://{tmp_path}/store.sqlite")
    opened.create(Node(Metadata("n1")))
    opened.create(IPPool(Metadata("default"), ip_network("10.65.0.0/24"), block_size=28))
    yield opened
    opened.close()


@pytest.fixture
def leaked(store):
    """Give an address to a pod that is not there."""
    ipam = Allocator(store, now=lambda: datetime.now(tz=UTC), matches=Matches())
    owner = {"pod": "gone", "namespace": "shop", "node": "n1"}
    (given,) = ipam.auto_assign(Family.IPV4, 1, Request(NodeName("n1"), "net.gone", owner))
    return given.ip


@pytest.fixture
def run(tmp_path, store):
    def invoke(command, *arguments):
        line = ["ipam", command, *map(str, arguments), "--store", f"sqlite://{tmp_path}/store.sqlite"]
        return CliRunner().invoke(main.build(lab=False), line, catch_exceptions=False)

    return invoke


def test_pools_are_shown_with_how_full_they_are(run, leaked):
    done = run("show")

    assert done.stdout.splitlines()[1].split() == ["pool", "default", "10.65.0.0/24", "-", "256", "1", "0", "255"]


def test_blocks_are_shown_when_asked_for(run, leaked):
    shown = json.loads(run("show", "--blocks", "-o", "json").stdout)

    assert [(row["grouping"], row["in_use"], row["free"]) for row in shown] == [
        ("pool default", 1, 255),
        ("block", 1, 15),
    ]


def test_who_has_an_address_is_told(run, leaked):
    (shown,) = json.loads(run("show", "--ip", leaked, "-o", "json").stdout)

    assert (shown["owner"], shown["node"], shown["handle"]) == ("pod shop/gone on n1", "n1", "net.gone")


def test_asking_for_an_address_that_nobody_has_fails(run, leaked):
    done = run("show", "--ip", "10.65.0.255")

    assert (done.exit_code, done.stdout) == (1, "none\n")


def test_a_check_fails_when_something_is_wrong_and_only_then(run, store, request):
    before = run("check")
    request.getfixturevalue("leaked")

    after = run("check")

    assert (before.exit_code, before.stdout) == (0, "all books agree\n")
    assert after.exit_code == 1
    assert "leaked" in after.stdout


def test_what_a_check_found_can_be_released(run, leaked, tmp_path):
    report = tmp_path / "report.json"
    report.write_text(run("check", "-o", "json").stdout)

    done = run("release", "--from-report", report, "-o", "json")

    assert json.loads(done.stdout) == [str(leaked)]
    assert run("check").exit_code == 0


def test_a_report_of_an_address_that_changed_hands_releases_nothing(run, store, leaked, tmp_path):
    report = tmp_path / "report.json"
    report.write_text(run("check", "-o", "json").stdout)
    run("release", "--handle", "net.gone")
    ipam = Allocator(store, now=lambda: datetime.now(tz=UTC), matches=Matches())
    ipam.assign_ip(leaked, Request(NodeName("n1"), "net.new", {"node": "n1"}))

    done = run("release", "--from-report", report, "-o", "json")

    assert json.loads(done.stdout) == []
    assert run("show", "--ip", leaked).exit_code == 0


def test_an_address_that_a_pod_has_is_released_by_force_only(run, store, leaked):
    meta, networks = Metadata("n1-k8s-gone-eth0", "shop"), (ip_network(f"{leaked}/32"),)
    store.create(WorkloadEndpoint(meta, NodeName("n1"), "k8s", "eth0", pod="gone", networks=networks))

    with pytest.raises(BadInput, match="endpoint shop/n1-k8s-gone-eth0 has"):
        run("release", "--ip", leaked)

    assert json.loads(run("release", "--ip", leaked, "--force", "-o", "json").stdout) == [str(leaked)]


@pytest.mark.parametrize("arguments", [(), ("--ip", "10.65.0.1", "--handle", "h")])
def test_a_release_wants_one_of_its_three_ways(run, arguments):
    with pytest.raises(BadInput, match="expected one of --ip, --handle and --from-report"):
        run("release", *arguments)


@pytest.mark.parametrize("text", ["{}", "nonsense", '{"problems": [{"trouble": "leaked"}]}'])
def test_a_report_that_is_none_is_refused(run, tmp_path, text):
    report = tmp_path / "report.json"
    report.write_text(text)

    with pytest.raises(BadInput, match="expected what `cloudnet ipam check -o json` prints"):
        run("release", "--from-report", report)


def test_a_pool_is_split_in_one_step_and_pods_keep_their_addresses(run, store, leaked):
    done = run("split", 4, "--pool", "default", "-o", "json")

    assert [part["cidr"] for part in json.loads(done.stdout)] == [
        "10.65.0.0/26",
        "10.65.0.64/26",
        "10.65.0.128/26",
        "10.65.0.192/26",
    ]
    assert len(store.list(IPPool).items) == 4
    assert run("show", "--ip", leaked).exit_code == 0


def test_a_pool_that_is_not_there_is_not_split(run):
    with pytest.raises(BadInput, match="there are default"):
        run("split", 2, "--cidr", "10.66.0.0/24")


def test_what_is_configured_is_shown_and_what_is_not_named_stays(run):
    run("configure", "--strict-affinity", "--max-blocks-per-host", 4)

    done = run("configure", "--ip-cooldown-seconds", 30)

    assert done.exit_code == 0
    assert json.loads(run("show", "--configuration", "-o", "json").stdout) == {
        "strict_affinity": True,
        "auto_allocate_blocks": True,
        "max_blocks_per_host": 4,
        "ip_cooldown_seconds": 30,
    }


def test_a_limit_of_blocks_needs_strict_affinity(run):
    with pytest.raises(BadInput, match="a limit of blocks needs strict affinity"):
        run("configure", "--max-blocks-per-host", 4)
