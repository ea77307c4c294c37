"""Calico's spelling of the rules in policies and profiles, and what Calico refuses of them.

Sources: Calico ``api/pkg/apis/projectcalico/v3/policy_common.go`` with its CEL rules,
``libcalico-go/lib/validator/v3/validator.go`` (validateRule, validateEntityRule) and ``api/pkg/lib/numorstring``. A
field that nobody knows is refused here, as kubectl and calicoctl do: passing over what a rule asks for would let it
match more. Where we are stricter than Calico, a comment says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

import msgspec

from cloudnet.errors import BadInput
from cloudnet.model import names, selectors, wire
from cloudnet.model.addresses import Family, Network, family
from cloudnet.model.policies import (
    ANYONE,
    ICMP,
    NUMBERS,
    Action,
    EntityRule,
    HTTPMatch,
    HTTPPath,
    PolicyType,
    Port,
    Protocol,
    Rule,
    ServiceAccountMatch,
    ServiceMatch,
)
from cloudnet.model.problems import Problems

T = TypeVar("T")
U = TypeVar("U")

MOST_RULES = 1024
_MOST_NETS = 256
_MOST_PORTS = 50
_MOST_HTTP = 20
_LONGEST_PATH = 1024
_LONGEST_SELECTOR = 1024
_ICMP_NUMBERS = {1: Family.IPV4, 58: Family.IPV6}


# --- the spelling -------------------------------------------------------------------------------------------


class _Strict(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What all parts of a rule are."""


class _Icmp(_Strict):
    type: int | None = None
    code: int | None = None


class _ServiceAccounts(_Strict):
    names: list[str] | None = None
    selector: str | None = None


class _Services(_Strict):
    name: str | None = None
    namespace: str | None = None


class _Entity(_Strict):
    nets: list[str] | None = None
    selector: str | None = None
    namespace_selector: str | None = None
    services: _Services | None = None
    ports: list[int | str] | None = None
    not_nets: list[str] | None = None
    not_selector: str | None = None
    not_ports: list[int | str] | None = None
    service_accounts: _ServiceAccounts | None = None


class _HttpPath(_Strict):
    exact: str | None = None
    prefix: str | None = None


class _Http(_Strict):
    methods: list[str] | None = None
    paths: list[_HttpPath] | None = None


class _RuleMetadata(_Strict):
    annotations: dict[str, str] | None = None


class RuleDocument(_Strict):
    """A Rule as Calico writes it."""

    action: str
    ip_version: int | None = msgspec.field(name="ipVersion", default=None)
    protocol: int | str | None = None
    icmp: _Icmp | None = None
    not_protocol: int | str | None = None
    not_icmp: _Icmp | None = msgspec.field(name="notICMP", default=None)
    source: _Entity | None = None
    destination: _Entity | None = None
    http: _Http | None = None
    metadata: _RuleMetadata | None = None


# --- reading: the parts -------------------------------------------------------------------------------------

_ACTIONS = {action.value: action for action in Action}
_NAMES = {name.lower(): name for name in NUMBERS}
_HIGHEST_PROTOCOL = 255
_HIGHEST_PORT = 65535
_RANGE = re.compile(r"([0-9]+):([0-9]+)")
_GLOBAL = re.compile(r"[ \t]*global\([ \t]*\)[ \t]*")


def read_action(text: str, path: str) -> Action:
    return wire.choice(text, _ACTIONS, path)


def read_protocol(found: int | str, path: str) -> Protocol:
    """Return a protocol, whatever the case of its name.

    Raises:
        BadInput: it is no protocol.
    """
    if isinstance(found, str):
        if name := _NAMES.get(found.lower()):
            return Protocol(NUMBERS[name], name)
        if not _is_number(found):
            raise BadInput(
                f"expected one of {wire.words(NUMBERS)} or an integer from 1 to 255, found {wire.shown(found)}",
                path=path,
            )
        found = int(found)
    if not 1 <= found <= _HIGHEST_PROTOCOL:
        raise BadInput(f"expected an integer from 1 to {_HIGHEST_PROTOCOL}, found {found}", path=path)
    return Protocol(found)


def read_port(found: int | str, path: str) -> Port:
    """Return a port, a range or a named port.

    Raises:
        BadInput: it is none of these, or a number out of range.
    """
    if isinstance(found, int):
        return _port_range(found, found, found, path)
    if _is_number(found):
        return _port_range(int(found), int(found), found, path)
    if match := _RANGE.fullmatch(found):
        if len(found) > 2 * names.SUBDOMAIN_LENGTH:
            raise BadInput(_not_a_port(found), path=path)
        return _port_range(int(match[1]), int(match[2]), found, path)
    if names.NAMED_PORT.fullmatch(found):
        return Port(name=found)
    raise BadInput(_not_a_port(found), path=path)


def _is_number(text: str) -> bool:
    """Tell whether digits are a number; long ones are none that anybody needs, and slow to read."""
    return text.isascii() and text.isdigit() and len(text) <= 20  # noqa: PLR2004 - more than 64 bits have


def _port_range(first: int, last: int, found: int | str, path: str) -> Port:
    if not (1 <= first <= _HIGHEST_PORT and 1 <= last <= _HIGHEST_PORT):
        raise BadInput(f"expected an integer from 1 to {_HIGHEST_PORT}, found {found!r}", path=path)
    if first > last:
        raise BadInput(f"expected the lower port first, found {found!r}", path=path)
    return Port(first, last)


def _not_a_port(found: str) -> str:
    return (
        f"expected an integer from 1 to {_HIGHEST_PORT}, a range such as '8000:8080' or a port's name, "
        f"found {wire.shown(found)}"
    )


def read_net(text: str, path: str) -> Network:
    """Return a prefix without host bits; one address alone needs its length too, as in Calico."""
    if "/" not in text:
        address = wire.address(text, path)
        raise BadInput(f"expected a prefix, found {text!r}: write {address}/{address.max_prefixlen}", path=path)
    return wire.network(text, path)


def check_selector(text: str, path: str, problems: Problems, *, may_be_global: bool = False) -> None:
    """Note what is wrong with a selector. ``global()`` belongs into a rule's namespaceSelector, and there alone."""
    if len(text) > _LONGEST_SELECTOR:
        problems.add(path, f"expected {_LONGEST_SELECTOR} characters at most, found {len(text)}")
        return
    if fault := _fault(text):
        problems.add(path, fault)
        return
    if "global(" in text:
        if not may_be_global:
            problems.add(path, "global() is for the namespaceSelector of a rule's source or destination only")
        elif not _GLOBAL.fullmatch(text):
            problems.add(path, f"expected global() alone, found {text!r}")


@lru_cache(maxsize=4096)  # policies share most of their selectors
def _fault(text: str) -> str:
    """Return why a text is no selector; nothing if it is one."""
    try:
        selectors.parse(text)
    except BadInput as error:
        return str(error).removeprefix("selector: ")
    return ""


def each(
    read: Callable[[T, str], U], found: Sequence[T] | None, path: str, problems: Problems, *, most: int
) -> tuple[U, ...]:
    """Return what was read of a list, noting what could not be; of too long a list only the beginning is read."""
    if not found:
        return ()
    if len(found) > most:
        problems.add(path, f"expected {most} at most, found {len(found)}")
        found = found[:most]
    values = []
    for i, one in enumerate(found):
        try:
            values.append(read(one, f"{path}[{i}]"))
        except BadInput as error:
            problems.note(error)
    return tuple(values)


# --- reading: a rule ----------------------------------------------------------------------------------------


def read_rules(
    documents: list[RuleDocument] | None, path: str, problems: Problems, *, direction: PolicyType | None = None
) -> tuple[Rule, ...]:
    """Return the rules of one direction; the rules of profiles are told none, for Calico asks nothing of it there."""

    def read(document: RuleDocument, at: str) -> Rule:
        rule = _read_rule(document, at, problems)
        if direction:
            _check_direction(rule, direction, at, problems)
        return rule

    return each(read, documents, path, problems, most=MOST_RULES)


def _read_rule(document: RuleDocument, path: str, problems: Problems) -> Rule:
    rule = Rule(
        action=problems.read(read_action, document.action, f"{path}.action") or Action.DENY,
        ip_version=_ip_version(document.ip_version, f"{path}.ipVersion", problems),
        protocol=_maybe_protocol(document.protocol, f"{path}.protocol", problems),
        not_protocol=_maybe_protocol(document.not_protocol, f"{path}.notProtocol", problems),
        icmp=_icmp(document.icmp, f"{path}.icmp", problems),
        not_icmp=_icmp(document.not_icmp, f"{path}.notICMP", problems),
        source=_entity(document.source, f"{path}.source", problems),
        destination=_entity(document.destination, f"{path}.destination", problems),
        http=_http(document.http, f"{path}.http", problems),
        annotations=_annotations(document.metadata, path, problems),
    )
    _check_ports(rule, document, path, problems)
    _check_icmp(rule, document, path, problems)
    _check_families(rule, path, problems)
    _check_http(rule, document, path, problems)
    if rule.destination.services and (rule.destination.ports or rule.destination.not_ports):
        problems.add(f"{path}.destination.services", "the service's own ports count: leave out ports and notPorts")
    return rule


def _ip_version(found: int | None, path: str, problems: Problems) -> Family | None:
    if found is None:
        return None
    if found not in (4, 6):
        problems.add(path, f"expected 4 or 6, found {found}")
        return None
    return Family(found)


def _maybe_protocol(found: int | str | None, path: str, problems: Problems) -> Protocol | None:
    return None if found is None else problems.read(read_protocol, found, path)


def _icmp(found: _Icmp | None, path: str, problems: Problems) -> ICMP | None:
    if found is None:
        return None
    for name, number, highest in (("type", found.type, 254), ("code", found.code, 255)):
        if number is not None and not 0 <= number <= highest:
            problems.add(f"{path}.{name}", f"expected an integer from 0 to {highest}, found {number}")
    if found.code is not None and found.type is None:
        problems.add(f"{path}.type", "missing, and needed by code")
    return ICMP(found.type, found.code)


def _annotations(metadata: _RuleMetadata | None, path: str, problems: Problems) -> dict[str, str]:
    annotations = (metadata.annotations if metadata else None) or {}
    names.check_annotations(annotations, f"{path}.metadata.annotations", problems)
    return annotations


def _entity(found: _Entity | None, path: str, problems: Problems) -> EntityRule:
    if found is None:
        return ANYONE
    entity = EntityRule(
        nets=each(read_net, found.nets, f"{path}.nets", problems, most=_MOST_NETS),
        not_nets=each(_not_net, found.not_nets, f"{path}.notNets", problems, most=_MOST_NETS),
        selector=found.selector or "",
        not_selector=found.not_selector or "",
        namespace_selector=found.namespace_selector or "",
        ports=each(read_port, found.ports, f"{path}.ports", problems, most=_MOST_PORTS),
        not_ports=each(read_port, found.not_ports, f"{path}.notPorts", problems, most=_MOST_PORTS),
        service_accounts=_service_accounts(found.service_accounts, f"{path}.serviceAccounts", problems),
        services=_services(found.services, f"{path}.services", problems),
    )
    check_selector(entity.selector, f"{path}.selector", problems)
    check_selector(entity.not_selector, f"{path}.notSelector", problems)
    check_selector(entity.namespace_selector, f"{path}.namespaceSelector", problems, may_be_global=True)
    if entity.services:
        _check_services(entity, path, problems)
    return entity


def _not_net(text: str, path: str) -> Network:
    net = read_net(text, path)
    if not net.prefixlen:
        raise BadInput(f"{net} leaves no address that the rule could match", path=path)
    return net


def _service_accounts(found: _ServiceAccounts | None, path: str, problems: Problems) -> ServiceAccountMatch | None:
    if found is None:
        return None
    check_selector(found.selector or "", f"{path}.selector", problems)
    # Calico takes any text for a name, and one with a quote in it makes its rule match every account: refused here.
    accounts = each(_account, found.names, f"{path}.names", problems, most=len(found.names or ()))
    return ServiceAccountMatch(accounts, found.selector or "")


def _account(text: str, path: str) -> str:
    if not names.is_subdomain(text):
        raise BadInput(f"expected the name of a service account, found {wire.shown(text)}", path=path)
    return text


def _services(found: _Services | None, path: str, problems: Problems) -> ServiceMatch | None:
    if found is None:
        return None
    if not found.name:
        problems.add(f"{path}.name", wire.MISSING)
    for field, text in (("name", found.name), ("namespace", found.namespace)):
        if text and not names.is_subdomain(text):
            problems.add(f"{path}.{field}", f"expected the name of a {field}, found {wire.shown(text)}")
    return ServiceMatch(found.name or "", found.namespace or "")


def _check_services(entity: EntityRule, path: str, problems: Problems) -> None:
    for field, found in (
        ("selector", entity.selector),
        ("notSelector", entity.not_selector),
        ("namespaceSelector", entity.namespace_selector),
        ("serviceAccounts", entity.service_accounts),
        ("nets", entity.nets),
        ("notNets", entity.not_nets),
    ):
        if found:
            problems.add(f"{path}.{field}", "expected nothing beside services, which say all of the addresses")


def _http(found: _Http | None, path: str, problems: Problems) -> HTTPMatch | None:
    if found is None:
        return None
    methods = found.methods or []
    for field, number in (("methods", len(methods)), ("paths", len(found.paths or ()))):
        if number > _MOST_HTTP:
            problems.add(f"{path}.{field}", f"expected {_MOST_HTTP} at most, found {number}")
    if len(set(methods)) < len(methods):
        problems.add(f"{path}.methods", "expected each method once")
    paths = each(_http_path, found.paths, f"{path}.paths", problems, most=_MOST_HTTP)
    return HTTPMatch(tuple(methods), paths)


def _http_path(found: _HttpPath, path: str) -> HTTPPath:
    text = found.exact or found.prefix
    if not text or (found.exact and found.prefix):
        raise BadInput("expected either exact or prefix", path=path)
    if not text.startswith("/") or any(mark in text for mark in "? #"):
        raise BadInput(f"expected a path that begins with '/', without '?', '#' or blanks, found {text!r}", path=path)
    if len(text) > _LONGEST_PATH:
        raise BadInput(f"expected {_LONGEST_PATH} characters at most, found {len(text)}", path=path)
    return HTTPPath(found.exact or "", found.prefix or "")


# --- reading: what the parts of a rule ask of each other -----------------------------------------------------


def _check_ports(rule: Rule, document: RuleDocument, path: str, problems: Problems) -> None:
    if rule.protocol.has_ports if rule.protocol else document.protocol is not None:
        return  # a protocol that is wrong has been told of
    for end, entity in (("source", rule.source), ("destination", rule.destination)):
        for field, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
            if rule.protocol and ports:
                problems.add(f"{path}.{end}.{field}", f"expected none, for {rule.protocol} has no ports")
            elif any(not port.name for port in ports):
                problems.add(
                    f"{path}.{end}.{field}",
                    "numbers need the rule's protocol to be TCP, UDP or SCTP; names alone do without",
                )


def _check_icmp(rule: Rule, document: RuleDocument, path: str, problems: Problems) -> None:
    number = rule.protocol.number if rule.protocol else None
    if rule.icmp and number not in _ICMP_NUMBERS and (rule.protocol or document.protocol is None):
        problems.add(f"{path}.icmp", "needs the rule's protocol to be ICMP or ICMPv6")
    # Calico takes this, and its kernel rules then refuse it: no one rule can say both.
    if rule.not_icmp and rule.not_icmp.type is not None and document.protocol is None and rule.not_protocol:
        problems.add(f"{path}.notICMP", "cannot stand beside notProtocol: give the protocol, or write two rules")
    for field, protocol in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        of = _ICMP_NUMBERS.get(protocol.number) if protocol else None
        if of and rule.ip_version and of is not rule.ip_version:
            problems.add(f"{path}.{field}", f"{protocol} is IPv{of}'s, but ipVersion is {rule.ip_version}")


def _check_families(rule: Rule, path: str, problems: Problems) -> None:
    """Note nets of another family than the rule's: its ipVersion, or that of the nets before."""
    expected = rule.ip_version
    for field, nets in (
        ("source.nets", rule.source.nets),
        ("source.notNets", rule.source.not_nets),
        ("destination.nets", rule.destination.nets),
        ("destination.notNets", rule.destination.not_nets),
    ):
        for net in nets:
            if expected and net.version != expected:
                why = "ipVersion says" if rule.ip_version else "other nets of the rule are"
                problems.add(
                    f"{path}.{field}", f"expected IPv{expected} as {why}, found {net}: write a rule for each"
                )
                break
            expected = family(net)


def _check_http(rule: Rule, document: RuleDocument, path: str, problems: Problems) -> None:
    if rule.http is None:
        return
    if rule.action is not Action.ALLOW and document.action in _ACTIONS:
        problems.add(
            f"{path}.http", f"expected nothing, for only Allow can ask for it, and the action is {document.action}"
        )
    if rule.protocol and rule.protocol.number != NUMBERS["TCP"]:
        problems.add(f"{path}.http", f"needs the rule's protocol to be TCP, found {rule.protocol}")


def _check_direction(rule: Rule, direction: PolicyType, path: str, problems: Problems) -> None:
    """Note what has no sense in an ingress or egress rule: there the near end is known to be the endpoint itself."""
    if direction is PolicyType.EGRESS:
        if rule.source.services:
            problems.add(f"{path}.source.services", "expected nothing in the source of an egress rule")
        if rule.http:
            problems.add(f"{path}.http", "expected nothing in an egress rule")
    elif rule.destination.services:
        problems.add(f"{path}.destination.services", "expected nothing in the destination of an ingress rule")


# --- writing ------------------------------------------------------------------------------------------------


def write_rules(rules: Iterable[Rule]) -> list[RuleDocument] | None:
    return [_write_rule(rule) for rule in rules] or None


def _write_rule(rule: Rule) -> RuleDocument:
    return RuleDocument(
        action=rule.action.value,
        ip_version=int(rule.ip_version) if rule.ip_version else None,
        protocol=write_protocol(rule.protocol),
        icmp=_Icmp(rule.icmp.type, rule.icmp.code) if rule.icmp else None,
        not_protocol=write_protocol(rule.not_protocol),
        not_icmp=_Icmp(rule.not_icmp.type, rule.not_icmp.code) if rule.not_icmp else None,
        source=_write_entity(rule.source),
        destination=_write_entity(rule.destination),
        http=_write_http(rule.http),
        metadata=_RuleMetadata(dict(rule.annotations)) if rule.annotations else None,
    )


def write_protocol(protocol: Protocol | None) -> int | str | None:
    return (protocol.name or protocol.number) if protocol else None


def _write_ports(ports: Iterable[Port]) -> list[int | str] | None:
    return [port.first if port.first and port.first == port.last else str(port) for port in ports] or None


def _write_entity(entity: EntityRule) -> _Entity | None:
    if entity == ANYONE:
        return None
    accounts, services = entity.service_accounts, entity.services
    return _Entity(
        nets=[str(net) for net in entity.nets] or None,
        selector=entity.selector or None,
        namespace_selector=entity.namespace_selector or None,
        services=_Services(services.name, services.namespace or None) if services else None,
        ports=_write_ports(entity.ports),
        not_nets=[str(net) for net in entity.not_nets] or None,
        not_selector=entity.not_selector or None,
        not_ports=_write_ports(entity.not_ports),
        service_accounts=_ServiceAccounts(list(accounts.names) or None, accounts.selector or None)
        if accounts
        else None,
    )


def _write_http(http: HTTPMatch | None) -> _Http | None:
    if http is None:
        return None
    paths = [_HttpPath(path.exact or None, path.prefix or None) for path in http.paths]
    return _Http(list(http.methods) or None, paths or None)
