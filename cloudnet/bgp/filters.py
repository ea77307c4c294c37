"""What a BGPFilter says, as rules: which routes peers are told, and which are believed. Pure.

Rules that compare or set a route's priority are refused: here metrics say which way is proven, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from cloudnet.bgp.speaker import Community, Filter, Match, Rule
from cloudnet.errors import BadInput
from cloudnet.model import as_numbers
from cloudnet.model.addresses import Family
from cloudnet.model.calico_bgp_filter import BGPFilter, FilterRule


def usable(names: Iterable[str], known: Mapping[str, BGPFilter]) -> tuple[str, ...]:
    """Return the names of filters that are there and make sense.

    Raises:
        BadInput: one is not, or does not.
    """
    for name in names:
        if name not in known:
            raise BadInput(f"there is no BGPFilter {name!r}: create it, or take it from spec.filters")
        read(known[name])
    return tuple(names)


def read(found: BGPFilter) -> Filter:
    """Return the filter's rules.

    Raises:
        BadInput: a rule asks for something that is not done here.
    """
    name, spec = found.meta.name, found.spec
    exports = {Family.IPV4: ("exportV4", spec.export_v4), Family.IPV6: ("exportV6", spec.export_v6)}
    imports = {Family.IPV4: ("importV4", spec.import_v4), Family.IPV6: ("importV6", spec.import_v6)}
    return Filter(name, _rules(name, exports), _rules(name, imports))


_Said = Mapping[Family, tuple[str, tuple[FilterRule, ...]]]


def _rules(name: str, said: _Said) -> Mapping[Family, tuple[Rule, ...]]:
    return {
        version: tuple(_rule(rule, version, f"BGPFilter {name!r}: spec.{field}[{i}]") for i, rule in enumerate(rules))
        for version, (field, rules) in said.items()
        if rules
    }


def _rule(said: FilterRule, version: Family, path: str) -> Rule:
    added: list[Community] = []
    prepended: tuple[int, ...] = ()
    for operation in said.operations:
        if operation.add_community is not None:
            added.append(community(str(operation.add_community.value)))
        elif operation.prepend_as_path is not None:
            prepended = (*(_number(n, path) for n in operation.prepend_as_path.prefix), *prepended)
        else:
            raise BadInput("setting a route's priority is not supported", path=f"{path}.operations")
    if said.priority is not None:
        raise BadInput("comparing a route's priority is not supported", path=f"{path}.priority")
    return Rule(
        accept=said.action == "Accept",
        prefix=ip_network(said.cidr) if said.cidr is not None else None,
        match=Match(said.match_operator) if said.match_operator else Match.IN,
        lengths=_lengths(said, version),
        from_peers=said.source is not None,
        interface=said.interface or "",
        external=None if said.peer_type is None else said.peer_type == "eBGP",
        community=community(said.communities.values[0]) if said.communities else None,
        path_begins=tuple(_number(n, path) for n in said.as_path_prefix),
        add_communities=tuple(added),
        prepend=prepended,
    )


def _number(said: int | str, path: str) -> int:
    try:
        return as_numbers.read(said)
    except ValueError:
        raise BadInput(f"expected {as_numbers.EXPECTED}, found {said!r}", path=path) from None


def _lengths(said: FilterRule, version: Family) -> tuple[int, int] | None:
    """Return the shortest and the longest prefix that match, where the rule says either."""
    if said.prefix_length is None or said.cidr is None:
        return None
    longest = 32 if version is Family.IPV4 else 128
    low, high = said.prefix_length.min, said.prefix_length.max
    return (ip_network(said.cidr).prefixlen if low is None else low, longest if high is None else high)


def community(text: str) -> Community:
    """Return the numbers of ``aa:nn`` or ``aa:nn:mm``.

    Raises:
        BadInput: it is neither.
    """
    try:
        numbers = tuple(int(part) for part in text.split(":"))
    except ValueError:
        numbers = ()
    limit = _LARGE.get(len(numbers), 0)
    if not numbers or not all(0 <= number < limit for number in numbers):
        raise BadInput(f"expected a community such as 64512:100 or 64512:100:1, found {text!r}")
    return numbers


_LARGE = {2: 2**16, 3: 2**32}
