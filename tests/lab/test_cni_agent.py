"""A real agent, the real plugin and real namespaces: pods come, talk, survive the agent, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from cloudnet.cni import install
from cloudnet.kernel import netns
from cloudnet.model.kubernetes import Namespace, Pod
from cloudnet.model.policies import GlobalNetworkPolicy, PolicySpec, PolicyType
from cloudnet.model.resources import IPAMBlock, IPPool, Metadata, Node, Vtep
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.registry import open_store

pytestmark = pytest.mark.kernel

REFERENCE = Path("/usr/lib/cni")
NAME = f"cn-cni-{os.getpid()}"
BOTH = {"type": "calico-ipam", "assign_ipv6": "true"}


class Host:
    """A node with an agent that may be killed and started, and pods."""

    def __init__(self, folder):
        self.folder, self.name, self.agent = folder, f"{NAME}-node", None
        self.url, self.socket = f"sqlite://{folder}/store.sqlite", folder / "cni.sock"
        self.program = folder / "cloudnet"
        self.program.write_bytes(install.program())
        self.program.chmod(0o755)
        self.store = open_store(self.url)
        vtep = Vtep(ip_address("100.64.0.1"), "66:00:00:00:00:01")
        node = Node(Metadata("n1"), (ip_interface("10.0.0.11/24"),), (vtep,), pod_cidrs=(ip_network("10.99.0.0/24"),))
        self.store.create(node)
        self.store.create(IPPool(Metadata("four"), ip_network("10.65.0.0/24")))
        self.store.create(IPPool(Metadata("six"), ip_network("fd00:65::/112"), block_size=122))
        self.store.create(IPPool(Metadata("tiny"), ip_network("10.66.0.0/32"), block_size=32))
        self.store.create(Namespace(Metadata("shop")))
        self.store.create(Pod(Metadata("web", "shop", labels={"app": "web"})))

    def ip(self, *words):
        return netns.execute(self.name, ["ip", *words])

    def boot(self):
        """Make the node's network as a kernel that has just started has it, or has it again."""
        netns.remove(self.name)
        netns.create(self.name)
        for line in (
            "link add eth0 type veth peer name eth0-peer",
            "link set eth0-peer up",
            "link set eth0 up",
            "address add 10.0.0.11/24 dev eth0",
            "route add default via 10.0.0.1",
        ):
            self.ip(*line.split())

    def start(self):
        flags = {"node": "n1", "store": self.url, "socket": self.folder / "agent.sock", "cni-socket": self.socket}
        flags["state"] = self.folder / "state"
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        program = [sys.executable, "-m", "cloudnet.cli.main", "agent", *words, "--cni-state", str(self.folder / "s")]
        with (self.folder / "log").open("ab") as log:
            self.agent = subprocess.Popen(netns.command_inside(self.name, program), stdout=log, stderr=log)
        wait_for(lambda: self.call("STATUS")[0] == 0, "the agent does not become ready", self.folder / "log")

    def stop(self, number=signal.SIGTERM):
        self.agent.send_signal(number)
        self.agent.wait(20)

    def call(self, command, pod="", *, container="c1", interface="eth0", args="", config=None, **keys):
        """Return the code (0 for success), and the answer."""
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": interface, "CNI_ARGS": args}
        env |= {"CNI_PATH": str(REFERENCE), "CNI_NETNS": f"/run/netns/{pod}" if pod and "/" not in pod else pod}
        own = {"cniVersion": "1.1.0", "name": "net", "type": "cloudnet", "agent_socket": str(self.socket)}
        data = (
            json.dumps({**own, **keys}).encode()
            if config is None
            else config.replace(b"SOCKET", str(self.socket).encode())
        )
        done = subprocess.run([self.program], input=data, env=env, capture_output=True, timeout=60, check=False)
        answer = json.loads(done.stdout) if done.stdout.strip() else {}
        assert (done.returncode == 0) == ("code" not in answer)
        return answer.get("code", 0), answer

    def links(self):
        return {link["ifname"] for link in json.loads(self.ip("-j", "link"))} - {
            "lo",
            "eth0",
            "eth0-peer",
            "vxlan.calico",
        }

    def routes(self, version=4):
        return {
            route["dst"]
            for route in json.loads(self.ip(f"-{version}", "-j", "route"))
            if "cali" in route.get("dev", "")
        }

    def left(self):
        """Return everything that pods have left on the node and in the store."""
        endpoints = [item.value.meta.name for item in self.store.list(WorkloadEndpoint).items]
        blocks = [item.value for item in self.store.list(IPAMBlock).items]
        given = [a.handle for b in blocks for a in b.attributes if a.handle and not a.handle.startswith("vxlan")]
        wait_for(lambda: not any(link.startswith("cngone") for link in self.links()), "a cut link stays")
        return self.links(), endpoints, given


NOTHING = (set(), [], [])


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    with ExitStack() as stack:
        stack.callback(made.store.close)
        stack.callback(netns.remove, made.name)
        made.boot()
        stack.callback(made.stop)
        made.start()
        yield made


@pytest.fixture
def pods():
    with netns.temporary(f"{NAME}-a") as a, netns.temporary(f"{NAME}-b") as b:
        yield a, b


def wait_for(condition, complaint, log=None):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"{complaint}: {log.read_text()[-2000:] if log else ''}"
        time.sleep(0.05)


def addresses(result):
    return [str(ip_interface(one["address"]).ip) for one in result["ips"]]


def ping(pod, address):
    netns.execute(pod, ["ping", "-c", "1", "-W", "2", address])


def test_two_pods_of_a_node_talk_over_both_families_and_leave_nothing(host, pods):
    results = [host.call("ADD", pod, container=pod, ipam=BOTH)[1] for pod in pods]

    for pod, other in zip(pods, reversed(results), strict=True):
        for address in addresses(other):
            ping(pod, address)
    assert [
        host.call("CHECK", p, container=p, ipam=BOTH, prevResult=r) for p, r in zip(pods, results, strict=True)
    ] == [
        (0, {}),
        (0, {}),
    ]
    assert [host.call("DEL", pod, container=pod, ipam=BOTH) for pod in pods] == [(0, {}), (0, {})]
    assert host.left() == NOTHING


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        ("ip link set eth0 down", "eth0 of the pod is down"),
        ("ip link set eth0 mtu 1300", "eth0 of the pod has the MTU 1300"),
        ("ip link set eth0 address 02:00:00:00:00:99", "eth0 of the pod has the MAC 02:00:00:00:00:99"),
        ("ip address flush dev eth0 scope global", "eth0 of the pod has no address"),
        ("ip route delete default", "the pod has no route to 0.0.0.0/0"),
        ("ip link delete eth0", "the host has no device"),
    ],
)
def test_a_check_sees_what_somebody_changed_in_the_pod(host, pods, spoil, found):
    _, result = host.call("ADD", pods[0])
    netns.execute(pods[0], spoil.split())

    code, answer = host.call("CHECK", pods[0], prevResult=result)

    assert code == 104
    assert found in answer["details"]
    host.call("DEL", pods[0])
    assert host.left() == NOTHING


def test_a_killed_agent_leaves_pods_talking_and_the_next_one_repairs_their_routes(host, pods):
    results = [host.call("ADD", pod, container=pod, ipam=BOTH)[1] for pod in pods]
    host.stop(signal.SIGKILL)
    ping(pods[0], addresses(results[1])[0])
    lost = {f"{address}" for address in addresses(results[1])}
    for address in lost:
        host.ip("route", "delete", address)

    host.start()

    wait_for(lambda: not lost - host.routes(4) - host.routes(6), "the routes do not come back", host.folder / "log")
    for address in addresses(results[1]):
        ping(pods[0], address)
    for pod in pods:
        host.call("DEL", pod, container=pod, ipam=BOTH)
    assert host.left() == NOTHING


@pytest.mark.parametrize("first", ["ADD", "DEL"])
def test_after_a_reboot_pods_have_their_networks_anew_and_nothing_is_left_of_before(host, pods, first):
    """The kernel has forgotten all, disks have not; a kubelet clears away and starts pods in no certain order."""
    pod = {name: POD.replace("web", name) for name in ("web", "db")}
    host.store.create(Pod(Metadata("db", "shop")))
    for place, name in zip(pods, pod, strict=True):
        host.call("ADD", place, container=f"{name}-old", args=pod[name])
    host.stop(signal.SIGKILL)
    for place in pods:
        netns.remove(place)
        netns.create(place)
    host.boot()
    host.start()

    results = []
    for command in (first, "DEL" if first == "ADD" else "ADD"):
        for place, name in zip(pods, pod, strict=True):
            if command == "ADD":
                results.append(host.call("ADD", place, container=f"{name}-new", args=pod[name])[1])
            else:
                gone = host.call("DEL", "/run/netns/of-before", container=f"{name}-old", args=pod[name])
                assert gone == (0, {})

    for place, other in zip(pods, reversed(results), strict=True):
        ping(place, *addresses(other))
    assert sorted(host.left()[2]) == ["net.db-new", "net.web-new"]
    for place, name in zip(pods, pod, strict=True):
        host.call("DEL", place, container=f"{name}-new", args=pod[name])
    assert host.left() == NOTHING


def test_a_runtime_that_asks_while_the_agent_is_down_is_told_to_try_again(host, pods):
    host.stop()

    code, answer = host.call("ADD", pods[0])

    assert code == 11
    assert "start the agent" in answer["msg"]
    host.start()
    assert host.call("ADD", pods[0])[0] == 0
    host.call("DEL", pods[0])


def test_a_pod_whose_namespace_is_gone_is_deleted_all_the_same(host):
    with netns.temporary(f"{NAME}-gone") as pod:
        host.call("ADD", pod)

    assert host.call("DEL", pod) == (0, {})
    assert host.left() == NOTHING


def test_an_interface_that_just_went_can_come_again_in_the_same_pod(host, pods):
    for _ in range(5):
        assert host.call("ADD", pods[0])[0] == 0
        assert host.call("DEL", pods[0])[0] == 0

    assert host.left() == NOTHING


def test_what_no_attachment_needs_is_collected(host, pods):
    for pod in pods:
        host.call("ADD", pod, container=pod)

    code, _ = host.call("GC", **{"cni.dev/valid-attachments": [{"containerID": pods[0], "ifname": "eth0"}]})

    assert code == 0
    host.left()
    assert len(host.links()) == 1
    host.call("DEL", pods[0], container=pods[0])
    assert host.left() == NOTHING


@pytest.mark.parametrize("subnet", ["10.98.0.0/24", "usePodCidr"])
def test_host_local_gives_the_addresses_when_it_is_asked_to(host, pods, subnet):
    ipam = {"type": "host-local", "subnet": subnet, "dataDir": str(host.folder / "host-local")}
    keys = {"cniVersion": "1.0.0", "ipam": ipam}
    results = [host.call("ADD", pod, container=pod, **keys)[1] for pod in pods]

    within = ip_network("10.99.0.0/24" if subnet == "usePodCidr" else subnet)
    assert all(ip_address(address) in within for result in results for address in addresses(result))
    ping(pods[0], addresses(results[1])[0])
    for pod, result in zip(pods, results, strict=True):
        assert host.call("CHECK", pod, container=pod, prevResult=result, **keys) == (0, {})
        host.call("DEL", pod, container=pod, **keys)
    assert host.left() == NOTHING
    assert not [file for file in (host.folder / "host-local" / "net").iterdir() if file.name[0].isdigit()]


POD = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"
TINY = {"type": "calico-ipam", "ipv4_pools": ["tiny"]}

FAULTS = {
    "malformed JSON": ({"config": b'{"agent_socket":"SOCKET","name":}'}, 6, "is no JSON"),
    "JSON that ends too early": ({"config": b'{"agent_socket":"SOCKET",'}, 6, "is no JSON"),
    "more than JSON": ({"config": b'{"agent_socket":"SOCKET"} x'}, 6, "is no JSON"),
    "no text": ({"config": b'{"agent_socket":"SOCKET","name":"\xff\xfe"}'}, 6, "is no JSON"),
    "a very deep configuration": ({"config": b'{"agent_socket":"SOCKET","x":' + b"[" * 500_000}, 6, "is no JSON"),
    "a configuration of 10 MB": ({"name": "n" * 10_000_000}, 7, "longer than 1 MiB"),
    "an unknown version": ({"cniVersion": "7.0.0"}, 1, "cniVersion: expected one of"),
    "no version": ({"cniVersion": ""}, 1, "found none"),
    "no name": ({"name": ""}, 7, "name: expected"),
    "a name that climbs": ({"name": "../../etc/passwd"}, 7, "name: expected"),
    "a name with quotes": ({"name": "a\"b'c"}, 7, "name: expected"),
    "a wrong type": ({"mtu": "big"}, 7, "mtu: expected an integer"),
    "a container that climbs": ({"container": "../x"}, 4, "CNI_CONTAINERID is '../x'"),
    "no container": ({"container": ""}, 4, "CNI_CONTAINERID is missing"),
    "a long container": ({"container": "c" * 100_000}, 4, "environment takes"),
    "a long interface": ({"interface": "e" * 16}, 4, "CNI_IFNAME is"),
    "an interface with a slash": ({"interface": "a/b"}, 4, "CNI_IFNAME is"),
    "an interface called ..": ({"interface": ".."}, 4, "CNI_IFNAME is"),
    "no namespace": ({"pod": ""}, 4, "CNI_NETNS is missing"),
    "a namespace that is none": ({"pod": "/etc/passwd"}, 4, "CNI_NETNS is '/etc/passwd': it is no network namespace"),
    "a namespace of another kind": ({"pod": "/proc/self/ns/mnt"}, 4, "it is a namespace, but none of networks"),
    "a namespace that is not there": ({"pod": "/run/netns/nosuch"}, 3, "cannot be opened"),
    "a namespace that is a pipe": ({"pod": "/proc/self/fd/0"}, 4, "it is no network namespace"),
    "a pool that does not exist": ({"ipam": {"ipv4_pools": ["nosuch"]}}, 7, "there is no IPv4 pool 'nosuch'"),
    "an address outside every pool": ({"ipam": {"addresses": ["192.0.2.7"]}}, 7, "192.0.2.7 lies in no pool"),
    "an address that is none": ({"ipam": {"addresses": ["10.65"]}}, 7, "ipam.addresses[0]: expected an address"),
    "arguments without a value": ({"args": "K8S_POD_NAME"}, 4, "CNI_ARGS has 'K8S_POD_NAME'"),
    "a pod that climbs": ({"args": "K8S_POD_NAMESPACE=../x;K8S_POD_NAME=y"}, 4, "K8S_POD_NAMESPACE in CNI_ARGS"),
    "a plugin that climbs": ({"ipam": {"type": "../../bin/sh"}}, 7, "ipam.type: expected the name of a plugin"),
    "a plugin that is not there": ({"ipam": {"type": "nosuch"}}, 7, "there is no plugin 'nosuch'"),
    "what we do not do": ({"device_type": "netkit"}, 2, "device_type"),
    "another node's configuration": ({"nodename": "n2"}, 7, "nodename: expected 'n1'"),
}


def test_every_wrong_request_has_its_code_names_the_thing_and_leaves_nothing(host, pods):
    told = {}
    for name, (fault, _, _) in FAULTS.items():
        keys = {"pod": pods[0], **fault}
        told[name] = host.call("ADD", keys.pop("pod"), **keys)

    wrong = {
        name: (code, answer.get("msg"))
        for name, (code, answer) in told.items()
        if code != FAULTS[name][1] or FAULTS[name][2] not in answer["msg"]
    }
    assert not wrong
    assert host.left() == NOTHING
    assert "Traceback" not in (host.folder / "log").read_text()
    assert netns.execute(pods[0], ["ip", "-o", "link"]).count("\n") == 1


def test_the_hosts_own_namespace_is_refused(host):
    inside = host.agent.pid
    code, answer = host.call("ADD", f"/proc/{inside}/ns/net")

    assert code == 4
    assert "the network namespace of the host itself" in answer["msg"]
    assert host.left() == NOTHING


def test_addresses_that_are_taken_or_used_up_are_not_given_twice(host, pods):
    fixed = {"ipam": {"addresses": ["10.65.0.9"]}}
    host.call("ADD", pods[0], container="c1", **fixed)
    assert host.call("ADD", pods[1], container="c2", **fixed)[0] == 103
    host.call("DEL", pods[0], container="c1")
    host.call("ADD", pods[0], container="c1", ipam=TINY)
    assert host.call("ADD", pods[1], container="c2", ipam=TINY)[0] == 11

    host.call("DEL", pods[0], container="c1")

    assert host.left() == NOTHING


def test_two_runtimes_with_one_container_id_are_told(host, pods):
    _, result = host.call("ADD", pods[0])

    code, answer = host.call("ADD", pods[1])

    assert code == 101
    assert "attached already" in answer["msg"]
    assert host.call("CHECK", pods[0], prevResult=result) == (0, {})
    host.call("DEL", pods[0])
    assert host.left() == NOTHING


def test_an_interface_of_somebody_elses_in_the_pod_is_left_alone(host, pods):
    netns.execute(pods[0], ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other"])

    code, answer = host.call("ADD", pods[0])

    assert code == 102
    assert "'eth0'" in answer["msg"]
    assert "other" in netns.execute(pods[0], ["ip", "link"])
    assert host.left() == NOTHING


def test_a_pod_of_kubernetes_has_its_labels_and_its_last_container_takes_nothing_from_it(host, pods):
    host.call("ADD", pods[0], container="old", args=POD, policy={"type": "k8s"})
    host.call("ADD", pods[1], container="new", args=POD, policy={"type": "k8s"})

    assert host.call("DEL", pods[0], container="old", args=POD) == (0, {})

    (endpoint,) = [item.value for item in host.store.list(WorkloadEndpoint).items]
    assert (endpoint.container_id, endpoint.meta.labels["app"]) == ("new", "web")
    host.call("DEL", pods[1], container="new", args=POD)
    assert host.left() == NOTHING


def test_who_spoke_to_a_pod_does_not_go_on_with_its_heir_that_lets_nobody_in(host, pods):
    """Packets of known connections pass all rules; UDP has no end that anybody would notice."""
    host.store.create(Pod(Metadata("vault", "shop", labels={"app": "vault"})))
    closed = PolicySpec(selector="app == 'vault'", types=(PolicyType.INGRESS,))
    host.store.create(GlobalNetworkPolicy(Metadata("closed"), closed))
    fixed = {"policy": {"type": "k8s"}, "ipam": {"addresses": ["10.65.0.9"]}}
    vault = POD.replace("web", "vault")
    (own,) = addresses(host.call("ADD", pods[0], container="client")[1])
    host.call("ADD", pods[1], container="c1", args=POD, **fixed)
    with udp(pods[0], own) as client:
        with udp(pods[1], "10.65.0.9") as server:
            assert heard(client, server) == heard(server, client) == b"hello"
        host.call("DEL", pods[1], container="c1", args=POD, **fixed)
        assert host.call("ADD", pods[1], container="c2", args=vault, **fixed)[0] == 0

        with udp(pods[1], "10.65.0.9") as heir:
            assert heard(client, heir) is None
            assert heard(heir, client) == heard(client, heir) == b"hello", "its own connections are answered"


@contextmanager
def udp(pod, address):
    with closing(netns.open_socket(pod, socket.AF_INET, socket.SOCK_DGRAM)) as opened:
        opened.bind((address, 4000))
        opened.settimeout(1)
        yield opened


def heard(one, other):
    """Return what arrives at one socket of what another says."""
    one.sendto(b"hello", other.getsockname())
    try:
        return other.recv(100)
    except TimeoutError:
        return None


@contextmanager
def connected(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        yield client


def test_a_socket_full_of_garbage_harms_nobody(host, pods):
    for garbage in (b"", b"\0", b"\xff" * 5000, struct.pack(">I", 10) + b"x" * 10, b"GET / HTTP/1.1\r\n\r\n"):
        with connected(host.socket) as client:
            client.sendall(garbage)

    assert host.call("ADD", pods[0])[0] == 0
    host.call("DEL", pods[0])
    assert host.left() == NOTHING
