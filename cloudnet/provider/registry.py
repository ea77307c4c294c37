"""Find a provider plugin by name and make it: entry points of the group ``cloudnet.providers``.

Nothing is imported before it is asked for, so an SDK costs nothing until its cloud is used. Writing a plugin:
docs/howto/add-a-provider.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, cast

from cloudnet.clock import Clock
from cloudnet.errors import BadInput, MissingTool
from cloudnet.provider.api import Provider
from cloudnet.provider.budget import Budget

GROUP = "cloudnet.providers"


class Make(Protocol):
    """What an entry point names: build the provider from its configuration, without calling the cloud."""

    def __call__(
        self,
        config: Mapping[str, Any],  # parsed JSON; the plugin checks every field of it
        *,
        clock: Clock,
        budget: Budget | None,
    ) -> Provider: ...


def installed(found: Iterable[EntryPoint] | None = None) -> Mapping[str, EntryPoint]:
    """Return ``{name: entry point}`` of every installed plugin, by name; nothing is imported."""
    points = entry_points(group=GROUP) if found is None else found
    return {point.name: point for point in sorted(points, key=lambda p: p.name)}


def load(
    name: str,
    config: Mapping[str, Any],  # parsed JSON; the plugin checks every field of it
    *,
    clock: Clock,
    budget: Budget | None = None,
    found: Iterable[EntryPoint] | None = None,
) -> Provider:
    """Return the provider of that name; without ``budget`` it makes its own with its cloud's defaults.

    Raises:
        BadInput: no such provider, or its configuration is wrong.
        MissingTool: its SDK is not installed.
    """
    plugins = installed(found)
    if name not in plugins:
        raise BadInput(f"no provider is named {name!r}; installed: {', '.join(plugins) or 'none'}", path="provider")
    try:
        make = cast("Make", plugins[name].load())
    except ImportError as error:
        raise missing_extra(name, error) from error
    return make(config, clock=clock, budget=budget)


def read_config(path: str) -> Mapping[str, Any]:  # Any: parsed JSON, checked by the plugin
    """Return what the file with a provider's own settings holds; nothing without a path.

    Raises:
        BadInput: it cannot be read, or holds no object of JSON.
    """
    if not path:
        return {}
    try:
        parsed = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise BadInput(f"cannot be read ({(e.strerror or str(e)).lower()})", path=path) from e
    except ValueError as e:
        raise BadInput(f"not JSON: {e}", path=path) from e
    if not isinstance(parsed, dict):
        raise BadInput(f"expected an object with the provider's settings, found {type(parsed).__name__}", path=path)
    return parsed


def missing_extra(name: str, error: ImportError) -> MissingTool:
    """Return the one-line error for a provider whose packages are not installed."""
    return MissingTool(f"provider {name!r} needs its SDK: pip install 'cloudnet[{name}]' ({error})")
