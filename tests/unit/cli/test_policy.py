from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from cloudnet.cli import main, policy_picture
from cloudnet.errors import BadDocument, BadInput
from cloudnet.model import manifests
from cloudnet.policy.matrix import Group, Matrix
from cloudnet.policy.reach import End
from cloudnet.store.registry import open_store

CLUSTER = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: passed-over}}
"""
DB = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
"""
WEB = '(projectcalico.org/namespace == "shop" && (projectcalico.org/orchestrator == "k8s" && app == "web"))'
WRONG = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: wrong, namespace: shop}
spec: {order: high, ingress: [{action: Nod}]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "pods.yaml").write_text(CLUSTER)
    (tmp_path / "cluster" / "notes.txt").write_text("no manifest")
    (tmp_path / "cluster" / ".hidden.yaml").write_text("a: [")
    (tmp_path / "db.yml").write_text(DB)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    return tmp_path


def run(*arguments, exit_code=0, **options):
    result = CliRunner().invoke(main.build(lab=False), ["policy", *map(str, arguments)], **options)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.output
    return result.stdout


# --- explain ------------------------------------------------------------------------------------------------


def test_explain_says_who_decides_and_who_was_passed_over(folder):
    told = run("explain", "shop/web", "shop/db", "80", "-f", folder / "cluster", "-f", folder / "db.yml")

    assert [line.rstrip() for line in told.splitlines()] == [
        "shop/web > shop/db: denied",
        "  240.0.0.1 > 240.0.0.0 tcp 80",
        "",
        "leaving shop/web: allowed by profile kns.shop, egress rule 0",
        "    allow",
        "",
        "coming to shop/db: denied by the default action of tier default",
        "  passed over:",
        "    default: KubernetesNetworkPolicy shop/db",
        f"      rule 0: allow tcp from <{WEB}> to ports 5432",
    ]


def test_explain_speaks_json_too(folder):
    told = json.loads(
        run("explain", "shop/web", "shop/db", "5432", "-f", folder / "cluster", "-f", folder / "db.yml", "-o", "json")
    )

    assert told["allowed"] is True
    assert told["steps"][1]["by"] == "default: KubernetesNetworkPolicy shop/db, ingress rule 0"
    assert told["steps"][1]["rule"]["tier"] == "default"


def test_explain_tells_what_staged_policies_would_do(folder):
    staged = (
        "{apiVersion: projectcalico.org/v3, kind: StagedGlobalNetworkPolicy, metadata: {name: s}, "
        "spec: {ingress: [{action: Log}, {action: Deny}]}}"
    )

    told = run("explain", "shop/web", "shop/db", "80", "-f", folder / "cluster", "-f", "-", input=staged)

    assert "shop/web > shop/db: allowed" in told
    assert "staged, decides nothing:\n    default: StagedGlobalNetworkPolicy s\n      rule 1: deny" in told


def test_what_nobody_polices_is_said_so(folder):
    told = run("explain", "203.0.113.1", "203.0.113.2", "80", "-f", folder / "cluster")

    assert "no endpoint of the cluster polices it" in told


def test_without_anything_to_read_the_way_to_name_it_is_told():
    with pytest.raises(BadInput, match="name files with -f, or a store with --store"):
        run("explain", "a", "b", "80")


def test_a_wrong_document_stops_every_question_and_says_all_that_is_wrong(folder):
    with pytest.raises(BadDocument) as caught:
        run("matrix", "-f", folder)

    assert [path.partition(": NetworkPolicy ")[2] for path, _ in caught.value.problems] == [
        "shop/wrong: spec.order",
        "shop/wrong: spec.ingress[0].action",
    ]


@pytest.mark.parametrize("name", ["not-there.yaml", "latin.yaml"])
def test_a_file_that_cannot_be_read_is_named(folder, name):
    (folder / "latin.yaml").write_bytes(b"a: \xff")

    with pytest.raises(BadInput, match=name):
        run("matrix", "-f", folder / name)


# --- matrix -------------------------------------------------------------------------------------------------


def test_matrix_is_a_table(folder):
    told = run("matrix", "-f", folder / "cluster", "-f", folder / "db.yml")

    assert [line.split() for line in told.splitlines()] == [
        ["FROM", "/", "TO", "shop/db", "shop/web", "203.0.113.1"],
        ["shop/db", "-", "all", "all"],
        ["shop/web", "tcp", "5432", "-", "all"],
        ["203.0.113.1", "none", "all", "-"],
    ]


def test_matrix_of_one_port_as_json(folder):
    told = json.loads(
        run(
            "matrix",
            "-f",
            folder / "cluster",
            "-f",
            folder / "db.yml",
            "--port",
            "5432",
            "--outside",
            "10.1.1.1",
            "-o",
            "json",
        )
    )

    assert {"source": ["shop/web"], "target": ["shop/db"], "allowed": "all"} in told["pairs"]
    assert {"source": ["10.1.1.1"], "target": ["shop/db"], "allowed": "none"} in told["pairs"]
    assert len(told["pairs"]) == 6


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.cells, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)
        if tag == "td":
            self.cells.append(dict(attrs))
        self.sources += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_matrix_is_a_picture_that_needs_nothing_else(folder):
    picture = folder / "reach.html"

    run("matrix", "-f", folder / "cluster", "-f", folder / "db.yml", "--html", picture)

    text = picture.read_text()
    page = Cells()
    page.feed(text)
    assert page.open == []
    assert page.sources == []
    assert not re.search(r"<script|url\(|@import", text)
    assert [cell["class"] for cell in page.cells] == ["no", "all", "all", "some", "no", "all", "none", "all", "no"]
    assert page.cells[3]["title"] == "shop/web > shop/db: tcp 5432"


def test_names_in_the_picture_are_text_and_nothing_else(folder):
    bad = '<b>"x"</b>'

    page = policy_picture.page(Matrix((Group(bad, (End(bad),)),), ((bad,),)), bad)

    assert "<b>" not in page


# --- check --------------------------------------------------------------------------------------------------


def test_check_lists_wrong_fields_and_findings_and_fails(folder):
    (folder / "dead.yaml").write_text(DB.replace("name: db", "name: dead").replace("app: db", "app: nobody"))

    told = json.loads(run("check", folder, "-o", "json", exit_code=1))

    assert [(one["severity"], one["field"]) for one in told["findings"]] == [
        ("error", "spec.order"),
        ("error", "spec.ingress[0].action"),
        ("warning", ""),
    ]
    assert told["findings"][2]["where"] == "KubernetesNetworkPolicy shop/dead"
    assert told["policies"] == 2


def test_check_lets_warnings_pass_unless_it_is_strict(folder):
    unused = folder / "unused.yaml"
    unused.write_text(DB.replace("app: db", "app: nobody"))

    assert "selects no endpoint" in run("check", folder / "cluster", unused)
    run("check", folder / "cluster", unused, "--strict", exit_code=1)


def test_check_tells_of_fields_that_nobody_knows(folder):
    typed = folder / "typed.yaml"
    typed.write_text(DB.replace("podSelector: {matchLabels: {app: db}}", "podSelektor: {matchLabels: {app: db}}", 1))

    told = json.loads(run("check", typed, "-o", "json", exit_code=1))

    [finding] = told["findings"]
    assert (finding["severity"], finding["field"]) == ("error", "spec.podSelektor")
    assert finding["message"].startswith("unknown field: expected one of 'podSelector'")


def test_check_of_good_documents_has_nothing_to_say(folder):
    assert run("check", folder / "db.yml", "--strict") == "policies read: 1; nothing to say of them\n"


# --- diff ---------------------------------------------------------------------------------------------------


def test_diff_shows_what_applying_a_file_closes(folder):
    told = run("diff", folder / "db.yml", "-f", folder / "cluster")

    rows = [re.split(r"\s{2,}", line.rstrip()) for line in told.splitlines()]
    assert rows[0] == ["FROM", "TO", "OPENED", "CLOSED", "NOW DECIDED BY"]
    assert [row[:3] for row in rows[1:]] == [["shop/web", "shop/db", "-"], ["203.0.113.1", "shop/db", "-"]]
    assert rows[2][3:] == ["all", "the default action of tier default"]


def test_diff_shows_what_deleting_opens(folder):
    told = json.loads(
        run("diff", folder / "db.yml", "-f", folder / "cluster", "-f", folder / "db.yml", "--delete", "-o", "json")
    )

    assert [(one["source"], one["opened"], one["after"]) for one in told["changed"]] == [
        (["shop/web"], "tcp 1-5431,5433-65535; udp; icmp; other protocols", "all"),
        (["203.0.113.1"], "all", "all"),
    ]


def test_diff_of_what_is_there_already_is_nothing(folder):
    told = run("diff", folder / "db.yml", "-f", folder / "cluster", "-f", folder / "db.yml")

    assert told == "nothing changes for the endpoints that are there\n"


# --- test ---------------------------------------------------------------------------------------------------

TESTS = """
policies: [cluster, db.yml]
tests:
- {from: shop/web, to: shop/db, port: 5432, expect: allow}
- {from: shop/web, to: shop/db, port: 5433, expect: deny}
"""


def test_expectations_that_hold_end_well(folder):
    (folder / "tests.yaml").write_text(TESTS)

    assert run("test", folder / "tests.yaml") == "2 of 2 hold\n"


def test_an_expectation_that_does_not_hold_fails_and_says_what_was_found(folder):
    (folder / "tests.yaml").write_text(TESTS.replace("port: 5433, expect: deny", "port: 5433, expect: allow"))

    told = run("test", folder / "tests.yaml", exit_code=1)

    assert told.splitlines() == [
        "fails: shop/web > shop/db 5433: expected allow, found denied by the default action of tier default",
        "1 of 2 hold",
    ]
    rows = json.loads(run("test", folder / "tests.yaml", "-o", "json", exit_code=1))["tests"]
    assert [row["holds"] for row in rows] == [True, False]


@pytest.mark.parametrize("text", ["tests: []", "tests: [{}]", "a: 1\n---\nb: 2", "a: ["])
def test_a_wrong_file_of_expectations_is_bad_input(folder, text):
    (folder / "tests.yaml").write_text(text)

    with pytest.raises(BadInput):
        run("test", folder / "tests.yaml")


# --- the store ----------------------------------------------------------------------------------------------


@pytest.fixture
def store(folder):
    url = f"sqlite://{folder}/store.sqlite"
    opened = open_store(url)
    for one in manifests.read(CLUSTER, "f"):
        if (value := manifests.resource(one)) is not None:
            opened.create(value)
    opened.close()
    return url


def test_every_question_can_be_asked_of_the_store(folder, store):
    assert "shop/web > shop/db: allowed" in run("explain", "shop/web", "shop/db", "80", "--store", store)
    assert "all" in run("matrix", "--store", store)
    assert "nothing to say" in run("check", "--store", store)
    assert "shop/web" in run("diff", folder / "db.yml", "--store", store)


def test_a_file_counts_before_the_store(folder, store):
    pods = CLUSTER.replace(
        "name: db, namespace: shop, labels: {app: db}", "name: db, namespace: shop, labels: {app: x}"
    )
    (folder / "new.yaml").write_text(pods)

    told = run(
        "explain", "shop/web", "shop/db", "80", "--store", store, "-f", folder / "new.yaml", "-f", folder / "db.yml"
    )

    assert "shop/web > shop/db: allowed" in told
