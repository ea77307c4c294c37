"""What a custom resource's definition does not keep of what we write: said once a field, and not again.

An API server drops fields that a definition does not know, without a word
(``apiextensions-apiserver/pkg/apiserver/schema/pruning``). So a program that is newer than the definitions of its
cluster writes, reads less than it wrote, and nobody would know why.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from cloudnet.model.wire import Json

log = logging.getLogger(__name__)

_NEVER_PRUNED: Final = frozenset({"apiVersion", "kind", "metadata"})
_from_json = msgspec.json.Decoder(dict[str, Any]).decode  # Any: JSON that somebody else checks


def fields(sent: Json, kept: Json) -> Iterator[tuple[str, bool]]:
    """Give the path of each field that says something, and whether it was kept; nothing inside one that was not."""
    for key, inner in sent.items():
        if key not in _NEVER_PRUNED:
            yield from _field(key, inner, kept, key)


def _field(path: str, value: Any, kept: Json, key: str) -> Iterator[tuple[str, bool]]:
    if not value:  # an API server need not keep what is empty
        return
    yield path, key in kept
    if key in kept:
        yield from _inside(path, value, kept[key])


def _inside(path: str, sent: Any, kept: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(sent, dict) and isinstance(kept, dict):
        for key, inner in sent.items():
            yield from _field(f"{path}.{key}", inner, kept, key)
    elif isinstance(sent, list) and isinstance(kept, list):
        for one, other in zip(sent, kept, strict=False):  # pruning takes nothing out of a list
            yield from _inside(f"{path}[]", one, other)


class Pruned:
    """Says which fields of which resource are not kept, and when they are again. Calls may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost: dict[str, frozenset[str]] = {}  # {resource: paths}

    def note(self, what: str, sent: Json, answer: bytes) -> None:
        """Compare what was sent of a resource, such as ``ippools.projectcalico.org``, with what stands there now."""
        seen = dict(fields(sent, _from_json(answer)))
        lost = frozenset(path for path, is_kept in seen.items() if not is_kept)
        with self._lock:
            known = self._lost.get(what, frozenset())
            again = frozenset(path for path in known if seen.get(path))
            self._lost[what] = (known | lost) - again
        if new := lost - known:
            log.warning(
                "the cluster's definition is older than this program and drops what it does not know: apply what "
                "'cloudnet manifests --part crds' prints, or Calico's newer ones what=%s fields=%s",
                what,
                ",".join(sorted(new)),
            )
        if again:
            log.info("the cluster's definition keeps it now what=%s fields=%s", what, ",".join(sorted(again)))
