"""The one thing about the build that pyproject.toml cannot say: what is written in C is compiled.

``cloudnet/cni/shim/cni.c`` becomes ``cloudnet/cni/bin/cloudnet-ARCHITECTURE``, for every architecture, and
``cloudnet/kernel/programs/fastpath.c`` becomes ``cloudnet/kernel/bin/fastpath.o``, for the kernel's own machine; in
the checkout, from where an editable installation uses them and a wheel copies them. The same source and the same
ziglang give the same bytes. A source distribution carries the source only.
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
KERNEL_FLAGS = ("-std=gnu11", "-O2", "-g0", "-c", "-Wno-unused-command-line-argument", *WARNINGS)
HEADERS = ("any-linux-any", "aarch64-linux-any")  # of Linux, among ziglang's; the second for the order of bytes


class Build(build_py):
    """Builds the Python packages, and before them the program among their data."""

    def run(self) -> None:
        root = Path(__file__).parent
        source, folder = root / "cloudnet/cni/shim/cni.c", root / "cloudnet/cni/bin"
        folder.mkdir(exist_ok=True)
        for architecture in ARCHITECTURES:
            program = folder / f"cloudnet-{architecture}"
            compile_one(source, program, [*compiler(), "-target", f"{architecture}-linux-musl", *FLAGS])
        program = root / "cloudnet/kernel/bin/fastpath.o"
        program.parent.mkdir(exist_ok=True)
        compile_one(root / "cloudnet/kernel/programs/fastpath.c", program, [*kernel_compiler(), *KERNEL_FLAGS])
        super().run()


def compiler(module: str = "ziglang") -> list[str]:
    """Return the command that compiles C for any architecture, its C library included.

    Raises:
        ExecError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ExecError(
            f"there is no {module} to compile what is written in C: let pip install what pyproject.toml requires for "
            f"a build, or `pip install {module}` first if that is switched off; a wheel of cloudnet needs neither"
        )
    return [sys.executable, "-m", module, "cc"]


def kernel_compiler(module: str = "ziglang") -> list[str]:
    """Return the command that compiles C for the kernel's own machine (BPF), Linux's headers included.

    Raises:
        ExecError: it is not installed.
    """
    command = compiler(module)
    spec = importlib.util.find_spec(module)
    includes = Path(str(spec and spec.origin)).parent / "lib/libc/include"
    return [*command, "-target", "bpfel-freestanding", *(f"-isystem{includes / name}" for name in HEADERS)]


def compile_one(source: Path, program: Path, command: Sequence[str]) -> None:
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
