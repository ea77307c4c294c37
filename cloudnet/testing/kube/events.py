"""What Kubernetes asks of an event (``pkg/apis/core/validation/events.go``): ``(field, message)`` of each fault."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloudnet.model import names
from cloudnet.testing.kube.objects import Json

_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_MOST = {"action": 128, "reason": 128, "reportingInstance": 128}  # characters, and not empty
_NOTE = 1024  # bytes


def faults(before: Json | None, event: Json) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with an event that is created, or changed from ``before``."""
    if not _MICRO_TIME.fullmatch(event.get("eventTime", "")):
        yield "eventTime", "Required value"
    if not names.is_key(event.get("reportingController", "")):
        yield "reportingController", f'Invalid value: "{event.get("reportingController", "")}"'
    for field, most in _MOST.items():
        if not 0 < len(event.get(field, "")) <= most:
            yield field, f"must be set and have at most {most} characters"
    if event.get("type") not in {"Normal", "Warning"}:
        yield "type", f'Invalid value: "{event.get("type")}"'
    if len(event.get("note", "").encode()) > _NOTE:
        yield "note", f"can have at most {_NOTE} bytes"
    yield from _place(event)
    yield from _series(before, event)


def _place(event: Json) -> Iterator[tuple[str, str]]:
    regarding, lies = event.get("regarding", {}).get("namespace", ""), event["metadata"].get("namespace", "")
    if not regarding and lies not in {"default", "kube-system"}:
        yield "metadata.namespace", "not allowed in namespace"
    if regarding and regarding != lies:
        yield "involvedObject.namespace", "does not match event.namespace"


def _series(before: Json | None, event: Json) -> Iterator[tuple[str, str]]:
    series = event.get("series")
    if series is not None and series.get("count", 0) < 2:
        yield "series.count", "should be at least 2"
    if series is not None and not _MICRO_TIME.fullmatch(series.get("lastObservedTime", "")):
        yield "series.lastObservedTime", "Required value"
    if before is not None:
        for field in ("eventTime", "note", "reason", "action", "type", "regarding", "reportingInstance"):
            if before.get(field) != event.get(field):
                yield field, "field is immutable"
