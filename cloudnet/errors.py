"""Every error that cloudnet raises on purpose, by what the caller does about it.

    CloudnetError
    ├── BadInput            fix the document, setting or argument; ``path`` names the field
    │   └── BadDocument     the same, for every wrong field of a document at once
    ├── MissingTool         install or enable what the host lacks
    ├── StoreError          (cloudnet.store.api)
    ├── KernelError         (cloudnet.kernel.api)
    ├── ProviderError       (cloudnet.provider.errors)
    └── LabError            (cloudnet.lab)

Doors derive their own classes from ``CloudnetError`` beside their protocol. A message names the thing,
what is wrong and the next step; it is lower case, has no full stop and never holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence


class CloudnetError(Exception):
    """Base of every error that cloudnet raises on purpose."""

    retry: bool = False
    """Whether the same call, unchanged, may succeed later."""


class BadInput(CloudnetError):
    """A document, setting or argument is wrong; ``path`` names the field, e.g. ``spec.blockSize``."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


_SHOWN = 20  # problems in one message; whoever wants all of them reads ``problems``


class BadDocument(BadInput):
    """A document is wrong in one place or several; ``problems`` are all of them: (path, message)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        lines = [f"{path}: {message}" if path else message for path, message in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"and {len(problems) - _SHOWN} more")
        super().__init__("\n".join(lines))
        self.path = problems[0][0] if problems else ""
        self.problems = tuple(problems)


class MissingTool(CloudnetError):
    """The host lacks a program, a right or a kernel feature; the message says what to do."""
