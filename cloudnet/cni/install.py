"""Put the CNI plugin on a node: the program first, the configuration last, and neither ever half there.

A runtime reads its configuration folder the moment something changes in it, and executes what it finds named there.
So a file is written beside its place, synced and renamed into it, and the configuration comes only after the program
that it names. Taking away goes the other way round. What is there already, unchanged, is not touched, and neither is
what is not ours.
"""

from __future__ import annotations

import fcntl
import os
import platform
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudnet.cni import conflist
from cloudnet.errors import BadInput, MissingTool

PROGRAMS = Path(__file__).parent / "bin"
OURS = b"no answer from cloudnet's agent at "  # stands in every version of the program


@dataclass(frozen=True, slots=True)
class Place:
    """Where a runtime looks, and what it finds there. ``program`` is the ``type`` in the configuration."""

    programs: Path = Path("/opt/cni/bin")
    configurations: Path = Path("/etc/cni/net.d")
    program: str = "cloudnet"
    configuration: str = "10-cloudnet.conflist"

    def __post_init__(self) -> None:
        for name, path in ((self.program, "program"), (self.configuration, "configuration")):
            if name != Path(name).name or name in {"", ".", ".."}:
                raise BadInput(f"expected the name of a file, found {name!r}", path=path)
        if not self.configuration.endswith(".conflist"):
            raise BadInput(
                f"runtimes read lists from files that end in .conflist, not {self.configuration!r}",
                path="configuration",
            )

    @property
    def program_file(self) -> Path:
        """Return the path of the program."""
        return self.programs / self.program

    @property
    def configuration_file(self) -> Path:
        """Return the path of the configuration."""
        return self.configurations / self.configuration


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done: ``changed`` are the files written or removed, in that order; ``warnings`` are for a person."""

    changed: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def program(architecture: str = "", folder: Path = PROGRAMS) -> bytes:
    """Return the plugin for an architecture as ``uname -m`` says it; for this machine when none is named.

    Raises:
        MissingTool: this installation has none.
    """
    architecture = architecture or platform.machine()
    try:
        return (folder / f"cloudnet-{architecture}").read_bytes()
    except FileNotFoundError as e:
        there = ", ".join(sorted(p.name.removeprefix("cloudnet-") for p in folder.glob("cloudnet-*"))) or "none"
        raise MissingTool(
            f"this installation has no CNI plugin for {architecture!r} (there is: {there}): install cloudnet from a "
            "wheel, or again from source with ziglang"
        ) from e


def install(place: Place, configuration: bytes, executable: bytes) -> Outcome:
    """Put program and configuration in place; whatever is interrupted, the next call completes.

    Raises:
        BadInput: the configuration is not one, or a folder cannot be written.
    """
    types = conflist.check(configuration, ours=place.program)
    changed = tuple(
        path
        for path, content, mode in (
            (place.program_file, executable, 0o755),
            (place.configuration_file, configuration, 0o600),
        )
        if put(path, content, mode)
    )
    return Outcome(changed, (*_absent(place, types), *_before(place)))


def publish(place: Place, configuration: bytes) -> Outcome:
    """Put the configuration in place, for a program that is there already.

    Raises:
        BadInput: it is none, or the folder cannot be written.
    """
    conflist.check(configuration, ours=place.program)
    changed = put(place.configuration_file, configuration, 0o600)
    return Outcome((place.configuration_file,) if changed else (), tuple(_before(place)))


def uninstall(place: Place) -> Outcome:
    """Remove the configuration, then the program; that they are gone is success.

    Raises:
        BadInput: one of them is not ours.
    """
    program_file, configuration_file = place.program_file, place.configuration_file
    if program_file.exists() and OURS not in program_file.read_bytes():
        raise BadInput(f"{str(program_file)!r} is not cloudnet's plugin: remove it with what it belongs to")
    if configuration_file.exists():
        conflist.check(configuration_file.read_bytes(), ours=place.program)
    return Outcome(tuple(path for path in (configuration_file, program_file) if take(path)))


def put(path: Path, content: bytes, mode: int) -> bool:
    """Make a file be exactly this, in one step for whoever looks; return whether it was anything else."""
    with _locked(path.parent, make=True) as folder:
        if _is(path, content, mode):
            return False
        # The name is fixed, so that nothing piles up when this is killed, and ends in what no runtime reads.
        new = f".{path.name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600, dir_fd=folder), "wb") as file:  # noqa: PTH123 - opened already
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    return True


def take(path: Path) -> bool:
    """Remove a file, and what a killed ``put`` left of it; return whether it was there."""
    if not path.parent.is_dir():
        return False
    with _locked(path.parent) as folder:
        there = os.path.lexists(path)
        for name in (path.name, f".{path.name}.new"):
            (path.parent / name).unlink(missing_ok=True)
        os.fsync(folder)
    return there


@contextmanager
def _locked(path: Path, *, make: bool = False) -> Iterator[int]:
    """Hold a folder against other installers, and give its descriptor."""
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)
    except OSError as e:
        reason = (e.strerror or str(e)).lower()
        raise BadInput(f"cannot write to {str(path)!r} ({reason}): run as root, or name another folder") from e


def _is(path: Path, content: bytes, mode: int) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == mode and path.read_bytes() == content


def _absent(place: Place, types: Sequence[str]) -> Iterator[str]:
    for name in types:
        if not (place.programs / name).exists():
            yield (
                f"there is no plugin {name!r} in {str(place.programs)!r}: no pod starts until it is there "
                "(Debian has it in containernetworking-plugins), or leave it out with --chain"
            )


def _before(place: Place) -> Iterator[str]:
    """Warn of a configuration that comes first by name: runtimes take that one (go-cni, CRI-O, libcni ConfFiles)."""
    read = {".conf", ".conflist", ".json"}
    names = sorted(entry.name for entry in place.configurations.iterdir() if entry.suffix in read)
    if names[0] != place.configuration:
        yield (
            f"the runtime uses {names[0]!r}, which comes before {place.configuration!r} in "
            f"{str(place.configurations)!r}: remove it when the node is to change over"
        )
