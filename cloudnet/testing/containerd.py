"""containerd with everything of it in one folder, for tests that run real containers: its command, and patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_CONFIGURATION = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{folder}/containerd.sock"
[ttrpc]
  address = "{folder}/containerd.sock.ttrpc"
"""

R = TypeVar("R")


def daemon(folder: Path) -> list[str]:
    """Write the configuration into a folder that is there; return the command that runs on it."""
    file = folder / "config.toml"
    file.write_text(_CONFIGURATION.format(folder=folder))
    return ["containerd", "--config", str(file), "--log-level", "warn"]


def ctr(folder: Path) -> list[str]:
    """Return the command that speaks to it, without what it shall do."""
    return ["ctr", "--address", f"{folder}/containerd.sock"]


def wait(done: Callable[[], R], what: str, seconds: float = 20.0) -> R:
    """Return what ``done`` returns, once that is something.

    Raises:
        AssertionError: it is nothing in all that time; ``what`` says what was waited for.
    """
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, f"{what}: not after {seconds:g} s"
        time.sleep(0.05)
    return found
