from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.errors import BadDocument, BadInput
from cloudnet.model import manifests
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.policies import NetworkPolicy

POLICY = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: x, namespace: shop}
spec: {selector: all()}
"""


def outcome(text):
    try:
        return manifests.read(text, "f")
    except BadInput as error:
        return error


def one(text):
    [found] = manifests.read(text, "f.yaml")
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:23", "22:23"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("80", 80),
        ("-1", -1),
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("1.0e+7", 1e7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("~", None),
        ("true", True),
        ("'80'", "80"),
        ("192.168.0.0/16", "192.168.0.0/16"),
    ],
)
def test_a_value_is_what_kubernetes_reads(text, value):
    assert manifests.load_all(f"a: {text}", "f") == [{"a": value}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "f.yaml: line 2, column 1: the key 'a' stands here twice"),
        ("a: [", "f.yaml: line 2, column 1: "),
        ("a: &x [*x]", "f.yaml: aliases make it too big, or stand for themselves"),
        ("- " * 100_000 + "1", "f.yaml: line 1: too deep or too much for a document"),
        ("[" * 100_000, "f.yaml: line 1"),
        ("!!python/object/apply:os.system ['true']", "f.yaml: line 1, column 1: could not determine a constructor"),
        ("? [1]\n: 2", "f.yaml: line 1, column 3: expected text as a key"),
        ("a: !!int ''", "f.yaml: expected YAML: "),
        ("a: !!bool x", "f.yaml: expected YAML: "),
        ("a: !!timestamp x", "f.yaml: "),
        ("a\x00b", "f.yaml: expected YAML: not readable"),
        ("just text", "f.yaml: expected an object with apiVersion and kind, found str"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(text, message):
    with pytest.raises(BadInput) as caught:
        manifests.read(text, "f.yaml")

    assert str(caught.value).startswith(message)


def test_aliases_that_grow_without_end_are_refused_at_once():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    began = time.thread_time()

    with pytest.raises(BadInput, match="aliases make it too big"):
        manifests.load_all("\n".join(lines), "f")

    assert time.thread_time() - began < 1


def test_aliases_and_merges_of_a_reasonable_size_are_followed():
    assert manifests.load_all("x: &a {b: 1}\ny: {<<: *a, c: 2}\nz: *a", "f") == [
        {"x": {"b": 1}, "y": {"b": 1, "c": 2}, "z": {"b": 1}}
    ]


def test_a_text_holds_many_documents_and_lists_of_them():
    text = f"---\n{POLICY}---\n---\nkind: List\nitems:\n- {{kind: Pod, metadata: {{name: a}}}}\n- {{kind: Pod}}\n"

    found = manifests.read(text, "f.yaml")

    assert [(one.title, one.origin) for one in found] == [
        ("NetworkPolicy shop/x", "f.yaml, document 1"),
        ("Pod a", "f.yaml, document 3, item 1"),
        ("Pod", "f.yaml, document 3, item 2"),
    ]


def test_json_is_yaml_too():
    assert manifests.load_all(json.dumps({"a": [1, "b", None]}), "f") == [{"a": [1, "b", None]}]


def test_a_manifest_becomes_its_resource_in_namespace_default_if_it_names_none():
    found = manifests.resource(one(POLICY.replace(", namespace: shop", "")))

    assert isinstance(found, NetworkPolicy)
    assert found.meta.namespace == "default"
    assert isinstance(manifests.resource(one("{apiVersion: v1, kind: Namespace, metadata: {name: a}}")), Namespace)


def test_a_kind_without_meaning_to_networking_is_passed_over():
    assert manifests.resource(one("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")) is None
    assert manifests.resource(one("{apiVersion: gateway/v1, kind: NetworkPolicy}")) is None


@pytest.mark.parametrize("kind", ["{a: b}", "[Pod]", "7", ""])
def test_a_kind_that_is_no_word_is_refused(kind):
    with pytest.raises(BadInput, match=r"^kind: expected a string"):
        manifests.resource(one(f"{{apiVersion: v1, kind: {kind}}}"))


def test_a_wrong_version_of_a_known_group_is_refused_not_passed_over():
    with pytest.raises(BadInput, match="apiVersion"):
        manifests.resource(one("{apiVersion: projectcalico.org/v9, kind: Tier, metadata: {name: a}}"))


def test_a_wrong_document_says_all_that_is_wrong():
    with pytest.raises(BadDocument) as caught:
        manifests.resource(one(POLICY.replace("{selector: all()}", "{selector: all(, order: x}")))

    assert [path for path, _ in caught.value.problems] == ["spec.order", "spec.selector"]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"])
def test_a_workload_stands_for_a_pod_of_its_template(kind):
    found = manifests.resource(
        one(
            f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: web, namespace: shop, labels: {{not: these}}}}\n"
            "spec: {template: {metadata: {labels: {app: web}}, spec: {serviceAccountName: bot, "
            "containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}}}"
        )
    )

    assert isinstance(found, Pod)
    assert (found.meta.namespace, found.meta.name, found.meta.labels) == ("shop", "web", {"app": "web"})
    assert (found.service_account, found.ports[0].name) == ("bot", "http")


def test_a_cron_job_has_its_template_deeper():
    found = manifests.resource(
        one(
            "{apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly}, "
            "spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: n}}}}}}}"
        )
    )

    assert found.meta.labels == {"app": "n"}


def test_a_workload_without_a_template_is_refused():
    with pytest.raises(BadInput, match=r"spec\.template: missing"):
        manifests.resource(one("{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: 7}"))


@given(st.text("ab: -[]{}&*!'\"\n#,|>%@`?\t\\0", max_size=40))
def test_no_text_does_worse_than_being_refused(text):
    found = outcome(text)

    assert isinstance(found, BadInput) or all(isinstance(one.document, dict) for one in found)


WORDS = st.text(max_size=6) | st.sampled_from(
    [
        "22:23",
        "1e3",
        "010",
        "0o7",
        "0x1F",
        "yes",
        "no",
        "null",
        "~",
        "2001-01-01",
        "1_000",
        ".5",
        "a: b",
        "- x",
        "on",
        "=",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_written_as_yaml_is_read_back_the_same(value):
    assert manifests.load_all(manifests.dump(value), "written") == [value]
