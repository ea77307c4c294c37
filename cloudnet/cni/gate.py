"""What stands between a pod's link and the pod: its policy must be in force before anybody can speak through it.

ADD admits an endpoint before it answers, DEL dismisses it after the link has gone. Who enforces policy implements
this; an agent without policy uses ``Open``.
"""

from __future__ import annotations

from typing import Protocol

from cloudnet.model.workloads import WorkloadEndpoint


class Gate(Protocol):
    """Whoever sees to policy. Calls come from many threads, for one endpoint one after another."""

    def admit(self, endpoint: WorkloadEndpoint) -> None:
        """Return when the endpoint's rules are in force in the kernel; again for one admitted before is well.

        Raises:
            CloudnetError: they cannot be; then the endpoint must not be used.
        """

    def dismiss(self, endpoint: WorkloadEndpoint) -> None:
        """Forget the endpoint; one never admitted is success."""


class Open:
    """Admits everybody: there is no policy."""

    def admit(self, endpoint: WorkloadEndpoint) -> None:
        """Return at once."""

    def dismiss(self, endpoint: WorkloadEndpoint) -> None:
        """Return at once."""
