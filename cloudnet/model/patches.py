"""Changes to a document as people write them: a merge patch, or a list of JSON patch operations.

Our kinds have no lists with keys, so a strategic merge is a merge, as it is for Kubernetes' custom resources.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from cloudnet.errors import BadInput


class PatchType(enum.StrEnum):
    """How a patch is meant."""

    STRATEGIC = "strategic"
    MERGE = "merge"
    JSON = "json"


# Any: documents and patches that nobody checked yet.
def apply(document: Mapping[str, Any], patch: Any, type_: PatchType) -> dict[str, Any]:
    """Return the document with a patch applied; the document given stays as it is.

    Raises:
        BadInput: the patch is none, or does not fit the document; ``path`` is ``patch``.
    """
    changed = _operations(document, patch) if type_ is PatchType.JSON else merge(document, _object(patch))
    if not isinstance(changed, dict):
        raise BadInput("leaves no object", path="patch")
    return changed


def merge(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with a merge patch applied: null removes, lists are replaced whole (RFC 7396)."""
    changed = dict(document)
    for key, value in patch.items():
        if value is None:
            changed.pop(key, None)
        elif isinstance(value, Mapping):
            before = changed.get(key)
            changed[key] = merge(before if isinstance(before, Mapping) else {}, value)
        else:
            changed[key] = value
    return changed


def _object(patch: Any) -> Mapping[str, Any]:
    if not isinstance(patch, Mapping):
        raise BadInput(f"expected an object, found {type(patch).__name__}: a list wants --type json", path="patch")
    return patch


def _operations(document: Mapping[str, Any], patch: Any) -> Any:
    """RFC 6902."""
    import jsonpatch  # noqa: PLC0415 - few patches are of this type

    if not isinstance(patch, Sequence) or isinstance(patch, str):
        raise BadInput(f"expected a list of operations, found {type(patch).__name__}", path="patch")
    try:
        return jsonpatch.JsonPatch(patch).apply(document)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
        raise BadInput(f"does not fit: {error}", path="patch") from error
