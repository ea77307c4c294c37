from __future__ import annotations

import pytest

from cloudnet.errors import BadDocument
from cloudnet.model import manifests
from cloudnet.policy import cluster, expectations

FILE = """
policies: [policies/]
namespaces: {shop: {team: a}, empty: }
pods:
  shop/web: {labels: {app: web}, serviceAccount: bot, node: n1, ports: {http: 8080, dns: 53/udp}}
  shop/db: {labels: {app: db}, address: 10.65.1.7}
  lonely:
tests:
- {from: shop/web, to: shop/db, port: 5432, expect: allow, by: db}
- {from: lonely, to: shop/db, port: 5432/tcp, expect: deny, by: the default action of tier default}
- {says: nobody reaches the web, from: 203.0.113.9, to: shop/web, port: http, expect: deny}
- {says: not so, from: shop/web, to: shop/db, port: 5432, expect: allow, by: somebody else}
- {from: shop/nix, to: shop/db, port: 5432, expect: allow}
"""
POLICY = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: app == 'db'
  ingress:
  - action: Allow
    protocol: TCP
    source: {serviceAccounts: {names: [bot]}, namespaceSelector: team == 'a'}
    destination: {ports: [5432]}
"""


def read(text):
    return expectations.read(manifests.load_all(text, "f")[0])


def test_expectations_hold_or_say_what_they_found_instead():
    wanted = read(FILE)
    policies = [manifests.resource(one) for one in manifests.read(POLICY, "f")]

    outcomes = expectations.check(cluster.build([*wanted.resources, *policies]), wanted.tests)

    assert [(str(one.test), one.problem) for one in outcomes] == [
        ("shop/web > shop/db 5432", ""),
        ("lonely > shop/db 5432/tcp", ""),
        ("nobody reaches the web", "allowed by profile kns.shop, ingress rule 0"),
        (
            "not so",
            "decided by default: NetworkPolicy shop/db, ingress rule 0, not by somebody else",
        ),
        ("shop/nix > shop/db 5432", "there is no endpoint 'shop/nix', nor any that is called alike"),
    ]
    assert [one.holds for one in outcomes] == [True, True, False, False, False]


def test_pods_that_the_file_makes_up_are_as_kubernetes_would_have_them():
    [shop, _, web, db, lonely] = read(FILE).resources

    assert shop.meta.labels == {"team": "a"}
    assert web.profiles == ("kns.shop", "ksa.shop.bot")
    assert web.meta.labels["projectcalico.org/serviceaccount"] == "bot"
    assert [(port.name, port.protocol, port.port) for port in web.ports] == [
        ("http", "TCP", 8080),
        ("dns", "UDP", 53),
    ]
    assert str(db.networks[0]) == "10.65.1.7/32"
    assert lonely.meta.namespace == "default"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("{}", {"tests": "missing"}),
        ("7", {"": "expected an object"}),
        (
            "tests: [{from: a, to: b, port: 1, expect: maybe, form: x}, {to: 7, port: [1], expect: deny}]",
            {
                "tests[0].form": "unknown field",
                "tests[1].to": "expected a string",
                "tests[1].port": "expected",
                "tests[1].from": "missing",
                "tests[0].expect": "expected 'allow' or 'deny', found 'maybe'",
            },
        ),
        (
            "{tests: [], pods: {a/b/c: {}, A: {}, x: {address: here}, y: {ports: {p: 0}}, z: {ports: {p: 1/x}}}}",
            {
                "pods['a/b/c']": "expected namespace/name",
                "pods['A']": "expected namespace/name",
                "pods['x'].address": "expected an address",
                "pods['y'].ports['p']": "expected a port",
                "pods['z'].ports['p']": "expected one of",
            },
        ),
    ],
)
def test_a_wrong_file_says_all_that_is_wrong(text, problems):
    with pytest.raises(BadDocument) as caught:
        read(text)

    told = dict(caught.value.problems)
    assert sorted(told) == sorted(problems)
    assert all(told[path].startswith(message) for path, message in problems.items())
