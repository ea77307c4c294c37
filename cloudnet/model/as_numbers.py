"""Numbers of autonomous systems as documents write them: ``64512``, ``"64512"``, ``"1.10"``."""

from __future__ import annotations

from typing import Final

EXPECTED: Final = "an AS number such as 64512 or 1.10"

_SHORT: Final = 2**16
_LONG: Final = 2**32
_PARTS: Final = 2


def read(found: int | str) -> int:
    """Return the number, of 32 bits; with a dot it is two of 16 (RFC 5396, asdot+).

    Raises:
        ValueError: it is none.
    """
    parts = [int(part) if part.isascii() and part.isdigit() else -1 for part in str(found).split(".")]
    limit = _LONG if len(parts) == 1 else _SHORT
    if len(parts) > _PARTS or not all(0 <= part < limit for part in parts):
        raise ValueError(found)
    return parts[0] if len(parts) == 1 else parts[0] << 16 | parts[1]
