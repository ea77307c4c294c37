"""The door to the fast path: devices that established connections may pass by the short way, and which have joined.

``programs/fastpath.c`` says what happens to packets there. A device that has joined goes on by itself; when the
process ends, all leave, and packets go the ordinary way again. ``FastPathMemory`` is the twin.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from cloudnet.kernel import bpf, codec, devices, netns, wire
from cloudnet.kernel.api import HostNamespace, KernelError
from cloudnet.kernel.rtnetlink import Listener, Socket
from cloudnet.model.addresses import Address, Family

OBJECT: Final = Path(__file__).parent / "bin" / "fastpath.o"  # setup.py compiles it
LIBERAL: Final = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
"""Conntrack sees a packet a second of what takes the fast path, and must not find its sequence numbers odd."""

_GROUPS: Final = (1, 4, 5, 8, 9, 19)  # RTNLGRP_LINK, TC, IPV4_IFADDR, IPV4_RULE, IPV6_IFADDR, IPV6_RULE


class Role(enum.Enum):
    """What is behind a device; the value names the program that gives leases to what leaves by it."""

    POD = "lease_pod"
    WORLD = "lease"


@dataclass(frozen=True, slots=True)
class Device:
    """A device; ``qdiscs``: the kinds of what queues or filters there: ``noqueue``, ``tbf``, ``ingress``."""

    index: int
    name: str
    addresses: tuple[Address, ...] = ()
    qdiscs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """How a device takes part; ``by_rules``: rules choose between routing tables here."""

    role: Role
    by_rules: bool = False

    @property
    def programs(self) -> tuple[str, str]:
        """What hangs on it, for packets that come in and for those that leave."""
        return "forward_by_rules" if self.by_rules else "forward", self.role.value


class FastPath(Protocol):
    """The fast path of one network namespace. Use it from one thread at a time."""

    def devices(self) -> Sequence[Device]:
        """Return every Ethernet device there is."""

    def has_rules(self) -> bool:
        """Tell whether rules choose between routing tables for pods; the one for probes does not."""

    def join(self, device: int, part: Part) -> None:
        """Let a device take part.

        Raises:
            KernelError: the kernel refused, perhaps because the device has gone.
        """

    def leave(self, device: int) -> None:
        """Let it take part no more; one that does not, or is gone, is ignored."""

    def wait(self, timeout: float) -> bool:
        """Tell whether something about devices changed, at once, or that nothing did, after ``timeout`` seconds."""

    def close(self) -> None:
        """Let all leave."""


def programs() -> bpf.Object:
    """Return the programs that were compiled when cloudnet was installed.

    Raises:
        KernelError: they are not there, or are something else.
    """
    try:
        return bpf.read(OBJECT.read_bytes())
    except OSError as e:
        raise KernelError(f"cannot read {OBJECT} ({e.strerror}): install cloudnet anew", errno=e.errno or 0) from e


class FastPathKernel:
    """The fast path of the calling thread's namespace."""

    def __init__(self, *, allow_host_network: bool = False) -> None:
        """Load the programs.

        Raises:
            HostNamespace: this is the machine's own network namespace and nobody allowed it.
            KernelError: the kernel cannot do it, or the programs are not installed.
        """
        here = netns.require_own_namespace(allow_host=allow_host_network)
        try:
            LIBERAL.write_text("1")
        except OSError as e:
            raise KernelError(f"cannot write {LIBERAL}: {e.strerror}", errno=e.errno or 0) from e
        self._loaded = bpf.Loaded(programs())
        self._socket = Socket()
        self._listener = Listener(_GROUPS, deaf_to=self._socket.port)
        self._joined: dict[int, tuple[int, ...]] = {}
        if {self._socket.namespace, self._listener.namespace} != {here}:
            self.close()
            raise HostNamespace("the netlink socket is in another network namespace than its thread: nothing done")

    def devices(self) -> Sequence[Device]:
        addresses = devices.read_addresses(self._socket)
        qdiscs: dict[int, set[str]] = {}
        for body in self._socket.dump(wire.RTM_GETQDISC, wire.QDISC.pack(0, 0, 0, 0, 0)):
            index, kind = codec.read_qdisc(body)
            qdiscs.setdefault(index, set()).add(kind)
        return [
            Device(
                device.index,
                device.name,
                tuple(interface.ip for interface in addresses.get(device.index, ())),
                frozenset(qdiscs.get(device.index, ())),
            )
            for device in devices.read_all(self._socket)
            if device.mac
        ]

    def has_rules(self) -> bool:
        return any(
            codec.leads_pods(body)
            for family in Family
            for body in self._socket.dump(wire.RTM_GETRULE, codec.ask_rules(family))
        )

    def join(self, device: int, part: Part) -> None:
        for program in part.programs:
            self._joined[device] = (*self._joined.get(device, ()), self._loaded.attach(program, device))

    def leave(self, device: int) -> None:
        for descriptor in self._joined.pop(device, ()):
            os.close(descriptor)

    def wait(self, timeout: float) -> bool:
        return self._listener.hear(timeout) != ()

    def close(self) -> None:
        for device in tuple(self._joined):
            self.leave(device)
        self._listener.close()
        self._socket.close()
        self._loaded.close()


@dataclass(slots=True)
class FastPathMemory:
    """The twin: devices are what a test says, and those in ``refused`` may not join."""

    there: Sequence[Device] = ()
    refused: frozenset[int] = frozenset()
    joined: dict[int, Part] = field(default_factory=dict)
    rules: bool = False
    stirred: bool = False

    def devices(self) -> Sequence[Device]:
        return self.there

    def has_rules(self) -> bool:
        return self.rules

    def join(self, device: int, part: Part) -> None:
        if device in self.refused or device not in {one.index for one in self.there}:
            raise KernelError(f"cannot hang program 'forward' on device {device}: No such device")
        self.joined[device] = part

    def leave(self, device: int) -> None:
        self.joined.pop(device, None)

    def wait(self, timeout: float) -> bool:  # noqa: ARG002 - the protocol's; nobody waits here
        stirred, self.stirred = self.stirred, False
        return stirred

    def close(self) -> None:
        self.joined.clear()
