"""Real etcd servers for tests: each with a data directory of its own, on free ports of the loopback.

with EtcdServer(tmp_path) as etcd:
    store = open_store(etcd.url)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START = 20.0  # seconds; a loaded machine takes its time


class EtcdServer:
    """One member, alone unless ``cluster`` names the others too: {name: peer port}."""

    def __init__(
        self,
        directory: Path,
        *,
        options: Sequence[str] = (),
        tls: Mapping[str, str] | None = None,
        name: str = "one",
        cluster: Mapping[str, int] | None = None,
    ) -> None:
        program = shutil.which("etcd")
        if program is None:
            raise FileNotFoundError("etcd is not installed: apt-get install etcd-server (scripts/host does)")
        self.directory = directory / f"etcd-{name}"
        self.port = free_port()
        self._cluster = cluster or {name: free_port()}
        self._scheme = "https" if tls else "http"
        files = [f"--{option}={value}" for option, value in (tls or {}).items()]
        self._command = [program, *self._options(name), *files, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def _options(self, name: str) -> list[str]:
        client = f"{self._scheme}://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{self._cluster[name]}"
        peers = ",".join(f"{member}=http://127.0.0.1:{port}" for member, port in self._cluster.items())
        return [
            f"--name={name}",
            f"--data-dir={self.directory}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={peers}",
            "--heartbeat-interval=20",
            "--election-timeout=200",  # an election is over within half a second
            "--log-level=error",
        ]

    @property
    def pid(self) -> int:
        """The process; 0 while it does not run."""
        return self._process.pid if self._process else 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"etcd{'s' if self._scheme == 'https' else ''}://{self.address}"

    def start(self, *options: str, wait: bool = True) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.directory.parent / f"{self.directory.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": os.defpath}
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        """Wait until clients can connect; behind TLS that is all that can be seen, without it also that it leads."""
        deadline = time.monotonic() + START
        while not self._answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                log = (self.directory.parent / f"{self.directory.name}.log").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"etcd did not start: {log[-2000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        if self._scheme == "https":
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        try:
            with urllib.request.urlopen(f"http://{self.address}/health", timeout=1) as answer:
                return bool(json.load(answer)["health"] == "true")
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a power failure would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(START)
            self._process = None

    def freeze(self) -> None:
        """Stop it from doing anything, with its connections open."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def ask(self, path: str, message: Mapping[str, object]) -> dict[str, Any]:
        """Return etcd's own answer, past our client. Any: messages as JSON."""
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(message).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - the loopback
            found: dict[str, Any] = json.load(answer)
            return found

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
