"""Passwords of BGP sessions, from files: ``FOLDER/SECRET/KEY``, as kubelets mount a Secret.

The agent asks no API for them: it may not read secrets (docs/decisions/bgp-passwords-are-files.md).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Final

from cloudnet.bgp.picture import ReadSecret, SecretKey

log = logging.getLogger(__name__)

_WORD: Final = re.compile(r"(?!\.\.?$)[-._A-Za-z0-9]{1,253}")
"""Names of secrets and keys, as Kubernetes takes them; none leads out of the folder."""


def passwords_in(folder: str) -> ReadSecret:
    """Return what reads a password; nothing where there is none."""

    def read(key: SecretKey) -> str:
        if not all(_WORD.fullmatch(word) for word in key):
            return ""
        try:
            return Path(folder, *key).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as e:
            log.debug("a password cannot be read secret=%s key=%s reason=%r", *key, type(e).__name__)
            return ""

    return read
