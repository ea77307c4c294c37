"""What an address set is made of, and the name that follows from it. Conversion says it, ``membership.py`` fills it.

Names are Calico's (``felix/calc/active_rules_calculator`` and ``rule_scanner.go`` UniqueID), so that two rules that
mean the same set share one.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from cloudnet.policy.rules import PROTOCOLS, SetId
from cloudnet.policy.selectors import parse


@dataclass(frozen=True, slots=True)
class Selected:
    """The addresses of every endpoint and network set that a selector (canonical text) selects."""

    selector: str


@dataclass(frozen=True, slots=True)
class SelectedPort:
    """The port that selected endpoints call ``name``, with their addresses; its number may differ among them.

    No ``protocol`` means any: one endpoint may call a TCP port so, and another one an UDP port.
    """

    selector: str
    name: str
    protocol: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceEndpoints:
    """The addresses behind a Kubernetes service; with ``ports``, the port that each listens on as well."""

    namespace: str
    name: str
    ports: bool


Source: TypeAlias = Selected | SelectedPort | ServiceEndpoints


def of_ports(source: Source) -> bool:
    """Tell whether the members are ``PortMember``, not ``Network``."""
    return isinstance(source, SelectedPort) or (isinstance(source, ServiceEndpoints) and source.ports)


def set_id(source: Source) -> SetId:
    """Return the name of the set that a source fills."""
    match source:
        case Selected(selector):
            return SetId(parse(selector).uid())
        case SelectedPort(selector, name, protocol):
            spelt = "" if protocol is None else _NAMES.get(protocol, str(protocol))
            return _unique("n", f"{parse(selector).uid()},{spelt},{name}")
        case ServiceEndpoints(namespace, name, ports):
            return _unique("svc" if ports else "svcnoport", f"{namespace}/{name}")


def _unique(prefix: str, text: str) -> SetId:
    """Return a prefix and a hash. Calico ``libcalico-go/lib/hash`` MakeUniqueID."""
    digest = hashlib.sha224(f"{prefix}:{text}".encode()).digest()
    return SetId(f"{prefix}:{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}")


_NAMES = {number: name for name, number in PROTOCOLS.items()}
