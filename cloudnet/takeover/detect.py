"""Which pod network serves a node now. Pure: each predecessor's own file knows what it looks like."""

from __future__ import annotations

from collections.abc import Callable

from cloudnet.takeover import azure_cni, calico, flannel, kubenet, vpc_cni
from cloudnet.takeover.facts import Facts, Found

_KNOWN: tuple[Callable[[Facts, str], Found | None], ...] = (
    calico.recognise,
    flannel.recognise,
    vpc_cni.recognise,
    azure_cni.recognise,
    kubenet.recognise,
)
"""The surest first: a plugin of its own says more than a bridge."""

BRIDGED = frozenset({kubenet.KIND, flannel.KIND})
"""Those whose pods keep their bridge, and whose range of addresses goes on with us."""


def predecessor(facts: Facts, *, ours: str) -> Found | None:
    """Return the network that a runtime would use were it not for ours; nothing when nobody is known."""
    return next((found for look in _KNOWN if (found := look(facts, ours))), None)


APART = frozenset({vpc_cni.KIND, azure_cni.KIND})
"""Those whose pods have addresses of the cloud's, so that ours are others."""
