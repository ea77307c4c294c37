"""Threads that may go into other network namespaces: they, and nobody else, leave home to do a piece of work.

A namespace belongs to a thread (``setns(2)``), so the threads that answer requests, speak to the store or log must
never move. Each hand has a netlink socket of home, opened there once; it comes back after each visit, and one that
cannot come back ends and is replaced.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from cloudnet.kernel import netns
from cloudnet.kernel.api import HostNamespace, KernelError
from cloudnet.kernel.rtnetlink import Socket

R = TypeVar("R")


class Lost(Exception):
    """The thread did not get home; nobody may use it any more."""


class Hand:
    """One thread's tools: a socket of home, and the way into other namespaces and back."""

    def __init__(self, home: int, at_home: netns.Namespace) -> None:
        self._home = home
        self._at_home = at_home
        self.socket = Socket.within(at_home)

    @contextmanager
    def visiting(self, namespace: int) -> Iterator[None]:
        """Work inside the namespace that an open file is; never the machine's own, nor home.

        Raises:
            NotANamespace: the file is none.
            HostNamespace: it is one of those two, or nobody can tell.
        """
        if netns.of_descriptor(namespace) == self._at_home:
            raise HostNamespace("it is the network namespace of the host itself")
        netns.enter(namespace)
        try:
            _refuse_the_machines_own()
            yield
        finally:
            self._go_home()

    def _go_home(self) -> None:
        try:
            netns.enter(self._home)
        except KernelError as e:
            raise Lost(str(e)) from e


def _refuse_the_machines_own() -> None:
    try:
        own = netns.is_machines_own()
    except OSError as e:
        raise HostNamespace(f"cannot tell whether it is the machine's own ({e.strerror}): run as root") from e
    if own:
        raise HostNamespace("it is the machine's own network namespace")


class _Job(Generic[R]):
    """Work for a hand, and the place where its outcome is left."""

    def __init__(self, work: Callable[[Hand], R]) -> None:
        self._work = work
        self._done = threading.Lock()  # the cheapest thing to wait for
        self._done.acquire()
        self._results: list[R] = []
        self._error: BaseException | None = None

    def do(self, hand: Hand) -> None:
        try:
            self._results.append(self._work(hand))
        except Lost as e:
            self._error = KernelError(f"cannot come back from a pod's network namespace: {e}")
            self._error.__cause__ = e
            raise
        except BaseException as e:  # noqa: BLE001 - raised again in the caller's thread
            self._error = e
        finally:
            self._done.release()

    def result(self) -> R:
        self._done.acquire()
        if self._error is not None:
            raise self._error
        return self._results[0]


class Hands:
    """A few hands, in the namespace of the thread that makes this object."""

    def __init__(self, number: int) -> None:
        self._at_home = netns.current()
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        try:
            tools = [Hand(self._home, self._at_home) for _ in range(number)]
        except BaseException:
            os.close(self._home)
            raise
        for hand in tools:
            self._start(hand)

    def _start(self, hand: Hand) -> None:
        thread = threading.Thread(target=self._work, args=(hand,), name="pods", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, hand: Hand) -> None:
        """Work until there is no more to do; a thread begins at home, for it begins where its maker is."""
        try:
            while (job := self._jobs.get()) is not None:
                job.do(hand)
        except Lost:
            self._replace(hand)
            return
        hand.socket.close()

    def _replace(self, hand: Hand) -> None:
        """A thread begins where its maker is, and this one is lost: let the new one find home first."""

        def begin() -> None:
            netns.enter(self._home)
            self._work(hand)

        thread = threading.Thread(target=begin, name="pods", daemon=True)
        self._threads.append(thread)
        thread.start()

    def do(self, work: Callable[[Hand], R]) -> R:
        """Return what ``work`` returns on one of the hands."""
        job: _Job[R] = _Job(work)
        self._jobs.put(job)  # type: ignore[arg-type]  # what it returns is its caller's business
        return job.result()

    def close(self) -> None:
        """Let the hands finish what was asked, and end."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        os.close(self._home)
