"""The real side of the door for pods: a link is one request, then one batch on each side of it.

What IPv4 does with a device goes by netlink together with setting it up; what IPv6 does has only files in procfs.
Wiring a pod takes about a millisecond, most of it the kernel's. Removing a device takes the kernel tens of
milliseconds, in which it waits for every CPU: so a link is cut at once, and removed on a thread of its own.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cloudnet.kernel import netns, pod_codec, wire
from cloudnet.kernel import pod_check as check
from cloudnet.kernel.api import HostNamespace, KernelError
from cloudnet.kernel.codec import ask_links, ask_routes
from cloudnet.kernel.hands import Hand, Hands
from cloudnet.kernel.pod_codec import End
from cloudnet.kernel.pods import HostEnd, InterfaceTaken, LinkTaken, Owner, PodLink
from cloudnet.kernel.rtnetlink import Refusal, Socket
from cloudnet.kernel.wire import Request
from cloudnet.model.addresses import Address, Family, Network

log = logging.getLogger(__name__)

_HANDS = 4  # at once; the kernel works on one change of devices at a time anyway
_BOOT = 3  # RTPROT_BOOT
_GONE = frozenset({errno.ENODEV})
_TOGETHER = 64  # devices removed in one wait for all CPUs
_PATIENCE = 10.0  # seconds for what was cut to be gone when we end


class PodLinks:
    """Links of pods to the namespace of the thread that makes this object."""

    def __init__(self, *, allow_host_network: bool = False) -> None:
        """Open the door.

        Raises:
            HostNamespace: this is the machine's own network namespace and nobody allowed it.
        """
        netns.require_own_namespace(allow_host=allow_host_network)
        self._hands = Hands(_HANDS)
        self._reaper = Reaper()
        with suppress(KernelError):  # the next one to be cut will find them
            self._reaper.doom(_doomed_before(self._hands))

    def close(self) -> None:
        self._reaper.close()
        self._hands.close()

    # --- making -----------------------------------------------------------------------------------------

    def wire(self, link: PodLink, namespace: int) -> None:
        self._hands.do(lambda hand: self._wire(hand, link, namespace))

    def _wire(self, hand: Hand, link: PodLink, namespace: int) -> None:
        _refuse_home(hand, namespace)
        _create(hand.socket, link, namespace)
        end = _must_find(hand.socket, link.name)
        try:
            _host_settings(link)
            _carry_out(hand.socket, pod_codec.host_side(link, end.index), f"link {link.name}")
            with hand.visiting(namespace):
                inside = Socket()
                try:
                    _pod_side(inside, link)
                finally:
                    inside.close()
        except BaseException:
            self._cut(hand.socket, end, link.owner)
            raise

    # --- looking ----------------------------------------------------------------------------------------

    def differences(self, link: PodLink, namespace: int) -> Sequence[str]:
        return self._hands.do(lambda hand: _differences(hand, link, namespace))

    def find(self, name: str) -> HostEnd | None:
        end = self._hands.do(lambda hand: _find(hand.socket, name))
        owner = Owner.of(end.alias) if end is not None else None
        return HostEnd(end.name, owner, end.up) if end is not None and owner is not None else None

    def leads_to(self, name: str, namespace: int) -> bool:
        return self._hands.do(lambda hand: _leads_to(hand.socket, name, namespace))

    def read(self) -> Mapping[str, HostEnd]:
        return self._hands.do(lambda hand: _read(hand.socket))

    # --- mending and cutting ----------------------------------------------------------------------------

    def mend(self, name: str, addresses: Sequence[Address], *, unwanted: Sequence[Network] = ()) -> None:
        def work(hand: Hand) -> None:
            end = _must_find(hand.socket, name)
            if Owner.of(end.alias) is None:
                raise KernelError(f"device {name!r} is no link of a pod of ours and is left alone", errno=errno.EPERM)
            requests = [pod_codec.put_host_route(a, end.index, pod_codec.REPLACE) for a in addresses]
            _carry_out(hand.socket, requests, f"link {name}")
            hand.socket.carry_out([pod_codec.remove_host_route(network, end.index) for network in unwanted])

        self._hands.do(work)

    def cut(self, name: str, owner: Owner | None = None) -> bool:
        def work(hand: Hand) -> bool:
            end = _find(hand.socket, name)
            found = Owner.of(end.alias) if end is not None else None
            if end is None or found is None or (owner is not None and found != owner):
                return False
            self._cut(hand.socket, end, found)
            return True

        return self._hands.do(work)

    def _cut(self, through: Socket, end: End, owner: Owner) -> None:
        refused = through.carry_out(pod_codec.cut(end.index, owner))
        self._reaper.doom([end.name if refused else pod_codec.doomed_name(end.index)])

    def settle(self, timeout: float) -> bool:
        return self._reaper.settle(timeout)


class Reaper:
    """Removes devices that were cut, as many at a time as there are; on a thread that starts at need and ends."""

    def __init__(self) -> None:
        self._socket = Socket()
        self._doomed: list[str] = []
        self._changed = threading.Condition()
        self._working = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
        self._thread.start()

    def doom(self, names: Sequence[str]) -> None:
        if names:
            with self._changed:
                self._doomed += names
                self._changed.notify_all()

    def settle(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._doomed and not self._working, timeout)

    def close(self) -> None:
        self.settle(_PATIENCE)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._working = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._doomed or self._closing)
                if self._closing:
                    return
                some, self._doomed = self._doomed[:_TOGETHER], self._doomed[_TOGETHER:]
                self._working = True
            self._remove(some)

    def _remove(self, names: Sequence[str]) -> None:
        try:
            refused = self._socket.carry_out([pod_codec.remove(name) for name in names])
        except KernelError as e:
            log.warning("cannot remove links of pods number=%d reason=%r", len(names), str(e))
            return
        for refusal in refused.values():
            if refusal.errno not in _GONE:
                log.warning("cannot remove a link of a pod reason=%r", str(refusal))


# --- pieces -------------------------------------------------------------------------------------------------


def _refuse_home(hand: Hand, namespace: int) -> None:
    """Creating a pair with both ends here would be no link, and end in the host's own namespace.

    Raises:
        NotANamespace, HostNamespace: as ``Hand.visiting``.
    """
    if netns.of_descriptor(namespace) == hand.socket.namespace:
        raise HostNamespace("it is the network namespace of the host itself")


def _create(through: Socket, link: PodLink, namespace: int) -> None:
    refusal = through.carry_out([pod_codec.create_pair(link, namespace)]).get(0)
    if refusal is None:
        return
    if refusal.errno != errno.EEXIST:
        raise _refused(f"link {link.name}", refusal)
    if _find(through, link.name) is not None:
        raise LinkTaken(f"the host has a device {link.name!r} already", errno=errno.EEXIST)
    raise InterfaceTaken(f"the pod has a device {link.owner.interface!r} already", errno=errno.EEXIST)


def _host_settings(link: PodLink) -> None:
    """Write what has no netlink message, before the device is set up; only in the namespace of the calling hand."""
    folder = f"/proc/sys/net/ipv6/conf/{link.name}"
    if link.has(6):
        _let_ipv6_through()
        for setting, value in (
            ("disable_ipv6", b"0"),
            ("accept_dad", b"0"),
            ("proxy_ndp", b"1"),
            ("forwarding", b"1"),
        ):
            _write(f"{folder}/{setting}", value)
    with suppress(KernelError):  # a kernel without IPv6; Calico only warns, too
        _write(f"{folder}/accept_ra", b"0")


def _let_ipv6_through() -> None:
    """Forward IPv6 at all, which no device's own setting brings about (``ip6_forward``).

    A host that forwards ignores router advertisements unless accept_ra is 2 (ip-sysctl.rst): who listens goes on so.
    """
    everybody = Path("/proc/sys/net/ipv6/conf/all/forwarding")
    if everybody.read_bytes().strip() != b"0":
        return
    for device in everybody.parents[1].iterdir():
        with suppress(OSError):  # it is gone
            if (device / "accept_ra").read_bytes().strip() == b"1":
                _write(str(device / "accept_ra"), b"2")
    _write(str(everybody), b"1")


def _pod_side(inside: Socket, link: PodLink) -> None:
    interface, forward = link.owner.interface, b"1" if link.forwards else b"0"
    if link.has(4):
        _write("/proc/sys/net/ipv4/ip_forward", forward)
    if link.has(6):
        for where in ("all", "default", "lo"):
            _write(f"/proc/sys/net/ipv6/conf/{where}/disable_ipv6", b"0")
        _write(f"/proc/sys/net/ipv6/conf/{interface}/accept_dad", b"0")
        _write("/proc/sys/net/ipv6/conf/all/forwarding", forward)
    end = _must_find(inside, interface)
    _carry_out(inside, pod_codec.pod_side(link, end.index), f"interface {interface} of the pod")


def _write(path: str, value: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value)
        finally:
            os.close(descriptor)
    except OSError as e:
        why = e.strerror or str(e)
        raise KernelError(f"cannot set {path} to {value.decode()}: {why}", errno=e.errno or 0) from e


def _find(through: Socket, name: str) -> End | None:
    answer = through.ask(wire.RTM_GETLINK, pod_codec.ask_link(name))
    if not isinstance(answer, Refusal):
        return pod_codec.read_end(answer)
    if answer.errno in _GONE:
        return None
    raise _refused(f"device {name}", answer)


def _must_find(through: Socket, name: str) -> End:
    end = _find(through, name)
    if end is None:
        raise KernelError(f"there is no network device {name!r}", errno=errno.ENODEV)
    return end


def _leads_to(through: Socket, name: str, namespace: int) -> bool:
    end = _find(through, name)
    number = through.ask(wire.RTM_GETNSID, pod_codec.ask_namespace(namespace))
    if end is None or end.peer_namespace is None or isinstance(number, Refusal):
        return False
    return pod_codec.read_namespace(number) == end.peer_namespace


def _differences(hand: Hand, link: PodLink, namespace: int) -> Sequence[str]:
    found = list(check.host_side(hand.socket, link, _find(hand.socket, link.name)))
    if not _leads_to(hand.socket, link.name, namespace) and not found:
        found.append(f"{link.name} of the host does not lead to this pod")
    with hand.visiting(namespace):
        inside = Socket()
        try:
            found += check.pod_side(inside, link, _find(inside, link.owner.interface))
        finally:
            inside.close()
    return found


def _read(through: Socket) -> Mapping[str, HostEnd]:
    ends = [pod_codec.read_end(body) for body in through.dump(wire.RTM_GETLINK, ask_links())]
    ours = {
        end.index: (end, owner)
        for end in ends
        if not end.name.startswith(pod_codec.DOOMED) and (owner := Owner.of(end.alias)) is not None
    }
    routes: dict[int, list[Network]] = {index: [] for index in ours}
    for family in Family:
        bodies = through.dump(wire.RTM_GETROUTE, ask_routes(family, protocol=_BOOT))
        for route in pod_codec.read_routes(bodies):
            if route.device in routes and route.gateway is None:
                routes[route.device].append(route.network)
    return {end.name: HostEnd(end.name, owner, end.up, tuple(routes[index])) for index, (end, owner) in ours.items()}


def _doomed_before(hands: Hands) -> Sequence[str]:
    """Return the devices that an agent before us cut and did not live to remove."""

    def work(hand: Hand) -> Sequence[str]:
        ends = [pod_codec.read_end(body) for body in hand.socket.dump(wire.RTM_GETLINK, ask_links())]
        return [e.name for e in ends if e.name == pod_codec.doomed_name(e.index) and Owner.of(e.alias) is not None]

    return hands.do(work)


def _carry_out(through: Socket, requests: Sequence[Request], what: str) -> None:
    for refusal in through.carry_out(requests).values():
        raise _refused(what, refusal)


def _refused(what: str, refusal: Refusal) -> KernelError:
    return KernelError(f"{what}: {refusal}", errno=refusal.errno)
