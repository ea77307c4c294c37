"""The stand-in's authorizer grants what roles say, and nothing else."""

from __future__ import annotations

import pytest

from cloudnet.testing.kube.rbac import Account, Asked, may
from cloudnet.testing.kube.server import ApiServer

AGENT = Account("ours", "agent")
GROUP = "rbac.authorization.k8s.io"


def role(rule, *, namespace=""):
    where = {"name": "r", **({"namespace": namespace} if namespace else {})}
    kind = "Role" if namespace else "ClusterRole"
    subjects = [{"kind": "ServiceAccount", "name": "agent", "namespace": "ours"}]
    reference = {"apiGroup": GROUP, "kind": kind, "name": "r"}
    return [
        {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": where, "rules": [rule]},
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": f"{kind}Binding",
            "metadata": where,
            "roleRef": reference,
            "subjects": subjects,
        },
    ]


NODES = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "create"]}
NAMED = {**NODES, "resourceNames": ["n1"]}


@pytest.mark.parametrize(
    ("rule", "namespace", "asked", "granted"),
    [
        (NODES, "", Asked("get", "", "nodes", name="n1"), True),
        (NODES, "", Asked("delete", "", "nodes", name="n1"), False),
        (NODES, "", Asked("get", "apps", "nodes", name="n1"), False),
        (NODES, "", Asked("get", "", "nodes/status", name="n1"), False),
        (NAMED, "", Asked("get", "", "nodes", name="n1"), True),
        (NAMED, "", Asked("get", "", "nodes", name="n2"), False),
        (NAMED, "", Asked("list", "", "nodes"), False),
        (NAMED, "", Asked("list", "", "nodes", name="n1"), True),
        (NAMED, "", Asked("create", "", "nodes", name="n1"), False),
        (NODES, "ours", Asked("get", "", "nodes", namespace="ours"), True),
        (NODES, "ours", Asked("get", "", "nodes", namespace="theirs"), False),
        (NODES, "ours", Asked("list", "", "nodes"), False),
    ],
)
def test_a_role_grants_its_verbs_on_its_resources_where_it_is_bound(rule, namespace, asked, granted):
    api = ApiServer(namespaces=("ours", "theirs"))
    for document in role(rule, namespace=namespace):
        api.create(document)

    assert may(AGENT, asked, api.objects) is granted
    assert not may(Account("theirs", "agent"), asked, api.objects)


def test_a_token_is_an_accounts_only_while_the_account_is_there():
    api = ApiServer(namespaces=("ours",))

    before = Account.of(AGENT.user, api.objects)
    api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent", "namespace": "ours"}})

    assert before is None
    assert Account.of(AGENT.user, api.objects) == AGENT
    assert Account.of("lab", api.objects) is None
