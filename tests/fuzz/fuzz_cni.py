"""Throw broken and odd requests at the CNI plugin's agent for a while: ``fuzz_cni.py [SECONDS] [SEED]``.

Whatever comes through the socket, it is answered or hung up on, soon; no answer is a defect of ours (code 100); who
is refused has nothing; and what an odd request made, a DEL takes away. The seed is printed, so that a find can be had
again.
"""

from __future__ import annotations

import array
import json
import random
import socket
import struct
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from cloudnet.cni.server import CniServer
from cloudnet.testing.cni import POD, CniNode

LIMIT = 3.0  # seconds for an answer; who does not end his request would be waited for
DEFECT = 100

WORDS = ("", "..", "/", '"', "a" * 5000, "eth0", "c1", "default", "10.65.0.7", "true", "\0", "é\ud800", "1.1.0", "0")
VALUES = (None, True, False, 0, -1, 1 << 70, 1.5, [], {}, [{}], [[]], ["10.65.0.9"], {"type": "k8s"}, *WORDS)
CONFIGURATION = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "cloudnet",
    "ipam": {"type": "calico-ipam", "assign_ipv4": "true", "ipv4_pools": ["default"], "addresses": []},
    "mtu": 1400,
    "num_queues": 1,
    "policy": {"type": "k8s"},
    "kubernetes": {"node_name": "n1"},
    "feature_control": {"floating_ips": True},
    "container_settings": {"allow_ip_forwarding": False},
    "runtimeConfig": {"ips": [], "mac": ""},
    "prevResult": {"interfaces": [{"name": "lo"}], "ips": [{"address": "127.0.0.1/8"}], "routes": [], "dns": {}},
    "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
}
VARIABLES = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0", "CNI_ARGS": POD}
COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")


def spoilt(value: object, chance: random.Random) -> object:
    """Return a copy of a document with something in it changed, or nothing."""
    if chance.random() < 0.1:
        return chance.choice(VALUES)
    if isinstance(value, dict):
        kept = {key: spoilt(inner, chance) for key, inner in value.items() if chance.random() < 0.9}
        return kept | ({chance.choice(WORDS): chance.choice(VALUES)} if chance.random() < 0.1 else {})
    if isinstance(value, list):
        return [spoilt(inner, chance) for inner in value] * chance.choice((1, 1, 1, 2))
    return value


def request(chance: random.Random) -> bytes:
    """Return a request that may be odd in its configuration, its environment, its frame or its bytes."""
    configuration = json.dumps(spoilt(CONFIGURATION, chance) if chance.random() < 0.8 else CONFIGURATION).encode()
    variables = spoilt(VARIABLES, chance) if chance.random() < 0.3 else VARIABLES
    head = {"version": 1, "command": chance.choice(COMMANDS), "env": variables, "config_length": len(configuration)}
    encoded = json.dumps(spoilt(head, chance) if chance.random() < 0.1 else head).encode()
    data = bytearray(struct.pack(">I", len(encoded)) + encoded + configuration)
    if chance.random() < 0.2:
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(1, len(data))] if chance.random() < 0.05 else data)


def exchange(path: Path, data: bytes, file: int) -> bytes:
    """Send a request and end; return what is answered, framed."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(LIMIT)
        client.connect(str(path))
        received = b""
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))])
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(1 << 16):
                received += piece
    return received


def code(received: bytes) -> int | None:
    """Return the code of an answer, 0 for success; nothing when there was none."""
    if not received:
        return None
    length, status = struct.unpack_from(">IB", received)
    assert len(received) == 5 + length
    return json.loads(received[5:])["code"] if status else 0


def check(node: CniNode, path: Path, data: bytes) -> int | None:
    """Send a request to an empty node; return its code."""
    with tempfile.TemporaryFile() as namespace:
        found = code(exchange(path, data, namespace.fileno()))
        assert found != DEFECT
        if found != 0:
            assert node.is_empty()
        for name, link in node.pods.owners().items():  # an odd name or network may have been let in: it must go too
            variables = {"CNI_CONTAINERID": link.container, "CNI_IFNAME": link.interface, "CNI_ARGS": arguments(node)}
            document = json.dumps({**CONFIGURATION, "name": link.network}).encode()
            assert node.handler.answer("DEL", variables, document, None).code == 0, name
        assert node.is_empty()
    return found


def arguments(node: CniNode) -> str:
    (endpoint,) = node.endpoints().values()
    return f"K8S_POD_NAMESPACE={endpoint.meta.namespace};K8S_POD_NAME={endpoint.pod}" if endpoint.pod else ""


def main(seconds: float, seed: int) -> int:
    print(f"seed {seed}")
    chance, until = random.Random(seed), time.monotonic() + seconds
    codes: list[int | None] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = CniNode(folder / "journal", stack)
        stack.enter_context(closing(CniServer(str(folder / "cni.sock"), node.handler)))
        while time.monotonic() < until:
            data = request(chance)
            try:
                codes.append(check(node, folder / "cni.sock", data))
            except Exception:
                print(f"found: {data!r}")
                raise
    assert threading.active_count() == 1
    print(f"{len(codes)} requests, answered { ({one: codes.count(one) for one in sorted(set(codes), key=str)}) }")
    return 0


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(float(given[0]) if given else 60, int(given[1]) if given[1:] else random.randrange(2**32)))
