"""What a lab needs of the machine: programs, rights, packages. Looks, and installs nothing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from cloudnet.errors import MissingTool
from cloudnet.lab import processes
from cloudnet.lab.clouds.api import Kind
from cloudnet.lab.stores import StoreKind

TOOLS: Final = ("ip", "bridge", "nft", "nsenter", "sysctl")


def require(kind: Kind, store: StoreKind) -> None:
    """Look whether a lab can be built here.

    Raises:
        MissingTool: the machine lacks a program, a right or a package.
    """
    processes.require((*TOOLS, *store.tools))
    missing = [module for module in kind.packages if not _importable(module)]
    if missing:
        raise MissingTool(f"the lab's {kind.name} needs {', '.join(missing)}: pip install 'cloudnet[lab]'")


def _importable(module: str) -> bool:
    """Tell whether a module is installed; the packages around a dotted one are imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
