"""What this host can do, found out once and then handed around as a value.

Nothing is guessed from version numbers where trying is possible; trying happens in a network namespace that is gone
a moment later. Each missing thing has one line that says what to do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType

from cloudnet.errors import MissingTool
from cloudnet.kernel import bpf, codec, fastpath, netns, wire
from cloudnet.kernel.api import OVERLAY_DEVICES, KernelError, Rule, VxlanDevice
from cloudnet.kernel.rtnetlink import Socket
from cloudnet.kernel.wire import Request
from cloudnet.model.addresses import Family

_CAP_NET_ADMIN = 12  # linux/capability.h
_NFT_TABLES = 0x0A01  # NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, linux/netfilter/nfnetlink.h
_NETLINK_NETFILTER = 12
NFT_LIBRARY = "libnftables.so.1"  # of nftables 0.9.0 and all later ones


@dataclass(frozen=True, slots=True)
class Features:
    """What there is. ``vxlan_checksum_broken`` is a fault to work around, all others are good to have."""

    net_admin: bool = False
    namespaces: bool = False
    vxlan: bool = False
    policy_rules: bool = False
    nftables: bool = False
    nft_program: bool = False
    nft_library: bool = False
    tun: bool = False
    fast_path: bool = False
    vxlan_checksum_broken: bool = False


REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "net_admin": "no right to change the network (CAP_NET_ADMIN): run as root",
        "namespaces": "no network namespaces: run as root, on a kernel with CONFIG_NET_NS",
        "vxlan": "no VXLAN in the kernel: modprobe vxlan, or boot a kernel with CONFIG_VXLAN",
        "policy_rules": "no routing rules by port in the kernel: it takes Linux 4.17 with CONFIG_IP_MULTIPLE_TABLES",
        "nftables": "no nftables in the kernel: modprobe nf_tables, or boot a kernel with CONFIG_NF_TABLES",
        "nft_program": "there is no program 'nft': apt-get install nftables",
        "nft_library": f"there is no {NFT_LIBRARY}: apt-get install libnftables1",
        "tun": "no /dev/net/tun: modprobe tun",
        "fast_path": "no fast path for established connections: it takes Linux 6.6 with CONFIG_BPF_SYSCALL and TCX",
    }
)


def missing(features: Features, *needed: str) -> tuple[str, ...]:
    """Return one line for each needed feature that is not there."""
    return tuple(REMEDIES[name] for name in needed if not getattr(features, name))


def require(features: Features, *needed: str) -> None:
    """Insist on features.

    Raises:
        MissingTool: one is not there; the message says what to do about each.
    """
    lines = missing(features, *needed)
    if lines:
        raise MissingTool("; ".join(lines))


def detect(*, vxlan_checksum_broken: bool | None = None) -> Features:
    """Look at this host. Whether checksum offload is broken no kernel tells, so whoever knows better may say so.

    Felix calls it broken on all kernels; on Linux 5.7 and later, where the known fault is mended, we do not, and old
    ones get the workaround.
    """
    if vxlan_checksum_broken is None:
        vxlan_checksum_broken = kernel_version(os.uname().release) < (5, 7)
    admin = _has_capability(_CAP_NET_ADMIN)
    try:
        tried = netns.run_in_a_new_one(_try) if admin else Features()
    except KernelError:
        tried = Features()
    return Features(
        net_admin=admin,
        namespaces=tried.namespaces,
        vxlan=tried.vxlan,
        policy_rules=tried.policy_rules,
        nftables=tried.nftables,
        nft_program=shutil.which("nft") is not None,
        nft_library=_works(lambda: ctypes.CDLL(NFT_LIBRARY)),
        tun=Path("/dev/net/tun").exists(),
        fast_path=tried.fast_path,
        vxlan_checksum_broken=vxlan_checksum_broken,
    )


def kernel_version(release: str) -> tuple[int, int]:
    """Return major and minor of ``uname -r``, e.g. ``(6, 1)`` of ``6.1.0-18-amd64``; ``(0, 0)`` when unreadable."""
    parts = release.split("-", maxsplit=1)[0].split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):  # noqa: PLR2004 - major and minor
        return 0, 0
    return int(parts[0]), int(parts[1])


def _try() -> Features:
    """Try things in the calling thread's namespace, which nobody else is in."""
    through = Socket()
    try:
        device = VxlanDevice(
            OVERLAY_DEVICES[Family.IPV4], 1, 4789, "lo", IPv4Address("127.0.0.1"), "02:00:00:00:00:01", 1400
        )
        return Features(
            namespaces=True,
            vxlan=_takes(through, codec.create_vxlan(device, 1)),  # lo is device 1 in every namespace
            policy_rules=_takes(through, codec.put_rule(Rule(Family.IPV4, 98, 98, socket.IPPROTO_UDP, 98))),
            nftables=_works(_list_tables),
            fast_path=_works(_try_fast_path),
        )
    finally:
        through.close()


def _takes(through: Socket, request: Request) -> bool:
    return not through.carry_out([request])


def _works(work: Callable[[], object]) -> bool:
    try:
        work()
    except (OSError, KernelError):
        return False
    return True


def _try_fast_path() -> None:
    """Load the programs and hang one on the loopback device."""
    with closing(bpf.Loaded(fastpath.programs())) as loaded:
        os.close(loaded.attach("forward", 1))


def _list_tables() -> None:
    """Ask nf_tables for its tables; loads the module where the kernel may."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as asking:
        asking.settimeout(5)
        # struct nfgenmsg { __u8 nfgen_family, version; __be16 res_id; };
        header = wire.HEADER.pack(20, _NFT_TABLES, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, 1, 0)
        asking.send(header + bytes(4))
        for kind, _, _, body in wire.messages(asking.recv(65536)):
            if kind == wire.NLMSG_ERROR and wire.ERROR.unpack_from(body)[0] != 0:
                raise OSError(errno.EOPNOTSUPP, "no nf_tables")


def _has_capability(number: int) -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)


NAMES = tuple(field.name for field in fields(Features) if field.name in REMEDIES)
"""Every feature that may be required."""
