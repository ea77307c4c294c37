"""The books of the plugin host-local: one file an address, named like it, which says whose it is.

``FOLDER/NETWORK/10.244.1.5`` holds the container's id and, on a second line, its interface; ``lock`` is held by
whoever looks or writes (containernetworking/plugins, ``host-local/backend/disk``). An address whose file is there is
never given, so a file of ours keeps it from being given.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address, Network
from cloudnet.takeover.facts import Held

OURS = "cloudnet-takeover"  # in place of a container's id
_BREAK = "\r\n"  # between the id and the interface


def networks(folder: Path) -> Mapping[str, tuple[Held, ...]]:
    """Return what has been given, by network, without the marks that are ours."""
    if not folder.is_dir():
        return {}
    return {
        entry.name: tuple(one for one in _entries(entry) if one.container != OURS)
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    }


def close(folder: Path, block: Network) -> tuple[Held, ...]:
    """Mark every free address of a range as taken; return what containers have, which cannot grow any more.

    Raises:
        BadInput: the folder cannot be written.
    """
    with _locked(folder):
        held = {one.address: one for one in _entries(folder)}
        for address in block:
            if address not in held:
                _write(folder, Held(address, OURS, "-"))
    return tuple(one for one in held.values() if one.container != OURS)


def open_again(folder: Path, block: Network, owner: Callable[[Held | None, Address], Held | None]) -> None:
    """Write whose each address of a range is from now on, as ``owner`` says: of what is there, and of the address.

    Raises:
        BadInput: the folder cannot be written.
    """
    with _locked(folder):
        held = {one.address: one for one in _entries(folder)}
        for address in block:
            before = held.get(address)
            after = owner(before, address)
            if after is None:
                (folder / str(address)).unlink(missing_ok=True)
            elif after != before:
                _write(folder, after)


def unmark(folder: Path) -> None:
    """Remove what marks of ours are left.

    Raises:
        BadInput: the folder cannot be written.
    """
    with _locked(folder):
        for one in tuple(_entries(folder)):
            if one.container == OURS:
                (folder / str(one.address)).unlink(missing_ok=True)


def _entries(folder: Path) -> Iterator[Held]:
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir()):
        try:
            address = ip_address(file.name)
        except ValueError:  # lock, last_reserved_ip.0
            continue
        container, _, interface = file.read_bytes().decode(errors="replace").strip().partition(_BREAK)
        yield Held(address, container, interface or "eth0")


def _write(folder: Path, held: Held) -> None:
    """Write a file whole or not at all; the half one has a name that is no address."""
    half = folder / f"{OURS}.new"
    half.write_bytes(f"{held.container}{_BREAK}{held.interface}".encode())
    half.chmod(0o600)
    half.replace(folder / str(held.address))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
    except OSError as e:
        reason = (e.strerror or str(e)).lower()
        raise BadInput(f"cannot use host-local's books in {str(folder)!r} ({reason}): run as root on the node") from e
