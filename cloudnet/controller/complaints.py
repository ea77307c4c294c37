"""What a controller's loop tells a person: each trouble once when it comes, and once when it is over. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cloudnet.controller.actions import Level, Say


class Complaints:
    """The troubles that stand, by topic, and what is to be logged at the next step."""

    __slots__ = ("_say", "_standing")

    def __init__(self) -> None:
        self._standing: dict[str, str] = {}
        self._say: list[Say] = []

    @property
    def standing(self) -> Mapping[str, str]:
        """Return what is wrong now: {topic: message}."""
        return MappingProxyType(self._standing)

    def warn(self, message: str) -> None:
        """Warn of what has no topic and is never over."""
        self._say.append(Say(Level.WARNING, message))

    def trouble(self, topic: str, message: str) -> None:
        """Warn once, until it is fine again."""
        if topic not in self._standing:
            self.warn(message)
        self._standing[topic] = message

    def fine(self, topic: str) -> None:
        """Say that it works again, if it did not."""
        if self._standing.pop(topic, None) is not None:
            self._say.append(Say(Level.INFO, f"{topic}: works again"))

    def settle(self, topic: str, message: str) -> None:
        """Warn of the message, or, when it is empty, say that it works again."""
        if message:
            self.trouble(topic, message)
        else:
            self.fine(topic)

    def forget(self, topic: str) -> None:
        """Drop a trouble without a word."""
        self._standing.pop(topic, None)

    def take(self) -> list[Say]:
        """Return what is to be logged, once."""
        said, self._say = self._say, []
        return said
