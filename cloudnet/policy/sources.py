"""What a set is made of: the meaning behind each ``SetId`` in a rule.

``convert.py`` names them, whoever keeps the sets fills them. A set's name follows from its source, so that rules that
ask the same share one. Calico names them alike (``felix/calc/rule_scanner.go``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from cloudnet.policy.rules import SetId


@dataclass(frozen=True, slots=True)
class Selected:
    """Addresses of all endpoints and network sets that a selector selects; canonical text, and its unique id."""

    selector: str
    uid: str

    @property
    def id(self) -> SetId:
        return SetId(self.uid)


@dataclass(frozen=True, slots=True)
class NamedPort:
    """Address, protocol and number of the port called ``name`` of all endpoints that a selector selects.

    No ``protocol`` means any: one pod may call a TCP port so, and another one an UDP port.
    """

    selector: str
    name: str
    protocol: int | None = None

    @property
    def id(self) -> SetId:
        return _named("n", self.selector, self.name, str(self.protocol or ""))


@dataclass(frozen=True, slots=True)
class ServicePorts:
    """Address, protocol and port of all endpoints of a Kubernetes service."""

    namespace: str
    service: str

    @property
    def id(self) -> SetId:
        return _named("svc", self.namespace, self.service)


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """Addresses of all endpoints of a Kubernetes service."""

    namespace: str
    service: str

    @property
    def id(self) -> SetId:
        return _named("svcnoport", self.namespace, self.service)


Source: TypeAlias = Selected | NamedPort | ServicePorts | ServiceAddresses


def of_ports(source: Source) -> bool:
    """Tell whether members are ports (``PortMember``) rather than addresses (``Network``)."""
    return isinstance(source, NamedPort | ServicePorts)


def _named(kind: str, *parts: str) -> SetId:
    """Return a name of one length whatever the parts are; a zero byte stands in none of them."""
    digest = hashlib.sha224("\0".join(parts).encode()).hexdigest()[:32]
    return SetId(f"{kind}:{digest}")
