import json
import subprocess
import tarfile

import pytest
from typer.testing import CliRunner

from cloudnet.cli import diags, main
from cloudnet.cli.diags import Bounds, Piece
from cloudnet.errors import BadInput

PLANTED = {
    "settings": "plant-Settings-1",
    "block": "plant-Block-2",
    "list": "plant-List-2",
    "url": "plant-Url-3",
    "variable": "plant-Variable-4",
    "log": "plant-Log-5",
    "header": "plant-Header-6",
    "key": "plantKey7",
    "command": "plant-Command-8",
    "agent": "plant-Agent-9",
    "error": "plant-Error-10",
}


def contents(path):
    """Return the files of a bundle: ``{name without the folder: text}``."""
    with tarfile.open(path) as tar:
        return {m.name.partition("/")[2]: tar.extractfile(m).read().decode() for m in tar.getmembers()}


def written(tmp_path, pieces, **bounds):
    diags.write(
        tmp_path / "x.tar.gz", pieces, bounds=Bounds(**bounds), about={}, clock=iter(range(1000)).__next__, now=0.0
    )
    found = contents(tmp_path / "x.tar.gz")
    return found, {one["name"]: one["problem"] for one in json.loads(found["summary.json"])["pieces"]}


def test_no_secret_leaves_in_any_file_of_the_bundle(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"store: etcd://me:{PLANTED['url']}@10.0.0.1:2379\n"
        f"controller: {{token: {PLANTED['settings']}}}\n"
        f"private_key: |\n  first\n  {PLANTED['block']}\n"
        f"tokens:\n- {PLANTED['list']}\n"
    )
    log = tmp_path / "agent.log"
    log.write_text(
        f"level=info password={PLANTED['log']}\nAuthorization: Bearer {PLANTED['header']}\n"
        f"-----BEGIN EC PRIVATE KEY-----\n{PLANTED['key']}\n-----END EC PRIVATE KEY-----\nnode=n1 is ready\n"
    )

    def run(words, _):
        return f"{words[0]} says secret: {PLANTED['command']}"

    def fail(_):
        raise BadInput(f"https://me:{PLANTED['error']}@store does not answer")

    found, problems = written(
        tmp_path,
        [
            *diags.of_settings(
                [config], {"ETCD_PASSWORD": f"two words {PLANTED['variable']}", "CLOUDNET_NODE": "n1", "HOME": "/"}
            ),
            *diags.of_host(run),
            *diags.of_logs([log]),
            Piece("agent/status.json", lambda _: json.dumps({"detail": f"x?sig={PLANTED['agent']}"})),
            Piece("store.txt", fail),
        ],
    )

    everything = "".join(found.values())
    assert [name for name, planted in PLANTED.items() if planted in everything] == []
    assert "node=n1 is ready" in found["logs/agent.log"]
    assert "CLOUDNET_NODE: n1" in found["settings/environment.yaml"]
    assert "HOME" not in found["settings/environment.yaml"]
    assert problems["store.txt"].startswith("cannot be read: https://me:***@store")


def test_a_settings_file_that_cannot_be_understood_is_left_out(tmp_path):
    odd = tmp_path / "odd.yaml"
    odd.write_text("password: [never")

    found, problems = written(tmp_path, diags.of_settings([odd], {}))

    assert "never" not in "".join(found.values())
    assert problems["settings/odd.yaml"].startswith("cannot be read")


def test_a_bundle_is_bounded_in_size_and_says_what_was_cut(tmp_path):
    pieces = [
        Piece("a", lambda _: "a" * 60),
        Piece("b", lambda _: "begin" + "b" * 60 + "end", tail=True),
        Piece("c", lambda _: "c"),
    ]

    found, problems = written(tmp_path, pieces, size=100)

    assert (len(found["a"]), len(found["b"]), "c" in found) == (60, 40, False)
    assert found["b"].endswith("end")
    assert problems == {"a": "", "b": "cut: 68 bytes were too many", "c": "left out: the bundle is full"}


def test_a_bundle_is_bounded_in_time_and_one_that_hangs_stops_no_other(tmp_path):
    def hang(_):
        raise subprocess.TimeoutExpired("ip", 10)

    pieces = [Piece("slow", hang), *(Piece(f"p{i}", lambda _: "x") for i in range(5))]

    found, problems = written(tmp_path, pieces, seconds=4)

    assert problems["slow"] == "did not answer in time"
    assert (found["p0"], problems["p4"]) == ("x", "left out: the time is up")


def test_a_program_that_never_ends_is_stopped():
    with pytest.raises(subprocess.TimeoutExpired):
        diags.run(["sleep", "60"], 0.05)


def test_of_a_long_log_the_end_is_taken(tmp_path):
    log = tmp_path / "long.log"
    log.write_bytes(b"x" * (diags.PIECE + 1000) + b"the end")

    (piece,) = diags.of_logs([log])

    assert piece.read(1.0).endswith("the end")
    assert len(piece.read(1.0)) == diags.PIECE


def test_a_bundle_is_for_its_owner_and_never_written_over(tmp_path):
    path = tmp_path / "x.tar.gz"
    written(tmp_path, [])

    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BadInput, match=r"cannot be written \(file exists"):
        written(tmp_path, [])


def test_the_command_takes_what_this_host_has_and_says_what_it_has_not(tmp_path):
    path = tmp_path / "bundle.tar.gz"

    done = CliRunner().invoke(
        main.build(lab=False),
        ["node", "diags", "-f", str(path), "--socket", str(tmp_path / "none.sock"), "--store", "memory://"],
        env={"CLOUDNET_PROBE_PORT": "4793"},
        catch_exceptions=False,
    )

    found = contents(path)
    assert (done.exit_code, done.stdout) == (0, f"{path}\n")
    assert "agent/status.json cannot be read: no agent answers" in done.stderr
    assert "CLOUDNET_PROBE_PORT: '4793'" in found["settings/environment.yaml"]
    assert "lo" in found["network/links.txt"]
    assert found["host/load.txt"]
    assert json.loads(found["status.json"])["unreachable"] is True
