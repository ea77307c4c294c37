"""Connections that conntrack remembers, forgotten by address: with a pod goes what it spoke of.

Packets of a known connection pass every rule, so what a pod had open must not be the next one's that gets its
address. Of each connection one end is known by the address that begins it, before any translation, the other by the
one that answers, behind it; so two questions an address find all (Felix ``felix/conntrack/conntrack.go`` asks four).

Newer kernels delete what matches a filter; older ones refuse, are asked what there is, and told what to delete. A
filter by IPv6 address finds what does *not* have it (``ctnetlink_filter_match_tuple`` takes ``ipv6_addr_cmp`` for a
yes or no; seen on 6.18), so of IPv6 we always look at everything.

Messages: linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from typing import Final, TypeAlias

from cloudnet.kernel import netns, wire
from cloudnet.kernel.api import KernelError
from cloudnet.kernel.nfnetlink import NETLINK_NETFILTER
from cloudnet.kernel.rtnetlink import Socket
from cloudnet.kernel.wire import Request
from cloudnet.model.addresses import Address

_SUBSYSTEM: Final = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = _SUBSYSTEM << 8 | 1, _SUBSYSTEM << 8 | 2  # IPCTNL_MSG_CT_*
_TUPLE_BEGINS, _TUPLE_ANSWERS = 1, 2  # CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
_ID, _ZONE, _FILTER = 12, 18, 25  # CTA_*
_TUPLE_ADDRESSES = 1  # CTA_TUPLE_IP
_SOURCES = (1, 3)  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
_BY_SOURCE = 1  # CTA_FILTER_FLAG(CTA_IP_SRC)
_FILTERED = 4  # the version that filters work for
_FLAGS = {_TUPLE_BEGINS: 1, _TUPLE_ANSWERS: 2}  # CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS
_GENERAL = struct.Struct(">BBH")  # struct nfgenmsg { __u8 nfgen_family, version; __be16 res_id; };
_EVERY_IPV6: Final = _GENERAL.pack(wire.AF_INET6, 0, 0)

Forget: TypeAlias = Callable[[Collection[Address]], None]
"""Forgets all connections of some addresses; raises ``KernelError``."""


def forget(addresses: Collection[Address], *, allow_host_network: bool = False, by_filter: bool = True) -> None:
    """Forget all connections that addresses are an end of, in the calling thread's namespace.

    ``by_filter=False`` goes the way of older kernels.

    Raises:
        HostNamespace: this is the machine's own network namespace and nobody allowed it.
        KernelError: the kernel has no nf_conntrack_netlink, or refused.
    """
    if not addresses:
        return
    namespace = netns.require_own_namespace(allow_host=allow_host_network)
    with closing(Socket.within(namespace, NETLINK_NETFILTER)) as through:
        filtered = [address for address in addresses if address.version == _FILTERED]
        questions = [_question(address, end) for address in filtered for end in _FLAGS]
        if by_filter and not through.carry_out([Request(_DELETE, 0, question) for question in questions]):
            questions = []
        if len(filtered) < len(addresses):
            questions.append(_EVERY_IPV6)
        found = [one for question in questions for one in _named(through.dump(_GET, question), addresses)]
        for refusal in through.carry_out(found).values():
            if refusal.errno != errno.ENOENT:  # it ended by itself
                raise KernelError(f"cannot forget a connection: {refusal}", errno=refusal.errno)


def _question(address: Address, end: int) -> bytes:
    """Return the body of a request about all connections that have an IPv4 address at one end."""
    source = wire.address_attribute(_SOURCES[0], address.packed)
    ends = wire.attribute(end | wire.NLA_F_NESTED, wire.attribute(_TUPLE_ADDRESSES | wire.NLA_F_NESTED, source))
    chosen = wire.attribute(_FILTER | wire.NLA_F_NESTED, wire.u32_attribute(_FLAGS[end], _BY_SOURCE))
    return _GENERAL.pack(wire.AF_INET, 0, 0) + ends + chosen


def _named(bodies: Collection[bytes], addresses: Collection[Address]) -> Iterator[Request]:
    """Yield what deletes the connections of addresses; kernels before 5.8 tell of all that there are."""
    wanted = {address.packed for address in addresses}
    for body in bodies:
        if not any(packed in body for packed in wanted):
            continue  # the quick look: most are others'
        told = wire.attributes(body, _GENERAL.size)
        if any(_source(told.get(end, b"")) in wanted for end in _FLAGS):
            named = wire.attribute(_TUPLE_BEGINS | wire.NLA_F_NESTED, told[_TUPLE_BEGINS])
            marks = (wire.attribute(kind, told[kind]) for kind in (_ID, _ZONE) if kind in told)
            yield Request(_DELETE, 0, _GENERAL.pack(body[0], 0, 0) + named + b"".join(marks))


def _source(tuple_: bytes) -> bytes:
    addresses = wire.attributes(wire.attributes(tuple_, 0).get(_TUPLE_ADDRESSES, b""), 0)
    return next((addresses[kind] for kind in _SOURCES if kind in addresses), b"")
