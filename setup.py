"""The one thing about the build that pyproject.toml cannot say: the CNI plugin is compiled, for every architecture.

``cloudnet/cni/shim/cni.c`` becomes ``cloudnet/cni/bin/cloudnet-ARCHITECTURE``, in the checkout, from where an
editable installation uses it and a wheel copies it. The same source and the same ziglang give the same bytes. A
source distribution carries the source only.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import ExecError

ARCHITECTURES = ("x86_64", "aarch64")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
FLAGS = ("-std=c11", "-Oz", "-static", "-s", "-fno-ident", *WARNINGS)


class Build(build_py):
    """Builds the Python packages, and before them the program among their data."""

    def run(self) -> None:
        root = Path(__file__).parent
        source, folder = root / "cloudnet/cni/shim/cni.c", root / "cloudnet/cni/bin"
        folder.mkdir(exist_ok=True)
        for architecture in ARCHITECTURES:
            program = folder / f"cloudnet-{architecture}"
            compile_static(source, program, [*compiler(), "-target", f"{architecture}-linux-musl", *FLAGS])
        super().run()


def compiler(module: str = "ziglang") -> list[str]:
    """Return the command that compiles C for any architecture, its C library included.

    Raises:
        ExecError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ExecError(
            f"there is no {module} to compile the CNI plugin with: let pip install what pyproject.toml requires for "
            f"a build, or `pip install {module}` first if that is switched off; a wheel of cloudnet needs neither"
        )
    return [sys.executable, "-m", module, "cc"]


def compile_static(source: Path, program: Path, command: Sequence[str]) -> None:
    """Compile one file; an older program is replaced only when the new one is complete.

    Raises:
        ExecError: the compiler refuses it.
    """
    new = program.with_suffix(".new")
    environment = dict(os.environ)
    if not environment.get("HOME"):  # as in some build farms: zig would not know where to keep what it made
        environment["ZIG_GLOBAL_CACHE_DIR"] = str(Path("build/zig").absolute())
    words = [*command, "-o", str(new), str(source)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExecError(f"{source.name} does not compile into {program.name}:\n{done.stderr.strip()}")
    new.chmod(0o755)
    new.replace(program)


if __name__ == "__main__":  # which is what setuptools calls it, too
    setup(cmdclass={"build_py": Build})
