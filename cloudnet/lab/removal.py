"""What a lab needs of the machine, which labs there are, and how one goes without a trace."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import Final

from cloudnet.errors import MissingTool
from cloudnet.lab import nodes, processes, spec, state
from cloudnet.lab.clouds.api import Kind
from cloudnet.lab.stores import StoreKind

_TOOLS: Final = ("ip", "bridge", "nft", "nsenter", "sysctl")


def require(kind: Kind, store: StoreKind) -> None:
    """Look whether a lab can be built here.

    Raises:
        MissingTool: the machine lacks a program, a right or a package.
    """
    processes.require((*_TOOLS, *store.tools))
    missing = [module for module in kind.packages if not _importable(module)]
    if missing:
        raise MissingTool(f"the lab's {kind.name} needs {', '.join(missing)}: pip install 'cloudnet[lab]'")


def labs() -> list[str]:
    """Return the names of the labs that are up."""
    return sorted(path.parent.name for path in state.ROOT.glob("*/lab.json"))


def remove(name: str) -> bool:
    """Remove a lab and whatever an interrupted one left; return whether there was anything.

    Raises:
        MissingTool: the machine lacks a program or a right.
        LabError: another process builds or removes it now.
    """
    spec.check_name(name, path="name")
    processes.require(_TOOLS)
    if not state.directory(name).is_dir():
        return clear(name)
    with state.building(name):
        return clear(name)


def clear(name: str) -> bool:
    """Remove until nothing is found: a process that was just starting may appear while we look."""
    where = state.directory(name)
    found = where.is_dir()
    while True:
        places = nodes.namespaces(name)
        running = processes.inside(places, mark=where)
        if not places and not running:
            break
        found = True
        processes.kill(running, grace=2.0)
        for place in places:
            nodes.remove_namespace(place)
    if where.is_dir():
        shutil.rmtree(where)
    if state.ROOT.is_dir() and not any(state.ROOT.iterdir()):
        state.ROOT.rmdir()
    return found


def _importable(module: str) -> bool:
    """Tell whether a module is installed; the packages around a dotted one are imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
