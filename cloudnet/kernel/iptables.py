"""Another program's iptables chains, found by a word in their names: looked at, and removed in one step a table.

We write no iptables rules ourselves; nftables is our own. But whoever leaves a node may leave chains that drop what
it does not know. ``iptables-save`` and ``iptables-restore`` are the only ones that know every match of every version,
and they change a table in one step.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Final

from cloudnet.errors import MissingTool
from cloudnet.kernel import netns
from cloudnet.kernel.api import KernelError

FAMILIES: Final = ("iptables", "ip6tables")


def save(*, allow_host: bool = False) -> Mapping[str, str]:
    """Return what ``iptables-save`` prints, by family; nothing of a family whose program is not there.

    Raises:
        HostNamespace: this is the machine's own network namespace and nobody allowed it.
    """
    netns.require_own_namespace(allow_host=allow_host)
    return {name: _run([f"{name}-save"]) for name in FAMILIES if shutil.which(f"{name}-save")}


def chains(saved: str, prefix: str) -> tuple[str, ...]:
    """Return the chains whose names begin so, each once."""
    names = (line[1:].split()[0] for line in saved.splitlines() if line.startswith(f":{prefix}"))
    return tuple(dict.fromkeys(names))


def removal(saved: str, prefix: str, mark: str) -> str:
    """Return what removes these chains, and rules elsewhere that lead to them or have ``mark`` in a comment. Pure."""
    script: list[str] = []
    for table, lines in _tables(saved):
        names = chains("\n".join(lines), prefix)
        rules = [line for line in lines if line.startswith("-A ") and not line.startswith(f"-A {prefix}")]
        meant = [line for line in rules if f"-j {prefix}" in line or f"-g {prefix}" in line or f'"{mark}' in line]
        if names or meant:
            out = [f"-D {line.removeprefix('-A ')}" for line in meant]
            script += [f"*{table}", *out, *(f"-F {n}" for n in names), *(f"-X {n}" for n in names), "COMMIT"]
    return "".join(f"{line}\n" for line in script)


def restore(family: str, script: str, *, allow_host: bool = False) -> None:
    """Carry a script out, each of its tables in one step; an empty one does nothing.

    Raises:
        HostNamespace: as above.
        MissingTool: the program is not there.
        KernelError: it refused.
    """
    netns.require_own_namespace(allow_host=allow_host)
    if not script:
        return
    if shutil.which(f"{family}-restore") is None:
        raise MissingTool(f"there is no program '{family}-restore': apt-get install iptables")
    _run([f"{family}-restore", "--noflush", "--wait"], stdin=script)


def _tables(saved: str) -> Iterator[tuple[str, list[str]]]:
    table, lines = "", list[str]()
    for line in saved.splitlines():
        if line.startswith("*"):
            table, lines = line[1:], []
        elif line == "COMMIT":
            yield table, lines
        else:
            lines.append(line)


def _run(command: list[str], *, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KernelError(f"{' '.join(command)!r} failed with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
