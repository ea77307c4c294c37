import json
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cloudnet.cni.install

BOUNDED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
MEBIBYTE = 1024 * 1024
ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/nonexistent",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
    "CNI_PATH": "/opt/cni/bin",
    "CNI_NETNS_OVERRIDE": "1",
}


def answer(output, status=0):
    return struct.pack("!IB", len(output), status) + output


def error(done):
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert set(document) == {"cniVersion", "code", "msg"}
    return document


def test_the_request_has_exactly_the_agreed_bytes(execute, agent, configured):
    config = configured()
    agent.answer = answer(b"{}")

    execute(config, env={"CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "HOME": "/root"})

    head = b'{"version":1,"command":"ADD","env":{"CNI_CONTAINERID":"c1","CNI_IFNAME":"eth0"},"config_length":%d}'
    head %= len(config)
    assert agent.requests[0].raw == struct.pack("!I", len(head)) + head + config


def test_every_variable_of_the_specification_is_passed_and_no_other(execute, agent, configured):
    execute(configured(), command="CHECK", env={**ENVIRONMENT, "CNI_SECRET": "x", "PATH": "/bin"})

    assert agent.requests[0].head["command"] == "CHECK"
    assert agent.requests[0].head["env"] == ENVIRONMENT


def test_without_any_variable_the_request_is_still_an_object(execute, agent, configured):
    execute(configured())

    assert agent.requests[0].head["env"] == {}


def test_the_opened_namespace_comes_with_the_first_byte(execute, agent, configured):
    execute(configured(), env={"CNI_NETNS": "/proc/self/ns/net"})

    assert agent.requests[0].netns == Path("/proc/self/ns/net").stat().st_ino


def test_the_namespace_comes_once_however_long_the_request_is(execute, agent, configured):
    execute(configured().ljust(MEBIBYTE), env={"CNI_NETNS": "/proc/self/ns/net"})

    assert agent.requests[0].later == 0


@pytest.mark.parametrize(
    "path", ["/nonexistent", "", "/proc/self/ns/net\n", "x" * 5000], ids=["no", "", "lf", "long"]
)
def test_a_namespace_that_does_not_open_is_for_the_agent_to_judge(execute, agent, configured, path):
    execute(configured(), env={"CNI_NETNS": path})

    assert agent.requests[0].netns is None
    assert agent.requests[0].head["env"] == {"CNI_NETNS": path}


def test_a_fifo_for_a_namespace_does_not_hold_it_up(execute, agent, configured, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    done = execute(configured(), env={"CNI_NETNS": str(fifo)}, timeout=5)

    assert done.returncode == 0


@pytest.mark.parametrize("status", [0, 1, 11, 255])
@pytest.mark.parametrize(
    "output",
    [b"", b'{"cniVersion":"1.0.0"}\n', bytes(range(256)), os.urandom(2 * MEBIBYTE)],
    ids=["empty", "result", "binary", "2 MiB"],
)
def test_the_answer_is_printed_as_it_came_and_its_status_is_ours(execute, agent, configured, output, status):
    agent.answer = answer(output, status)

    done = execute(configured())

    assert done.returncode == status
    assert done.stdout == output
    assert done.stderr == b""


def test_an_answer_to_a_reader_that_went_away_is_a_failure(shim, agent, configured):
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen([shim], stdin=subprocess.PIPE, stdout=write, env={"CNI_COMMAND": "ADD"})
    os.close(write)

    process.communicate(configured(), timeout=5)

    assert process.returncode == 1


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
@pytest.mark.parametrize("stale", [False, True], ids=["no socket", "stale socket"])
def test_without_an_agent_it_says_so_within_a_tenth_of_a_second(execute, tmp_path, command, code, stale):
    path = tmp_path / "dead.sock"
    if stale:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    config = json.dumps({"cniVersion": "1.1.0", "agent_socket": str(path)}).encode()

    seconds = []
    for _ in range(5):  # the best of five: other work on this machine is not what is measured
        started = time.monotonic()
        done = execute(config, command=command)
        seconds.append(time.monotonic() - started)

    assert error(done) == {
        "cniVersion": "1.1.0",
        "code": code,
        "msg": f"no answer from cloudnet's agent at {path}: "
        f"{'Connection refused' if stale else 'No such file or directory'}: "
        "start the agent or read its log; the runtime may try again",
    }
    assert min(seconds) < 0.1


@pytest.mark.parametrize("config", [b"", b"\xff\0{", b'{"cniVersion":"0.4.0"}', b"x" * 2 * MEBIBYTE])
def test_versions_are_told_without_an_agent(execute, config):
    done = execute(config, command="VERSION")

    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "cniVersion": "0.4.0" if b"0.4.0" in config else "1.0.0",
        "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


def test_a_configuration_of_a_mebibyte_passes(execute, agent, configured):
    config = configured().ljust(MEBIBYTE)

    done = execute(config)

    assert done.returncode == 0
    assert agent.requests[0].config == config


@pytest.mark.parametrize("length", [MEBIBYTE + 1, 10 * MEBIBYTE])
def test_a_longer_configuration_is_refused_without_asking(execute, agent, configured, length):
    done = execute(configured().ljust(length))

    assert error(done)["code"] == 7
    assert "longer than 1 MiB" in error(done)["msg"]
    assert agent.requests == []


def test_an_environment_of_a_mebibyte_is_refused_without_asking(execute, agent, configured):
    done = execute(configured(), env=dict.fromkeys(list(ENVIRONMENT)[:4], "\1" * 100_000))

    assert error(done)["code"] == 4
    assert agent.requests == []


def test_without_a_command_it_is_no_plugin(execute):
    done = execute(command=None)

    assert error(done)["code"] == 4
    assert error(done)["msg"] == "CNI_COMMAND is missing: a container runtime sets it"


@pytest.mark.parametrize("end", [0, 1, 4, 5, 6, 21])
def test_half_an_answer_is_no_answer(execute, agent, configured, end):
    agent.answer = answer(b'{"cniVersion":"x"}')[:end]

    done = execute(configured())

    assert error(done)["code"] == 11
    assert "Connection reset by peer" in error(done)["msg"]


@pytest.mark.parametrize("length", [2 * MEBIBYTE + 1, 2**31, 2**32 - 1])
def test_an_answer_beyond_all_measure_is_refused(execute, agent, configured, length):
    agent.answer = struct.pack("!IB", length, 0)

    done = execute(configured())

    assert error(done)["code"] == 11
    assert "Message too large" in error(done)["msg"]


def test_an_agent_that_refuses_before_it_has_read_all_is_heard(execute, agent, configured):
    agent.reads = False
    agent.answer = answer(b'{"code":7}', 1)

    done = execute(configured().ljust(MEBIBYTE))

    assert (done.returncode, done.stdout) == (1, b'{"code":7}')


def test_a_pause_of_the_program_loses_nothing(shim, agent, configured):
    agent.waits_for.clear()
    agent.answer = answer(b"done")
    process = subprocess.Popen([shim], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"CNI_COMMAND": "ADD"})
    process.stdin.write(configured())
    process.stdin.close()
    while not agent.requests:
        time.sleep(0.001)

    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    agent.waits_for.set()

    assert process.stdout.read() == b"done"
    assert process.wait(5) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    "value",
    ["7", "null", '["/run/x"]', '{"a":1}', '""', '"run/x"', '"/run\\/x"', '"/run/\\u0041"', f'"/{"x" * 107}"', '"/x'],
)
def test_an_agent_socket_that_is_not_a_plain_path_is_named(execute, value):
    done = execute(b'{"cniVersion": "0.3.1", "agent_socket" : ' + value.encode() + b"}")

    assert error(done) == {
        "cniVersion": "0.3.1",
        "code": 7,
        "msg": "agent_socket: expected an absolute path of at most 107 bytes, without escapes",
    }


def test_a_path_as_long_as_a_socket_can_have_is_tried(execute):
    path = "/" + "x" * 106

    done = execute(json.dumps({"agent_socket": path}).encode())

    assert f"{path}: No such file or directory" in error(done)["msg"]


@pytest.mark.parametrize(
    ("config", "version"),
    [
        (b"", "1.0.0"),
        (b"[]", "1.0.0"),
        (b'{"cniVersion":"0.4.0"}', "0.4.0"),
        (b'{"cniVersion"\n:\t"0.3.1"}', "0.3.1"),
        (b'{"prevResult":{"cniVersion":"0.4.0"},"cniVersion":"1.1.0"}', "1.1.0"),
        (b'{"prevResult":{"cniVersion":"0.4.0"}}', "1.0.0"),
        (b'{"a":["cniVersion","0.4.0"]}', "1.0.0"),
        (b'{"a":"cniVersion","b":"0.4.0"}', "1.0.0"),
        (b'{"a\\"":"{","cniVersion":"0.4.0"}', "0.4.0"),
        (b'{"a":"\\\\","cniVersion":"0.4.0"}', "0.4.0"),
        (b'{"cniVersion":"' + b"1" * 99 + b'"}', "1.0.0"),
        (b'{"cniVersion":7}', "1.0.0"),
        (b'{"cniVersion":"a\xffb\n"}', "a\ufffdb\n"),
        (b'{"cniVersion":"0.4.0', "1.0.0"),
        (b'{"cniVersion":', "1.0.0"),
        (b'{"cniVersion"', "1.0.0"),
        (b'{"x":"\\', "1.0.0"),
    ],
)
def test_an_error_has_the_version_of_the_configuration(execute, config, version):
    assert error(execute(config, command=None))["cniVersion"] == version


@given(value=st.binary(max_size=40).filter(lambda value: b"\0" not in value), command=st.text(min_size=1, max_size=8))
@BOUNDED
def test_any_bytes_of_the_environment_arrive_as_json(execute, agent, configured, value, command):
    command = command.replace("\0", "").encode(errors="replace").decode() + "!"

    execute(configured(), command=command, env={"CNI_ARGS": value})

    head = agent.requests[-1].head
    readable = "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in os.fsdecode(value))
    assert head["env"] == {"CNI_ARGS": readable}
    assert head["command"] == command


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", 'a"b', "a\\b", "'; rm -rf /; '", "\x1f\x7f", "ü€😀", "x" * 100_000]
)
def test_names_with_anything_in_them_arrive_as_they_are(execute, agent, configured, name):
    execute(configured(), env={"CNI_CONTAINERID": name})

    assert agent.requests[0].head["env"] == {"CNI_CONTAINERID": name}


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["cniVersion", '"', "\\"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["cniVersion", "agent_socket"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(before=st.dictionaries(st.text(max_size=4), DOCUMENTS, max_size=4), indent=st.sampled_from([None, 0, 3]))
@BOUNDED
def test_the_two_keys_are_found_wherever_json_has_them(execute, agent, before, indent):
    document = before | {"cniVersion": "1.1.0", "agent_socket": str(agent.path)} | {"after": list(before)}
    config = json.dumps(document, indent=indent, ensure_ascii=indent is None).encode(errors="replace")
    agent.answer = b""

    done = execute(config)

    assert agent.requests[-1].config == config
    assert error(done)["cniVersion"] == "1.1.0"


@pytest.mark.kernel
@given(
    config=st.binary(max_size=200) | st.text(alphabet='{}[]":,\\ acniVersion', max_size=60).map(str.encode),
    command=st.sampled_from([None, "ADD", "STATUS", "VERSION", "", '"']),
    args=st.binary(max_size=60).map(lambda value: value.replace(b"\0", b"")),
)
@BOUNDED
def test_garbage_gets_an_error_that_a_runtime_can_read(sanitized, execute, config, command, args):
    done = execute(config, program=sanitized, command=command, env={"CNI_ARGS": args, "CNI_NETNS": args})

    assert done.returncode == (0 if command == "VERSION" else 1)
    assert "cniVersion" in json.loads(done.stdout)
    assert done.stderr == b""


@pytest.mark.kernel
@given(
    garbage=st.binary(max_size=60) | st.binary(max_size=9).map(lambda tail: b"\0\0\0\x05\0" + tail),
    config=st.binary(max_size=60),
    args=st.binary(max_size=60).map(lambda value: value.replace(b"\0", b"")),
)
@BOUNDED
def test_a_garbled_agent_gets_no_word_through(sanitized, execute, agent, *, garbage, config, args):
    agent.answer = garbage

    done = execute(
        b'{"agent_socket":"' + bytes(agent.path) + b'",' + config, program=sanitized, env={"CNI_ARGS": args}
    )

    whole = len(garbage) >= 5 and len(garbage) >= 5 + int.from_bytes(garbage[:4], "big")
    if whole:
        assert done.stdout == garbage[5 : 5 + int.from_bytes(garbage[:4], "big")]
        assert done.returncode == garbage[4]
    else:
        assert error(done)["code"] == 11
    assert done.stderr == b""


@pytest.mark.kernel
@pytest.mark.parametrize("length", [MEBIBYTE, MEBIBYTE + 1, 10 * MEBIBYTE])
def test_lengths_at_the_bound_stay_inside_it(sanitized, execute, agent, configured, length):
    agent.answer = answer(b"x" * 2 * MEBIBYTE)

    done = execute(configured().ljust(length), program=sanitized, env=dict.fromkeys(ENVIRONMENT, "x" * 100_000))

    assert done.returncode == (0 if length <= MEBIBYTE else 1)
    assert done.stderr == b""


@pytest.mark.kernel
def test_a_full_environment_stays_inside_its_bound(sanitized, execute, agent, configured):
    done = execute(configured(), program=sanitized, env=dict.fromkeys(ENVIRONMENT, "\1" * 130_000))

    assert error(done)["code"] == 4
    assert done.stderr == b""


@pytest.mark.kernel
@pytest.mark.parametrize("silent_after", [0, 4, 8])
def test_a_silent_agent_is_given_up_in_time(compile_shim, execute, agent, silent_after):
    impatient = compile_shim(patience=1, agent_socket=str(agent.path))
    agent.answer = answer(b"{}       ")[:silent_after]
    agent.waits_for.clear()

    started = time.monotonic()
    done = execute(program=impatient)
    took = time.monotonic() - started

    assert error(done)["code"] == 11
    assert "timed out" in error(done)["msg"]
    assert 0.9 < took < 15


@pytest.mark.kernel
def test_an_agent_that_accepts_nobody_is_given_up_in_time(compile_shim, execute, tmp_path):
    path = tmp_path / "full.sock"
    impatient = compile_shim(patience=1, agent_socket=str(path))
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(str(path))
        full.listen(0)
        first.connect(str(path))

        done = execute(program=impatient)

    assert error(done)["code"] == 11
    assert "timed out" in error(done)["msg"]


@pytest.mark.parametrize(("architecture", "machine"), [("x86_64", 62), ("aarch64", 183)])
def test_the_program_is_one_small_static_file(architecture, machine):
    image = cloudnet.cni.install.program(architecture)

    assert image[:6] == b"\x7fELF\x02\x01"
    kind, found = struct.unpack_from("<HH", image, 16)
    (table,) = struct.unpack_from("<Q", image, 32)
    size, number = struct.unpack_from("<HH", image, 54)
    segments = [struct.unpack_from("<II", image, table + i * size) for i in range(number)]
    interpreter, stack, executable = 3, 0x6474E551, 1
    assert (kind, found) == (2, machine)
    assert interpreter not in [kind for kind, _ in segments]
    assert [flags & executable for kind, flags in segments if kind == stack] == [0]
    assert len(image) < 32 * 1024
    assert cloudnet.cni.install.OURS in image


@pytest.mark.kernel
def test_the_program_for_arm_asks_the_agent_too(execute, agent, configured):
    agent.answer = answer(b"from afar", 3)
    program = cloudnet.cni.install.PROGRAMS / "cloudnet-aarch64"

    done = subprocess.run(
        ["qemu-aarch64-static", program],
        input=configured(),
        env={"CNI_COMMAND": "DEL", "CNI_CONTAINERID": 'ü"', "CNI_NETNS": "/proc/self/ns/net"},
        capture_output=True,
        timeout=20,
        check=False,
    )

    assert (done.returncode, done.stdout) == (3, b"from afar")
    assert agent.requests[0].head["env"] == {"CNI_CONTAINERID": 'ü"', "CNI_NETNS": "/proc/self/ns/net"}
    assert agent.requests[0].netns == Path("/proc/self/ns/net").stat().st_ino


def test_the_source_is_short_enough_to_read_before_breakfast():
    source = Path(cloudnet.cni.install.__file__).parent / "shim" / "cni.c"

    assert len(source.read_text().splitlines()) < 200
