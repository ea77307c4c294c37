"""Secrets taken out of what leaves the machine: by the name of what holds them, and by their own look. Pure.

Rather too much than too little: whoever needs a value that was taken out can be asked for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

GONE: Final = "***"

_NAME: Final = (
    r"[\w.-]*(?:pass(?:word|wd|phrase)?|secret|token|credential|authorization|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|client[_-]?key|key[_-]?data|auth|bearer|cookie|session[_-]?id|psk|signature)[\w.-]*"
)
_SECRET_NAME: Final = re.compile(_NAME, re.IGNORECASE)
_PATTERNS: Final = (
    # whole blocks, then what looks like a secret by itself, then what is named so
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), GONE),
    (re.compile(r"(?P<kept>[a-z][a-z0-9+.-]*://[^\s:/@'\"]*):[^\s@'\"]+@"), rf"\g<kept>:{GONE}@"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.?[\w-]*"), GONE),  # a JSON web token
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), GONE),  # a key of AWS
    (re.compile(r"(?P<kept>\b(?:Bearer|Basic)\s+)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\g<kept>{GONE}"),
    (re.compile(r"(?P<kept>[?&](?:sig|token|key|password)=)[^&\s'\"]+", re.IGNORECASE), rf"\g<kept>{GONE}"),
    (
        re.compile(
            rf"(?P<kept>(?<![\w.-])[\"']?{_NAME}[\"']?\s*[=:]\s*)"
            r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;}\]\"']+)",
            re.IGNORECASE,
        ),
        rf"\g<kept>{GONE}",
    ),
)


def text(found: str) -> str:
    """Return a text without the secrets in it."""
    for pattern, instead in _PATTERNS:
        found = pattern.sub(instead, found)
    return found


# Any: JSON's types.
def value(found: Any) -> Any:
    """Return settings without the secrets in them: whatever stands under a name of a secret is gone."""
    if isinstance(found, Mapping):
        return {key: GONE if is_secret(str(key)) and inner else value(inner) for key, inner in found.items()}
    if isinstance(found, list | tuple):
        return [value(one) for one in found]
    return text(found) if isinstance(found, str) else found


def is_secret(name: str) -> bool:
    """Tell whether what is called so holds a secret."""
    return _SECRET_NAME.fullmatch(name) is not None
