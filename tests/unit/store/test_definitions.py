"""The stand-in refuses the definitions that an API server refuses, and ours are none of these."""

from __future__ import annotations

import copy

import pytest

from cloudnet.manifests import crds
from cloudnet.testing.kube.definitions import faults

GOOD = {
    "metadata": {"name": "cats.example.org"},
    "spec": {
        "group": "example.org",
        "names": {"plural": "cats", "singular": "cat", "kind": "Cat", "listKind": "CatList"},
        "scope": "Cluster",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "additionalPrinterColumns": [
                    {"name": "Colours", "type": "string", "jsonPath": ".spec.coats[*].colour"},
                    {"name": "Team", "type": "string", "jsonPath": ".metadata.labels.team\\.example\\.org/name"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
                            "spec": {
                                "type": "object",
                                "required": ["coats"],
                                "properties": {
                                    "coats": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["colour"],
                                        "items": {
                                            "type": "object",
                                            "required": ["colour"],
                                            "properties": {"colour": {"type": "string", "pattern": "^[a-z]+$"}},
                                        },
                                    },
                                    "lives": {"x-kubernetes-int-or-string": True},
                                    "rest": {"x-kubernetes-preserve-unknown-fields": True},
                                    "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                                    "size": {"type": "integer", "default": 3, "minimum": 1},
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}
VERSION = ("spec", "versions", 0)
SCHEMA = (*VERSION, "schema", "openAPIV3Schema")
SPEC = (*SCHEMA, "properties", "spec", "properties")


def changed(path, value):
    """Return the good definition with one value in place of another."""
    definition = copy.deepcopy(GOOD)
    at = definition
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return definition


def test_a_good_one_has_no_fault():
    assert list(faults(GOOD)) == []


@pytest.mark.parametrize(
    "definition",
    [*crds.own_crds(), *crds.calico_crds(), *crds.policy_crds(), *crds.calico_crds(older=True)],
    ids=lambda one: one["metadata"]["name"],
)
def test_ours_have_none(definition):
    assert list(faults(definition)) == []


@pytest.mark.parametrize(
    ("path", "value", "where", "what"),
    [
        (("metadata", "name"), "cat.example.org", "metadata.name", "cats.example.org"),
        (("spec", "group"), "x.k8s.io", "metadata.name", "cats.x.k8s.io"),
        (("spec", "group"), "x.k8s.io", "metadata.annotations", "approval"),
        (("spec", "names", "listKind"), "Cat", "listKind", "same"),
        (("spec", "names", "singular"), "a_cat", "singular", "label"),
        (("spec", "scope"), "Everywhere", "spec.scope", "Cluster or Namespaced"),
        (("spec", "preserveUnknownFields"), True, "preserveUnknownFields", "false"),
        ((*VERSION, "storage"), False, "spec.versions", "exactly one"),
        ((*VERSION, "served"), None, "served", "Required"),
        ((*VERSION, "schema"), {}, "openAPIV3Schema", "Required"),
        ((*VERSION, "additionalPrinterColumns", 0, "type"), "text", "additionalPrinterColumns[0].type", "date"),
        ((*VERSION, "additionalPrinterColumns", 0, "jsonPath"), "spec", "[0].jsonPath", "simple"),
        ((*SCHEMA, "type"), "array", "openAPIV3Schema.type", "object"),
        ((*SCHEMA, "properties", "metadata"), {"type": "object", "required": ["x"]}, "[metadata]", "generateName"),
        (
            (*SCHEMA, "properties", "metadata"),
            {"type": "object", "properties": {"labels": {"type": "object"}}},
            "[metadata]",
            "generateName",
        ),
        ((*SPEC, "size"), {}, "[size].type", "Required"),
        ((*SPEC, "size"), {"type": "int"}, "[size].type", "Unsupported"),
        ((*SPEC, "size"), {"type": "integer", "default": "three"}, "[size].default", "suit"),
        ((*SPEC, "size"), {"type": "integer", "minimun": 1}, "minimun", "unknown field"),
        ((*SPEC, "size"), {"type": "integer", "readOnly": True}, "readOnly", "Forbidden"),
        ((*SPEC, "lives", "type"), "string", "[lives].type", "int-or-string"),
        ((*SPEC, "rest"), {"x-kubernetes-preserve-unknown-fields": False, "type": "object"}, "preserve", "undefined"),
        ((*SPEC, "rest", "type"), "string", "[rest].type", "must be object"),
        ((*SPEC, "tags", "properties"), {}, "[tags].additionalProperties", "exclude"),
        ((*SPEC, "tags", "additionalProperties"), False, "[tags].additionalProperties", "false"),
        ((*SPEC, "tags", "items"), {"type": "string"}, "[tags].items", "only arrays"),
        ((*SPEC, "coats", "uniqueItems"), True, "uniqueItems", "quadratic"),
        ((*SPEC, "coats", "items", "required"), [], "[colour]", "required"),
        ((*SPEC, "coats", "x-kubernetes-list-map-keys"), [], "list-map-keys", "Required"),
        ((*SPEC, "coats", "items", "properties", "colour", "pattern"), "^(?!a)", "pattern", "no such thing"),
        ((*SPEC, "coats", "items", "properties", "colour", "pattern"), "(", "pattern", "Invalid"),
        ((*SPEC, "coats", "items", "allOf"), [{"type": "object"}], "allOf[0].type", "structural"),
        ((*SPEC, "coats"), {"type": "array"}, "[coats].items", "Required"),
    ],
)
def test_each_fault_is_found_where_it_is(path, value, where, what):
    found = list(faults(changed(path, value)))

    assert any(where in at and what in message for at, message in found), found
