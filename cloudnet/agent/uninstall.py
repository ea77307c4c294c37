"""``cloudnet agent --uninstall``: leave the host as it was before the first agent came.

What carries our mark goes: routes, rules, overlay devices, nftables tables, the CNI program and configuration, BIRD,
our files. Settings of the host go back to what the first agent found. Nothing is touched that is not ours, and
nothing while somebody needs it: a running agent, or pods, which would lose their network.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cloudnet.agent.bgp_thread import clear
from cloudnet.bgp.daemon import BirdDaemon
from cloudnet.cni import install
from cloudnet.cni.install import Place
from cloudnet.config import AgentConfig
from cloudnet.errors import CloudnetError
from cloudnet.kernel import settings
from cloudnet.kernel.api import FdbEntry, Kernel, KernelObject, Neighbour, Remove, Route, Rule
from cloudnet.kernel.netlink import NetlinkKernel
from cloudnet.kernel.nft import Nft, remove
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.kernel.pod_links import PodLinks
from cloudnet.nat import plan as nat
from cloudnet.policy import elements as policy
from cloudnet.store import last_known

_PATIENCE = 5.0  # seconds for the kernel to take devices apart
_SHOWN = 3  # links that a refusal names
_TABLES = (policy.TABLE, nat.TABLE)
_ORDER = (Rule, Route, FdbEntry, Neighbour)  # then devices, with whatever is left on them


class StillNeeded(CloudnetError):
    """Something on this host still needs what would be removed; the message says what, and what to do first."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was there and is no more; ``settings`` were put back."""

    pods: tuple[str, ...]
    kernel: int
    tables: tuple[str, ...]
    settings: tuple[str, ...]
    files: tuple[str, ...]
    warnings: tuple[str, ...] = ()


# --- what was before ------------------------------------------------------------------------------------------


def remember(config: AgentConfig) -> None:
    """Note the host's settings, if no agent has done so before; a file that cannot be written is no reason to stop.

    Raises:
        HostNamespace: this is the machine's own network namespace and nobody allowed it.
    """
    path = _settings_file(config)
    if path.exists():
        return
    found = settings.snapshot(allow_host=config.allow_host_network)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(json.dumps(found, indent=1))
    half.replace(path)


def _settings_file(config: AgentConfig) -> Path:
    return Path(config.state) / "host.json"


def _remembered(path: Path) -> Mapping[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as e:
        raise StillNeeded(f"{path} cannot be read ({e}): remove it, and the host's settings stay as they are") from e


# --- removal --------------------------------------------------------------------------------------------------


def run(config: AgentConfig, place: Place, *, force: bool) -> Removed:
    """Remove everything; with ``force`` the pods' links too.

    Raises:
        StillNeeded: an agent runs, or pods have links and nobody forces.
        BirdError: BIRD does not end.
        KernelError: the kernel refused; what is gone already stays gone, and the next try goes on.
    """
    allowed = config.allow_host_network
    _refuse_while_running(Path(config.socket))
    with (
        closing(PodLinks(allow_host_network=allowed)) as pods,
        closing(NetlinkKernel(allow_host_network=allowed)) as kernel,
        closing(NftLibrary(allow_host_network=allowed)) as nft,
    ):
        links = tuple(sorted(pods.read()))
        if links and not force:
            shown = ", ".join(links[:_SHOWN]) + (", ..." if len(links) > _SHOWN else "")
            raise StillNeeded(
                f"{len(links)} pods have their network from here ({shown}): drain the node first, or say --force"
            )
        before = _remembered(_settings_file(config))
        bird = [config.bgp_folder] if clear(BirdDaemon(config.bgp_folder, config.bgp_program)) else []
        outcome = install.uninstall(place)  # first: no pod may start any more
        cut = tuple(name for name in links if pods.cut(name))
        pods.settle(_PATIENCE)
        count = remove_objects(kernel)
        tables = tuple(remove_tables(nft))
    put_back = settings.restore(before, allow_host=allowed)
    files = (*map(str, outcome.changed), *bird, *_remove_files(config))
    return Removed(cut, count, tables, put_back, files, tuple(outcome.warnings))


def _refuse_while_running(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:  # nobody listens there
            return
    raise StillNeeded(f"an agent answers at {path}: stop it first, or it would lay everything again")


def remove_objects(kernel: Kernel) -> int:
    """Remove routes, rules and overlay devices; return how many there were.

    Raises:
        KernelError: the kernel refused one of them.
    """
    there = kernel.read().values()
    for values in _in_order(there):
        failures = kernel.apply([Remove(value) for value in values])
        if failures:
            raise failures[0].error
    return len(there)


def _in_order(values: Iterable[KernelObject]) -> Iterator[list[KernelObject]]:
    left = list(values)
    for kind in _ORDER:
        yield [value for value in left if isinstance(value, kind)]
        left = [value for value in left if not isinstance(value, kind)]
    yield left


def remove_tables(nft: Nft) -> Iterator[str]:
    """Remove our nftables tables; yield the names of those that were there."""
    for table in _TABLES:
        if nft.list(table) is not None:
            remove(nft, table)
            yield table.name


def _remove_files(config: AgentConfig) -> Iterator[str]:
    removals: tuple[tuple[str, Callable[[Path], object]], ...] = (
        (config.cni_state, shutil.rmtree),
        (config.cni_config, Path.unlink),
        (str(_settings_file(config)), Path.unlink),
        (last_known.path(config.state), Path.unlink),
        (config.socket, Path.unlink),
        (config.cni_socket, Path.unlink),
    )
    for name, removal in removals:
        if name and Path(name).exists():
            removal(Path(name))
            yield name
