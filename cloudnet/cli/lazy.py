"""A group of commands that knows their names and imports one when it is called.

``cloudnet --help`` and completion of a command's name cost no import of what a command needs; a lab, which contains a
cloud, takes most of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """One command or group of the command line; ``place`` is ``module:name`` of a function or a ``typer.Typer``.

    ``about`` is the first line of its help, which is shown before anything of it is imported.
    """

    name: str
    place: str
    about: str


class Group(TyperGroup):
    """The commands of ``entries``, each a name with a line of help until it is called."""

    entries: ClassVar[Sequence[Entry]] = ()

    def __init__(self, **attributes: Any) -> None:  # Any: whatever typer gives a group
        super().__init__(**attributes)
        for entry in self.entries:
            self.add_command(TyperCommand(entry.name, help=entry.about, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # Any: typer has its own copy of click
        self.load(args[0])
        return super().resolve_command(ctx, args)

    def load(self, name: str) -> None:
        """Put the command itself in the place of its name."""
        entry = next((entry for entry in self.entries if entry.name == name), None)
        if entry is not None:
            self.add_command(_load(entry), entry.name)

    def load_all(self) -> None:
        for entry in self.entries:
            self.load(entry.name)


def _load(entry: Entry) -> Any:  # Any: as above
    module, _, attribute = entry.place.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        app = found
    else:
        app = typer.Typer(add_completion=False)
        app.command(entry.name, context_settings=CONTEXT)(found)
    app.rich_markup_mode = None  # rich's help takes a tenth of a second to import
    app._add_completion = False  # noqa: SLF001 - the whole program has the option; typer lets only its maker say so
    command = typer.main.get_command(app)
    command.name = entry.name
    return command


CONTEXT = {"help_option_names": ["-h", "--help"]}
