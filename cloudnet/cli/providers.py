"""``cloudnet providers``: which clouds this installation can program, and what is missing for the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata

from cloudnet.cli import output

GROUP = "cloudnet.providers"


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One installed plugin. ``missing`` are the packages of its SDK that are not there."""

    name: str
    package: str
    version: str
    usable: bool
    sdk: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    remedy: str = ""


def run(*, form: output.Output = output.Format.TABLE) -> None:
    """Show the installed cloud providers, whether their SDK is there, and how to get it."""
    rows = installed(metadata.entry_points(group=GROUP))
    if form is output.Format.JSON:
        output.print_json({"providers": rows})
        return
    output.print_table(
        ("PROVIDER", "PACKAGE", "USABLE", "SDK", "TO DO"),
        ((r.name, f"{r.package} {r.version}", r.usable, ", ".join(r.sdk) or "none needed", r.remedy) for r in rows),
        empty="no provider is installed",
    )


def installed(points: Iterable[metadata.EntryPoint]) -> tuple[ProviderRow, ...]:
    """Return a row for each entry point, by name. Imports none of them."""
    return tuple(_row(point) for point in sorted(points, key=lambda p: p.name))


def _row(point: metadata.EntryPoint) -> ProviderRow:
    package = point.dist.name if point.dist else point.module
    requirements = (point.dist.requires or []) if point.dist else []
    sdk = tuple(_extra(requirements, point.name))
    missing = tuple(name for name in sdk if not _version(name))
    return ProviderRow(
        name=point.name,
        package=package,
        version=point.dist.version if point.dist else "",
        usable=not missing,
        sdk=tuple(f"{name} {_version(name)}" if name not in missing else f"{name} missing" for name in sdk),
        missing=missing,
        remedy=f"pip install '{package}[{point.name}]'" if missing else "",
    )


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"""extra\s*==\s*["'](?P<extra>[^"']+)["']""")


def _extra(requirements: Iterable[str], extra: str) -> Iterator[str]:
    """Yield the packages that an extra asks for, given ``Requires-Dist`` lines: ``boto3>=1; extra == "aws"``."""
    for requirement in requirements:
        marker, name = _EXTRA.search(requirement), _NAME.match(requirement)
        if marker and name and marker["extra"] == extra:
            yield name[0]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
