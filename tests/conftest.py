"""What holds for every test: nothing is skipped in silence, and nothing is left behind.

A test that needs root is marked ``kernel`` or ``lab``, one that needs the vendors' API descriptions ``specs``.
Without root, or without the folder that ``CLOUDNET_SPECS`` names, these are deselected, and one line at the end says
so; a skip anywhere else is a failure. After each test no thread, child process or listening socket of its own
may remain. With ``--alone`` (``make test``) nothing else of ours runs on the machine, so anything new there must
have come from the test: network namespaces, state of labs, processes that were left to init, files in the checkout.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_GRACE = 3.0  # seconds for a thread or process that is ending to be gone
_PRIVILEGED = ("kernel", "lab")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--alone", action="store_true", help="nothing else of ours runs here: check the whole machine")
    parser.addoption("--update-golden", action="store_true", help="write what is compiled now as what is expected")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        leave_out(config, items, _PRIVILEGED, "of the real kernel: run pytest as root")
    if "CLOUDNET_SPECS" not in os.environ:
        leave_out(config, items, ("specs",), "against the vendors' API descriptions: set CLOUDNET_SPECS")


def leave_out(config: pytest.Config, items: list[pytest.Item], markers: tuple[str, ...], why: str) -> None:
    out = [item for item in items if any(item.get_closest_marker(name) for name in markers)]
    if out:
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=out)
        config.stash.setdefault(_LEFT_OUT, []).append(f"{len(out)} tests were left out, {why}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_LEFT_OUT, []):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture
def specs() -> Path:
    """Return the folder of the vendors' published API descriptions and recordings."""
    return Path(os.environ["CLOUDNET_SPECS"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped ({call_reason(report)}): mark it kernel or lab, or make it run"
    return report


def call_reason(report: pytest.TestReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    checks: dict[str, Callable[[], dict[object, str]]] = {
        "threads": threads,
        "child processes": children,
        "listening sockets": listeners,
    }
    if request.config.getoption("--alone") and any(request.node.get_closest_marker(name) for name in _PRIVILEGED):
        checks |= {"network namespaces": namespaces, "state of labs": lab_states, "processes": strays}
    before = {name: check() for name, check in checks.items()}
    yield
    deadline = time.monotonic() + _GRACE
    while left := [f"{name}: {what}" for name, check in checks.items() for what in new(check(), before[name])]:
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {'; '.join(left)}")
        time.sleep(0.02)


def new(after: dict[object, str], before: dict[object, str]) -> list[str]:
    return [what for key, what in after.items() if key not in before]


@pytest.fixture(autouse=True, scope="session")
def clean_checkout(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.config.getoption("--alone"):
        yield
        return
    before = changed_files()
    yield
    left = changed_files() - before
    assert not left, f"the tests left files in the checkout: {', '.join(sorted(left))}"


def threads() -> dict[object, str]:
    return {thread.ident: thread.name for thread in threading.enumerate() if thread.is_alive()}


def children() -> dict[object, str]:
    pids: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            pids += (task / "children").read_text().split()
    return {pid: f"{command_line(pid)} ({pid})" for pid in pids}


def listeners() -> dict[object, str]:
    found: dict[object, str] = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # not a socket, or closed meanwhile
            inode = str(entry.readlink())
            if inode.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as one:
                    if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        found[inode] = str(one.getsockname())
    return found


def namespaces() -> dict[object, str]:
    return names_in(Path("/run/netns"))


def lab_states() -> dict[object, str]:
    return names_in(Path("/run/cloudnet-lab"))


def names_in(folder: Path) -> dict[object, str]:
    return {entry.name: entry.name for entry in folder.iterdir()} if folder.is_dir() else {}


def strays() -> dict[object, str]:
    """Return the processes of ours that were left to init."""
    found: dict[object, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and parent(entry.name) == "1":
            line = command_line(entry.name)
            if "cloudnet" in line or "moto" in line:
                found[entry.name] = f"{line} ({entry.name})"
    return found


def parent(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return ""


def command_line(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "gone"


def changed_files() -> set[str]:
    if not (_ROOT / ".git").exists():
        return set()
    shown = subprocess.run(["git", "status", "--porcelain"], cwd=_ROOT, capture_output=True, text=True, check=True)
    return set(shown.stdout.splitlines())


_LEFT_OUT = pytest.StashKey[list[str]]()
