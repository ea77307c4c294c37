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
            compile_static(source, folder / f"cloudnet-{architecture}", architecture, cache=root / "build/zig")
        super().run()


def compile_static(source: Path, program: Path, architecture: str, *, cache: Path) -> None:
    """Compile one file for one architecture, with its C library inside; take a good one's place only when done.

    Raises:
        ExecError: there is no ziglang, or it refuses the source.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise ExecError(
            f"there is no ziglang to compile {source.name} with: let pip install what pyproject.toml requires for "
            "a build, or `pip install ziglang` first if that is switched off; a wheel of cloudnet needs neither"
        )
    new = program.with_suffix(".new")
    target = ("-target", f"{architecture}-linux-musl")
    command = [sys.executable, "-m", "ziglang", "cc", *target, *FLAGS, "-o", str(new), str(source)]
    # Without a home, as in some build farms, zig would not know where to keep what it made.
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache), **os.environ} if not os.environ.get("HOME") else os.environ
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExecError(f"{source.name} does not compile for {architecture}:\n{done.stderr.strip()}")
    new.chmod(0o755)
    new.replace(program)


setup(cmdclass={"build_py": Build})
