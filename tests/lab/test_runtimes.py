"""Runtimes that know nothing of cloudnet start real containers on two lab nodes, and these talk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cloudnet.kernel import netns
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec
from cloudnet.model.paths import PathKind
from cloudnet.model.resources import EncapMode, IPAMHandle, IPPool
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.store import api
from cloudnet.testing import containerd
from cloudnet.testing.containerd import wait

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NAME = f"r{os.getpid() % 100000}"
IMAGE = "docker.io/library/busybox:test"
PROGRAMS = ("sh", "ping", "nc", "cat", "sleep", "echo", "ip")
CGROUPS = Path("/sys/fs/cgroup")
NETWORK = "k8s-pod-network"
SERVE = "nc -ll -p 8080 -e cat"

WITH_OUR_FOLDERS = (
    "mount -t overlay etc -o lowerdir={folder}/etc:/etc /etc && "
    "mount -t overlay opt -o lowerdir={folder}/opt:/opt /opt && exec "
)


def image() -> bytes:
    """Return a Docker archive with nothing but busybox in it."""
    layer = tarred({"bin/busybox": Path("/bin/busybox").read_bytes()}, folders=("bin", "dev", "proc", "sys", "etc"))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    parts = {"layer.tar": layer, "config.json": json.dumps(config), "manifest.json": json.dumps(manifest)}
    return tarred({name: data.encode() if isinstance(data, str) else data for name, data in parts.items()})


def tarred(files, folders=()) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in folders:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
        for name in PROGRAMS if folders else ():
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return made.getvalue()


class Containerd:
    """containerd on one lab node, everything of it in one folder; ``ctr`` sees our /etc/cni and /opt/cni."""

    def __init__(self, lab, node, folder):
        self.lab, self.node, self.folder = lab, node, folder
        self.namespace = f"{NAME}{node}"
        self.running = {}
        folder.mkdir()
        install(lab, node, folder)
        self.log = (folder / "log").open("w")
        command = self.inside(containerd.daemon(folder))
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        wait(lambda: self.ctr("version", check=False).returncode == 0, "containerd answers")
        (folder / "image.tar").write_bytes(image())
        self.ctr("image", "import", "--snapshotter", "native", str(folder / "image.tar"))

    def inside(self, command):
        return netns.command_inside(self.lab.node(self.node).namespace, command)

    def command(self, *arguments):
        words = [*containerd.ctr(self.folder), "--namespace", self.namespace, *arguments]
        script = WITH_OUR_FOLDERS.format(folder=self.folder) + '"$@"'
        return self.inside(["unshare", "--mount", "sh", "-c", script, "sh", *words])

    def ctr(self, *arguments, check=True):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=30)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, name, script=SERVE):
        """Run a container in the foreground of a process of its own; return its address."""
        words = ("run", "--rm", "--cni", "--snapshotter", "native", IMAGE, name, "sh", "-c", script)
        self.running[name] = subprocess.Popen(self.command(*words), stdout=self.log, stderr=self.log)
        found = wait(lambda: endpoint(self.lab, f"{self.namespace}-{name}") or self.failed(name), f"{name} is there")
        wait(lambda: "RUNNING" in self.ctr("task", "ls").stdout, f"{name} runs")
        return str(found.networks[0].network_address)

    def failed(self, name):
        status = self.running[name].poll()
        assert status is None, f"{name} ended with {status}: {(self.folder / 'log').read_text()[-2000:]}"

    def run(self, name, *command):
        """Run a program in a container; return whether it did well and what it said."""
        done = self.ctr("task", "exec", "--exec-id", f"e{time.monotonic_ns()}", name, *command, check=False)
        return done.returncode == 0, done.stdout + done.stderr

    def stop(self, name):
        self.ctr("task", "kill", "--signal", "SIGKILL", name, check=False)
        self.running.pop(name).wait(20)

    def refuse(self, name):
        """Return what the runtime complains of when a container cannot be started; nothing of it is left."""
        words = ("run", "--rm", "--cni", "--snapshotter", "native", IMAGE, name, "echo", "hello")
        done = self.ctr(*words, check=False)
        assert done.returncode != 0
        self.ctr("task", "rm", "--force", name)  # which ``ctr`` leaves when the network fails
        self.ctr("container", "rm", name)
        return done.stderr

    def close(self):
        for name in list(self.running):
            self.stop(name)
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
        for folder in CGROUPS.glob(f"*/{self.namespace}"):  # runc removes a container's, not the one above
            folder.rmdir()

    def leftovers(self):
        """Return what containers would leave on the machine."""
        cgroups = [str(path) for path in CGROUPS.glob(f"*/{self.namespace}/*/")]
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.folder) in line]
        links = netns.execute(self.lab.node(self.node).namespace, ["ip", "-o", "link"])
        return cgroups + mounts + [line for line in links.splitlines() if ": cali" in line]


PODMAN = """
[network]
network_backend = "cni"
network_config_dir = "{folder}/etc/cni/net.d"
cni_plugin_dirs = ["{folder}/opt/cni/bin"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
"""
LIMITS = ("--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512")  # podman asks for more than a sandbox may have


class Podman:
    """podman with its CNI back end on one lab node, everything of it in one folder."""

    def __init__(self, lab, node, folder):
        self.lab, self.node, self.folder = lab, node, folder
        self.running = {}
        folder.mkdir()
        install(lab, node, folder)
        (folder / "containers.conf").write_text(PODMAN.format(folder=folder))
        (folder / "image.tar").write_bytes(image())
        self.podman("load", "--input", str(folder / "image.tar"))

    def podman(self, *arguments, check=True):
        folders = ("--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--storage-driver", "vfs")
        inside = netns.command_inside(self.lab.node(self.node).namespace, ["podman", *folders, *arguments])
        environment = {**os.environ, "CONTAINERS_CONF": f"{self.folder}/containers.conf"}
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=30, env=environment)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, name, script=SERVE):
        """Run a container in the background; return its address."""
        words = ("run", "--detach", *LIMITS, "--network", NETWORK, "--name", name, IMAGE, "sh", "-c", script)
        container = self.podman(*words).stdout.strip()
        self.running[name] = container
        return str(endpoint(self.lab, container).networks[0].network_address)

    def run(self, name, *command):
        """Run a program in a container; return whether it did well and what it said."""
        done = self.podman("exec", name, *command, check=False)
        return done.returncode == 0, done.stdout + done.stderr

    def refuse(self, name):
        """Return what the runtime complains of when a container cannot be started; nothing of it is left."""
        done = self.podman("run", "--rm", *LIMITS, "--network", NETWORK, "--name", name, IMAGE, "true", check=False)
        assert done.returncode != 0
        self.podman("rm", "--force", "--ignore", name)
        return done.stderr

    def stop(self, name):
        self.podman("rm", "--force", "--time", "0", name)
        del self.running[name]

    def close(self):
        for name in list(self.running):
            self.stop(name)
        for folder in [*CGROUPS.glob("*/libpod_parent/*/"), *CGROUPS.glob("*/libpod_parent")]:
            with suppress(OSError):  # another podman of this machine is using it
                folder.rmdir()

    def leftovers(self):
        """Return what containers would leave on the machine."""
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.folder) in line]
        links = netns.execute(self.lab.node(self.node).namespace, ["ip", "-o", "link"])
        return mounts + [line for line in links.splitlines() if ": cali" in line]


def install(lab, node, folder):
    """Put our plugin where ``ctr`` will find it, with the command that people use."""
    command = [sys.executable, "-m", "cloudnet.cli.main", "cni", "install", "--chain", "", "--policy", ""]
    for name in ("opt/cni/bin", "etc/cni/net.d"):
        (folder / name).mkdir(parents=True)
    places = ["--bin-dir", f"{folder}/opt/cni/bin", "--conf-dir", f"{folder}/etc/cni/net.d"]
    subprocess.run([*command, *places, "--agent-socket", str(lab.directory / f"{node}.cni")], check=True)


def endpoints(lab):
    store = lab.store()
    try:
        return [item.value for item in store.list(WorkloadEndpoint).items]
    finally:
        store.close()


def endpoint(lab, container):
    return next((found for found in endpoints(lab) if found.container_id == container), None)


def handles(lab):
    store = lab.store()
    try:
        return [i.value.handle for i in store.list(IPAMHandle).items if i.value.handle.startswith(f"{NETWORK}.")]
    finally:
        store.close()


@pytest.fixture
def lab():
    built = Lab.up(LabSpec(NAME, nodes=2, subnets=2, pods=0))
    try:
        built.wait_native()
        yield built
    finally:
        built.down()


@pytest.fixture(params=[Containerd, Podman], ids=["containerd", "podman"])
def runtimes(request, lab):
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))  # podman wants a path of 50 letters at most
        yield [stack.enter_context(closing(request.param(lab, node, folder / node))) for node in ("n1", "n2")]


@pytest.fixture
def containers(runtimes):
    """Start a container on each node; they are gone after the test, with all that they had."""
    first, second = runtimes
    addresses = first.start("web"), second.start("db")
    yield addresses
    for one, name in ((first, "web"), (second, "db")):
        if name in one.running:
            one.stop(name)
    assert [one.leftovers() for one in runtimes] == [[], []]


def pings(runtime, name, address):
    good, said = runtime.run(name, "ping", "-c", "3", "-i", "0.1", "-W", "1", address)
    assert good, said
    assert "3 packets received" in said


def talks(runtime, name, address):
    good, said = runtime.run(name, "sh", "-c", f"echo hello | nc -w 3 {address} 8080")
    assert (good, said) == (True, "hello\n")


def both_ways(runtimes, addresses):
    (first, second), (web, db) = runtimes, addresses
    for one, name, address in ((first, "web", db), (second, "db", web)):
        pings(one, name, address)
        talks(one, name, address)


def kinds(lab):
    return {path.kind for node in ("n1", "n2") for path in lab.paths(node)}


def ask_for(lab, mode):
    store = lab.store()
    try:
        api.change(store, IPPool, "default", lambda pool: replace(pool, vxlan_mode=mode))
    finally:
        store.close()


def test_containers_talk_over_native_paths_and_over_vxlan_and_leave_nothing(lab, runtimes, containers):
    assert kinds(lab) == {PathKind.NATIVE}
    both_ways(runtimes, containers)

    ask_for(lab, EncapMode.ALWAYS)
    wait(lambda: kinds(lab) == {PathKind.VXLAN}, "VXLAN everywhere")

    both_ways(runtimes, containers)
    assert len(handles(lab)) == 2
    for one, name in zip(runtimes, ("web", "db"), strict=True):
        one.stop(name)
    assert handles(lab) == []
    assert endpoints(lab) == []


def test_containers_outlive_their_agents_and_new_ones_wait_for_them(lab, runtimes, containers):
    for node in ("n1", "n2"):
        lab.kill_agent(node)

    both_ways(runtimes, containers)
    assert "no answer from cloudnet's agent" in runtimes[0].refuse("early")

    for node in ("n1", "n2"):
        lab.start_agent(node)
    lab.wait_agents()

    both_ways(runtimes, containers)
    pings(runtimes[1], "db", runtimes[0].start("early"))
    runtimes[0].stop("early")
