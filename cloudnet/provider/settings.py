"""A provider's settings, from parsed JSON to a frozen dataclass, with every mistake named by its field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from cloudnet.errors import BadInput

C = TypeVar("C")


def read(
    kind: type[C],
    config: Mapping[str, Any],  # parsed JSON, checked here
    *,
    provider: str,
) -> C:
    """Return the settings of the dataclass ``kind``; what no call could work with is for the caller to refuse.

    Raises:
        BadInput: a field is unknown, missing, or of the wrong kind; the message names it, never a secret.
    """
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]  # a dataclass, as said
    for name in config:
        if name not in known:
            raise BadInput(f"is not a setting of the {provider} provider; there are {', '.join(known)}", path=name)
    try:
        return msgspec.convert(config, kind)
    except msgspec.ValidationError as error:
        raise BadInput(str(error), path=f"{provider} provider config") from error


def check_positive(config: object, names: Iterable[str]) -> None:
    """Refuse numbers that are 0 or less.

    Raises:
        BadInput: one is.
    """
    for name in names:
        if getattr(config, name) <= 0:
            raise BadInput(f"expected a number above 0, found {getattr(config, name)}", path=name)


def check_bursts(config: object) -> None:
    """Refuse buckets that hold no whole token: ``read_burst`` and ``write_burst``.

    Raises:
        BadInput: one does.
    """
    for name in ("read_burst", "write_burst"):
        found = getattr(config, name)
        if found < 1:
            raise BadInput(f"expected 1 or more, found {found}: no call could ever be made", path=name)
