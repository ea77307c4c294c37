import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cloudnet.cni import conflist, install
from cloudnet.errors import BadInput, MissingTool

PROGRAM = b"\x7fELF " + install.OURS + os.urandom(200_000)
CONFIGURATION = conflist.write(conflist.Options())


@pytest.fixture
def place(tmp_path):
    return install.Place(tmp_path / "bin", tmp_path / "net.d")


def everything(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


def test_the_program_comes_first_and_the_configuration_last(place, tmp_path):
    outcome = install.install(place, CONFIGURATION, PROGRAM)

    assert outcome.changed == (place.program_file, place.configuration_file)
    assert place.program_file.read_bytes() == PROGRAM
    assert place.configuration_file.read_bytes() == CONFIGURATION
    assert (place.program_file.stat().st_mode & 0o7777, place.configuration_file.stat().st_mode & 0o7777) == (
        0o755,
        0o600,
    )
    assert everything(tmp_path) == ["bin/cloudnet", "net.d/10-cloudnet.conflist"]


def test_what_is_right_already_is_not_touched(place):
    install.install(place, CONFIGURATION, PROGRAM)
    before = [path.stat() for path in (place.program_file, place.configuration_file)]

    outcome = install.install(place, CONFIGURATION, PROGRAM)

    after = [path.stat() for path in (place.program_file, place.configuration_file)]
    assert outcome.changed == ()
    assert [(s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for s in after] == [
        (s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for s in before
    ]


@pytest.mark.parametrize("damage", ["content", "mode", "link", "gone"])
def test_what_somebody_changed_is_put_right(place, tmp_path, damage):
    install.install(place, CONFIGURATION, PROGRAM)
    match damage:
        case "content":
            place.program_file.write_bytes(b"half")
        case "mode":
            place.program_file.chmod(0o644)
        case "link":
            place.program_file.rename(tmp_path / "elsewhere")
            place.program_file.symlink_to(tmp_path / "elsewhere")
        case "gone":
            place.program_file.unlink()

    outcome = install.install(place, CONFIGURATION, PROGRAM)

    assert outcome.changed == (place.program_file,)
    assert not place.program_file.is_symlink()
    assert place.program_file.read_bytes() == PROGRAM
    assert place.program_file.stat().st_mode & 0o7777 == 0o755


def test_a_refused_configuration_leaves_everything_as_it_was(place, tmp_path):
    with pytest.raises(BadInput):
        install.install(place, b"{}", PROGRAM)

    assert everything(tmp_path) == []


def test_a_running_program_can_be_replaced(place):
    install.put(place.program_file, Path("/bin/cat").read_bytes(), 0o755)
    with subprocess.Popen([place.program_file], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        install.install(place, CONFIGURATION, PROGRAM)

        assert running.poll() is None
        running.stdin.close()
    assert place.program_file.read_bytes() == PROGRAM


def test_a_reader_never_sees_half_a_file_nor_a_configuration_without_its_program(place):
    versions = {(PROGRAM + bytes([n]) * n * 1000, CONFIGURATION + b" " * n) for n in range(5)}
    programs, configurations = {p for p, _ in versions}, {c for _, c in versions}
    seen, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            with contextlib.suppress(FileNotFoundError):
                seen.append(place.configuration_file.read_bytes() in configurations)
                seen.append(place.program_file.read_bytes() in programs)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(20):
            for program, configuration in versions:
                install.install(place, configuration, program)
    finally:
        stop.set()
        reader.join()

    assert len(seen) > 100
    assert all(seen)


INSTALLER = """
import sys
from pathlib import Path
from cloudnet.cni import install
place = install.Place(Path(sys.argv[1]), Path(sys.argv[2]))
program, configuration = Path(sys.argv[3]).read_bytes(), Path(sys.argv[4]).read_bytes()
print("ready", flush=True)
n = 0
while True:
    n += 1
    install.install(place, configuration + b" " * (n % 7), program + b"x" * (n % 7))
"""


def test_killed_at_any_moment_it_leaves_whole_files_and_the_next_one_tidies_up(place, tmp_path):
    (tmp_path / "program").write_bytes(PROGRAM)
    (tmp_path / "configuration").write_bytes(CONFIGURATION)
    arguments = (place.programs, place.configurations, tmp_path / "program", tmp_path / "configuration")
    moments = random.Random(7)
    interrupted = 0

    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", INSTALLER, *arguments], stdout=subprocess.PIPE) as installer:
            installer.stdout.readline()
            time.sleep(moments.random() / 20)
            installer.send_signal(signal.SIGKILL)
        interrupted += any(".new" in name for name in everything(tmp_path))

        if place.configuration_file.exists():
            assert place.configuration_file.read_bytes().strip() == CONFIGURATION.strip()
            assert place.program_file.exists()
        if place.program_file.exists():
            assert place.program_file.read_bytes().rstrip(b"x") == PROGRAM.rstrip(b"x")

    install.install(place, CONFIGURATION, PROGRAM)
    assert interrupted > 0
    assert everything(tmp_path) == [
        "bin/cloudnet",
        "configuration",
        "net.d/10-cloudnet.conflist",
        "program",
    ]


def test_two_at_once_take_turns(place, tmp_path):
    errors = []

    def repeat(mark):
        try:
            for n in range(30):
                install.install(place, CONFIGURATION + b" " * (n % 3), PROGRAM + mark * (n % 3))
        except Exception as e:  # noqa: BLE001 - the test's own thread raises it
            errors.append(e)

    both = [threading.Thread(target=repeat, args=(mark,)) for mark in (b"a", b"b")]
    for one in both:
        one.start()
    for one in both:
        one.join()

    assert errors == []
    assert place.program_file.read_bytes().rstrip(b"ab") == PROGRAM.rstrip(b"ab")
    assert everything(tmp_path) == ["bin/cloudnet", "net.d/10-cloudnet.conflist"]


def test_away_goes_the_configuration_first_and_then_the_program(place, tmp_path):
    install.install(place, CONFIGURATION, PROGRAM)
    (place.programs / ".cloudnet.new").write_bytes(b"half")

    outcome = install.uninstall(place)

    assert outcome.changed == (place.configuration_file, place.program_file)
    assert everything(tmp_path) == []


def test_what_is_not_there_is_removed_with_success(place):
    assert install.uninstall(place).changed == ()


def test_a_program_that_is_not_ours_stays(tmp_path):
    place = install.Place(tmp_path, tmp_path, "calico", "10-calico.conflist")
    place.program_file.write_bytes(b"\x7fELF the real one")
    place.configuration_file.write_bytes(conflist.write(conflist.Options(program="calico")))

    with pytest.raises(BadInput, match="is not cloudnet's plugin"):
        install.uninstall(place)

    assert everything(tmp_path) == ["10-calico.conflist", "calico"]


def test_a_configuration_that_does_not_name_ours_stays(place, tmp_path):
    place.configurations.mkdir()
    place.configuration_file.write_bytes(conflist.write(conflist.Options(program="calico")))

    with pytest.raises(BadInput, match="expected one of type 'cloudnet'"):
        install.uninstall(place)

    assert everything(tmp_path) == ["net.d/10-cloudnet.conflist"]


def test_a_chained_plugin_that_is_missing_is_pointed_out(place):
    outcome = install.install(place, CONFIGURATION, PROGRAM)

    assert [warning[:30] for warning in outcome.warnings] == ["there is no plugin 'portmap' in"[:30]]


def test_a_configuration_that_comes_first_is_pointed_out(place):
    place.configurations.mkdir()
    (place.configurations / "10-calico.conflist").write_bytes(b"{}")
    (place.configurations / "00-readme.txt").write_bytes(b"")
    place.programs.mkdir()
    (place.programs / "portmap").write_bytes(b"")

    outcome = install.install(place, CONFIGURATION, PROGRAM)

    assert len(outcome.warnings) == 1
    assert "the runtime uses '10-calico.conflist', which comes before '10-cloudnet.conflist'" in outcome.warnings[0]


@pytest.mark.parametrize(
    ("program", "configuration", "path"),
    [
        ("", "a.conflist", "program"),
        ("..", "a.conflist", "program"),
        ("a/b", "a.conflist", "program"),
        ("cloudnet", "../a.conflist", "configuration"),
        ("cloudnet", "a.conf", "configuration"),
        ("cloudnet", "", "configuration"),
    ],
)
def test_a_name_that_is_no_file_name_is_refused(tmp_path, program, configuration, path):
    with pytest.raises(BadInput) as raised:
        install.Place(tmp_path, tmp_path, program, configuration)

    assert raised.value.path == path


def test_a_folder_that_cannot_be_is_an_error_in_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    place = install.Place(tmp_path / "file", tmp_path)

    with pytest.raises(BadInput, match="run as root, or name another folder"):
        install.install(place, CONFIGURATION, PROGRAM)


def test_an_architecture_without_a_program_is_named_with_those_that_have_one():
    with pytest.raises(MissingTool, match=r"no CNI plugin for 'riscv64' \(there is: aarch64, x86_64\)"):
        install.program("riscv64")


def test_an_installation_without_programs_says_how_to_get_them(tmp_path):
    with pytest.raises(MissingTool, match=r"\(there is: none\): install cloudnet from a wheel"):
        install.program("x86_64", tmp_path)
