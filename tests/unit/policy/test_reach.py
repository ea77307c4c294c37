from __future__ import annotations

from ipaddress import ip_address

import pytest

from cloudnet.errors import BadInput
from cloudnet.model import manifests
from cloudnet.policy import cluster, reach
from cloudnet.policy.expectations import decided_by
from cloudnet.policy.reach import End, Wanted
from cloudnet.policy.rules import Icmp

SHOP = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, serviceAccountName: bot, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.65.1.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: far}, spec: {nodeName: n2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: six}, status: {podIP: "fd00::6"}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host, namespace: shop}, spec: {hostNetwork: true}}
---
{apiVersion: v1, kind: Pod, metadata: {name: done, namespace: shop}, status: {phase: Succeeded}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: pg}]}]
"""


def build(text):
    found = [manifests.resource(one) for one in manifests.read(text, "f")]
    return cluster.build(value for value in found if value is not None)


@pytest.fixture(scope="module")
def shop():
    return build(SHOP)


def ask(of, source, target, port):
    from_, to = reach.find(of, source), reach.find(of, target)
    return reach.reach(of, from_, to, reach.wanted(port, to))


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        ("shop/web", "shop/db", "pg", True),
        ("shop/web", "shop/db", "5432", True),
        ("shop/web", "shop/db", "5433", False),
        ("shop/web", "shop/db", "5432/udp", False),
        ("far", "shop/db", "pg", False),
        ("default/far", "shop/web", "http", True),
        ("203.0.113.9", "shop/db", "pg", False),
        ("shop/db", "203.0.113.9", "443", True),
        ("203.0.113.9", "198.51.100.1", "443", True),
        ("10.65.1.2", "shop/db", "pg", True),
        ("shop/web", "shop/db", "icmp", False),
        ("shop/db", "shop/web", "icmp", True),
        ("six", "shop/web", "80", True),
    ],
)
def test_a_packet_gets_there_if_both_ends_let_it(shop, source, target, port, allowed):
    assert ask(shop, source, target, port).allowed is allowed


def test_the_answer_says_who_decided_and_who_was_passed_over(shop):
    answer = ask(shop, "far", "shop/db", "pg")

    assert [decided_by(step) for step in answer.steps] == [
        "profile kns.default, egress rule 0",
        "the default action of tier default",
    ]
    assert [str(key) for key in answer.deciding.passed_over] == ["KubernetesNetworkPolicy shop/db"]


def test_pods_of_one_node_are_asked_in_one_go_and_both_of_them(shop):
    answer = ask(shop, "shop/web", "shop/db", "pg")

    assert answer.ingress is None
    assert [step.endpoint for step in answer.egress.steps] == ["shop/web", "shop/db"]


def test_nobody_polices_a_packet_between_strangers(shop):
    answer = ask(shop, "203.0.113.9", "198.51.100.1", "443")

    assert answer.steps == ()
    assert answer.deciding is None


def test_pods_of_the_hosts_network_and_finished_ones_are_no_endpoints(shop):
    assert sorted(shop.members) == ["default/far", "default/six", "shop/db", "shop/web"]


def test_a_pod_without_an_address_gets_one_that_no_network_has(shop):
    addresses = {member.addresses[0] for member in shop.members.values()}

    assert len(addresses) == 4
    assert shop.members["shop/db"].addresses[0].is_reserved


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("80", Wanted(6, 80)),
        ("53/udp", Wanted(17, 53)),
        ("UDP/53", Wanted(17, 53)),
        ("80/SCTP", Wanted(132, 80)),
        ("http", Wanted(6, 8080)),
        ("http/tcp", Wanted(6, 8080)),
        ("icmp", Wanted(1)),
        ("icmp/3", Wanted(1, icmp=Icmp(3))),
        ("47/ip", Wanted(47)),
    ],
)
def test_a_port_is_written_as_people_write_it(shop, text, wanted):
    assert reach.wanted(text, reach.find(shop, "shop/web")) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("65536", "expected a number from 0 to 65535"),
        ("80/tpc", "expected a port such as 80"),
        ("http/udp", "shop/web has no port 'http/udp': its ports are http"),
        ("pg", "shop/web has no port 'pg': its ports are http"),
        ("icmp/x", "expected a number from 0 to 255"),
    ],
)
def test_a_port_that_is_none_is_refused_with_a_hint(shop, text, message):
    with pytest.raises(BadInput, match=message):
        reach.wanted(text, reach.find(shop, "shop/web"))


def test_an_endpoint_that_is_not_there_is_refused_with_those_called_alike(shop):
    with pytest.raises(BadInput, match=r"there is no endpoint 'web': is one of shop/web meant"):
        reach.find(shop, "web")
    with pytest.raises(BadInput, match="nor any that is called alike"):
        reach.find(shop, "zzz")


def test_ends_without_a_family_in_common_are_refused(shop):
    with pytest.raises(BadInput, match="shop/db and default/six have no address of one family"):
        ask(shop, "shop/db", "six", "80")


HOSTS = """
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: n2-eth0, labels: {role: node}}
spec: {node: n2, interfaceName: eth0, expectedIPs: [192.0.2.2]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: by-address, labels: {role: other}}
spec: {node: n3, expectedIPs: [192.0.2.3], profiles: [projectcalico-default-allow]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: no-far}
spec:
  selector: role == 'node'
  applyOnForward: true
  types: [Ingress, Egress]
  ingress: [{action: Deny, protocol: TCP, destination: {ports: [80]}}, {action: Allow}]
  egress: [{action: Allow}]
"""


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        ("shop/web", "far", "80", False),
        ("shop/web", "far", "81", True),
        ("far", "shop/web", "80", True),
        ("203.0.113.9", "host:n2-eth0", "80", False),
        ("203.0.113.9", "host:n2-eth0", "22", True),
        ("203.0.113.9", "192.0.2.2", "81", True),
        ("host:n2-eth0", "203.0.113.9", "443", True),
        ("203.0.113.9", "host:by-address", "443", True),
        ("host:n2-eth0", "far", "80", True),
    ],
)
def test_host_endpoints_of_both_nodes_have_their_say(source, target, port, allowed):
    assert ask(build(SHOP + HOSTS), source, target, port).allowed is allowed


def test_a_pod_told_twice_is_one_endpoint_and_the_endpoint_knows_more():
    endpoint = """
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n1-k8s-web-eth0, namespace: shop, labels: {app: web, projectcalico.org/namespace: shop}}
spec: {node: n1, orchestrator: k8s, pod: web, endpoint: eth0, ipNetworks: [10.65.1.9/32], profiles: [kns.shop]}
"""

    found = build(SHOP + endpoint)

    assert found.members["shop/web"].addresses == (ip_address("10.65.1.9"),)
    assert found.owner(ip_address("10.65.1.9")).title == "shop/web"


def test_an_end_outside_has_one_address():
    end = End("x", outside=ip_address("203.0.113.9"))

    assert end.address(4) == ip_address("203.0.113.9")
    assert end.address(6) is None
