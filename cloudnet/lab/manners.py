"""What of a cloud shows in how it treats routes and packets, as far as the demo's story depends on it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manners:
    """A cloud's manners.

    ``flat``: machines of one subnet reach each other's MACs, as on a switch, and no packet between them asks a route
    table. ``listed`` is how many entries of a table are there before the first of ours and count against its limit.
    ``tells_quota``: the API says how much fits into a table; without it only a refusal does. ``tells_death``: it
    says that a machine stands still. ``zonal``: routes lead to machines of their own zone only. ``without`` are the
    faults that cannot be, where there is nothing to break.
    """

    flat: bool = True
    listed: int = 1
    tells_quota: bool = True
    tells_death: bool = True
    zonal: bool = False
    without: frozenset[str] = frozenset()
