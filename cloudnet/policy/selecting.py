"""How the selectors of one policy or rule become one: namespace and service account folded in.

A namespace's labels are seen by selectors as labels of its pods that begin with ``pcns.``, those of a service account
with ``pcsa.``. Follows Calico ``libcalico-go/lib/backend/syncersv1/updateprocessors`` (selectors.go, rules.go) but
for one thing: there ``all()`` is replaced as text, also inside a quoted value; here only where it is a function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cloudnet.model.policies import EntityRule, PolicySpec, ServiceAccountMatch
from cloudnet.model.selectors import Selector, parse
from cloudnet.model.workloads import NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL

NAMESPACE_PREFIX: Final = "pcns."
ACCOUNT_PREFIX: Final = "pcsa."

_FUNCTION_OR_TEXT = re.compile(r"""(all|global)\(\)|"[^"]*"|'[^']*'""")


@lru_cache(maxsize=65536)  # policies share most of their selectors; reading one takes longer than all else here
def read(text: str) -> Selector:
    return parse(text)


def of_policy(spec: PolicySpec, namespace: str) -> Selector:
    """Return what a policy selects; ``namespace`` is empty for a global one."""
    parts = [_canonical(spec.selector)]
    if namespace:
        parts.append(_in_namespace(namespace))
    elif spec.namespace_selector:
        parts.append(_of_namespaces(spec.namespace_selector))
    if spec.service_account_selector:
        parts.append(_of_accounts(spec.service_account_selector))
    return read(_all_of(parts))


def of_entity(entity: EntityRule, namespace: str) -> Selector | None:
    """Return whom one end of a rule selects; nothing if it asks for no endpoint at all.

    The rule of a namespaced policy means its own namespace as soon as it asks for any, with ``not_selector`` too.
    """
    parts = [_accounts(entity.service_accounts) if entity.service_accounts else "", _canonical(entity.selector)]
    if entity.namespace_selector:
        parts.insert(0, _of_namespaces(entity.namespace_selector))
    elif namespace and (any(parts) or entity.not_selector):
        parts.insert(0, _in_namespace(namespace))
    return read(_all_of(parts)) if any(parts) else None


def _canonical(text: str) -> str:
    """Return a selector in a form that can stand inside another one; nothing for none. Blanks alone mean all()."""
    return read(text).canonical() if text else ""


def _in_namespace(namespace: str) -> str:
    return f"{NAMESPACE_LABEL} == '{namespace}'"


def _of_namespaces(text: str) -> str:
    """Return a selector by namespaces: all() means what has one, global() what has none."""
    canonical = read(text).prefixed(NAMESPACE_PREFIX).canonical()
    return _replaced(canonical, {"all": f"has({NAMESPACE_LABEL})", "global": f"!has({NAMESPACE_LABEL})"})


def _of_accounts(text: str) -> str:
    canonical = read(text).prefixed(ACCOUNT_PREFIX).canonical()
    return _replaced(canonical, {"all": f"has({SERVICE_ACCOUNT_LABEL})"})


def _replaced(canonical: str, functions: dict[str, str]) -> str:
    def choose(match: re.Match[str]) -> str:
        return functions.get(match[1] or "", match[0])

    return _FUNCTION_OR_TEXT.sub(choose, canonical)


def _accounts(match: ServiceAccountMatch) -> str:
    """Return a selector by accounts. In a rule all() stays as it is, unlike in a policy's own selector."""
    by_label = read(match.selector).prefixed(ACCOUNT_PREFIX).canonical() if match.selector else ""
    names = ", ".join(f"'{name}'" for name in match.names)
    return _all_of([by_label, f"{SERVICE_ACCOUNT_LABEL} in {{{names}}}" if names else ""])


def _all_of(parts: Iterable[str]) -> str:
    filled = [part for part in parts if part]
    return filled[0] if len(filled) == 1 else " && ".join(f"({part})" for part in filled)
