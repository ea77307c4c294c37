"""The settings of the example provider: what ``--provider-config`` holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cloudnet.errors import BadInput


@dataclass(frozen=True, slots=True)
class ExampleConfig:
    """Where the router is, and as whom to speak to it."""

    url: str
    token: str = field(default="", repr=False)
    mtu: int = 1500
    deadline: float = 10.0  # seconds that one call may take, all its attempts together
    timeout: float = 5.0  # seconds for one attempt


def parse(
    config: Mapping[str, Any],  # parsed JSON, checked here
) -> ExampleConfig:
    """Return the checked settings.

    Raises:
        BadInput: a field is unknown, missing, or of the wrong kind; the message names it, never a secret.
    """
    known = [f.name for f in dataclasses.fields(ExampleConfig)]
    for name in config:
        if name not in known:
            raise BadInput(f"is not a setting of the example provider; there are {', '.join(known)}", path=name)
    try:
        parsed = msgspec.convert(config, ExampleConfig)
    except msgspec.ValidationError as error:
        raise BadInput(str(error), path="example provider config") from error
    if not parsed.url.startswith(("http://", "https://")):
        raise BadInput(f"expected http://… or https://…, found {parsed.url!r}", path="url")
    for name in ("mtu", "deadline", "timeout"):
        if getattr(parsed, name) <= 0:
            raise BadInput(f"expected a number above 0, found {getattr(parsed, name)}", path=name)
    return parsed
