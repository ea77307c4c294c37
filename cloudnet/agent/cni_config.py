"""Puts the runtime's configuration in place once this agent can add pods, and again when somebody takes it away.

A kubelet calls its node ready as soon as there is a configuration, and pods are sent there. So it comes last: after
the program, and after the agent that the program asks. An agent that stops leaves it: pods that run need nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from cloudnet.cni import install
from cloudnet.cni.install import Place
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.keeping import keeping

log = logging.getLogger(__name__)

_SOON: Final = 0.1  # seconds until the agent can add pods
_LOOK: Final = 10.0  # whether it is still there
_AGAIN: Final = 5.0  # after it could not be written


class ConfigKeeper:
    """Keeps one file. ``cannot_add`` says why the agent can add no pod now; empty when it can."""

    def __init__(self, source: Path, place: Place, cannot_add: Callable[[], str]) -> None:
        self._source, self._place, self._cannot_add = source, place, cannot_add
        self._told: frozenset[str] = frozenset()

    def look(self) -> float:
        """Do what is to be done; return the seconds until the next look."""
        if self._cannot_add():
            return _SOON
        try:
            done = install.publish(self._place, _read(self._source))
        except CloudnetError as error:
            self._tell(f"the runtime's configuration cannot be put in place, trying again by itself: {error}")
            return _AGAIN
        for path in done.changed:
            log.info("the runtime's configuration is in place file=%s", path)
        self._tell(*done.warnings)
        return _LOOK

    def _tell(self, *warnings: str) -> None:
        for warning in warnings:
            if warning not in self._told:
                log.warning("%s", warning)
        self._told = frozenset(warnings)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(
            f"cannot read {str(path)!r} ({reason}): `cloudnet cni install` makes it", path="cni_config"
        ) from error


def keeping_config(config: AgentConfig, cannot_add: Callable[[], str]) -> AbstractContextManager[None]:
    """Keep the configuration in place, if this agent is asked to."""
    if not config.cni_config:
        return nullcontext()
    target = Path(config.cni_config_to)
    place = Place(configurations=target.parent, configuration=target.name)
    return keeping("CNI configuration", ConfigKeeper(Path(config.cni_config), place, cannot_add).look)
