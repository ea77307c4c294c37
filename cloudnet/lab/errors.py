"""What goes wrong in a lab itself, as opposed to what a lab breaks on purpose."""

from __future__ import annotations

from cloudnet.errors import CloudnetError


class LabError(CloudnetError):
    """The lab cannot do what was asked; the message says what to do."""
