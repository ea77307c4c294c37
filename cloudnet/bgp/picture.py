"""What BGP is decided on: the resources as one node sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import as_numbers
from cloudnet.model.addresses import Network, NodeName
from cloudnet.model.calico_bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeer
from cloudnet.model.calico_bgp_filter import BGPFilter
from cloudnet.model.resources import IPPool, Node

PORT: Final = 179
AS_NUMBER: Final = 64512  # Calico's default, the first private one (RFC 6996)

SecretKey = tuple[str, str]
"""Name of a secret, and the key in it."""

ReadSecret: TypeAlias = Callable[[SecretKey], str]
"""Returns a password, or nothing where there is none."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One node, all others, and what is said of BGP; by name each.

    ``blocks`` are the node's own, undisputed, with single addresses that it has from others' blocks. ``outside`` are
    blocks of any node that lie in no pool.
    """

    node: Node
    nodes: Mapping[NodeName, Node] = field(default_factory=dict, hash=False)
    pools: tuple[IPPool, ...] = ()
    blocks: frozenset[Network] = frozenset()
    outside: frozenset[Network] = frozenset()
    configurations: Mapping[str, BGPConfiguration] = field(default_factory=dict, hash=False)
    peers: Mapping[str, BGPPeer] = field(default_factory=dict, hash=False)
    filters: Mapping[str, BGPFilter] = field(default_factory=dict, hash=False)

    def settings(self, node: NodeName) -> BGPConfigurationSpec:
        """Return what holds for a node: field by field, the configuration of its own over that of all."""
        found = [self.configurations.get(name) for name in ("default", f"node.{node}")]
        said = [_said(one.spec) for one in found if one is not None]
        return msgspec.structs.replace(BGPConfigurationSpec(), **{k: v for fields in said for k, v in fields.items()})

    def as_number(self, node: Node) -> int:
        """Return a node's AS number.

        Raises:
            BadInput: it is 0, which nobody may use (RFC 7607).
        """
        if node.as_number is not None:
            return usable(node.as_number, f"node {node.name!r}")
        found = self.settings(node.name).as_number
        return usable(AS_NUMBER if found is None else as_numbers.read(found), "BGPConfiguration")

    def common_as_number(self) -> int:
        """Return the AS number of whoever has none of its own."""
        found = self.configurations.get("default")
        number = found.spec.as_number if found else None
        return AS_NUMBER if number is None else as_numbers.read(number)

    def port(self, node: Node) -> int:
        return self.settings(node.name).listen_port or PORT


def usable(number: int, whose: str) -> int:
    if number == 0:
        raise BadInput(f"{whose}: expected an AS number above 0, found 0")
    return number


def _said(spec: BGPConfigurationSpec) -> Mapping[str, object]:
    fields = msgspec.structs.asdict(spec)
    return MappingProxyType({name: value for name, value in fields.items() if value not in (None, ())})
