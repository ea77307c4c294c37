"""The settings of the example provider: what ``--provider-config`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudnet.errors import BadInput
from cloudnet.provider import settings


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
    parsed = settings.read(ExampleConfig, config, provider="example")
    if not parsed.url.startswith(("http://", "https://")):
        raise BadInput(f"expected http://… or https://…, found {parsed.url!r}", path="url")
    settings.check_positive(parsed, ("mtu", "deadline", "timeout"))
    return parsed
