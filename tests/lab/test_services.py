"""Pods, nodes and services as in a real cluster: kube-proxy's rules beside ours, in both of its modes.

Three nodes, two in one subnet; the web pods serve on port 8080 and answer with the address that the client has for
them. Services: `web` has n2's pod, `own` has n1's own pod, from outside by NodePort; `local` the same, Local.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from contextlib import ExitStack
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.kernel import netns
from cloudnet.lab.kubelet import NAMESPACE
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec, cloud_namespace
from cloudnet.store import kubernetes_settings
from cloudnet.store.kubernetes_client import Client, Request
from cloudnet.testing import kube_proxy
from cloudnet.testing.kube_proxy import Backend, Service

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NAME = f"sv{os.getpid() % 100000}"
PODS = ip_network("10.65.0.0/16")
PORT, SERVED, PAYLOAD = 80, 8080, 3_000_000
PATIENCE = 1.0  # seconds until a connection counts as denied


class Server:
    """Serves in a pod until the end of the test: says who the client is, and sends back what it gets."""

    def __init__(self, namespace):
        self.listening = netns.open_socket(namespace, socket.AF_INET, socket.SOCK_STREAM)
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(("0.0.0.0", SERVED))
        self.listening.listen(16)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):  # the socket is closed: the test is over
            while True:
                opened, client = self.listening.accept()
                threading.Thread(target=self.answer, args=(opened, client[0]), daemon=True).start()

    def answer(self, opened, client):
        with opened, contextlib.suppress(OSError):  # a client that went away is its own business
            opened.settimeout(5)
            opened.sendall(client.encode() + b"\n")
            while data := opened.recv(65536):
                opened.sendall(data)

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()


def reach(namespace, address, port=SERVED):
    """Return whom the server took the client for; nothing when it cannot be reached."""
    with netns.open_socket(namespace, socket.AF_INET, socket.SOCK_STREAM) as opened:
        opened.settimeout(PATIENCE)
        try:
            opened.connect((str(address), port))
            return opened.makefile("r").readline().strip()
        except OSError:
            return None


def carry(namespace, service):
    """Send a lot to a service and back; tell whether all came back unharmed."""
    sent = os.urandom(PAYLOAD)
    with netns.open_socket(namespace, socket.AF_INET, socket.SOCK_STREAM) as opened:
        opened.settimeout(10)
        opened.connect((str(service.address), service.port))
        got = opened.makefile("rb")
        got.readline()
        sending = threading.Thread(target=lambda: (opened.sendall(sent), opened.shutdown(socket.SHUT_WR)))
        sending.start()
        received = got.read()
        sending.join()
    return received == sent


class Cluster:
    def __init__(self, lab, stack):
        self.lab, self.stack = lab, stack
        self.nodes = {node.name: node for node in lab.nodes()}
        self.pods = {f"{n.name}{p.name}": p for n in self.nodes.values() for p in n.pods}
        for name in ("n1p1", "n2p1"):
            stack.enter_context(contextlib.closing(Server(self.space(name))))
        first, second = self.pods["n1p1"].address, self.pods["n2p1"].address
        self.services = {
            "web": Service("web", ip_address("10.96.0.1"), PORT, (Backend(second, SERVED),), node_port=30001),
            "own": Service("own", ip_address("10.96.0.2"), PORT, (Backend(first, SERVED),), node_port=30002),
            "local": Service(
                "local", ip_address("10.96.0.3"), PORT, (Backend(first, SERVED),), node_port=30003, local=True
            ),
        }

    def proxy(self, mode):
        for node in self.nodes.values():
            own = [pod.address for pod in node.pods]
            known = kube_proxy.Node((self.host(node.name),), PODS, own)
            script = kube_proxy.MODES[mode](known, list(self.services.values()))
            netns.execute(node.namespace, script.command, stdin=script.text)

    def space(self, name):
        return self.nodes[name].namespace if name in self.nodes else self.pods[name].namespace

    def host(self, node):
        return self.nodes[node].addresses[0].ip

    def reach(self, client, service):
        found = self.services[service]
        return reach(self.space(client), found.address, found.port)

    def direct(self, client, pod):
        return reach(self.space(client), self.pods[pod].address)

    def node_port(self, client, service, node):
        return reach(self.space(client), self.host(node), self.services[service].node_port)

    @contextlib.contextmanager
    def policy(self, name, spec):
        """Keep a NetworkPolicy in the cluster for a while."""
        document = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec}
        policy = document | {"metadata": {"name": name, "namespace": NAMESPACE}}
        place = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
        self.ask(Request("create", "networkpolicies", place, body=json.dumps(policy).encode()))
        try:
            yield
        finally:
            self.ask(Request("delete", "networkpolicies", f"{place}/{name}"))

    def label(self, what, name, **labels):
        """Change labels of a pod or a namespace, as people do."""
        place = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}" if what == "pods" else f"/api/v1/namespaces/{name}"
        self.ask(Request("patch", what, place, body=json.dumps({"metadata": {"labels": labels}}).encode()))

    def ask(self, request):
        """Ask the cluster's API, from where it is reached."""

        def call():
            with contextlib.closing(Client(kubernetes_settings.parse(self.lab.store_url, {}))) as client:
                client.call(request)

        netns.run_inside(cloud_namespace(NAME), call)


def eventually(look, wanted, seconds=20.0):
    """Look until everything is as it should be: the agents hear of a policy by themselves."""
    end = time.monotonic() + seconds
    while (found := look()) != wanted:
        assert time.monotonic() < end, f"found {found}, expected {wanted}"


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def cluster(request):
    with ExitStack() as stack:
        lab = Lab.up(LabSpec(NAME, nodes=3, subnets=2, cloud="static", store="kubernetes"))
        stack.callback(lab.down)
        lab.wait_native()
        made = Cluster(lab, stack)
        made.proxy(request.param)
        yield made


def test_services_are_reached_by_pods_and_nodes_and_servers_see_who_it_is(cluster):
    clients = ("n1p1", "n1p2", "n2p2", "n3p1", "n1", "n2", "n3")
    seen = {(client, name): cluster.reach(client, name) for client in clients for name in ("web", "own")}

    pod = {name: str(found.address) for name, found in cluster.pods.items()}
    node = {name: str(cluster.host(name)) for name in cluster.nodes}
    assert seen == {
        **{(client, name): pod[client] for client in ("n1p2", "n2p2", "n3p1") for name in ("web", "own")},
        **{(client, name): node[client] for client in node for name in ("web", "own")},
        ("n1p1", "web"): pod["n1p1"],
        ("n1p1", "own"): node["n1"],  # a hairpin: the pod may not see itself as client
    }


def test_node_ports_are_reached_on_every_node_and_local_ones_show_the_client(cluster):
    outside = {(name, at): cluster.node_port("n3", name, at) for name in ("web", "own") for at in ("n1", "n2")}
    local = {at: cluster.node_port("n3", "local", at) for at in ("n1", "n2")}

    assert outside == {(name, at): str(cluster.host(at)) for name in ("web", "own") for at in ("n1", "n2")}
    assert local == {"n1": str(cluster.host("n3")), "n2": None}


def test_connections_to_services_carry_data_unharmed(cluster):
    ways = [(client, name) for client in ("n1p1", "n2p2", "n3p1", "n3") for name in ("web", "own")]

    found = {(client, name): carry(cluster.space(client), cluster.services[name]) for client, name in ways}

    assert found == dict.fromkeys(ways, True)


def test_policy_knows_clients_of_services_by_their_labels_and_ports_by_their_pods(cluster):
    """Also what everybody's health hangs on: a node always reaches its own pods, another node does not."""
    spec = {
        "podSelector": {"matchLabels": {"pod": "p1"}},
        "ingress": [
            {
                "from": [{"podSelector": {"matchLabels": {"node": "n1"}}}],
                "ports": [{"protocol": "TCP", "port": SERVED}],
            }
        ],
    }
    asked = [("n1p2", "web"), ("n3p1", "web"), ("n1p1", "own"), ("n2p2", "own"), ("n1", "own"), ("n2", "own")]

    def look():
        return {client for client, name in asked if cluster.reach(client, name)}

    with cluster.policy("from-n1", spec):
        eventually(look, {"n1p2", "n1p1", "n1"})
        direct = {client for client in ("n1p2", "n3p1", "n1", "n3") if cluster.direct(client, "n1p1")}

    assert direct == {"n1p2", "n1"}
    eventually(look, {client for client, _ in asked})


def test_egress_policy_decides_by_the_pod_behind_a_service(cluster):
    """The port of the service is 80; what is allowed is 8080, where the pod serves."""
    spec = {
        "podSelector": {"matchLabels": {"node": "n3"}},
        "policyTypes": ["Egress"],
        "egress": [
            {"to": [{"podSelector": {"matchLabels": {"node": "n2"}}}], "ports": [{"protocol": "TCP", "port": SERVED}]}
        ],
    }

    with cluster.policy("to-n2", spec):
        eventually(lambda: [bool(cluster.reach("n3p1", name)) for name in ("web", "own")], [True, False])


def test_a_policy_of_addresses_sees_the_client_of_a_local_node_port(cluster):
    block = {"cidr": "10.0.0.0/16", "except": [f"{cluster.host('n3')}/32"]}
    spec = {"podSelector": {"matchLabels": {"pod": "p1"}}, "ingress": [{"from": [{"ipBlock": block}]}]}

    with cluster.policy("outside", spec):
        eventually(lambda: [bool(cluster.node_port(client, "local", "n1")) for client in ("n2", "n3")], [True, False])


def test_policy_follows_the_labels_of_pods_and_namespaces(cluster):
    source = {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {"matchLabels": {"role": "client"}}}
    spec = {"podSelector": {"matchLabels": {"pod": "p1"}}, "ingress": [{"from": [source]}]}

    def look():
        return {client for client in ("n3p1", "n3p2") if cluster.reach(client, "web")}

    with cluster.policy("clients", spec):
        eventually(look, set())
        cluster.label("pods", "n3-p1", role="client")
        cluster.label("namespaces", NAMESPACE, team="a")
        eventually(look, {"n3p1"})
        cluster.label("pods", "n3-p2", role="client")
        eventually(look, {"n3p1", "n3p2"})
        cluster.label("namespaces", NAMESPACE, team=None)
        eventually(look, set())
