"""How a lab goes without a trace, whatever state it is in; it needs nothing of the lab's own memory."""

from __future__ import annotations

import shutil

from cloudnet.lab import nodes, processes, spec, state
from cloudnet.lab.requirements import TOOLS


def remove(name: str) -> bool:
    """Remove a lab and whatever an interrupted one left; return whether there was anything.

    Raises:
        MissingTool: the machine lacks a program or a right.
        LabError: another process builds or removes it now.
    """
    spec.check_name(name, path="name")
    processes.require(TOOLS)
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
