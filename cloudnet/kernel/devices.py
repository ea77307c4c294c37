"""Network devices by rtnetlink: who is there, and our overlay devices made, mended and removed."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_interface

from cloudnet.kernel import codec, wire
from cloudnet.kernel.api import OVERLAY_DEVICES, KernelError, Neighbour, VxlanDevice
from cloudnet.kernel.codec import Device
from cloudnet.kernel.rtnetlink import Refusal, Socket
from cloudnet.kernel.wire import Request
from cloudnet.model.addresses import Address, Family, Interface

_SIOCETHTOOL = 0x8946  # linux/sockios.h
_ETHTOOL_STXCSUM = 0x17  # linux/ethtool.h


class Indexes:
    """Device indexes by name, asked for once; a device made anew has another one."""

    def __init__(self, through: Socket) -> None:
        self._socket = through
        self._known: dict[str, int] = {}

    def of(self, name: str) -> int:
        """Return a device's index.

        Raises:
            KernelError: there is no such device.
        """
        index = self._known.get(name)
        if index is None:
            device = find(self._socket, name)
            if device is None:
                raise KernelError(f"there is no network device {name!r}", errno=errno.ENODEV)
            index = self._known[name] = device.index
        return index

    def forget(self) -> None:
        self._known.clear()


def read_all(through: Socket) -> Sequence[Device]:
    return [codec.read_link(body) for body in through.dump(wire.RTM_GETLINK, codec.ask_links())]


def find(through: Socket, name: str) -> Device | None:
    answer = through.ask(wire.RTM_GETLINK, codec.ask_link(name))
    if not isinstance(answer, Refusal):
        return codec.read_link(answer)
    if answer.errno == errno.ENODEV:
        return None
    raise KernelError(f"cannot look up network device {name!r}: {answer}", errno=answer.errno)


def read_addresses(through: Socket) -> Mapping[int, tuple[Interface, ...]]:
    """Return ``{device index: its addresses}``."""
    found: dict[int, tuple[Interface, ...]] = {}
    for body in through.dump(wire.RTM_GETADDR, codec.ask_addresses()):
        index, address = codec.read_address(body)
        found[index] = (*found.get(index, ()), address)
    return found


def read_overlay(through: Socket, devices: Iterable[Device]) -> Iterator[VxlanDevice]:
    """Yield our overlay devices among ``devices``, as they are."""
    ours = [device for device in devices if device.name in OVERLAY_DEVICES.values()]
    if not ours:
        return
    names = {device.index: device.name for device in devices}
    addresses = read_addresses(through)
    for device in ours:
        yield _as_read(device, names, _chosen(addresses.get(device.index, ())))


def _as_read(device: Device, names: Mapping[int, str], addresses: tuple[Interface, ...]) -> VxlanDevice:
    vxlan = device.vxlan
    if vxlan is None or vxlan.local is None:
        nowhere = codec.unpack_address(bytes(4))
        return VxlanDevice(device.name, 0, 0, "", nowhere, device.mac, device.mtu, addresses, sound=False)
    return VxlanDevice(
        device.name,
        vxlan.vni,
        vxlan.port,
        names.get(vxlan.parent, ""),
        vxlan.local,
        device.mac,
        device.mtu,
        addresses,
        sound=device.up and not vxlan.learning,
    )


def put(through: Socket, wanted: VxlanDevice) -> tuple[int, bool]:
    """Make the device what is wanted; return its index and whether it is a new one.

    Raises:
        KernelError: the kernel refused, or the parent device is missing.
    """
    parent = find(through, wanted.parent)
    if parent is None:
        raise KernelError(f"device {wanted.name}: there is no parent {wanted.parent!r}", errno=errno.ENODEV)
    found = find(through, wanted.name)
    is_new = found is None or not _fits(found, wanted, parent.index)
    if found is not None and is_new:
        _must(through, codec.delete_link(found.index), wanted.name)
    if is_new:
        try:
            _must(through, codec.create_vxlan(wanted, parent.index), wanted.name)
        except KernelError as e:
            if e.errno == errno.EOPNOTSUPP:
                raise KernelError(f"{e}: the kernel has no VXLAN: modprobe vxlan", errno=e.errno) from e
            raise
        found = find(through, wanted.name)
    elif found is not None and (found.mac != wanted.mac or found.mtu != wanted.mtu or not found.up):
        _change(through, found, wanted)
    if found is None:
        raise KernelError(f"device {wanted.name}: somebody removed it at once", errno=errno.ENODEV)
    _put_addresses(through, found.index, wanted)
    return found.index, is_new


def _change(through: Socket, found: Device, wanted: VxlanDevice) -> None:
    """Change MAC, MTU or state in place; neighbours, which the kernel forgets at a new MAC, come back at once."""
    mac = wanted.mac if found.mac != wanted.mac else None
    mtu = wanted.mtu if found.mtu != wanted.mtu else None
    neighbours = read_neighbours(through, {found.index: found.name}) if mac else ()
    _must(through, codec.change_link(found.index, mac=mac, mtu=mtu), wanted.name)
    through.carry_out([codec.put_neighbour(neighbour, lambda _: found.index) for neighbour in neighbours])


def read_neighbours(through: Socket, names: Mapping[int, str]) -> Sequence[Neighbour]:
    """Return the permanent neighbours on the devices with these ``{index: name}``."""
    bodies = (body for version in Family for body in through.dump(wire.RTM_GETNEIGH, codec.ask_neighbours(version)))
    return [neighbour for body in bodies if (neighbour := codec.read_neighbour(body, names)) is not None]


def _fits(found: Device, wanted: VxlanDevice, parent: int) -> bool:
    return found.vxlan == codec.Vxlan(wanted.vni, wanted.port, parent, wanted.local, learning=False)


def _put_addresses(through: Socket, index: int, wanted: VxlanDevice) -> None:
    """Add what is missing before taking away, so that a device with a new address never has none."""
    there = _chosen(read_addresses(through).get(index, ()))
    for address in wanted.addresses:
        if address not in there:
            _must(through, codec.put_address(index, address), f"{wanted.name} address {address}")
    for address in there:
        if address not in wanted.addresses:
            _must(through, codec.remove_address(index, address), f"{wanted.name} address {address}")


def _chosen(addresses: Iterable[Interface]) -> tuple[Interface, ...]:
    """Leave out IPv6 link-local addresses: the kernel gives them and needs them. Ascending."""
    chosen = (a for a in addresses if not (a.version == 6 and a.is_link_local))  # noqa: PLR2004 - IPv6
    return tuple(sorted(chosen, key=lambda a: (a.version, int(a))))


def remove(through: Socket, name: str) -> None:
    found = find(through, name)
    if found is not None:
        _must(through, codec.delete_link(found.index), name)


def set_up(through: Socket, name: str, addresses: Iterable[Address]) -> None:
    """Set a device up and add addresses that it lacks, each for itself: the subnet's route is somebody else's."""
    found = find(through, name)
    if found is None:
        raise KernelError(f"there is no network device {name!r}", errno=errno.ENODEV)
    if not found.up:
        _must(through, codec.change_link(found.index, mac=None, mtu=None), name)
    there = {address.ip for address in read_addresses(through).get(found.index, ())}
    for address in addresses:
        if address not in there:
            _must(through, codec.put_address(found.index, ip_interface(address)), f"{name} address {address}")


def switch_off_checksums(name: str) -> None:
    """Let the CPU compute transmit checksums, as ``ethtool -K NAME tx off`` does; in the calling thread's namespace.

    struct ethtool_value { __u32 cmd; __u32 data; }; behind ``ifr_data`` of struct ifreq.

    Raises:
        KernelError: the device cannot do without.
    """
    value = array.array("I", [_ETHTOOL_STXCSUM, 0])
    request = struct.pack("16sP16x", os.fsencode(name), value.buffer_info()[0])
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError as e:
            message = f"device {name}: cannot switch off checksum offload: {e.strerror}"
            raise KernelError(message, errno=e.errno or 0) from e


def _must(through: Socket, request: Request, name: str) -> None:
    refusal = through.carry_out([request]).get(0)
    if refusal is not None:
        raise KernelError(f"device {name}: {refusal}", errno=refusal.errno)
