from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import threading
from ipaddress import ip_network

import pytest

from cloudnet.errors import BadInput
from cloudnet.manifests import crds
from cloudnet.model.resources import IPPool, Metadata, Node
from cloudnet.store.api import StoreUnavailable
from cloudnet.store.connection import Endpoint, Proxy
from cloudnet.store.kubernetes import KubernetesStore
from cloudnet.store.kubernetes_client import Client
from cloudnet.store.kubernetes_credentials import Asked, Program, Proof, TokenFile
from cloudnet.store.kubernetes_settings import NAMESPACE, parse
from cloudnet.testing.batches import collect
from cloudnet.testing.kube.server import ApiServer

CONFIG = """
current-context: one
clusters:
- name: c1
  cluster: {server: "https://api.example:6443/k8s/c1", tls-server-name: inner, insecure-skip-tls-verify: true}
- name: c2
  cluster: {server: "http://127.0.0.1:8001", proxy-url: "http://me:secret@proxy.example:3128"}
contexts:
- {name: one, context: {cluster: c1, user: u1}}
- {name: two, context: {cluster: c2, user: u2}}
- {name: broken, context: {cluster: c3}}
users:
- {name: u1, user: {token: abc}}
- name: u2
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: ./login
      args: [--now]
      env: [{name: A, value: b}]
      installHint: install login
"""


@pytest.fixture
def kubeconfig(tmp_path):
    file = tmp_path / "config"
    file.write_text(CONFIG)
    return file


def test_a_kubeconfig_says_where_the_api_is_and_who_we_are(kubeconfig):
    settings = parse(f"kubernetes://{kubeconfig}", {})

    assert settings.endpoint == Endpoint("api.example", 6443)
    assert (settings.tls, settings.path, settings.server_name, settings.insecure) == (True, "/k8s/c1", "inner", True)
    assert settings.credentials.current() == Proof("Bearer abc")
    assert settings.namespace == NAMESPACE


def test_context_and_namespace_are_named_in_the_url(kubeconfig):
    settings = parse(f"kubernetes://{kubeconfig}?context=two&namespace=net", {})

    assert settings.endpoint == Endpoint("127.0.0.1", 8001)
    assert settings.namespace == "net"
    assert settings.proxy == Proxy(
        Endpoint("proxy.example", 3128), f"Basic {base64.b64encode(b'me:secret').decode()}"
    )


@pytest.mark.parametrize("environ", [{"KUBECONFIG": "FILE:/other"}, {"HOME": "DIR"}], ids=["KUBECONFIG", "HOME"])
def test_the_environment_names_the_kubeconfig(kubeconfig, environ):
    (kubeconfig.parent / ".kube").mkdir()
    (kubeconfig.parent / ".kube" / "config").write_text(CONFIG)
    named = {
        key: value.replace("FILE", str(kubeconfig)).replace("DIR", str(kubeconfig.parent))
        for key, value in environ.items()
    }

    assert parse("kubernetes://", named).endpoint.host == "api.example"


def test_a_pod_uses_its_service_account(tmp_path):
    (tmp_path / "token").write_text("t1")
    (tmp_path / "ca.crt").write_text("")
    (tmp_path / "namespace").write_text("net")
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}

    settings = parse("kubernetes://", environ, service_account=tmp_path)

    assert settings.endpoint == Endpoint("10.96.0.1", 443)
    assert settings.credentials.current() == Proof("Bearer t1")
    assert settings.namespace == "net"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kubernetes:///nowhere/config", "no kubeconfig at /nowhere/config"),
        ("kubernetes://host", r"expected kubernetes://\[/PATH"),
        ("kubernetes:///FILE?contxt=x", r"expected kubernetes://\[/PATH"),
        ("kubernetes://FILE?context=three", "no context 'three': name one of 'one', 'two', 'broken'"),
        ("kubernetes://FILE?context=broken", "no cluster 'c3'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_next_step(kubeconfig, url, said):
    with pytest.raises(BadInput, match=said):
        parse(url.replace("FILE", str(kubeconfig)), {})


def test_a_file_that_is_no_kubeconfig_is_named(tmp_path):
    (tmp_path / "config").write_text("clusters: 3")

    with pytest.raises(BadInput, match=r"is no kubeconfig: .*clusters"):
        parse(f"kubernetes://{tmp_path / 'config'}", {})


@pytest.mark.parametrize(
    ("exceptions", "proxied"),
    [("", True), ("api.example", False), (".example", False), ("10.0.0.0/8", True), ("*", False)],
)
def test_the_environments_proxy_is_used_but_for_its_exceptions(kubeconfig, exceptions, proxied):
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": exceptions}

    assert bool(parse(f"kubernetes://{kubeconfig}", environ).proxy) is proxied


def test_secrets_are_not_shown(kubeconfig):
    shown = repr(parse(f"kubernetes://{kubeconfig}", {})) + repr(
        parse(f"kubernetes://{kubeconfig}?context=two", {}).proxy
    )

    assert "abc" not in shown
    assert "secret" not in shown


# --- credentials --------------------------------------------------------------------------------------------


def test_a_token_file_is_read_again_when_it_is_old_or_refused(tmp_path):
    file, now = tmp_path / "token", [0.0]
    file.write_text("one")
    credentials = TokenFile(file, clock=lambda: now[0])
    assert credentials.current() == Proof("Bearer one")
    file.write_text("two\n")

    assert credentials.current() == Proof("Bearer one")
    assert credentials.renewed(Proof("Bearer one")) == Proof("Bearer two")
    assert credentials.renewed(Proof("Bearer two")) is None
    file.write_text("three")
    now[0] = 61.0
    assert credentials.current() == Proof("Bearer three")


def answer(token, until="2030-01-01T00:00:00Z"):
    return f'{{"kind":"ExecCredential","status":{{"token":"{token}","expirationTimestamp":"{until}"}}}}'.encode()


def test_a_program_is_asked_once_while_its_answer_is_good():
    asked, now = [], [0.0]

    def run(command, env):
        asked.append((tuple(command), env["A"], "KUBERNETES_EXEC_INFO" in env))
        return answer(f"t{len(asked)}")

    credentials = Asked(Program("login", ("--now",), {"A": "b"}), run=run, environ={}, clock=lambda: now[0])

    assert [credentials.current().authorization for _ in range(3)] == ["Bearer t1"] * 3
    assert credentials.renewed(Proof("Bearer t1")) == Proof("Bearer t2")
    now[0] = 1_893_456_000.0 - 30
    assert credentials.current() == Proof("Bearer t3")
    assert asked[0] == (("login", "--now"), "b", True)


def fails(error):
    def run(command, env):
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (fails(FileNotFoundError(2, "No such file")), r"'login' .* no credentials \(No such file\): get login"),
        (fails(subprocess.CalledProcessError(1, "login", stderr=b"a\nlog in first")), "exit status 1: log in first"),
        (fails(subprocess.TimeoutExpired("login", 60)), "no answer within 60 s"),
        (lambda *_: b"secret stuff", "prints no ExecCredential: run it by hand"),
    ],
    ids=["missing", "fails", "hangs", "nonsense"],
)
def test_a_program_that_gives_nothing_says_what_to_do_and_no_secret(run, said):
    credentials = Asked(Program("login", hint="get login"), run=run, environ={})

    with pytest.raises(StoreUnavailable, match=said) as caught:
        credentials.current()
    assert "secret" not in str(caught.value)


def test_a_token_that_the_kubelet_replaced_is_used_without_a_failure(tmp_path):
    file = tmp_path / "token"
    file.write_text("old")
    with ApiServer() as api:
        api.install(crds.calico_crds())
        api.faults.tokens = {"old"}
        store = KubernetesStore(Client(api.settings(credentials=TokenFile(file))))
        assert store.list(IPPool).items == ()
        api.faults.tokens = {"new"}
        file.write_text("new")

        assert store.list(IPPool).items == ()
        with store.watch([IPPool], since=store.list(IPPool).revision) as watch:
            api.faults.tokens = {"newer"}
            file.write_text("newer")
            assert watch.next(0) == ()
        api.faults.tokens = {"another"}
        with pytest.raises(StoreUnavailable, match="does not know who we are"):
            store.list(IPPool)
        store.close()


def test_a_proxy_is_asked_for_a_tunnel():
    with ApiServer() as api, tunnel() as (port, seen):
        api.install(crds.calico_crds())
        proxy = Proxy(Endpoint("127.0.0.1", port), "Basic x")
        store = KubernetesStore(Client(api.settings(proxy=proxy)))

        assert store.list(IPPool).items == ()
        store.close()

    assert seen[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % api.port)
    assert b"Proxy-Authorization: Basic x\r\n" in seen[0]


def test_a_watch_goes_over_http_2_through_a_tunnel(made_keys):
    with ApiServer(tls=made_keys.server("h2"), ca=made_keys.text("ca.pem")) as api, tunnel() as (port, seen):
        api.install(crds.calico_crds())
        store = KubernetesStore(Client(api.settings(proxy=Proxy(Endpoint("127.0.0.1", port)))))
        pool = IPPool(Metadata("pool"), ip_network("10.65.0.0/16"))
        with store.watch([IPPool, Node], since=store.list(IPPool).revision) as watch:
            watch.next(0)
            made = store.create(pool)

            assert [event.value for event in collect(watch, 1)] == [made.value]
        store.close()

    assert len(seen) == 2  # for requests, and for both streams


class tunnel:  # noqa: N801 - used as a function
    """A proxy for one connection after the other."""

    def __enter__(self):
        self.seen, self.sockets = [], []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()
        return self.listening.getsockname()[1], self.seen

    def accept(self):
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += near.recv(1)
            self.seen.append(head)
            host, port = head.split()[1].decode().split(":")
            far = socket.create_connection((host, int(port)))
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self.sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                thread = threading.Thread(target=self.pump, args=(one, other))
                thread.start()
                self.threads.append(thread)

    def pump(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def __exit__(self, *_):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for one in self.sockets:
            one.close()
