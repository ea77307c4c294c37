"""The programs of one lab: cloud, store, controllers and agents; how each is started and waited for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from cloudnet.lab import control, processes, spec, state, stores, views
from cloudnet.lab.clouds import registry
from cloudnet.lab.clouds.api import KEY, Kind
from cloudnet.lab.errors import LabError
from cloudnet.lab.spec import LabSpec
from cloudnet.lab.state import LabState
from cloudnet.lab.stores import StoreKind

START_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
TERM_SECONDS: Final = 10.0
CONTROLLER: Final = "controller"
STANDBY: Final = "standby"  # the second controller


class Programs:
    """Each has a role, by which the lab's state knows its process; one that runs is not started again."""

    def __init__(self, lab: str) -> None:
        self._lab = lab

    @property
    def provider_file(self) -> Path:
        return self._directory / "provider.json"

    @property
    def cloud_socket(self) -> Path:
        return self._directory / "cloud.sock"

    def start_cloud(self, wanted: LabSpec) -> None:
        command = [sys.executable, "-m", self._kind.process, "--socket", str(self.cloud_socket)]
        command += ["--routes-per-table", str(wanted.routes_per_table), "--propagation", str(wanted.propagation)]
        command += ["--read-delay", str(wanted.read_delay), "--key", KEY]
        self._start("cloud", spec.cloud_namespace(self._lab), command)

    def start_store(self, unanswered: Callable[[], str]) -> None:
        """Start the store's server, if it is one, and wait until nothing is ``unanswered``.

        Raises:
            LabError: it ended or does not answer; the message names its log.
        """
        kind = self._store_kind
        if kind.command is None:
            return
        if kind.has_accounts:
            stores.write_kubeconfigs(self._directory)
        self._start("store", spec.cloud_namespace(self._lab), kind.command(self._directory))
        end = time.monotonic() + START_SECONDS
        while problem := unanswered():
            if not self._state.processes["store"].alive():
                raise self._ended("store")
            if time.monotonic() > end:
                raise LabError(f"store does not answer after {START_SECONDS:g} s: {problem}")
            time.sleep(POLL_SECONDS)

    def start_controller(self, role: str = CONTROLLER) -> None:
        """Start a controller in the cloud's namespace; of several, one leads."""
        store = self._store_kind.url_of("controller", self._directory)
        arguments = ("--provider", self._state.spec.cloud, "--provider-config", str(self.provider_file))
        command = _program("controller", "--store", store, *arguments, "--identity", role)
        self._start(role, spec.cloud_namespace(self._lab), command)

    def start_agent(self, node: str) -> None:
        store, here = self._store_kind.url_of("agent", self._directory), self._directory / node
        socket = views.agent_socket(self._lab, node)
        arguments = ["--node", node, "--store", store, "--socket", str(socket), "--cni-socket", f"{here}.cni"]
        arguments += ["--state", f"{here}-state", "--cni-state", f"{here}.state"]
        command = _program("agent", *arguments)
        self._start(views.agent_role(node), spec.node_namespace(self._lab, node), command)

    def kill(self, role: str) -> None:
        if process := self._state.processes.get(role):
            processes.kill([process])

    def end(self, role: str) -> None:
        """End a program in order."""
        if process := self._state.processes.get(role):
            processes.kill([process], grace=TERM_SECONDS)

    def wait_agent(self, node: str, timeout: float) -> None:
        """Wait until a node's agent answers.

        Raises:
            LabError: it ended or does not answer; the message names its log.
        """
        self._wait(views.agent_role(node), views.agent_socket(self._lab, node), "status", timeout)

    def wait_cloud(self) -> None:
        """Wait until the cloud's side answers.

        Raises:
            LabError: it ended or does not answer; the message names its log.
        """
        self._wait("cloud", self.cloud_socket, "stats", START_SECONDS)

    def log(self, role: str) -> Path:
        return self._directory / "logs" / f"{role.replace(' ', '-')}.log"

    # --- inside -------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> LabState:
        return state.load(self._lab)

    @property
    def _directory(self) -> Path:
        return state.directory(self._lab)

    @property
    def _kind(self) -> Kind:
        return registry.kind(self._state.spec.cloud)

    @property
    def _store_kind(self) -> StoreKind:
        return stores.kind(self._state.spec.store)

    def _start(self, role: str, namespace: str, command: list[str]) -> None:
        known = self._state.processes.get(role)
        if known and known.alive():
            return
        environment = {**self._kind.environment, **self._state.spec.environment, "PYTHONUNBUFFERED": "1"}
        process = processes.start(
            command, namespace=namespace, log=self.log(role), mark=self._directory, environment=environment
        )
        state.edit(self._lab, lambda s: replace(s, processes={**s.processes, role: process}))

    def _wait(self, role: str, socket: Path, verb: str, timeout: float) -> None:
        process = self._state.processes[role]
        end = time.monotonic() + timeout
        while True:
            try:
                control.ask(socket, {"verb": verb}, timeout=timeout)
            except LabError:
                if not process.alive():
                    raise self._ended(role) from None
                if time.monotonic() > end:
                    raise LabError(f"{role} does not answer after {timeout:g} s (log {self.log(role)})") from None
                time.sleep(POLL_SECONDS)
            else:
                return

    def _ended(self, role: str) -> LabError:
        log = self.log(role)
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return LabError(f"{role} ended: {lines[-1] if lines else 'it said nothing'} (log {log})")


def _program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cloudnet.cli.main", *arguments]
