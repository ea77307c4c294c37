"""A BIRD of this host: started when there is none, told what to do, and left running when we go.

It is no child of the agent: it detaches itself, so that an agent that restarts ends no session. One that died is
started with ``-R``: its peers kept our routes meanwhile, and it keeps theirs. A BIRD that somebody else runs with the
same files serves as well.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cloudnet.bgp import answers, control
from cloudnet.bgp.api import BirdRefused, BirdUnreachable, Status
from cloudnet.bgp.control import NotRunning
from cloudnet.errors import MissingTool

log = logging.getLogger(__name__)

_PATIENCE: Final = 20.0  # seconds for BIRD to read its configuration
_BIN: Final = "/usr/sbin:/usr/local/sbin"  # where Debian and others put it, and PATH often does not look


class BirdDaemon:
    """The door. Its files are in one folder: ``bird.conf``, ``bird.ctl``, ``bird.pid``, ``bird.log``."""

    def __init__(self, folder: str, program: str) -> None:
        """Open the door; an empty ``program``: somebody else starts BIRD."""
        self._folder, self._program = Path(folder), program
        self._file, self._socket = self._folder / "bird.conf", self._folder / "bird.ctl"
        self._process = self._folder / "bird.pid"  # BIRD removes it when it ends in order

    @property
    def log(self) -> str:
        return str(self._folder / "bird.log")

    def configure(self, text: str) -> None:
        new = self._folder / "bird.conf.new"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(new, text)
            self._check(new)
            new.replace(self._file)
        except OSError as e:
            raise BirdUnreachable(f"cannot write {new} ({(e.strerror or str(e)).lower()})") from e
        try:
            control.ask(self._socket, "configure")
        except NotRunning:
            self._start()

    def sessions(self) -> Sequence[Status]:
        return answers.sessions(control.ask(self._socket, "show protocols all"))

    def stop(self) -> bool:
        """End BIRD: it takes back what it announced, and its routes. Return whether there was one.

        One of another network namespace is left alone: programs in several may have been given one folder.

        Raises:
            BirdUnreachable: there is one that does not answer.
        """
        if not self._is_here():
            return False
        try:
            control.ask(self._socket, "down")
        except NotRunning:
            return False
        return True

    def remove_files(self) -> bool:
        """Remove what was written for BIRD; return whether anything was."""
        there = self._folder.is_dir()
        if there:
            shutil.rmtree(self._folder)
        return there

    def _is_here(self) -> bool:
        try:
            pid = int(self._process.read_text())
            return Path(f"/proc/{pid}/ns/net").samefile("/proc/thread-self/ns/net")
        except (OSError, ValueError):  # there is none
            return False

    def _check(self, file: Path) -> None:
        """Let BIRD read a configuration without using it."""
        try:
            control.ask(self._socket, f'configure check "{file}"')
        except NotRunning:
            self._run("-p", "-c", str(file))

    def _start(self) -> None:
        died = self._process.exists()
        files = ("-c", str(self._file), "-s", str(self._socket), "-P", str(self._process))
        self._run(*files, *(("-R",) if died else ()))
        log.info("started BIRD socket=%s recovers=%s", self._socket, "yes" if died else "no")

    def _run(self, *arguments: str) -> None:
        if not self._program:
            raise BirdUnreachable(
                f"no BIRD listens at {self._socket}: start one with -c {self._file} -s {self._socket}, "
                "or name the program in the setting bgp_program"
            )
        program = shutil.which(self._program, path=f"{os.environ.get('PATH', '')}:{_BIN}")
        if program is None:
            raise MissingTool(f"there is no program {self._program!r}: apt-get install bird2")
        try:
            done = subprocess.run(
                [program, *arguments], capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired as e:
            raise BirdUnreachable(f"{program} does not come to an end within {_PATIENCE:.0f} s") from e
        if done.returncode != 0:
            raise BirdRefused(f"{program} refuses: {done.stderr.strip() or done.returncode}")


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner may read: passwords stand in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
