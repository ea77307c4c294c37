import json
from ipaddress import ip_interface, ip_network

import pytest
from typer.testing import CliRunner

from cloudnet.cli import main
from cloudnet.errors import BadInput
from cloudnet.model.addresses import NodeName
from cloudnet.model.resources import AffinityState, BlockAffinity, IPPool, Metadata, Node
from cloudnet.store.registry import open_store


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(
        main.build(lab=False), ["preflight", *arguments], catch_exceptions=False
    )


@pytest.fixture
def empty(tmp_path):
    url = f"sqlite://{tmp_path}/empty.sqlite"
    open_store(url).close()
    return url


@pytest.fixture
def store(tmp_path):
    url = f"sqlite://{tmp_path}/store.sqlite"
    opened = open_store(url)
    for k in (1, 2):
        opened.create(Node(Metadata(f"n{k}"), (ip_interface(f"10.0.{k}.11/24"),)))
    opened.create(IPPool(Metadata("pods"), ip_network("10.65.0.0/16")))
    opened.create(IPPool(Metadata("off"), ip_network("10.0.0.0/8"), disabled=True))
    opened.create(BlockAffinity(Metadata("a"), NodeName("n1"), ip_network("10.65.1.0/26")))
    opened.create(BlockAffinity(Metadata("b"), NodeName("n1"), ip_network("10.65.2.0/26"), AffinityState.PENDING))
    opened.close()
    return url


@pytest.fixture
def settings(tmp_path):
    def write(**document):
        path = tmp_path / "provider.json"
        path.write_text(json.dumps(document))
        return str(path)

    return write


@pytest.fixture
def all_routed(settings):
    return settings(routed=[{"prefix": "10.65.0.0/16"}])


def test_where_nothing_blocks_the_exit_code_is_0(run, store, all_routed):
    done = run("--provider", "static", "--provider-config", all_routed, "--store", store)

    assert done.exit_code == 0
    assert "blocks" not in done.stdout


def test_what_blocks_ends_with_7_and_shows_the_remedy(run, store, all_routed):
    done = run("--provider", "static", "--provider-config", all_routed, "--store", store, "--pod-mtu", "1500")

    assert done.exit_code == 7
    assert "blocks" in done.stdout.splitlines()[1]
    assert "set CLOUDNET_POD_MTU=1450 for every agent, or 0" in done.stdout


def test_as_json_every_finding_has_its_parts(run, store, all_routed):
    done = run(
        "--provider", "static", "--provider-config", all_routed, "--store", store, "--pod-mtu", "1500", "-o", "json"
    )

    answer = json.loads(done.stdout)
    assert answer["blocks"] is True
    (mtu,) = [f for f in answer["findings"] if f["check"] == "mtu"]
    assert (mtu["severity"], mtu["remedy"]) == ("blocks", "set CLOUDNET_POD_MTU=1450 for every agent, or 0")


def test_the_agents_settings_count(run, store, all_routed, monkeypatch):
    monkeypatch.setenv("CLOUDNET_POD_MTU", "1500")
    done = run("--provider", "static", "--provider-config", all_routed, "--store", store)

    assert done.exit_code == 7


def test_a_store_without_nodes_is_refused(run, empty):
    with pytest.raises(BadInput, match="it has no nodes"):
        run("--provider", "static", "--store", empty)


def test_an_unknown_provider_is_refused(run, store):
    with pytest.raises(BadInput, match="no provider is named 'nimbus'"):
        run("--provider", "nimbus", "--store", store)


@pytest.fixture
def all_settings(tmp_path):
    def write(text):
        path = tmp_path / "cloudnet.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("agent: {pod_mtu: 1500}", 7),
        ("pod_mtu: 1500", 7),
        ("pod_mtu: 1500\nagent: {pod_mtu: 0}", 0),
        ("agent: {pod_mtu: 1450}", 0),
    ],
)
def test_what_a_settings_file_says_to_agents_counts(store, all_routed, all_settings, text, code):
    named = ["--config", all_settings(text)]
    arguments = ["--provider", "static", "--provider-config", all_routed, "--store", store]

    done = CliRunner().invoke(main.build(lab=False), [*named, "preflight", *arguments], catch_exceptions=False)

    assert done.exit_code == code


def test_what_a_settings_file_says_to_the_controller_counts(store, all_routed, all_settings):
    text = f"controller: {{provider: static, provider_config: {all_routed}, store: '{store}'}}"
    named = ["--config", all_settings(text)]

    done = CliRunner().invoke(main.build(lab=False), [*named, "preflight"], catch_exceptions=False)

    assert done.exit_code == 0


def test_a_section_with_a_name_that_is_none_is_refused(store, all_settings):
    named = ["--config", all_settings("agent: {pod_mtux: 1}")]

    with pytest.raises(BadInput, match=r"agent\.pod_mtux: there is no such setting"):
        CliRunner().invoke(main.build(lab=False), [*named, "preflight", "--store", store], catch_exceptions=False)


def test_native_addresses_are_of_families_that_there_are(run, store):
    with pytest.raises(BadInput, match="--native-addresses: expected one of none, ipv4, ipv6, dual, found 'v4'"):
        run("--provider", "static", "--store", store, "--native-addresses", "v4")
