"""Rtnetlink messages as bytes: the kernel's structs as tables, and nothing of what they mean to us.

Every message is ``struct nlmsghdr``, a fixed body by message type, and attributes. All integers are in the host's
byte order. Sources: linux/netlink.h, linux/rtnetlink.h, linux/neighbour.h, linux/if_link.h, linux/fib_rules.h.
Why this is not left to a library: docs/decisions/own-netlink-codec.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

BYTE_ORDER = sys.byteorder

# struct nlmsghdr { __u32 nlmsg_len; __u16 nlmsg_type; __u16 nlmsg_flags; __u32 nlmsg_seq; __u32 nlmsg_pid; };
HEADER = Struct("=IHHII")
# struct nlattr { __u16 nla_len; __u16 nla_type; };
ATTRIBUTE = Struct("=HH")
# struct rtmsg { unsigned char rtm_family, rtm_dst_len, rtm_src_len, rtm_tos,
#                rtm_table, rtm_protocol, rtm_scope, rtm_type; unsigned rtm_flags; };
ROUTE = Struct("=8BI")
# struct ndmsg { __u8 ndm_family, ndm_pad1; __u16 ndm_pad2; __s32 ndm_ifindex;
#                __u16 ndm_state; __u8 ndm_flags, ndm_type; };
NEIGHBOUR = Struct("=BBHiHBB")
# struct ifinfomsg { unsigned char ifi_family, __ifi_pad; unsigned short ifi_type; int ifi_index;
#                    unsigned ifi_flags, ifi_change; };
LINK = Struct("=BBHiII")
# struct ifaddrmsg { __u8 ifa_family, ifa_prefixlen, ifa_flags, ifa_scope; __u32 ifa_index; };
ADDRESS = Struct("=4BI")
# struct fib_rule_hdr { __u8 family, dst_len, src_len, tos, table, res1, res2, action; __u32 flags; };
RULE = Struct("=8BI")
# struct fib_rule_port_range { __u16 start; __u16 end; };
PORT_RANGE = Struct("=HH")
# struct rtnexthop { unsigned short rtnh_len; unsigned char rtnh_flags, rtnh_hops; int rtnh_ifindex; };
NEXT_HOP = Struct("=HBBi")
# struct tcmsg { unsigned char tcm_family, tcm__pad1; unsigned short tcm__pad2; int tcm_ifindex;
#                __u32 tcm_handle, tcm_parent, tcm_info; };
QDISC = Struct("=B3xiIII")
# struct rtgenmsg { unsigned char rtgen_family; }; padded to four
GENERIC = Struct("=B3x")
# struct ndtmsg { __u8 ndtm_family, ndtm_pad1; __u16 ndtm_pad2; };
NEIGHBOUR_TABLE = Struct("=B3x")
# struct nlmsgerr { int error; struct nlmsghdr msg; };
ERROR = Struct("=i")

U8 = Struct("=B")
U16 = Struct("=H")
U32 = Struct("=I")
U64 = Struct("=Q")
U32_ATTRIBUTE = Struct("=HHI")
IPV4_ATTRIBUTE = Struct("=HH4s")
IPV6_ATTRIBUTE = Struct("=HH16s")

# message types
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_SETLINK = 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_GETQDISC = 38
RTM_SETNEIGHTBL, RTM_GETNSID = 67, 90

# nlmsg_flags
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_ACK_TLVS = 0x200  # in answers

NLMSGERR_ATTR_MSG = 1

# address families, linux/socket.h
AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6 = 0, 2, 7, 10

# route attributes, types, scopes and flags
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE = 1, 4, 5, 6, 7, 9, 15
RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE = 1, 2, 6
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST, RT_SCOPE_NOWHERE = 0, 253, 254, 255
RTNH_F_ONLINK = 4

# neighbour and forwarding attributes, states and flags
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80
NTF_SELF = 0x02

# link attributes and flags
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_EXT_MASK = 1, 3, 4, 10, 18, 29
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_VXLAN_ID, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING = 1, 3, 4, 7
IFLA_VXLAN_PORT, IFLA_VXLAN_LOCAL6 = 15, 17
IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 20, 26, 28, 31, 32
IFLA_LINK_NETNSID = 37
VETH_INFO_PEER = 1  # linux/veth.h
IFLA_INET_CONF, IFLA_INET6_CONF = 1, 2
RTEXT_FILTER_SKIP_STATS = 8
IFF_UP = 1
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

# address attributes and flags
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x02

# what a device does with IPv4, linux/ip.h, and IPv6, linux/ipv6.h
IPV4_DEVCONF_FORWARDING, IPV4_DEVCONF_PROXY_ARP, IPV4_DEVCONF_RP_FILTER = 1, 3, 8
IPV4_DEVCONF_ROUTE_LOCALNET = 26
DEVCONF_FORWARDING, DEVCONF_ACCEPT_RA, DEVCONF_PROXY_NDP, DEVCONF_DISABLE_IPV6 = 0, 3, 22, 26

# network namespaces by number, linux/net_namespace.h
NETNSA_NSID, NETNSA_FD = 1, 3

TCA_KIND = 1  # of a queueing discipline

# neighbour tables, linux/neighbour.h
NDTA_NAME, NDTA_PARMS, NDTPA_IFINDEX, NDTPA_PROXY_DELAY = 1, 6, 1, 13

# rule attributes and actions
FRA_DST, FRA_SRC, FRA_PRIORITY, FRA_TABLE, FRA_PROTOCOL, FRA_IP_PROTO, FRA_DPORT_RANGE = 1, 2, 6, 15, 21, 22, 24
FR_ACT_TO_TBL = 1
RTPROT_KERNEL = 2
RTPROT_BIRD = 12


@dataclass(frozen=True, slots=True)
class Request:
    """One message without its header; whoever sends it adds NLM_F_REQUEST and asks for answers."""

    kind: int
    flags: int
    body: bytes


_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # to the next multiple of four
_LARGEST_U8 = 255


def attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return ATTRIBUTE.pack(length, kind) + payload + _PADDING[length & 3]


def u32_attribute(kind: int, value: int) -> bytes:
    return U32_ATTRIBUTE.pack(8, kind, value)


def address_attribute(kind: int, packed: bytes) -> bytes:
    """Return an attribute that holds a packed IPv4 or IPv6 address."""
    if len(packed) == 4:  # noqa: PLR2004 - bytes of an IPv4 address
        return IPV4_ATTRIBUTE.pack(8, kind, packed)
    return IPV6_ATTRIBUTE.pack(20, kind, packed)


def attributes(data: bytes, start: int) -> dict[int, bytes]:
    """Return ``{attribute type: payload}`` of what follows ``start``; of repeated types the last.

    Flags in the type (nested, byte order) are taken off. What is cut short ends the list, as in the kernel's own
    ``nla_for_each_attr``.
    """
    found: dict[int, bytes] = {}
    unpack, end = ATTRIBUTE.unpack_from, len(data)
    while start + 4 <= end:
        length, kind = unpack(data, start)
        if length < 4 or start + length > end:  # noqa: PLR2004 - bytes of the attribute's own header
            break
        found[kind & NLA_TYPE_MASK] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield ``(type, flags, sequence, body)`` of each message in one datagram."""
    start, end, unpack = 0, len(data), HEADER.unpack_from
    while start + 16 <= end:
        length, kind, flags, sequence, _port = unpack(data, start)
        if length < 16 or start + length > end:  # noqa: PLR2004 - bytes of the message's own header
            break
        yield kind, flags, sequence, data[start + 16 : start + length]
        start += (length + 3) & ~3


def table_byte(table: int) -> int:
    """Return ``rtm_table``: tables beyond its eight bits go as RT_TABLE_UNSPEC with the attribute deciding."""
    return table if table <= _LARGEST_U8 else 0
