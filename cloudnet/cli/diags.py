"""A bundle of all that support asks for, as a tar.gz, without secrets: ``cloudnet node diags``.

Everything in it is read, nothing changed. Each piece has a time and a size of its own, and so has the whole; what
fails or does not fit is named in ``summary.json``, and stops nothing else.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from cloudnet.cli import redact
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model import manifests

PIECE: Final = 4 * 1024 * 1024  # bytes of one piece
COMMAND_SECONDS: Final = 10.0
_CHUNK: Final = 16 * 1024

# Reads text, or raises OSError, CloudnetError or subprocess.SubprocessError; told how many seconds are left.
Read = Callable[[float], str]
Run = Callable[[Sequence[str], float], str]

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "network/links.txt": ("ip", "-details", "-statistics", "link"),
    "network/addresses.txt": ("ip", "address"),
    "network/routes-ipv4.txt": ("ip", "-4", "route", "show", "table", "all"),
    "network/routes-ipv6.txt": ("ip", "-6", "route", "show", "table", "all"),
    "network/rules-ipv4.txt": ("ip", "-4", "rule"),
    "network/rules-ipv6.txt": ("ip", "-6", "rule"),
    "network/neighbours.txt": ("ip", "neighbour"),
    "network/fdb.txt": ("bridge", "fdb"),
    "network/nft-policy.txt": ("nft", "list", "table", "inet", "cloudnet"),
    "network/nft-nat.txt": ("nft", "list", "table", "inet", "cloudnet_nat"),
    "logs/journal.txt": ("journalctl", "--no-pager", "--lines=20000", "--output=short-iso", "--unit=cloudnet*"),
    "host/kernel.txt": ("uname", "-a"),
}
FILES: Final[Mapping[str, str]] = {
    "conntrack/count.txt": "/proc/sys/net/netfilter/nf_conntrack_count",
    "conntrack/max.txt": "/proc/sys/net/netfilter/nf_conntrack_max",
    "conntrack/statistics.txt": "/proc/net/stat/nf_conntrack",
    "host/modules.txt": "/proc/modules",
    "host/os-release.txt": "/etc/os-release",
    "host/memory.txt": "/proc/meminfo",
    "host/load.txt": "/proc/loadavg",
    "network/forwarding.txt": "/proc/sys/net/ipv4/ip_forward",
    "network/rp-filter.txt": "/proc/sys/net/ipv4/conf/all/rp_filter",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of the bundle and how it is read; ``tail``: of too long a text the end is kept."""

    name: str
    read: Read
    tail: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long and how large a bundle may become: seconds, and bytes before they are packed."""

    seconds: float = 60.0
    size: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one piece."""

    name: str
    size: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written; ``pieces`` says of each whether it is there, cut, or why it is not."""

    path: str
    pieces: tuple[Taken, ...] = field(default=())


# --- writing ----------------------------------------------------------------------------------------------------


def write(
    path: Path,
    pieces: Iterable[Piece],
    *,
    bounds: Bounds,
    about: Mapping[str, object],
    clock: Callable[[], float],
    now: float,
) -> Bundle:
    """Write the bundle, for its owner alone, and say what is in it.

    ``clock`` is monotonic seconds, ``now`` the time of day for the files. Every text loses its secrets here, however
    it was read.

    Raises:
        BadInput: the file cannot be written, or is there already.
    """
    deadline, taken, left = clock() + bounds.seconds, [], bounds.size
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise BadInput(f"cannot be written ({(error.strerror or str(error)).lower()})", path=str(path)) from error
    top = path.name.removesuffix(".gz").removesuffix(".tar")
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        for piece in pieces:
            done, text = _take(piece, seconds=deadline - clock(), most=min(left, PIECE))
            taken.append(done)
            left -= done.size
            if text:
                _add(tar, f"{top}/{piece.name}", text, now)
        summary = {**about, "pieces": [{"name": t.name, "bytes": t.size, "problem": t.problem} for t in taken]}
        _add(tar, f"{top}/summary.json", redact.text(json.dumps(summary, indent=2)).encode(), now)
    return Bundle(str(path), tuple(taken))


def _take(piece: Piece, *, seconds: float, most: int) -> tuple[Taken, bytes]:
    if seconds <= 0:
        return Taken(piece.name, problem="left out: the time is up"), b""
    if most <= 0:
        return Taken(piece.name, problem="left out: the bundle is full"), b""
    try:
        found = piece.read(seconds)
    except subprocess.TimeoutExpired:
        return Taken(piece.name, problem="did not answer in time"), b""
    except (OSError, CloudnetError, subprocess.SubprocessError) as error:
        return Taken(piece.name, problem=f"cannot be read: {redact.text(str(error))}"), b""
    whole = redact.text(found).encode()
    part = whole[-most:] if piece.tail else whole[:most]
    cut = f"cut: {len(whole)} bytes were too many" if len(part) < len(whole) else ""
    return Taken(piece.name, len(part), cut), part


def _add(tar: tarfile.TarFile, name: str, data: bytes, now: float) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data), int(now), 0o600
    tar.addfile(entry, io.BytesIO(data))


# --- what goes in -----------------------------------------------------------------------------------------------


def of_host(run: Run) -> Iterator[Piece]:
    """Yield what the kernel and the journal say."""
    for name, command in COMMANDS.items():
        yield Piece(name, partial(run, command), tail=name.startswith("logs/"))
    for name, path in FILES.items():
        yield Piece(name, partial(_text, Path(path)))


def of_logs(paths: Iterable[Path]) -> Iterator[Piece]:
    for path in paths:
        yield Piece(f"logs/{path.name}", partial(_end, path), tail=True)


def of_settings(paths: Iterable[Path], environment: Mapping[str, str]) -> Iterator[Piece]:
    """Yield settings files, as data, so that no secret hides in how it is written; and variables."""
    for path in paths:
        yield Piece(f"settings/{path.name}", partial(_settings, path))
    ours = {name: value for name, value in environment.items() if name.startswith(("CLOUDNET_", "ETCD_", "CALICO_"))}
    yield Piece("settings/environment.yaml", lambda _: manifests.dump(redact.value(ours)))


def _settings(path: Path, seconds: float) -> str:
    """Return what a settings file says. One that is no YAML or JSON is not shown, for its secrets cannot be told."""
    return "---\n".join(
        manifests.dump(redact.value(one)) for one in manifests.load_all(_text(path, seconds), str(path))
    )


def _text(path: Path, _: float) -> str:
    return _read(path, 0)


def _end(path: Path, _: float) -> str:
    return _read(path, max(0, path.stat().st_size - PIECE))


def _read(path: Path, at: int) -> str:
    """Return what a file holds from some byte on; in small pieces, for the kernel's own files refuse large ones."""
    found = b""
    with path.open("rb") as file:
        file.seek(at)
        while len(found) < PIECE and (some := file.read(_CHUNK)):
            found += some
    return found.decode(errors="replace")


def run(words: Sequence[str], seconds: float) -> str:
    """Return what a program of the host prints, and what it complains of."""
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=min(seconds, COMMAND_SECONDS),
        check=False,
        stdin=subprocess.DEVNULL,
    )
    complaint = f"\n# exit code {done.returncode}: {done.stderr.strip()}\n" if done.returncode else ""
    return done.stdout + complaint
