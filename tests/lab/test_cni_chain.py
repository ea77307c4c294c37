"""Our plugin between others: the reference plugins that clusters chain with it, run as a runtime runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from cloudnet.cni import install
from cloudnet.cni.runtime import Attachment, PluginFailed, Runtime
from cloudnet.kernel import netns
from cloudnet.kernel.api import KernelError
from cloudnet.model.resources import IPAMHandle, IPPool, Metadata, Node, Vtep
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store.registry import open_store

pytestmark = pytest.mark.lab

REFERENCE = Path("/usr/lib/cni")
NAME = f"cn-chain-{os.getpid()}"
NODE_ADDRESS, OUTSIDE_ADDRESS = "10.0.0.11", "10.0.0.1"


class Host:
    """A node with an agent, and somebody outside on the same wire."""

    def __init__(self, folder):
        self.folder, self.node, self.outside = folder, f"{NAME}-node", f"{NAME}-outside"
        self.url = f"sqlite://{folder}/store.sqlite"
        (folder / "bin").mkdir()
        ours = folder / "bin" / "cloudnet"
        ours.write_bytes(install.program())
        ours.chmod(0o755)

    def wire(self):
        lines = [
            f"link add eth0 type veth peer name eth0 netns {self.outside}",
            f"address add {NODE_ADDRESS}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {OUTSIDE_ADDRESS}",
        ]
        for line in lines:
            netns.execute(self.node, ["ip", *line.split()])
        for line in (
            f"address add {OUTSIDE_ADDRESS}/24 dev eth0",
            "link set eth0 up",
            f"route add 10.65.0.0/16 via {NODE_ADDRESS}",
            f"route add 10.88.0.0/24 via {NODE_ADDRESS}",
        ):
            netns.execute(self.outside, ["ip", *line.split()])

    def describe(self):
        store = open_store(self.url)
        vtep = Vtep(ip_address("100.64.0.1"), "66:00:00:00:00:01")
        store.create(Node(Metadata("n1"), (ip_interface(f"{NODE_ADDRESS}/24"),), (vtep,)))
        store.create(IPPool(Metadata("default"), ip_network("10.65.0.0/16")))
        store.close()

    @contextmanager
    def agent(self):
        flags = {
            "node": "n1",
            "store": self.url,
            "socket": self.folder / "agent.sock",
            "cni-state": self.folder / "s",
            "state": self.folder / "state",
        }
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        program = [sys.executable, "-m", "cloudnet.cli.main", "agent", *words, "--cni-socket", str(self.socket)]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(netns.command_inside(self.node, program), stdout=log, stderr=log)
            try:
                yield
            finally:
                process.terminate()
                process.wait(20)

    @property
    def socket(self):
        return self.folder / "cni.sock"

    def runtime(self, *plugins, version="1.0.0"):
        own = {"type": "cloudnet", "agent_socket": str(self.socket), "ipam": {"type": "calico-ipam"}}
        chain = [own if plugin == "cloudnet" else plugin for plugin in plugins]
        conflist = {"cniVersion": version, "name": "net", "plugins": chain}
        return Runtime(conflist, [self.folder / "bin", REFERENCE], prefix=netns.command_inside(self.node, []))

    def stored(self):
        store = open_store(self.url)
        try:
            handles = [item.value.handle for item in store.list(IPAMHandle).items]
            return len(store.list(WorkloadEndpoint).items), [h for h in handles if h.startswith("net.")]
        finally:
            store.close()

    def links(self):
        shown = json.loads(netns.execute(self.node, ["ip", "-j", "link"]))
        return [link["ifname"] for link in shown if link["ifname"].startswith("cali")]


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    with ExitStack() as stack:
        for name in (made.node, made.outside):
            stack.enter_context(netns.temporary(name))
        made.wire()
        made.describe()
        stack.enter_context(made.agent())
        wait_for(lambda: made.runtime("cloudnet", version="1.1.0").status())
        yield made


def answers(asked):
    try:
        asked()
    except PluginFailed:
        return False
    return True


def wait_for(asked, seconds=20.0):
    end = time.monotonic() + seconds
    while not answers(asked):
        assert time.monotonic() < end, "the agent does not become ready"
        time.sleep(0.1)


@pytest.fixture
def pod(host):
    """Make a pod's namespace; what is attached to it is detached by the test."""
    with netns.temporary(f"{NAME}-pod") as name:
        yield Attachment("c1", f"/run/netns/{name}")


def addresses_of(result):
    return [ip_interface(one["address"]).ip for one in result["ips"]]


def pings(source, address):
    netns.execute(source, ["ping", "-c", "1", "-W", "2", address])


def reached(source, address, port):
    """Tell whether a TCP connection gets through, and what is said there."""
    script = f"import socket; s = socket.create_connection(('{address}', {port}), 3); print(s.recv(9).decode())"
    return netns.execute(source, [sys.executable, "-c", script]).strip()


@contextmanager
def serving(namespace, port):
    script = (
        f"import socket; s = socket.create_server(('0.0.0.0', {port})); print('ready', flush=True)\n"
        "while True: c, _ = s.accept(); c.sendall(b'hello'); c.close()"
    )
    command = netns.command_inside(namespace, [sys.executable, "-c", script])
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.terminate()


def test_portmap_behind_us_leads_a_port_of_the_node_to_the_pod(host, pod):
    runtime = host.runtime("cloudnet", {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}})
    mapping = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    mapped = Attachment(pod.container_id, pod.netns, capabilities=mapping)

    result = runtime.add(mapped)

    with serving(f"{NAME}-pod", 80):
        assert reached(host.outside, NODE_ADDRESS, 8080) == "hello"
    runtime.delete(mapped, result)
    with pytest.raises(KernelError):
        reached(host.outside, NODE_ADDRESS, 8080)


def test_bandwidth_behind_us_shapes_the_pods_link(host, pod):
    limits = {"ingressRate": 8_000_000, "ingressBurst": 8_000_000, "egressRate": 8_000_000, "egressBurst": 8_000_000}
    runtime = host.runtime("cloudnet", {"type": "bandwidth", **limits})

    result = runtime.add(pod)

    (link,) = host.links()
    assert "tbf" in netns.execute(host.node, ["tc", "qdisc", "show", "dev", link])
    pings(f"{NAME}-pod", OUTSIDE_ADDRESS)
    runtime.delete(pod, result)


def test_tuning_behind_us_changes_what_it_is_asked_to(host, pod):
    runtime = host.runtime("cloudnet", {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}})

    result = runtime.add(pod)

    assert netns.execute(f"{NAME}-pod", ["cat", "/proc/sys/net/core/somaxconn"]).strip() == "500"
    pings(f"{NAME}-pod", OUTSIDE_ADDRESS)
    runtime.check(pod, result)
    runtime.delete(pod, result)


def test_we_come_behind_another_and_its_result_is_kept(host, pod):
    runtime = host.runtime({"type": "loopback"}, "cloudnet", {"type": "portmap"})

    result = runtime.add(Attachment(pod.container_id, pod.netns, "eth0"))

    assert [ip for ip in addresses_of(result) if ip in ip_network("10.65.0.0/16")]
    assert {interface["name"] for interface in result["interfaces"]} >= {"eth0", *host.links()}
    pings(f"{NAME}-pod", OUTSIDE_ADDRESS)
    runtime.delete(pod, result)


def test_a_chain_that_fails_behind_us_is_taken_back_by_the_runtime(host, pod):
    runtime = host.runtime("cloudnet", {"type": "tuning", "sysctl": {"net.no.such.thing": "1"}})

    with pytest.raises(PluginFailed, match="tuning ADD failed"):
        runtime.add(pod)
    runtime.delete(pod)

    assert host.stored() == (0, [])
    assert host.links() == []


def test_garbage_collection_keeps_what_the_runtime_knows_and_nothing_else(host, pod):
    runtime = host.runtime("cloudnet", version="1.1.0")
    with netns.temporary(f"{NAME}-other") as other:
        runtime.add(pod)
        stays = Attachment("c2", f"/run/netns/{other}")
        runtime.add(stays)

        runtime.gc([stays])

        assert host.stored() == (1, ["net.c2"])
        assert len(host.links()) == 1
        runtime.delete(stays)
    assert host.stored() == (0, [])


def test_host_local_gives_addresses_in_our_place(host, pod):
    runtime = host.runtime(
        {
            "type": "cloudnet",
            "agent_socket": str(host.socket),
            "ipam": {
                "type": "host-local",
                "dataDir": str(host.folder / "host-local"),
                "ranges": [[{"subnet": "10.88.0.0/24"}]],
            },
        }
    )

    result = runtime.add(pod)

    assert [ip for ip in addresses_of(result) if ip in ip_network("10.88.0.0/24")]
    pings(f"{NAME}-pod", OUTSIDE_ADDRESS)
    runtime.delete(pod, result)
    assert host.stored() == (0, [])
    assert [path.name for path in (host.folder / "host-local" / "net").glob("10.*")] == []
