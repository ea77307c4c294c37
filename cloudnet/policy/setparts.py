"""The members of one set, divided into the parts that nftables wants, kept up to date member by member."""

from __future__ import annotations

from collections.abc import Iterator

from cloudnet.model.addresses import Network
from cloudnet.policy import members
from cloudnet.policy.members import Spans
from cloudnet.policy.rules import Members, PortMember, SetId


class SetParts:
    """One set. Prefixes inside other ones are members too, and become elements when the outer one goes."""

    def __init__(self, set_id: SetId, *, of_ports: bool) -> None:
        self.id = set_id
        self.of_ports = of_ports
        self._members: dict[str, set[Network | PortMember]] = {}
        self._spans: Spans | None = None
        self._elements: dict[str, frozenset[str]] = {}  # of parts whose members may lie in each other: the outermost

    @property
    def shape(self) -> frozenset[str]:
        return frozenset(self._members)

    @property
    def size(self) -> int:
        return sum(map(len, self._members.values())) if self._members else 0

    def networks(self) -> Iterator[Network]:
        for part in self._members:
            yield from self._networks(part)

    def spans(self) -> Spans:
        """Return the networks as intervals that do not overlap, in order; the same object until they change."""
        if self._spans is None:
            self._spans = members.spans(self.networks())
        return self._spans

    def change(self, added: Members, removed: Members) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Take members in and let members go; return ``(name of the part's set, element)`` to take out and to add."""
        self._spans = None
        touched: dict[str, None] = {}
        gone: list[tuple[str, str]] = []
        come: list[tuple[str, str]] = []
        for member in removed - added:
            part = _part(member)
            if member in self._members.get(part, ()):
                self._members[part].discard(member)
                touched[part] = None
                gone += self._alone(part, member)
        for member in added:
            part = _part(member)
            if member not in self._members.setdefault(part, set()):
                self._members[part].add(member)
                touched[part] = None
                come += self._alone(part, member)
        for part in touched:
            if self._overlaps(part):
                before = self._elements.pop(part, frozenset())
                after = frozenset(map(members.element, members.outermost(self._networks(part))))
                gone += [(members.name_of(self.id, part), key) for key in before - after]
                come += [(members.name_of(self.id, part), key) for key in after - before]
                self._elements[part] = after
            if not self._members[part]:
                del self._members[part]
                self._elements.pop(part, None)
        return gone, come

    def elements(self) -> Iterator[tuple[str, str]]:
        """Yield ``(name of the part's set, element)`` of all."""
        for part, of in self._members.items():
            name = members.name_of(self.id, part)
            keys = self._elements[part] if self._overlaps(part) else map(members.element, of)
            yield from ((name, key) for key in keys)

    def _overlaps(self, part: str) -> bool:
        return part[1] == "n" and not self.of_ports

    def _alone(self, part: str, member: Network | PortMember) -> list[tuple[str, str]]:
        return [] if self._overlaps(part) else [(members.name_of(self.id, part), members.element(member))]

    def _networks(self, part: str) -> Iterator[Network]:
        for member in self._members[part]:
            if not isinstance(member, PortMember):
                yield member


def _part(member: Network | PortMember) -> str:
    return members.part_of(member.address if isinstance(member, PortMember) else member)
