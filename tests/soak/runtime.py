"""A container runtime that is in a hurry: pods come and go on all nodes at once, and not every call comes once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloudnet.cni import install
from cloudnet.kernel import netns
from cloudnet.lab.lab import Lab

PODS = 12  # a round
PATIENCE = 60.0  # seconds for an agent that was killed to be back
LATER = 11  # CNI: try again later


@dataclass(frozen=True, slots=True)
class Started:
    """A pod that has been asked for."""

    node: str
    namespace: str
    container: str


class Runtime:
    """Starts pods in namespaces of their own, and ends them; whatever goes wrong for good is raised."""

    def __init__(self, lab: Lab, folder: Path, chance: random.Random) -> None:
        self.started = 0
        self._lab, self._chance = lab, chance
        self._program = folder / "cloudnet"
        self._program.write_bytes(install.program())
        self._program.chmod(0o755)
        self._running: list[Started] = []
        self._adding: list[Future[None]] = []
        self._workers = ThreadPoolExecutor(4)

    def start_some(self) -> None:
        """Begin to start pods; ``end_all`` waits for them."""
        names = [node.name for node in self._lab.nodes()]
        for _ in range(PODS):
            self.started += 1
            place = f"cn-soak-{os.getpid()}-{self.started}"
            netns.create(place)
            self._running.append(Started(self._chance.choice(names), place, f"soak{self.started}"))
        self._adding = [self._workers.submit(self._settle, "ADD", pod) for pod in self._running]

    def end_all(self) -> None:
        """End the pods of this round: some twice, some by a runtime that never heard an answer to ADD."""
        for adding in self._adding:
            adding.result()
        twice = [pod for pod in self._running if self._chance.random() < 0.3]
        for ending in [self._workers.submit(self._settle, "DEL", pod) for pod in [*self._running, *twice]]:
            ending.result()
        for pod in self._running:
            netns.remove(pod.namespace)
        self._running.clear()

    def close(self) -> None:
        self._workers.shutdown()
        for pod in self._running:
            netns.remove(pod.namespace)
        self._program.unlink()
        self._program.parent.rmdir()

    def _settle(self, command: str, pod: Started) -> None:
        """Ask until it is done, as a kubelet does."""
        deadline = time.monotonic() + PATIENCE
        while (code := self._call(command, pod)) != 0:
            if code != LATER or time.monotonic() > deadline:
                raise RuntimeError(f"{command} of {pod.container} on {pod.node} is answered {code}")
            time.sleep(0.2)

    def _call(self, command: str, pod: Started) -> int:
        variables = {"CNI_COMMAND": command, "CNI_CONTAINERID": pod.container, "CNI_IFNAME": "eth0"}
        variables |= {"CNI_NETNS": str(netns.NAMED / pod.namespace), "CNI_PATH": "/opt/cni/bin"}
        configuration = {"cniVersion": "1.1.0", "name": "soak", "type": "cloudnet"}
        configuration["agent_socket"] = str(self._lab.directory / f"{pod.node}.cni")
        done = subprocess.run(
            [self._program],
            input=json.dumps(configuration).encode(),
            env=variables,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return int(json.loads(done.stdout)["code"]) if done.returncode else 0
