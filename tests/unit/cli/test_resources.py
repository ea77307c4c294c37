"""Every test runs on a file, on an etcd and on a Kubernetes API."""

import contextlib
import json
import sqlite3
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cloudnet.cli import kind_names, main, resource_input, resource_write
from cloudnet.cli.resource_write import Verb, Way
from cloudnet.errors import BadInput
from cloudnet.manifests import crds as manifests
from cloudnet.model import kinds
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.store.memory import MemoryStore
from cloudnet.store.registry import open_store
from cloudnet.testing.etcd import EtcdServer
from cloudnet.testing.kube.server import ApiServer

ACCEPTED = Path(__file__).parents[2] / "cases" / "documents" / "accepted.yaml"

POOL = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: default
spec:
  cidr: 10.65.0.0/16
  ipipMode: Never
  natOutgoing: true
"""
NODE = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1, labels: {rack: r1}}
spec: {bgp: {asNumber: 64512, ipv4Address: 10.0.0.1/24}}
"""
POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db}
spec: {selector: app == 'db', ingress: [{action: Allow}]}
"""


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.server), "kubernetes"])
def url(request, tmp_path):
    if request.param == "sqlite":
        store = f"sqlite://{tmp_path}/store.sqlite"
        open_store(store).close()
        yield store
    elif request.param == "etcd":
        with EtcdServer(tmp_path) as server:
            yield server.url
    else:
        with ApiServer(namespaces=("default", "shop", "staging", "cloudnet-system")) as api:
            for crds in (manifests.own_crds(), manifests.calico_crds(), manifests.policy_crds()):
                api.install(crds)
            yield kubeconfig(api, tmp_path)


def kubeconfig(api, folder):
    """Write how to reach an API server, and return the URL of the store in it."""
    at = api.settings().endpoint
    cluster = {"server": f"http://{at.host}:{at.port}"}
    (folder / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": cluster}],
                "contexts": [{"name": "c", "context": {"cluster": "c"}}],
                "current-context": "c",
            }
        )
    )
    return f"kubernetes://{folder}/kubeconfig"


@pytest.fixture
def run(url, tmp_path):
    """Run a command with documents in files; return its exit code, output and complaints."""

    def invoke(*words, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        paths = [word for name in files for word in ("-f", str(tmp_path / f"{name}.yaml"))]
        done = CliRunner().invoke(main.build(lab=False), [*map(str, words), *paths, "--store", url])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return invoke


# --- writing ----------------------------------------------------------------------------------------------------


def test_what_is_applied_is_created_then_left_alone_then_replaced(run):
    first = run("apply", pool=POOL)
    second = run("apply", pool=POOL)
    third = run("apply", pool=POOL.replace("natOutgoing: true", "natOutgoing: false"))

    assert [done.stdout for done in (first, second, third)] == [
        "ippool/default created\n",
        "ippool/default unchanged\n",
        "ippool/default replaced\n",
    ]


def test_a_field_that_cloudnet_does_not_know_is_kept_and_can_be_changed(run):
    run("apply", node=NODE)
    done = run("apply", node=NODE.replace("64512", "64513"))

    shown = yaml.safe_load(run("get", "node", "n1", "-o", "yaml").stdout)

    assert done.stdout == "node/n1 replaced\n"
    assert shown["spec"]["bgp"]["asNumber"] == 64513


def test_every_document_is_answered_and_a_bad_one_stops_no_other(run):
    bad = POLICY.replace("Allow", "Permit")

    done = run("apply", all=f"{POOL}---\n{bad}---\n{NODE}---\n[1, 2")
    other = run("apply", all=f"{POOL}---\n{bad}---\n{NODE}")

    assert (done.exit_code, done.stdout) == (2, "")
    assert other.exit_code == 2
    assert other.stdout == "ippool/default created\nnode/n1 created\n3 documents, 1 failed\n"
    assert "NetworkPolicy db" in other.stderr
    assert "all.yaml, document 2): spec.ingress[0].action: expected one of 'Allow'" in other.stderr


def test_results_are_json_for_programs(run):
    done = run("apply", "-o", "json", all=f"{POOL}---\nkind: Gadget\napiVersion: v1\nmetadata: {{name: x}}")

    results = json.loads(done.stdout)["results"]

    assert [(one["result"], one["code"]) for one in results] == [("created", 0), ("failed", 2)]
    assert done.exit_code == 2
    assert not done.stderr


def test_a_folder_is_read_with_all_that_lies_below(run, tmp_path):
    (tmp_path / "d" / "deep").mkdir(parents=True)
    (tmp_path / "d" / "a.yaml").write_text(POOL)
    (tmp_path / "d" / "deep" / "b.json").write_text(json.dumps(yaml.safe_load(NODE)))
    (tmp_path / "d" / "notes.txt").write_text("not a document")

    assert run("apply", "-f", tmp_path / "d").stdout == (
        "ippool/default created\nnode/n1 created\n2 documents, none failed\n"
    )


def test_standard_input_is_a_file_too(run, url):
    done = CliRunner().invoke(main.build(lab=False), ["apply", "-f", "-", "--store", url], input=POOL)

    assert done.stdout == "ippool/default created\n"


def test_a_file_that_is_not_there_fails_and_others_are_read(run, tmp_path):
    done = run("create", "-f", tmp_path / "none.yaml", pool=POOL)

    assert (done.exit_code, "cannot read" in done.stderr) == (2, True)
    assert "ippool/default created" in done.stdout


def test_creating_twice_is_refused_or_skipped(run):
    run("create", pool=POOL)

    assert run("create", pool=POOL).exit_code == 5
    assert run("create", "--skip-exists", pool=POOL).stdout == "ippool/default skipped, for it exists\n"


def test_replacing_what_is_not_there_is_refused(run):
    done = run("replace", pool=POOL)

    assert (done.exit_code, "create it first" in done.stderr) == (4, True)


@pytest.mark.parametrize("verb", ["apply", "replace"])
def test_a_document_that_names_its_revision_is_refused_when_somebody_else_was_faster(run, verb):
    run("apply", pool=POOL)
    mine = run("get", "ippool", "default", "-o", "yaml").stdout
    run("patch", "ippool", "default", "-p", "spec: {natOutgoing: false}")

    done = run(verb, pool=mine.replace("natOutgoing: true", "disabled: true"))

    assert (done.exit_code, "get it again" in done.stderr) == (5, True)
    assert yaml.safe_load(run("get", "ippool", "default", "-o", "yaml").stdout)["spec"].get("disabled") is None


def test_a_deleted_resource_is_not_created_again_by_a_document_that_names_its_revision(run):
    run("apply", pool=POOL)
    mine = run("get", "ippool", "default", "-o", "yaml").stdout
    run("delete", "ippool", "default")

    done = run("apply", pool=mine)

    assert (done.exit_code, "leave out metadata.resourceVersion" in done.stderr) == (5, True)


def test_a_revision_that_is_none_is_refused_by_its_path(run):
    done = run("apply", pool=POOL.replace("name: default", "name: default\n  resourceVersion: new"))

    assert "metadata.resourceVersion: expected a revision of this store, found 'new'" in done.stderr


@pytest.mark.parametrize("verb", ["apply", "create"])
def test_a_dry_run_changes_nothing_and_refuses_what_would_be_refused(run, verb):
    done = run(verb, "--dry-run", pool=POOL)
    bad = run(verb, "--dry-run", pool=POOL.replace("10.65.0.0/16", "10.65.0.1/16"))

    assert done.stdout == "ippool/default created (dry run)\n"
    assert bad.exit_code == 2
    assert run("get", "ippools").stdout == "none\n"


def test_a_pool_neither_moves_nor_overlaps_another(run):
    run("apply", pool=POOL)

    moved = run("apply", pool=POOL.replace("10.65.0.0/16", "10.66.0.0/16"))
    with pytest.raises(BadInput, match=r"spec\.blockSize: expected 26 as it was"):
        run("patch", "ippool", "default", "-p", "{spec: {blockSize: 28}}")
    second = run("apply", pool=POOL.replace("name: default", "name: second").replace("65.0.0/16", "65.8.0/21"))

    assert "spec.cidr: expected 10.65.0.0/16 as it was, for it cannot change, found 10.66.0.0/16" in moved.stderr
    assert "spec.cidr: 10.65.8.0/21 overlaps pool 'default' (10.65.0.0/16)" in second.stderr


def test_a_mistyped_field_is_told_and_does_no_harm(run):
    done = run("apply", pool=POOL.replace("natOutgoing", "natOutgoin"))

    assert done.stdout.startswith("ippool/default created; spec.natOutgoin: unknown field: expected one of 'cidr'")


def test_what_is_deleted_is_gone_and_then_not_there(run):
    run("apply", pool=POOL, node=NODE)

    assert run("delete", "node/n1").stdout == "node/n1 deleted\n"
    assert run("delete", pool=POOL).stdout == "ippool/default deleted\n"
    assert run("delete", "ippool", "default").exit_code == 4
    assert run("delete", "ippool", "default", "--skip-not-exists").exit_code == 0
    assert run("delete", "--skip-not-exists", pool=POOL).stdout == "ippool/default skipped, for there is none\n"


def test_deleting_goes_on_after_a_name_that_is_not_there(run):
    run("apply", node=NODE)

    done = run("delete", "nodes", "n0", "n1")

    assert (done.exit_code, done.stdout) == (4, "node/n1 deleted\n2 documents, 1 failed\n")


def test_a_whole_kind_is_never_deleted_by_accident(run):
    with pytest.raises(BadInput, match="NAME: missing, and needed"):
        run("delete", "nodes")


def test_namespaces_are_told_apart_and_default_is_default(run):
    run("apply", "-n", "shop", policy=POLICY)
    run("apply", policy=POLICY)

    assert run("get", "np", "-n", "shop", "-o", "json").stdout.count('"namespace": "shop"') == 1
    everywhere = run("get", "networkpolicies", "-A").stdout.splitlines()
    assert [line.split() for line in everywhere] == [
        ["NAMESPACE", "NAME", "TIER"],
        ["default", "db", "default"],
        ["shop", "db", "default"],
    ]


# --- patches and labels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("strategic", "spec: {natOutgoing: null, disabled: true}"),
        ("merge", '{"spec": {"natOutgoing": null, "disabled": true}}'),
        (
            "json",
            '[{"op": "remove", "path": "/spec/natOutgoing"}, {"op": "add", "path": "/spec/disabled", "value": true}]',
        ),
    ],
)
def test_a_patch_changes_what_it_names_and_leaves_the_rest(run, type_, text):
    run("apply", pool=POOL)

    done = run("patch", "ipPool", "default", "--type", type_, "--patch", text)

    spec = yaml.safe_load(run("get", "ippool", "default", "-o", "yaml").stdout)["spec"]
    assert done.stdout == "ippool/default changed\n"
    assert spec == {"cidr": "10.65.0.0/16", "ipipMode": "Never", "disabled": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "[1]"), "patch: expected an object, found list: a list wants --type json"),
        (("-p", "spec: {}", "--type", "json"), "patch: expected a list of operations, found dict"),
        (("-p", '[{"op": "remove", "path": "/spec/none"}]', "--type", "json"), "patch: does not fit"),
        (("-p", "spec: {ipipMode: Sometimes}"), "spec.ipipMode: expected one of"),
        (("-p", "metadata: {name: other}"), "patch: makes another resource of it"),
        (("-p", "a: 1\n---\nb: 2"), "--patch: expected one document, found 2"),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused_and_changes_nothing(run, arguments, message):
    run("apply", pool=POOL)
    before = run("get", "ippool", "default", "-o", "yaml").stdout

    with pytest.raises(BadInput) as refused:
        run("patch", "ippool", "default", *arguments)

    assert str(refused.value).startswith(message)
    assert run("get", "ippool", "default", "-o", "yaml").stdout == before


def test_labels_are_set_removed_and_only_overwritten_when_told(run):
    run("apply", node=NODE)

    run("label", "node", "n1", "zone=a", "rack-")
    with pytest.raises(BadInput, match=r"label zone: is 'a' already: say --overwrite to make it 'b'"):
        run("label", "node", "n1", "zone=b")
    run("label", "nodes", "n1", "zone=b", "x=", "--overwrite")
    run("label", "nodes", "n1", "x", "--remove")

    assert yaml.safe_load(run("get", "node", "n1", "-o", "yaml").stdout)["metadata"]["labels"] == {"zone": "b"}


# --- reading ----------------------------------------------------------------------------------------------------


def test_what_is_shown_with_export_can_be_applied_elsewhere(run, tmp_path):
    run("apply", pool=POOL, node=NODE, policy=POLICY)
    shown = run("get", "ippools,nodes,networkpolicies", "-A", "--export", "-o", "yaml").stdout
    for words in (("ippool", "default"), ("node", "n1"), ("np", "db")):
        run("delete", *words)

    done = run("apply", all=shown)

    assert done.stdout.endswith("3 documents, none failed\n")
    assert run("get", "ippools,nodes,networkpolicies", "-A", "--export", "-o", "yaml").stdout == shown
    assert yaml.safe_load(shown)["kind"] == "List"
    assert "resourceVersion" not in shown


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("table", [["NAME", "CIDR", "SELECTOR"], ["default", "10.65.0.0/16", "all()"]]),
        ("name", [["ippool/default"]]),
        ("custom-columns=NAME,NAT,SIZE:.spec.cidr", [["NAME", "NAT", "SIZE"], ["default", "true", "10.65.0.0/16"]]),
    ],
)
def test_resources_are_shown_in_columns(run, form, expected):
    run("apply", pool=POOL)

    assert [line.split() for line in run("get", "ippools", "-o", form).stdout.splitlines()] == expected


def test_wide_columns_say_what_an_absent_field_means(run):
    run("apply", pool=POOL)

    heads, row = (line.split() for line in run("get", "pools", "-o", "wide").stdout.splitlines())

    assert dict(zip(heads, row, strict=True)) == {
        "NAME": "default",
        "CIDR": "10.65.0.0/16",
        "SELECTOR": "all()",
        "NAT": "true",
        "IPIPMODE": "Never",
        "VXLANMODE": "Never",
        "DISABLED": "false",
        "DISABLEBGPEXPORT": "false",
        "BLOCKSIZE": "-",
    }


@pytest.mark.parametrize("form", ["xml", "custom-columns=GADGET", "go-template={{.}}"])
def test_a_form_that_nobody_knows_is_refused(run, form):
    run("apply", pool=POOL)

    with pytest.raises(BadInput, match="--output: expected"):
        run("get", "ippools", "-o", form)


def test_resources_that_documents_name_are_shown(run):
    run("apply", pool=POOL)

    done = run("get", "-o", "name", pool=POOL, node=NODE)

    assert (done.exit_code, done.stdout) == (4, "ippool/default\n")
    assert "node/n1: there is no Node 'n1'" in done.stderr


def test_a_name_that_is_not_there_has_its_exit_code(run):
    assert run("get", "nodes", "n7").exit_code == 4


# --- whole sets -------------------------------------------------------------------------------------------------


def test_every_document_that_users_write_is_applied_shown_and_applied_again_unchanged(run, url):
    documents = list(yaml.safe_load_all(ACCEPTED.read_text()))
    if url.startswith("kubernetes"):  # makes profiles itself
        documents = [document for document in documents if document["kind"] != "Profile"]
    text = yaml.safe_dump_all(documents)
    first = run("apply", written=text)
    second = run("apply", written=text)
    everything = ",".join(kind.plural for kind in kinds.ALL)
    shown = run("get", everything, "-A", "-o", "yaml").stdout

    third = run("apply", all=shown)

    assert first.exit_code == 0, first.stderr
    assert {line.split()[-1] for line in second.stdout.splitlines()[:-1]} == {"unchanged"}
    assert {line.split()[-1] for line in third.stdout.splitlines()[:-1]} == {"unchanged"}
    assert len(second.stdout.splitlines()) - 1 == len(documents)


def test_a_whole_place_is_described_with_what_hangs_together(run):
    run("apply", pool=POOL, node=NODE, policy=POLICY)

    pool, node = run("describe", "ippool", "default").stdout, run("describe", "node/n1").stdout
    policy = run("describe", "np", "db").stdout

    assert "Use:\n  0 of 65536 addresses in use, 0 reserved, 65536 free\nBlocks:\n  none\n" in pool
    assert "  bgp:\n" in node
    assert "    asNumber: 64512\n" in node
    assert "Agent:\n  has never reported: is it running?\n" in node
    assert "Applies to:\n  none\n" in policy
    assert run("describe", "node", "n7").exit_code == 4


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("IPPool", "IPPool"),
        ("ipPools", "IPPool"),
        ("no", "Node"),
        ("gnp", "GlobalNetworkPolicy"),
        ("WEPS", "WorkloadEndpoint"),
    ],
)
def test_a_kind_has_the_names_that_calicoctl_knows(word, kind):
    assert kind_names.find(word).name == kind


def test_every_short_name_means_a_kind():
    assert {kind_names.find(word).name for word in kind_names.SHORT} <= {kind.name for kind in kinds.ALL}


# --- races, on the twin -----------------------------------------------------------------------------------------


class Busy(MemoryStore):
    """A store in which somebody else writes between our reading and our writing, a number of times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def update(self, value, *, expected):
        if self.times:
            self.times -= 1
            seen = self.get(type(value), value.meta.name, value.meta.namespace)
            super().update(Node(Metadata("n1", labels={"turn": str(self.times)})), expected=seen.revision)
        return super().update(value, expected=expected)


@pytest.mark.parametrize(("times", "result"), [(3, "replaced"), (99, "failed")])
def test_applying_tries_again_when_others_write_and_gives_up_some_time(tmp_path, times, result):
    store = Busy(times)
    store.create(Node(Metadata("n1")))
    (tmp_path / "n.yaml").write_text(NODE)

    (done,) = resource_write.carry_out(store, resource_input.read([str(tmp_path / "n.yaml")]), Way(Verb.APPLY))

    assert done.result == result


@pytest.mark.parametrize(
    ("words", "expected"),
    [("get ippo", {"ippool", "ippools"}), ("get ipp de", {"default"}), ("describe node x", set())],
)
def test_completion_offers_kinds_and_names_of_the_store(tmp_path, words, expected):
    url = f"sqlite://{tmp_path}/s.sqlite"
    store = open_store(url)
    store.create(IPPool(Metadata("default"), ip_network("10.65.0.0/16")))
    store.close()
    line = f"cloudnet {words}"
    environment = {"_CLOUDNET_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}

    done = CliRunner().invoke(
        main.build(lab=False), [], prog_name="cloudnet", env={**environment, "CLOUDNET_STORE": url}
    )

    assert set(done.stdout.split()) == expected


def test_a_document_that_somebody_spoilt_is_told_and_hides_no_other(tmp_path):
    url = f"sqlite://{tmp_path}/s.sqlite"
    store = open_store(url)
    store.create(Node(Metadata("n1")))
    store.create(Node(Metadata("n2", labels={"good": "yes"})))
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sqlite")) as connection, connection:
        connection.execute('UPDATE resources SET document = replace(document, \'"good":"yes"\', \'"good":5\')')

    done = CliRunner().invoke(main.build(lab=False), ["get", "nodes", "--store", url])

    assert (done.exit_code, done.stdout.split()) == (1, ["NAME", "n1"])
    assert "error: node/n2: makes no sense as it is stored: metadata.labels" in done.stderr
