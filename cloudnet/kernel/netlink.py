"""The kernel door's real side: links, routes, rules and overlay devices by rtnetlink.

Changes go to the kernel by the hundred in one system call, encoded by hand; docs/decisions/own-netlink-codec.md says
why. One socket writes, opened in the constructor and proven to be in the namespace that we may change. What is not
ours is never overwritten: the kernel's "replace" would take any route with the same prefix and metric, so it is
only used for keys that we know to be ours, from our last read or our own writes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path

from cloudnet.kernel import codec, devices, netns, wire
from cloudnet.kernel.api import (
    LEARNED_TABLE,
    MAIN_TABLE,
    OVERLAY_DEVICES,
    ROUTE_PROTOCOL,
    Change,
    Failure,
    FdbEntry,
    Gateway,
    Hop,
    HostNamespace,
    KernelError,
    KernelObject,
    Key,
    Link,
    Neighbour,
    Notices,
    Put,
    Remove,
    Route,
    Rule,
    VxlanDevice,
)
from cloudnet.kernel.listen import Beliefs, NetlinkNotices
from cloudnet.kernel.rtnetlink import Refusal, Socket
from cloudnet.kernel.wire import Request
from cloudnet.model.addresses import Address, Family, Network

_ABSENT = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL})  # removed already is success
_DUPLICATE_RULES = 16  # of one rule that are looked for when it is removed
_OURS = frozenset(OVERLAY_DEVICES.values())


class NetlinkKernel:
    """This host's kernel, in the namespace of the thread that made this object. Use it from one thread at a time."""

    def __init__(self, *, allow_host_network: bool = False, checksum_broken: bool = False) -> None:
        """Open the door.

        ``checksum_broken``: switch off transmit checksum offload on our overlay devices, for kernels and network
        cards that get it wrong (``cloudnet.kernel.features``).

        Raises:
            HostNamespace: this is the machine's own network namespace and nobody allowed it.
            KernelError: there is no access to rtnetlink.
        """
        self._socket = Socket.within(netns.require_own_namespace(allow_host=allow_host_network))
        self._checksum_broken = checksum_broken
        self._beliefs = Beliefs()
        self._our_routes: set[Key] = set()

    def close(self) -> None:
        self._socket.close()

    # --- reading ------------------------------------------------------------------------------------------

    def links(self) -> Mapping[str, Link]:
        found = devices.read_all(self._socket)
        addresses = devices.read_addresses(self._socket)
        return {device.name: device.link(addresses.get(device.index, ())) for device in found}

    def gateways(self) -> Sequence[Gateway]:
        names = {device.index: device.name for device in devices.read_all(self._socket)}
        best: dict[Family, tuple[int, Gateway]] = {}
        for family in Family:
            for body in self._socket.dump(wire.RTM_GETROUTE, codec.ask_routes(family, table=MAIN_TABLE)):
                if body[1] != 0:  # rtm_dst_len: the cheap test first, for there may be thousands
                    continue
                found = codec.read_gateway(body, names)
                if found is not None and (family not in best or found[0] < best[family][0]):
                    best[family] = found
        return tuple(gateway for _, gateway in best.values())

    def learned(self) -> Mapping[Network, Hop]:
        names = {device.index: device.name for device in devices.read_all(self._socket)}
        found: dict[Network, Hop] = {}
        for family in Family:
            for body in self._dump_table(family, LEARNED_TABLE):
                route = codec.read_learned(body, names)
                if route is not None:
                    found.setdefault(*route)
        return found

    def _dump_table(self, family: Family, table: int) -> Sequence[bytes]:
        """Return a table's routes; Linux has no table before its first route."""
        try:
            return self._socket.dump(wire.RTM_GETROUTE, codec.ask_routes(family, table=table))
        except KernelError as e:
            if e.errno == errno.ENOENT:
                return ()
            raise

    def read(self) -> Mapping[Key, KernelObject]:
        found = devices.read_all(self._socket)
        names = {device.index: device.name for device in found}
        overlay = {device.index: device.name for device in found if device.name in _OURS}
        objects: dict[Key, KernelObject] = {}
        for value in (
            *devices.read_overlay(self._socket, found),
            *self._read_routes(names),
            *self._read_rules(),
            *(self._read_entries(overlay) if overlay else ()),
        ):
            objects[value.key] = value
        self._our_routes = {key for key, value in objects.items() if isinstance(value, Route)}
        self._beliefs.read(overlay, (v for v in objects.values() if isinstance(v, Neighbour | FdbEntry)))
        return objects

    def _read_routes(self, names: Mapping[int, str]) -> Iterator[Route]:
        for family in Family:
            for body in self._socket.dump(wire.RTM_GETROUTE, codec.ask_routes(family, protocol=ROUTE_PROTOCOL)):
                route = codec.read_route(body, names)
                if route is not None:
                    yield route

    def _read_rules(self) -> Iterator[Rule]:
        for family in Family:
            for body in self._socket.dump(wire.RTM_GETRULE, codec.ask_rules(family)):
                rule = codec.read_rule(body)
                if rule is not None:
                    yield rule

    def _read_entries(self, overlay: Mapping[int, str]) -> Iterator[Neighbour | FdbEntry]:
        yield from devices.read_neighbours(self._socket, overlay)
        for index in overlay:
            for body in self._socket.dump(wire.RTM_GETNEIGH, codec.ask_fdb(index)):
                entry = codec.read_fdb(body, overlay)
                if entry is not None:
                    yield entry

    # --- writing ------------------------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change]) -> Sequence[Failure]:
        failures: list[Failure] = []
        batch: dict[Key, tuple[Change, Request]] = {}
        indexes = devices.Indexes(self._socket)

        def flush() -> None:
            failures.extend(self._flush(tuple(batch.values()), indexes))
            batch.clear()

        for change in changes:
            value = change.value
            try:
                if isinstance(value, Route | Neighbour | FdbEntry):
                    key = value.key
                    if key in batch:  # its outcome decides whether the key is ours
                        flush()
                    batch[key] = (change, self._encode(change, key, indexes))
                    continue
                flush()
                if isinstance(value, Rule):
                    self._change_rule(change, value)
                else:
                    self._change_device(change, value)
                    indexes.forget()
            except KernelError as e:
                if not (isinstance(change, Remove) and e.errno in _ABSENT):
                    failures.append(Failure(change, e))
        flush()
        position = {id(change): number for number, change in enumerate(changes)}
        return sorted(failures, key=lambda failure: position[id(failure.change)])

    def _encode(self, change: Change, key: Key, indexes: devices.Indexes) -> Request:
        value, put = change.value, isinstance(change, Put)
        try:
            if isinstance(value, Route):
                if value.metric < 1:
                    raise KernelError(f"{_name(value)}: the metric must be 1 at least", errno=errno.EINVAL)
                if not put:
                    return codec.remove_route(value)
                return codec.put_route(value, indexes.of, codec.REPLACE if key in self._our_routes else codec.CREATE)
            if isinstance(value, Neighbour | FdbEntry) and value.device not in _OURS:
                message = f"{_name(value)}: {value.device!r} is none of our overlay devices and is left alone"
                raise KernelError(message, errno=errno.EPERM)
            if isinstance(value, Neighbour):
                self._beliefs.wrote(indexes.of(value.device), value, put=put)
                return (codec.put_neighbour if put else codec.remove_neighbour)(value, indexes.of)
            if isinstance(value, FdbEntry):
                self._beliefs.wrote(indexes.of(value.device), value, put=put)
                return (codec.put_fdb if put else codec.remove_fdb)(value, indexes.of)
        except ValueError as e:
            raise KernelError(f"{_name(value)}: {e}", errno=errno.EINVAL) from e
        raise TypeError(f"{_name(value)} does not go in a batch")

    def _flush(self, batch: Sequence[tuple[Change, Request]], indexes: devices.Indexes) -> Sequence[Failure]:
        """Carry a batch out; when the kernel does not even answer, nobody knows what came of any of it."""
        try:
            return list(self._carry_out(batch, indexes))
        except KernelError as e:
            return [Failure(change, e) for change, _ in batch]

    def _carry_out(self, batch: Sequence[tuple[Change, Request]], indexes: devices.Indexes) -> Iterator[Failure]:
        refused = self._socket.carry_out([request for _, request in batch]) if batch else {}
        taken: list[tuple[Change, Refusal]] = []
        for position, (change, request) in enumerate(batch):
            refusal = refused.get(position)
            if refusal is None or (isinstance(change, Remove) and refusal.errno in _ABSENT):
                self._did(change)
            elif refusal.errno == errno.EEXIST and isinstance(change.value, Route):
                taken.append((change, refusal))
            elif refusal.errno == errno.EINVAL and _gateway_lies_behind_another_device(change):
                yield from self._put_with_crutch(change, request, indexes)
            else:
                yield _failure(change, refusal)
        if taken:
            yield from self._replace_ours(taken, indexes)

    def _replace_ours(self, taken: Sequence[tuple[Change, Refusal]], indexes: devices.Indexes) -> Iterator[Failure]:
        """Replace those routes that turn out to be ours; the others belong to somebody else and stay."""
        ours = {route.key for route in self._read_routes({})}
        again: list[tuple[Change, Request]] = []
        for change, refusal in taken:
            route = change.value
            if isinstance(route, Route) and route.key in ours:
                again.append((change, codec.put_route(route, indexes.of, codec.REPLACE)))
            else:
                yield _failure(
                    change, refusal, "a route of somebody else has this prefix and metric: remove it first"
                )
        refused = self._socket.carry_out([request for _, request in again]) if again else {}
        for position, (change, _) in enumerate(again):
            if position in refused:
                yield _failure(change, refused[position])
            else:
                self._did(change)

    def _put_with_crutch(self, change: Change, request: Request, indexes: devices.Indexes) -> Iterator[Failure]:
        """Put a route whose gateway is in a block that a native route leads elsewhere.

        IPv6 insists, even of an onlink gateway, that the main table leads to it through the same device
        (``ip6_route_check_nh_onlink``); but remote tunnel ends lie within the very blocks that native routes lead
        elsewhere. So for this moment the gateway gets a route of its own. Should we die meanwhile, it carries our
        mark and the next agent clears it away.
        """
        route = change.value
        assert isinstance(route, Route)  # noqa: S101 - the caller's condition
        assert route.gateway is not None  # noqa: S101 - the same
        crutch = Route(ip_network(route.gateway), route.device, metric=1)
        self._must(codec.put_route(crutch, indexes.of, codec.CREATE), _name(crutch))
        refusal = self._socket.carry_out([request]).get(0)
        self._must(codec.remove_route(crutch), _name(crutch))
        if refusal is not None:
            yield _failure(change, refusal)
        else:
            self._did(change)

    def _did(self, change: Change) -> None:
        if isinstance(change.value, Route):
            if isinstance(change, Put):
                self._our_routes.add(change.value.key)
            else:
                self._our_routes.discard(change.value.key)

    def _change_rule(self, change: Change, rule: Rule) -> None:
        """The kernel happily keeps a rule twice, and "exclusive" does not ask whose it is: look first."""
        if isinstance(change, Put):
            if rule not in self._read_rules():
                self._must(codec.put_rule(rule), _name(rule))
            return
        for _ in range(_DUPLICATE_RULES):
            refusal = self._socket.carry_out([codec.remove_rule(rule)]).get(0)
            if refusal is not None:
                if refusal.errno not in _ABSENT:
                    raise KernelError(f"{_name(rule)}: {refusal}", errno=refusal.errno)
                return

    def _change_device(self, change: Change, device: VxlanDevice) -> None:
        if device.name not in _OURS:
            message = f"{_name(device)}: our overlay devices are called {' and '.join(sorted(_OURS))}"
            raise KernelError(message, errno=errno.EPERM)
        if isinstance(change, Remove):
            devices.remove(self._socket, device.name)
            self._beliefs.device_gone(device.name)
            self._our_routes.clear()  # some went with it; the next write finds out which
            return
        index, is_new = devices.put(self._socket, device)
        if self._checksum_broken:
            self._in_our_namespace()
            devices.switch_off_checksums(device.name)
        if is_new:
            self._beliefs.device_made(device.name, index)
            self._our_routes.clear()

    def _must(self, request: Request, name: str) -> None:
        refusal = self._socket.carry_out([request]).get(0)
        if refusal is not None:
            raise KernelError(f"{name}: {refusal}", errno=refusal.errno)

    # --- settings and notices -----------------------------------------------------------------------------

    def set_up(self, device: str, addresses: Sequence[Address]) -> None:
        devices.set_up(self._socket, device, addresses)

    def set_sysctl(self, name: str, value: str) -> None:
        self._in_our_namespace()
        path = sysctl_path(name)
        try:
            if path.read_text().split() != value.split():
                path.write_text(value)
        except OSError as e:
            why = "there is no such setting" if isinstance(e, FileNotFoundError) else e.strerror
            raise KernelError(f"cannot set {name} to {value!r}: {why}", errno=e.errno or 0) from e

    def sysctl(self, name: str) -> str | None:
        self._in_our_namespace()
        try:
            return sysctl_path(name).read_text().strip()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise KernelError(f"cannot read {name}: {e.strerror}", errno=e.errno or 0) from e

    def notices(self) -> Notices:
        self._in_our_namespace()
        return NetlinkNotices(self._socket, self._beliefs)

    def _in_our_namespace(self) -> None:
        """Settings and new sockets are those of the calling thread's namespace, not of our socket's."""
        if netns.current() != self._socket.namespace:
            raise HostNamespace("this thread is in another network namespace than the one opened: nothing done")


_PER_DEVICE = (("net", "ipv4", "conf"), ("net", "ipv6", "conf"), ("net", "ipv4", "neigh"), ("net", "ipv6", "neigh"))


def sysctl_path(name: str) -> Path:
    """Return the file of a setting; what stands between ``conf`` and the last word is a device, dots and all.

    Raises:
        KernelError: the name leads out of /proc/sys.
    """
    parts = name.split("/") if "/" in name else name.split(".")
    if tuple(parts[:3]) in _PER_DEVICE and len(parts) > 4:  # noqa: PLR2004 - net, ipv4, conf, device, setting
        parts[3:-1] = [".".join(parts[3:-1])]
    if any(part in {"", ".", ".."} for part in parts):
        raise KernelError(f"{name!r} is no name of a setting", errno=errno.EINVAL)
    return Path("/proc/sys", *parts)


def _gateway_lies_behind_another_device(change: Change) -> bool:
    """Tell whether this may be why an IPv6 route was refused."""
    route = change.value
    return (
        isinstance(change, Put)
        and isinstance(route, Route)
        and route.onlink
        and route.destination.version == 6  # noqa: PLR2004 - IPv6
        and route.gateway is not None
    )


def _failure(change: Change, refusal: Refusal, why: str = "") -> Failure:
    verb = "put" if isinstance(change, Put) else "remove"
    text = f"cannot {verb} {_name(change.value)}: {why or refusal}"
    return Failure(change, KernelError(text, errno=refusal.errno))


def _name(value: KernelObject) -> str:
    match value:
        case Route(destination=destination, metric=metric, table=table):
            return f"route {destination} metric {metric} in table {table}"
        case Neighbour(device=device, address=address):
            return f"neighbour {address} on {device}"
        case FdbEntry(device=device, mac=mac):
            return f"forwarding entry {mac} on {device}"
        case Rule(priority=priority, table=table, family=family, source=source, destination=destination):
            ends = (f" from {source}" if source else "") + (f" to {destination}" if destination else "")
            return f"IPv{family.value} rule {priority}{ends} to table {table}"
        case VxlanDevice(name=name):
            return f"device {name}"
