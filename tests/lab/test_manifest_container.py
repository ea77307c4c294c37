"""The containers that `cloudnet manifests` prints run with a runtime's own restrictions, in a lab.

A little kubelet makes an OCI bundle of each container: containerd's default specification and seccomp profile, the
capabilities, mounts, arguments and environment of the manifest, nothing else. The image is this machine's root
folder, and what a container writes lies above it. Instead of a service account there is a kubeconfig, for the lab's
API speaks no TLS.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import pytest
import yaml

from cloudnet.kernel import netns
from cloudnet.lab import stores
from cloudnet.lab.kubelet import NAMESPACE, Kubelet
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec, cloud_namespace
from cloudnet.store import kubernetes_settings
from cloudnet.store.kubernetes_client import Client, Request
from cloudnet.testing import containerd
from cloudnet.testing.containerd import wait

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NAME = f"mc{os.getpid() % 100000}"
PORTMAP = Path("/usr/lib/cni/portmap")  # Debian's; a node has it from its distribution
CGROUPS = Path("/sys/fs/cgroup")
# What containerd's profile (contrib/seccomp/seccomp_default.go) allows besides, to a container with this capability.
SYS_ADMIN_CALLS = """
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
    open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
"""


def answers(url):
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own, with http
            return answer.status == 200
    except OSError:  # it does not listen yet, or says that it is not ready
        return False


def default_specification(namespace, folder):
    """Return what containerd makes of a container when nobody asks for anything, its seccomp profile included."""
    (folder / "empty").mkdir()
    command, ctr = netns.command_inside(namespace, containerd.daemon(folder)), containerd.ctr(folder)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            wait(lambda: subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0, "ctr")
            subprocess.run([*ctr, "container", "create", "--seccomp", "--rootfs", f"{folder}/empty", "x"], check=True)
            said = subprocess.run([*ctr, "container", "info", "x"], capture_output=True, check=True).stdout
        finally:
            running.terminate()
    return json.loads(said)["Spec"]


def manifests(*more):
    command = [sys.executable, "-m", "cloudnet.cli.main", "manifests", "--overlay", "kubeadm", "--provider", "static"]
    printed = subprocess.run([*command, "--set", "image=any:1", *more], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(printed.stdout))


class Pod:
    """What a kubelet does with a pod of the manifests; the host's folders are folders of the test."""

    def __init__(self, lab, namespace, folder, kind, *, default, more):
        self.namespace, self.folder, self.default = namespace, folder, json.dumps(default)
        self.running = {}
        documents = manifests("--provider-config", str(lab.directory / "provider.json"), *more)
        self.spec = next(d for d in documents if d["kind"] == kind)["spec"]["template"]["spec"]
        config = next(d for d in documents if d["kind"] == "ConfigMap")["data"]
        for volume in self.spec["volumes"]:
            self.volume(volume["name"]).mkdir(parents=True)
        for key, text in config.items():
            here = text.replace("kubernetes://?namespace=cloudnet-system", "kubernetes:///etc/cloudnet/kubeconfig")
            (self.volume("settings") / key).write_text(here)
        kubeconfig = self.volume("settings") / "kubeconfig"
        account = {"DaemonSet": "agent", "Deployment": "controller"}[kind]
        kubeconfig.write_bytes(stores.kubeconfig(lab.directory, account).read_bytes())
        kubeconfig.chmod(0o644)  # as a service account's token is for the user of the container

    def volume(self, name):
        return self.folder / "volumes" / name

    def start(self, name, without=()):
        """Start a container, some capabilities taken from it, in a mount namespace where its bundle has a root."""
        wanted = next(c for c in self.spec.get("initContainers", []) + self.spec["containers"] if c["name"] == name)
        bundle = self.bundle(name, self.specification(wanted, without))
        layers = f"lowerdir=/,upperdir={bundle}/upper,workdir={bundle}/work"
        script = f'mount -t overlay overlay -o {layers} {bundle}/rootfs && exec "$@"'
        run = ["runc", "--root", str(self.folder / "runc"), "run", "--bundle", str(bundle), self.identity(name)]
        with (self.folder / "log").open("ab") as log:
            command = netns.command_inside(self.namespace, ["unshare", "--mount", "sh", "-c", script, "sh", *run])
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def identity(self, name):
        return f"{NAME}-{self.folder.name}-{name}"

    def specification(self, wanted, without):
        rights = {**self.spec.get("securityContext", {}), **wanted["securityContext"]}
        given = [f"CAP_{each}" for each in rights["capabilities"].get("add", []) if each not in without]
        spec = json.loads(self.default)
        spec["root"] = {"path": "rootfs", "readonly": rights.get("readOnlyRootFilesystem", False)}
        spec["process"] = {
            "args": [*wanted.get("command", ["cloudnet"]), *wanted["args"]],
            "env": [f"PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin", *self.environment(wanted)],
            "cwd": "/",
            "user": {"uid": rights["runAsUser"], "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), given),
            "noNewPrivileges": not rights["allowPrivilegeEscalation"],
        }
        spec["mounts"] += [self.mount(each) for each in wanted["volumeMounts"]]
        linux = spec["linux"]
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "network"]
        linux["cgroupsPath"] = f"/{NAME}/{self.identity(wanted['name'])}"
        if "CAP_SYS_ADMIN" in given:
            others = [each for each in linux["seccomp"]["syscalls"] if each["names"] not in (["clone"], ["clone3"])]
            linux["seccomp"]["syscalls"] = [*others, {"names": SYS_ADMIN_CALLS.split(), "action": "SCMP_ACT_ALLOW"}]
        return spec

    def environment(self, wanted):
        """Return the variables; every field of the pod that the manifests ask for is its name here."""
        return [f"{each['name']}={each.get('value', self.folder.name)}" for each in wanted.get("env", [])]

    def mount(self, wanted):
        options = ["rbind", "rprivate", "ro" if wanted.get("readOnly") else "rw"]
        source = str(self.volume(wanted["name"]))
        return {"destination": wanted["mountPath"], "type": "bind", "source": source, "options": options}

    def bundle(self, name, specification):
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        for each in ("rootfs", "upper", "work"):
            (folder / each).mkdir(parents=True)
        for program in (Path(sys.executable), Path(sys.executable).resolve()):
            layer = folder / "upper" / program.parent.relative_to("/")
            layer.mkdir(parents=True, exist_ok=True)  # an image lets every user reach it; a home folder does not
        (folder / "config.json").write_text(json.dumps(specification))
        return folder

    def ended(self, name):
        """Wait for a container to end; return its exit status."""
        return self.running.pop(name).wait(30)

    def stop(self, name):
        if self.running[name].poll() is None:
            self.running[name].send_signal(signal.SIGTERM)  # runc passes it on
        return self.ended(name)

    def close(self):
        for name in list(self.running):
            self.stop(name)

    def log(self):
        return (self.folder / "log").read_text()

    def ready(self, name, port):
        assert self.running[name].poll() is None, self.log()
        return netns.run_inside(self.namespace, lambda: answers(f"http://127.0.0.1:{port}/readyz"))


class Cluster:
    """Two lab nodes without agents, a pod of the DaemonSet on each, and what the test plays of Kubernetes."""

    def __init__(self, folder, stack, *more):
        self.stack = stack
        wanted = LabSpec(NAME, 2, 2, cloud="static", store="kubernetes", pods=0, agents=False, controller=False)
        self.lab = Lab.up(wanted)
        stack.callback(self.lab.down)
        stack.callback(remove_cgroups)
        (folder / "containerd").mkdir()
        cloud = cloud_namespace(NAME)
        default = default_specification(cloud, folder / "containerd")
        spaces = {"n1": self.lab.node("n1").namespace, "n2": self.lab.node("n2").namespace, "controller": cloud}
        kinds = {"n1": "DaemonSet", "n2": "DaemonSet", "controller": "Deployment"}
        made = {
            name: Pod(self.lab, spaces[name], folder / name, kinds[name], default=default, more=more)
            for name in spaces
        }
        for pod in made.values():
            stack.callback(pod.close)
        self.controller = made.pop("controller")
        self.nodes = made
        for node in made.values():
            shutil.copy(PORTMAP, node.volume("cni-bin"))

    def start(self, node, without=()):
        """Run a node's pod as the kubelet does: first what installs the plugin, then the agent."""
        self.nodes[node].start("install")
        assert self.nodes[node].ended("install") == 0, self.nodes[node].log()
        self.nodes[node].start("agent", without)

    def installed(self, node):
        """Return what a runtime finds on a node, programs of others left out."""
        at = self.nodes[node]
        found = [*at.volume("cni-bin").iterdir(), *at.volume("cni-conf").iterdir()]
        return sorted(path.name for path in found if path.name != PORTMAP.name)

    def grant(self, *more):
        """Give agents the rights that are printed for these choices, besides those that every lab gives."""
        role, binding = (
            next(d for d in manifests(*more) if d["kind"] == kind and d["metadata"]["name"] == "cloudnet-agent")
            for kind in ("ClusterRole", "ClusterRoleBinding")
        )
        role["metadata"]["name"] = binding["metadata"]["name"] = binding["roleRef"]["name"] = "of-the-test"
        netns.run_inside(cloud_namespace(NAME), lambda: self.create(role, binding))

    def create(self, *documents):
        with closing(Client(kubernetes_settings.parse(self.lab.store_url, {}))) as client:
            for document in documents:
                plural = f"{document['kind'].lower()}s"
                path = f"/apis/{document['apiVersion']}/{plural}"
                client.call(Request("create", plural, path, body=json.dumps(document).encode()))

    def pod(self, node, name):
        """Start a pod on a node with the plugin that was installed there; return its address."""
        self.stack.enter_context(netns.temporary(f"{NAME}-{name}"))
        netns.run_inside(cloud_namespace(NAME), lambda: self.schedule(node, name))
        result = json.loads(self.call("ADD", node, name))
        return result["ips"][0]["address"].partition("/")[0]

    def schedule(self, node, name):
        with closing(Kubelet(Client(kubernetes_settings.parse(self.lab.store_url, {})))) as kubelet:
            kubelet.start(name, node=node, labels={"app": name})

    def call(self, verb, node, name):
        at = self.nodes[node]
        installed = json.loads((at.volume("cni-conf") / "10-cloudnet.conflist").read_text())
        installed["plugins"][0]["agent_socket"] = str(at.volume("run") / "cni.sock")  # the host's folder is elsewhere
        config = at.folder / "config.conflist"
        config.write_text(json.dumps(installed))
        names = {"K8S_POD_NAMESPACE": NAMESPACE, "K8S_POD_NAME": name, "K8S_POD_INFRA_CONTAINER_ID": name}
        result = at.folder / f"{name}.json"
        flags = {
            "--container": name,
            "--netns": f"/run/netns/{NAME}-{name}",
            "--result": result,
            "--bin-dir": at.volume("cni-bin"),
            "--config": config,
        }
        words = [str(word) for pair in flags.items() for word in pair]
        words += [word for key, value in names.items() for word in ("--arg", f"{key}={value}")]
        command = netns.command_inside(at.namespace, [sys.executable, "-m", "cloudnet.cli.main", "cni", "call", verb])
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr + at.log()
        return result.read_text() if verb == "ADD" else done.stdout

    def pings(self, source, address):
        command = ["ping", "-c", "1", "-W", "1", address]
        done = subprocess.run(netns.command_inside(f"{NAME}-{source}", command), capture_output=True, check=False)
        return done.returncode == 0


def remove_cgroups():
    for folder in CGROUPS.glob(f"*/{NAME}"):  # runc removes a container's, not the one above
        folder.rmdir()


@pytest.fixture
def cluster():
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))  # the socket's path must be short
        yield Cluster(folder, stack)


def test_the_containers_do_their_work_with_just_the_rights_that_are_printed(cluster, needed_rights):
    cluster.controller.start("controller")
    for node in cluster.nodes:
        cluster.start(node)
    for name, node in cluster.nodes.items():
        wait(lambda node=node: node.ready("agent", 9091), "the agent is ready")
        wait(lambda name=name: "10-cloudnet.conflist" in cluster.installed(name), "the runtime's configuration")
    wait(lambda: cluster.controller.ready("controller", 9092), "the controller is ready")

    for node in cluster.nodes.values():
        wait(lambda node=node: "after=native reason=proven" in node.log(), "probes prove the native path")

    here, there = cluster.pod("n1", "web"), cluster.pod("n2", "db")
    wait(lambda: cluster.pings("web", there), "web reaches db")
    wait(lambda: cluster.pings("web", str(cluster.lab.node("n1").addresses[0].ip)), "web reaches its own node")
    before = netns.execute(cluster.nodes["n1"].namespace, ["nft", "list", "tables"])
    ended = cluster.nodes["n1"].stop("agent")
    without_agent = cluster.pings("db", here), cluster.pings("web", there)
    cluster.start("n1")
    wait(lambda: cluster.nodes["n1"].ready("agent", 9091), "the agent is ready again")
    cluster.call("DEL", "n1", "web")

    asked = cluster.lab.rights()
    assert ended == 0, cluster.nodes["n1"].log()
    assert without_agent == (True, True), "the data path stays"
    assert "cloudnet" in before
    log = "".join(pod.log() for pod in (cluster.controller, *cluster.nodes.values()))
    assert [line for line in log.splitlines() if "level=error" in line or "level=warning" in line] == []
    assert "established connections go the ordinary way" not in log, "the fast path is in force"
    assert asked.denied == ()
    assert needed_rights("pods") <= set(asked.used)


@pytest.mark.parametrize(
    ("capability", "complaint"), [("NET_ADMIN", "CAP_NET_ADMIN"), ("SYS_ADMIN", "permission denied")]
)
def test_each_capability_is_needed(cluster, capability, complaint):
    cluster.start("n1", without=[capability])

    assert cluster.nodes["n1"].ended("agent") != 0
    assert cluster.installed("n1") == ["cloudnet"], "no configuration, so no pods are sent to this node"
    assert complaint in cluster.nodes["n1"].log()


def test_what_is_printed_for_leaving_takes_a_node_back_once_its_agent_is_gone(cluster):
    node = cluster.nodes["n1"]
    (leaving,) = manifests("--part", "uninstall")
    node.spec["initContainers"] += leaving["spec"]["template"]["spec"]["initContainers"]
    cluster.start("n1")
    wait(lambda: "10-cloudnet.conflist" in cluster.installed("n1"), "the runtime's configuration")
    wait(lambda: node.ready("agent", 9091), "the agent is ready")

    node.start("uninstall")
    refused = node.ended("uninstall")
    node.stop("agent")
    node.start("uninstall")
    done = node.ended("uninstall")

    assert refused != 0
    assert "an agent answers at" in node.log()
    assert done == 0, node.log()
    assert cluster.installed("n1") == []
    assert "cloudnet" not in netns.execute(node.namespace, ["nft", "list", "tables"])
    assert "vxlan" not in netns.execute(node.namespace, ["ip", "-br", "link"])


BGP = ("--set", "bgp=true")


@pytest.fixture
def bgp_cluster():
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        cluster = Cluster(folder, stack, *BGP)
        cluster.grant(*BGP)
        yield cluster


def test_agents_speak_bgp_with_just_the_rights_that_are_printed_for_it_and_leave_nothing_of_it(bgp_cluster):
    node = bgp_cluster.nodes["n1"]
    (leaving,) = manifests("--part", "uninstall", *BGP)
    node.spec["initContainers"] += leaving["spec"]["template"]["spec"]["initContainers"]
    for name in bgp_cluster.nodes:
        bgp_cluster.start(name)
    for each in bgp_cluster.nodes.values():
        wait(lambda each=each: "after=bgp reason=proven" in each.log(), "probes prove the path that BIRD learned")

    node.stop("agent")  # and with the container its BIRD
    left = netns.execute(node.namespace, ["ip", "route", "show", "table", "4795"])
    bgp_cluster.start("n1")
    wait(lambda: "recovers=yes" in node.log(), "BIRD goes on")
    wait(lambda: node.ready("agent", 9091), "the agent is ready again")
    node.stop("agent")
    node.start("uninstall")

    assert node.ended("uninstall") == 0, node.log()
    assert "proto bird" in left
    assert "bird" not in netns.execute(node.namespace, ["ip", "route", "show", "table", "all"])
    assert not (node.volume("run") / "bird").exists()
    asked = bgp_cluster.lab.rights()
    kinds = ("bgpconfigurations", "bgpfilters", "bgppeers")
    assert asked.denied == ()
    wanted = {f"cloudnet-agent {verb} {kind}.projectcalico.org" for kind in kinds for verb in ("list", "watch")}
    assert wanted <= set(asked.used)


def test_the_port_of_bgp_needs_its_capability(bgp_cluster):
    bgp_cluster.start("n1", without=["NET_BIND_SERVICE"])
    log = bgp_cluster.nodes["n1"].volume("run") / "bird" / "bird.log"

    wait(lambda: log.exists() and "Permission denied" in log.read_text(), "BIRD says that it may not listen")
