"""Texts that a command is given: files, folders of YAML and JSON, and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from cloudnet.errors import BadInput

_SUFFIXES = {".yaml", ".yml", ".json"}


def each(names: Iterable[str], *, beside: Path) -> Iterator[tuple[str, str]]:
    """Yield origin and text of each file; of a folder, of all in it and below that are YAML or JSON, none hidden.

    ``-`` is standard input; relative names are ``beside`` a folder.

    Raises:
        BadInput: a file is not there, or no text.
    """
    for name in names:
        path = beside / name
        if name == "-":
            yield "standard input", sys.stdin.read()
        elif path.is_dir():
            yield from ((str(file), read(file)) for file in sorted(path.rglob("*")) if _counts(file, path))
        else:
            yield str(path), read(path)


def _counts(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix in _SUFFIXES and file.is_file() and not hidden


def read(path: Path) -> str:
    """Return the text of a file.

    Raises:
        BadInput: it cannot be read, or is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"expected text in UTF-8, found something else at byte {error.start}", path=str(path)
        ) from error
