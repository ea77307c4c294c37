"""Long-running operations of Azure Resource Manager: what an accepted call asks us to wait for. Pure.

Source: "Track asynchronous Azure operations" (azure-async-operation), and recorded traffic: the answer carries
``Azure-AsyncOperation``, and that URL answers 200 with ``{"status": …}`` until it is one of the final ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cloudnet.provider.errors import Unavailable
from cloudnet.provider.refusals import Refusal
from cloudnet_azure import errors

SLOWER = 1.5  # each wait to the one before
LONGEST_WAIT = 2.0  # seconds: what lasts longer than a few waits is not hurried by asking


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted call: the URL to ask whether it is done, empty when it is; ``wait`` is Azure's wish in seconds."""

    operation: str = ""
    wait: float | None = None


def accepted(headers: Mapping[str, str], endpoint: str) -> Accepted:
    """Return what an answer asks us to wait for; ``headers`` have names in small letters.

    Raises:
        Unavailable: the operation is elsewhere; our token shall not go there.
    """
    url = headers.get("azure-asyncoperation", "")
    if url and urlsplit(url)[:2] != urlsplit(endpoint)[:2]:
        raise Unavailable(
            f"an operation is to be asked for at {urlsplit(url).netloc}, which is not {endpoint}: "
            "correct endpoint_url, or look for a proxy",
            provider=errors.NAME,
        )
    return Accepted(url, seconds(headers))


def seconds(headers: Mapping[str, str]) -> float | None:
    """Return what Retry-After asks for; nothing when it is absent or a date."""
    text = headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        return None


def waits(first: float) -> Iterator[float]:
    """Yield the seconds to each next look."""
    wait = first
    while True:
        yield wait
        wait = min(LONGEST_WAIT, wait * SLOWER)


def finished(
    action: str,
    body: Mapping[str, Any],  # JSON of the operation
) -> bool:
    """Tell whether an operation has succeeded.

    Raises:
        ProviderError: it failed, classified by its own code.
    """
    status = str(body.get("status", ""))
    if status == "Succeeded":
        return True
    if status not in {"Failed", "Canceled"}:
        return False
    error = body.get("error") or {}
    raise errors.translate(
        Refusal(
            action=action,
            code=str(error.get("code") or status),
            message=str(error.get("message") or f"the operation ended as {status}"),
        )
    )
