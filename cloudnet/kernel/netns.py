"""Network namespaces: whose one is this thread in, make and remove named ones, do something inside one.

A namespace belongs to a *thread* (``setns(2)``). So nothing here moves the calling thread: work inside another
namespace is done by a fresh thread that enters it, does the work and ends. A socket stays for ever in the namespace
it was opened in and may be used from any thread. Names are those of ``ip netns``: bind mounts in /run/netns.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NewType, TypeVar

from cloudnet.errors import MissingTool
from cloudnet.kernel.api import HostNamespace, KernelError, NotANamespace

R = TypeVar("R")

Namespace = NewType("Namespace", tuple[int, int])
"""Identity of a namespace: device and inode number of its file in nsfs."""

NAMED = Path("/run/netns")  # ip-netns(8)
_C_LIBRARY = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
_SIOCGSKNS = 0x894C  # linux/sockios.h: a file descriptor of the namespace that a socket is in


def current() -> Namespace:
    """Return the namespace that the calling thread is in."""
    return _identity("/proc/thread-self/ns/net")


def of_socket(opened: socket.socket) -> Namespace:
    """Return the namespace that a socket is in, as the kernel itself says.

    Raises:
        KernelError: this needs CAP_NET_ADMIN.
    """
    try:
        descriptor = fcntl.ioctl(opened.fileno(), _SIOCGSKNS)
    except OSError as e:
        message = f"cannot tell the network namespace of a socket ({e.strerror}): run as root"
        raise KernelError(message, errno=e.errno or 0) from e
    try:
        return _identity(descriptor)
    finally:
        os.close(descriptor)


def of_descriptor(descriptor: int) -> Namespace:
    """Return the namespace that an open file is.

    Raises:
        NotANamespace: it is another kind of file.
    """
    try:
        kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError as e:
        raise NotANamespace("it is no network namespace, but another kind of file", errno=e.errno or 0) from e
    if kind != _CLONE_NEWNET:
        raise NotANamespace("it is a namespace, but none of networks", errno=errno.EINVAL)
    return _identity(descriptor)


def enter(descriptor: int) -> None:
    """Move the calling thread, which nobody else may use, into the namespace that an open file is.

    Raises:
        KernelError: it is no network namespace, or may not be entered.
    """
    _libc("setns", descriptor, _CLONE_NEWNET)


def is_machines_own() -> bool:
    """Tell whether the calling thread is in the namespace of process 1, by the inode of ``net/dev`` in procfs.

    Raises:
        OSError: nobody can tell.
    """
    return _identity("/proc/thread-self/net/dev") == _identity("/proc/1/net/dev")


def require_own_namespace(*, allow_host: bool) -> Namespace:
    """Return the calling thread's namespace, unless it is the machine's own, which is only for the asking.

    The machine's own namespace is that of process 1. Both are known by the inode of their ``net/dev`` in procfs,
    one for each namespace: /proc/1/ns/net itself opens only to who may trace process 1, often not even root.

    Raises:
        HostNamespace: it is the machine's own, or nobody can tell, and ``allow_host`` is false.
    """
    if allow_host:
        return current()
    try:
        is_machine = is_machines_own()
    except OSError as e:
        raise HostNamespace(
            f"cannot tell whether this is the machine's own network namespace ({e.strerror}): run as root, "
            "or say --allow-host-network to change its routes all the same"
        ) from e
    if is_machine:
        raise HostNamespace(
            "this is the machine's own network namespace and its routes would be changed: "
            "run inside another one (ip netns exec NAME ...), or say --allow-host-network if that is what you want"
        )
    return current()


def create(name: str) -> None:
    """Make a named namespace, its loopback up.

    Raises:
        KernelError: the name is taken, or this may not be done.
        MissingTool: there is no ``ip`` program.
    """
    _ip("netns", "add", name)
    _ip("-netns", name, "link", "set", "lo", "up")


def remove(name: str) -> None:
    """Remove a named namespace; that there is none is success. It lives on until its last process has ended."""
    if (NAMED / name).exists():
        _ip("netns", "delete", name)


def names(prefix: str = "") -> tuple[str, ...]:
    """Return the named namespaces that begin with ``prefix``, in order."""
    if not NAMED.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in NAMED.iterdir() if entry.name.startswith(prefix)))


@contextmanager
def temporary(name: str) -> Iterator[str]:
    """Make a namespace for as long as the block runs."""
    create(name)
    try:
        yield name
    finally:
        remove(name)


def run_inside(name: str, work: Callable[[], R]) -> R:
    """Return what ``work`` returns when it runs inside the named namespace, on a thread of its own.

    Raises:
        KernelError: there is no such namespace, or it may not be entered; besides, whatever ``work`` raises.
    """

    def enter() -> None:
        try:
            descriptor = os.open(NAMED / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as e:
            raise KernelError(f"there is no network namespace {name!r}: see `ip netns`", errno=e.errno or 0) from e
        try:
            _libc("setns", descriptor, _CLONE_NEWNET)
        finally:
            os.close(descriptor)

    return _on_a_thread(enter, work)


def run_in_a_new_one(work: Callable[[], R]) -> R:
    """Return what ``work`` returns inside a new nameless namespace, which is gone with the last of its sockets."""
    return _on_a_thread(lambda: _libc("unshare", _CLONE_NEWNET), work)


def open_socket(name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Return a socket that was opened inside the named namespace and so belongs to it for ever."""
    return run_inside(name, lambda: socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol))


def command_inside(name: str, command: Sequence[str]) -> list[str]:
    """Return the command line that runs ``command`` inside the named namespace."""
    return ["nsenter", f"--net={NAMED / name}", "--", *command]


def execute(name: str, command: Sequence[str], *, stdin: str = "") -> str:
    """Run a program inside the named namespace and return what it printed.

    Raises:
        KernelError: it failed; the message holds what it complained of.
        MissingTool: there is no ``nsenter``.
    """
    return _run(command_inside(name, command), package="util-linux", stdin=stdin)


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments], package="iproute2")


def _run(command: Sequence[str], *, package: str, stdin: str = "") -> str:
    if shutil.which(command[0]) is None:
        raise MissingTool(f"there is no program {command[0]!r}: apt-get install {package}")
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KernelError(f"{' '.join(command)!r} failed with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _identity(of: str | int) -> Namespace:
    status = os.stat(of)  # noqa: PTH116 - it may be an open file
    return Namespace((status.st_dev, status.st_ino))


def _libc(function: str, *arguments: int) -> None:
    """Call ``setns`` or ``unshare``; Python has them as of 3.12."""
    if _C_LIBRARY[function](*arguments) != 0:
        number = ctypes.get_errno()
        raise KernelError(f"{function}: {os.strerror(number)}: this needs root", errno=number)


def _on_a_thread(enter: Callable[[], None], work: Callable[[], R]) -> R:
    results: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            enter()
            results.append(work())
        except BaseException as e:  # noqa: BLE001 - raised again below, in the caller's thread
            errors.append(e)

    thread = threading.Thread(target=run, name="in a namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
