"""Calico's BGPFilter: which routes peers are told and believed; what Calico refuses of it is refused.

Source: Calico ``api/pkg/apis/projectcalico/v3/bgpfilter.go`` and the CEL rules in its markers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from cloudnet.model import wire
from cloudnet.model.calico_bgp import API_VERSION, Spec, check_as_number, check_community, check_range
from cloudnet.model.calico_policies import read_metadata
from cloudnet.model.problems import Problems
from cloudnet.model.resources import Metadata


class _Lengths(Spec, frozen=True, kw_only=True):
    min: int | None = None
    max: int | None = None


class _Communities(Spec, frozen=True, kw_only=True):
    values: tuple[str, ...] = ()


class _Set(Spec, frozen=True, kw_only=True):
    value: str | int | None = None
    prefix: tuple[int | str, ...] = ()


class _Operation(Spec, frozen=True, kw_only=True):
    add_community: _Set | None = None
    prepend_as_path: _Set | None = None
    set_priority: _Set | None = None


class FilterRule(Spec, frozen=True, kw_only=True):
    action: Literal["Accept", "Reject"]
    cidr: str | None = None
    match_operator: Literal["Equal", "NotEqual", "In", "NotIn"] | None = None
    prefix_length: _Lengths | None = None
    source: Literal["RemotePeers"] | None = None
    interface: str | None = None
    peer_type: Literal["eBGP", "iBGP"] | None = None
    communities: _Communities | None = None
    as_path_prefix: tuple[int | str, ...] = ()
    priority: int | None = None
    operations: tuple[_Operation, ...] = ()


class BGPFilterSpec(Spec, frozen=True, kw_only=True):
    """Calico ``BGPFilterSpec``."""

    export_v4: tuple[FilterRule, ...] = ()
    import_v4: tuple[FilterRule, ...] = ()
    export_v6: tuple[FilterRule, ...] = ()
    import_v6: tuple[FilterRule, ...] = ()


@dataclass(frozen=True, slots=True)
class BGPFilter:
    """Which routes are told to peers and taken from them. Calico ``BGPFilter``."""

    meta: Metadata
    spec: BGPFilterSpec = field(default_factory=BGPFilterSpec)


class BGPFilterDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A BGPFilter as Calico writes it."""

    metadata: wire.Meta
    spec: BGPFilterSpec = msgspec.field(default_factory=BGPFilterSpec)
    api_version: Literal["projectcalico.org/v3"] | None = None
    kind: Literal["BGPFilter"] | None = None


_INTERFACE: Final = re.compile(r"[a-zA-Z0-9_.*-]{1,15}")
_MOST_OPERATIONS: Final = 10
_LENGTHS: Final = {4: 32, 6: 128}


def read_bgp_filter(document: BGPFilterDocument) -> BGPFilter:
    problems, spec = Problems(), document.spec
    meta = read_metadata(document.metadata, problems)
    for name, version, rules in (
        ("exportV4", 4, spec.export_v4),
        ("importV4", 4, spec.import_v4),
        ("exportV6", 6, spec.export_v6),
        ("importV6", 6, spec.import_v6),
    ):
        for i, rule in enumerate(rules):
            _check_filter_rule(rule, version, f"spec.{name}[{i}]", problems)
    problems.raise_any()
    return BGPFilter(meta, spec)


def _check_filter_rule(rule: FilterRule, version: int, path: str, problems: Problems) -> None:
    if (rule.cidr is None) != (rule.match_operator is None):
        missing = "cidr" if rule.cidr is None else "matchOperator"
        problems.add(f"{path}.{missing}", "missing, and needed: cidr and matchOperator stand together")
    if rule.cidr is not None:
        cidr = problems.read(wire.network, rule.cidr, f"{path}.cidr")
        if cidr and cidr.version != version:
            problems.add(f"{path}.cidr", f"expected an IPv{version} prefix, found {rule.cidr!r}")
    if rule.prefix_length is not None:
        _check_lengths(rule, version, path, problems)
    if rule.interface is not None and not _INTERFACE.fullmatch(rule.interface):
        problems.add(f"{path}.interface", f"expected the name of an interface, found {rule.interface!r}")
    if rule.communities is not None:
        if len(rule.communities.values) != 1:
            problems.add(f"{path}.communities.values", f"expected one, found {len(rule.communities.values)}")
        for i, text in enumerate(rule.communities.values):
            check_community(text, f"{path}.communities.values[{i}]", problems)
    for i, number in enumerate(rule.as_path_prefix):
        check_as_number(number, f"{path}.asPathPrefix[{i}]", problems)
    _check_operations(rule, path, problems)


def _check_lengths(rule: FilterRule, version: int, path: str, problems: Problems) -> None:
    assert rule.prefix_length  # noqa: S101 - the caller has looked
    if rule.cidr is None:
        problems.add(f"{path}.cidr", "missing, and needed where prefixLength is set")
    check_range(rule.prefix_length.min, (0, _LENGTHS[version]), f"{path}.prefixLength.min", problems)
    check_range(rule.prefix_length.max, (0, _LENGTHS[version]), f"{path}.prefixLength.max", problems)


def _check_operations(rule: FilterRule, path: str, problems: Problems) -> None:
    if rule.operations and rule.action != "Accept":
        problems.add(f"{path}.operations", "a route that is rejected cannot be changed: set action to 'Accept'")
    if len(rule.operations) > _MOST_OPERATIONS:
        problems.add(f"{path}.operations", f"expected {_MOST_OPERATIONS} at most, found {len(rule.operations)}")
    for i, operation in enumerate(rule.operations):
        said = len(msgspec.to_builtins(operation))
        if said != 1:
            problems.add(
                f"{path}.operations[{i}]",
                f"expected one of addCommunity, prependASPath and setPriority, found {said}",
            )


def write_bgp_filter(value: BGPFilter) -> BGPFilterDocument:
    return BGPFilterDocument(wire.meta(value.meta), value.spec, API_VERSION, "BGPFilter")
