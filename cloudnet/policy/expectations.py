"""Expected verdicts, written down by whoever owns the policies, and whether they hold.

    policies: [policies/, tiers.yaml]          files and folders, beside this file
    namespaces: {shop: {team: a}}              labels
    pods:
      shop/web: {labels: {app: web}, ports: {http: 8080}}
      shop/db: {labels: {app: db}, serviceAccount: db, address: 10.65.1.7, node: n1}
    tests:
      - {from: shop/web, to: shop/db, port: 5432, expect: allow}
      - {says: nobody else, from: 203.0.113.9, to: shop/db, port: 5432, expect: deny, by: NetworkPolicy shop/db}

``by`` names the policy, profile or tier that decided. Pods may also come from the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import names, shape, wire
from cloudnet.model.addresses import NodeName
from cloudnet.model.calico_rules import read_protocol
from cloudnet.model.kubernetes import Namespace
from cloudnet.model.problems import Problems
from cloudnet.model.resources import Metadata, Resource
from cloudnet.model.workloads import KUBERNETES, EndpointPort, WorkloadEndpoint, endpoint_labels, kubernetes_profiles
from cloudnet.policy import reach
from cloudnet.policy.cluster import Cluster
from cloudnet.policy.reach import Answer
from cloudnet.policy.verdicts import Step, Why


class _Strict(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What all parts of the file are."""


class _Pod(_Strict):
    labels: dict[str, str] | None = None
    service_account: str | None = None
    address: str | None = None
    node: str | None = None
    ports: dict[str, int | str] | None = None


class _Test(_Strict):
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    port: int | str
    expect: str
    says: str | None = None
    by: str | None = None


class _File(_Strict):
    tests: list[_Test]
    policies: list[str] | None = None
    namespaces: dict[str, dict[str, str] | None] | None = None
    pods: dict[str, _Pod | None] | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """One verdict that somebody expects."""

    source: str
    target: str
    port: str
    allowed: bool
    says: str = ""
    by: str = ""

    def __str__(self) -> str:
        return self.says or f"{self.source} > {self.target} {self.port}"


@dataclass(frozen=True, slots=True)
class Expectations:
    """A file of them: where policies are kept, the pods that it makes up, and the tests."""

    files: tuple[str, ...]
    resources: tuple[Resource, ...]
    tests: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one; ``problem`` says why it does not hold."""

    test: Expectation
    problem: str = ""
    answer: Answer | None = None

    @property
    def holds(self) -> bool:
        return not self.problem


# Any: what a YAML reader gave.
def read(document: Any) -> Expectations:
    """Return the expectations in a file.

    Raises:
        BadDocument: fields are wrong, all of which are named.
    """
    problems = Problems()
    try:
        file = msgspec.convert(document, _File)
    except msgspec.ValidationError:
        file = msgspec.convert(shape.repair(document, _File, problems), _File)
    inner = Problems()
    resources: list[Resource] = [
        Namespace(Metadata(name, labels=labels or {})) for name, labels in (file.namespaces or {}).items()
    ]
    for title, pod in (file.pods or {}).items():
        if made := inner.read(_endpoint, (title, pod or _Pod()), f"pods[{title!r}]"):
            resources.append(made)
    tests = tuple(_test(test, f"tests[{i}]", inner) for i, test in enumerate(file.tests))
    problems.merge(iter(inner))
    problems.raise_any()
    return Expectations(tuple(file.policies or ()), tuple(resources), tests)


def _test(test: _Test, path: str, problems: Problems) -> Expectation:
    expected = {"allow": True, "deny": False}
    if test.expect not in expected:
        problems.add(f"{path}.expect", f"expected 'allow' or 'deny', found {wire.shown(test.expect)}")
    return Expectation(
        test.source,
        test.target,
        str(test.port),
        expected.get(test.expect, False),
        test.says or "",
        test.by or "",
    )


def _endpoint(titled: tuple[str, _Pod], path: str) -> WorkloadEndpoint:
    title, pod = titled
    namespace, slash, name = title.rpartition("/")
    namespace = namespace if slash else "default"
    if not names.is_label(namespace) or not names.is_subdomain(name):
        raise BadInput(f"expected namespace/name, found {title!r}", path=path)
    account = pod.service_account or "default"
    labels = endpoint_labels(pod.labels or {}, namespace=namespace, orchestrator=KUBERNETES, service_account=account)
    ports = [_port(port, found, f"{path}.ports[{port!r}]") for port, found in (pod.ports or {}).items()]
    return WorkloadEndpoint(
        meta=Metadata(name, namespace, labels=labels),
        node=NodeName(pod.node or ""),
        orchestrator=KUBERNETES,
        endpoint="eth0",
        pod=name,
        service_account=account,
        networks=(ip_network(wire.address(pod.address, f"{path}.address")),) if pod.address else (),
        profiles=kubernetes_profiles(namespace, account),
        ports=tuple(ports),
    )


def _port(name: str, found: int | str, path: str) -> EndpointPort:
    number, _, protocol = str(found).partition("/")
    if not number.isdecimal() or not 1 <= int(number) <= 65535:  # noqa: PLR2004 - a port
        raise BadInput(f"expected a port such as 8080 or 53/udp, found {found!r}", path=path)
    return EndpointPort(name, str(read_protocol(protocol or "TCP", path)), int(number))


# --- asking -------------------------------------------------------------------------------------------------


def check(cluster: Cluster, tests: Iterable[Expectation]) -> list[Outcome]:
    """Return what became of each expectation; one that names what is not there does not hold."""
    return [_check(cluster, test) for test in tests]


def _check(cluster: Cluster, test: Expectation) -> Outcome:
    try:
        source, target = reach.find(cluster, test.source), reach.find(cluster, test.target)
        answer = reach.reach(cluster, source, target, reach.wanted(test.port, target))
    except BadInput as error:
        return Outcome(test, str(error))
    if answer.allowed is not test.allowed:
        word = "allowed" if answer.allowed else "denied"
        return Outcome(test, f"{word} by {decided_by(answer.deciding)}", answer)
    by = decided_by(answer.deciding)
    if test.by and test.by not in by:
        return Outcome(test, f"decided by {by}, not by {test.by}", answer)
    return Outcome(test, answer=answer)


def decided_by(step: Step | None) -> str:
    """Return what decided, in words: ``default: NetworkPolicy shop/db, rule 0``."""
    if step is None:
        return "nobody"
    if step.hit is None:
        return f"the default action of tier {step.tier}" if step.why is Why.TIER else step.why.value
    owner = step.hit.owner if isinstance(step.hit.owner, str) else str(step.hit.owner)
    where = f"{step.hit.tier}: {owner}" if step.hit.tier else f"profile {owner}"
    return f"{where}, {step.direction.value} rule {step.hit.rule}"
