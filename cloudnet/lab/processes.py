"""Processes of a lab: started in a session of their own, known by pid *and* start time, found again by namespace.

A recycled pid is never killed: the start time from ``/proc/PID/stat`` must still be the recorded one. What a
killed builder did not get to record is found by its network namespace or by the mark in its environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudnet.errors import MissingTool
from cloudnet.lab.errors import LabError

NETNS = Path("/run/netns")
MARK = "CLOUDNET_LAB"  # in the environment of every process of a lab: its state directory
_DEAD = frozenset("ZXx")  # states in /proc/PID/stat of processes that only wait to be reaped


@dataclass(frozen=True, slots=True)
class Process:
    """One process; ``started`` is in clock ticks after boot (proc_pid_stat(5), field 22)."""

    pid: int
    started: int

    def alive(self) -> bool:
        seen = _stat(self.pid)
        return seen is not None and seen[1] == self.started and seen[0] not in _DEAD


def _stat(pid: int) -> tuple[str, int] | None:
    """Return a process' state and when it started, or nothing when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and parentheses
    return fields[0], int(fields[19])


def start(
    command: Sequence[str], *, namespace: str, log: Path, mark: Path, environment: Mapping[str, str]
) -> Process:
    """Start a long-running program inside a namespace; its output goes to ``log``.

    Raises:
        LabError: somebody else took it away.
    """
    with log.open("ab") as sink:
        child = subprocess.Popen(
            ["nsenter", f"--net={NETNS / namespace}", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env={**os.environ, **environment, MARK: str(mark)},
        )
    child.returncode = 0  # it outlives us: Popen shall neither wait for it nor warn; ``kill`` reaps it by pid
    seen = _stat(child.pid)  # there is one, dead or alive: nobody but us can reap it
    if seen is None:
        raise LabError(f"{command[0]} is gone; see {log}")
    return Process(child.pid, seen[1])


def kill(processes: Collection[Process], *, grace: float = 0.0) -> None:
    """End processes: SIGTERM first when there is a grace in seconds, then SIGKILL; returns when they are gone.

    Raises:
        LabError: one survived SIGKILL for five seconds.
    """
    if grace > 0:
        _signal(processes, signal.SIGTERM)
        _wait(processes, grace)
    _signal(processes, signal.SIGKILL)
    if left := _wait(processes, 5.0):
        raise LabError(f"processes {sorted(p.pid for p in left)} do not end, even when killed")


def _signal(processes: Collection[Process], number: signal.Signals) -> None:
    for process in processes:
        if process.alive():
            with contextlib.suppress(ProcessLookupError):  # it ended between the look and the signal
                os.kill(process.pid, number)


def _wait(processes: Collection[Process], seconds: float) -> list[Process]:
    end = time.monotonic() + seconds
    while True:
        left = [process for process in processes if not _gone(process)]
        if not left or time.monotonic() >= end:
            return left
        time.sleep(0.01)


def _gone(process: Process) -> bool:
    """Tell whether a process has ended, and take away its remains when it was our child.

    The first thread of a process may be dead while others still end; only then ``waitpid`` succeeds.
    """
    seen = _stat(process.pid)
    if seen is None or seen[1] != process.started:
        return True
    if seen[0] not in _DEAD:
        return False
    try:
        return os.waitpid(process.pid, os.WNOHANG)[0] != 0
    except ChildProcessError:  # somebody else's child: init reaps it
        return True


def inside(namespaces: Collection[str], *, mark: Path) -> list[Process]:
    """Return every process in these namespaces, or marked as belonging to this lab, other than ourselves."""
    wanted = {identity for name in namespaces if (identity := _identity(NETNS / name))}
    marked = f"{MARK}={mark}".encode()
    found = []
    for pid in _pids():
        if pid == os.getpid():
            continue
        seen = _stat(pid)
        if seen is None or seen[0] in _DEAD:
            continue
        if _identity(Path(f"/proc/{pid}/ns/net")) in wanted or _has_mark(pid, marked):
            found.append(Process(pid, seen[1]))
    return found


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def run(command: Sequence[str], *, stdin: str = "", timeout: float = 30.0) -> str:
    """Run a short command to its end and return its output.

    Raises:
        MissingTool: the program is not installed.
        LabError: it failed; the message holds what it said.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise MissingTool(f"{command[0]} is not installed: {install_hint(command[0])}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)}: no end after {timeout:.0f} s") from error
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip() or done.returncode}")
    return done.stdout


_PACKAGES = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "etcd": "etcd-server",
}


def install_hint(program: str) -> str:
    return f"apt-get install {_PACKAGES.get(program, program)}"


def require(programs: Collection[str]) -> None:
    """Refuse a machine that lacks a program or the right to make namespaces.

    Raises:
        MissingTool: the message says what to do.
    """
    if os.geteuid() != 0:
        raise MissingTool("a lab needs root, to make network namespaces: run it with sudo")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = sorted({_PACKAGES.get(program, program) for program in missing})
        raise MissingTool(f"missing {', '.join(missing)}: apt-get install {' '.join(packages)}")
