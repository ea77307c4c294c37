"""A BIRD of this host: started when there is none, told what to do, and left running when we go.

It is no child of the agent: it detaches itself, so that an agent that restarts ends no session. One that died is
started with ``-R``: its peers kept our routes meanwhile, and it keeps theirs. A BIRD that somebody else runs with the
same files serves as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cloudnet.bgp import answers, control
from cloudnet.bgp.api import BirdRefused, BirdUnreachable, Status
from cloudnet.bgp.control import NotRunning
from cloudnet.errors import MissingTool

log = logging.getLogger(__name__)

_PATIENCE: Final = 20.0  # seconds for BIRD to read its configuration
_POLL: Final = 0.05  # seconds
_BIN: Final = "/usr/sbin:/usr/local/sbin"  # where Debian and others put it, and PATH often does not look


class BirdDaemon:
    """The door. Its files are in one folder: ``bird.conf``, ``bird.ctl``, ``bird.pid``, ``bird.log``, ``netns``."""

    def __init__(self, folder: str, program: str) -> None:
        """Open the door; an empty ``program``: somebody else starts BIRD."""
        self._folder, self._program = Path(folder), program
        self._file, self._socket = self._folder / "bird.conf", self._folder / "bird.ctl"
        self._process = self._folder / "bird.pid"  # BIRD removes it when it ends in order
        self._place = self._folder / "netns"  # whose BIRD this is

    @property
    def log(self) -> str:
        return str(self._folder / "bird.log")

    def configure(self, text: str) -> None:
        self._refuse_anothers()
        new = self._folder / "bird.conf.new"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(new, text)
            _write(self._place, _place())
            self._check(new)
            new.replace(self._file)
        except OSError as e:
            raise BirdUnreachable(f"cannot write {new} ({(e.strerror or str(e)).lower()})") from e
        try:
            control.ask(self._socket, "configure")
        except NotRunning:
            self._start(recover=self._process.exists())

    def sessions(self) -> Sequence[Status]:
        return answers.sessions(control.ask(self._socket, "show protocols all"))

    def clear(self, nothing: str) -> bool:
        """End BIRD, and take away its files and routes, also those that one that was killed left behind.

        One that somebody else starts is not ended: it is told ``nothing``, a configuration that says nothing. Returns
        whether there was anything of this network namespace: programs in several may have been given one folder.

        Raises:
            BirdUnreachable: BIRD does not end.
            MissingTool: the program is gone that would have to take the routes away.
        """
        if not self._is_here():
            return False
        if not self._program:
            self._hush(nothing)
            return True
        if not self._end() and self._process.exists():
            _write(self._file, nothing)
            self._start(recover=False)  # what it finds in the kernel of one before, and does not know, it removes
            self._end()
        shutil.rmtree(self._folder)
        return True

    def _refuse_anothers(self) -> None:
        if not self._place.exists() or self._is_here():
            return
        with contextlib.suppress(NotRunning):
            control.ask(self._socket, "show status")
            raise BirdUnreachable(
                f"the BIRD of {self._folder} is in another network namespace: "
                "give each agent a folder of its own by the setting bgp_folder"
            )

    def _hush(self, nothing: str) -> None:
        """Let a BIRD that somebody else starts say nothing; he ends it himself."""
        _write(self._file, nothing)
        self._place.unlink()
        with contextlib.suppress(NotRunning):
            control.ask(self._socket, "configure")

    def _is_here(self) -> bool:
        try:
            return self._place.read_text() == _place()
        except OSError:
            return False

    def _end(self) -> bool:
        """End BIRD in order: it takes back what it announced, and its routes. Return whether there was one."""
        try:
            control.ask(self._socket, "down")
        except NotRunning:
            return False
        deadline = time.monotonic() + _PATIENCE
        while self._socket.exists():  # the last that BIRD removes
            if time.monotonic() > deadline:
                raise BirdUnreachable(f"BIRD at {self._socket} does not end within {_PATIENCE:.0f} s")
            time.sleep(_POLL)
        return True

    def _check(self, file: Path) -> None:
        """Let BIRD read a configuration without using it; one that somebody else has yet to start reads it then."""
        try:
            control.ask(self._socket, f'configure check "{file}"')
        except NotRunning:
            if self._program:
                self._run("-p", "-c", str(file))

    def _start(self, *, recover: bool) -> None:
        files = ("-c", str(self._file), "-s", str(self._socket), "-P", str(self._process))
        self._run(*files, *(("-R",) if recover else ()))
        log.info("started BIRD socket=%s recovers=%s", self._socket, "yes" if recover else "no")

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


def _place() -> str:
    """Return which network namespace this thread is in."""
    found = Path("/proc/thread-self/ns/net").stat()
    return f"{found.st_dev}:{found.st_ino}"
