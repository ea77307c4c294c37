"""What is wrong with a document, gathered while it is read, so that its author learns of everything at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from cloudnet.errors import BadDocument, BadInput

F = TypeVar("F")
T = TypeVar("T")


class Problems:
    """The wrong fields of one document, in the order in which they were found."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._found)

    def add(self, path: str, message: str) -> None:
        self._found.append((path, message))

    def note(self, error: BadInput) -> None:
        """Add all that an error says."""
        self._found.extend(problems_of(error))

    def read(self, parser: Callable[[F, str], T], found: F, path: str) -> T | None:
        """Return ``parser(found, path)``; its ``BadInput`` is noted, and then there is nothing to return."""
        try:
            return parser(found, path)
        except BadInput as error:
            self.note(error)
            return None

    def merge(self, others: Iterator[tuple[str, str]]) -> None:
        """Add what is not a consequence of what is known: nothing at or below a path that is wrong already."""
        known = {path for path, _ in self._found}
        self._found.extend((path, message) for path, message in others if not _below(path, known))

    def raise_any(self) -> None:
        """Raise all of it.

        Raises:
            BadDocument: something was noted.
        """
        if self._found:
            raise BadDocument(self._found)


def problems_of(error: BadInput) -> Iterator[tuple[str, str]]:
    """Return what an error says of each field."""
    if isinstance(error, BadDocument):
        return iter(error.problems)
    return iter([(error.path, str(error).removeprefix(f"{error.path}: ") if error.path else str(error))])


def _below(path: str, known: set[str]) -> bool:
    while path:
        if path in known:
            return True
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return False
