"""The host's own settings that an agent changes (``/proc/sys``): what they were before, and back to that.

Settings of devices that the agent makes go with these devices; here are only those that outlive it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from cloudnet.kernel import netns
from cloudnet.kernel.api import KernelError

_ROOT: Final = Path("/proc/sys")
_TOUCHED: Final = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/*/rp_filter",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/*/accept_ra",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
)


def snapshot(*, allow_host: bool = False) -> Mapping[str, str]:
    """Return what stands in every setting that an agent may change: {name: value}.

    Raises:
        HostNamespace: this is the machine's own network namespace and nobody allowed it.
    """
    netns.require_own_namespace(allow_host=allow_host)
    return {str(path.relative_to(_ROOT)): value for path in _touched() if (value := _read(path)) is not None}


def restore(saved: Mapping[str, str], *, allow_host: bool = False) -> tuple[str, ...]:
    """Write back what stands otherwise now; return the names. A setting whose device is gone is passed over.

    Raises:
        HostNamespace: as above.
        KernelError: a setting cannot be written.
    """
    netns.require_own_namespace(allow_host=allow_host)
    there = {str(path.relative_to(_ROOT)): path for path in _touched()}
    return tuple(
        name
        for name, value in sorted(saved.items(), key=_forwarding_first)
        if name in there and _write_back(there[name], value)
    )


def _forwarding_first(item: tuple[str, str]) -> tuple[bool, str]:
    """Switching forwarding sets other settings of all devices anew (``devinet.c``, ``addrconf.c``)."""
    name, _ = item
    return not name.endswith("forward") and not name.endswith("forwarding"), name


def _touched() -> Iterator[Path]:
    for pattern in _TOUCHED:
        yield from sorted(_ROOT.glob(pattern))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:  # its device is gone
        return None


def _write_back(path: Path, value: str) -> bool:
    if _read(path) in {value, None}:
        return False
    try:
        path.write_text(value)
    except OSError as e:
        raise KernelError(f"cannot set {path} to {value!r}: {e.strerror}", errno=e.errno or 0) from e
    return True
