import importlib.util
import sys
from pathlib import Path

import pytest
from setuptools.errors import ExecError

ROOT = Path(__file__).parents[2]
COMPILER = "import sys; open(sys.argv[sys.argv.index('-o') + 1], 'w').write('new')"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("the_build", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_compiler_the_build_says_how_to_get_one(build):
    with pytest.raises(ExecError, match="there is no no_such_zig to compile what is written in C: let pip install"):
        build.compiler("no_such_zig")


def test_what_compiles_takes_the_place_of_the_older_program(build, tmp_path):
    program = tmp_path / "cloudnet-x86_64"
    program.write_text("old")

    build.compile_one(ROOT / "cni.c", program, [sys.executable, "-c", COMPILER])

    assert program.read_text() == "new"
    assert program.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [program]


def test_what_does_not_compile_leaves_the_older_program_and_says_why(build, tmp_path):
    program = tmp_path / "cloudnet-x86_64"
    program.write_text("old")

    with pytest.raises(ExecError, match=r"cni\.c does not compile into cloudnet-x86_64:\nno such semicolon"):
        build.compile_one(ROOT / "cni.c", program, [sys.executable, "-c", "raise SystemExit('no such semicolon')"])

    assert program.read_text() == "old"


def test_an_installation_for_development_has_the_programs(build):
    folder = ROOT / "cloudnet/cni/bin"

    assert sorted(path.name for path in folder.iterdir()) == sorted(f"cloudnet-{a}" for a in build.ARCHITECTURES)
    assert all(path.stat().st_mode & 0o111 for path in folder.iterdir())
    assert (ROOT / "cloudnet/kernel/bin/fastpath.o").read_bytes().startswith(b"\x7fELF")
