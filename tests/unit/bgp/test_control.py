"""One command, one answer, over a socket that answers in its own way."""

from __future__ import annotations

import socket
import threading

import pytest

from cloudnet.bgp import control
from cloudnet.bgp.api import BirdRefused, BirdUnreachable
from cloudnet.bgp.control import NotRunning

GREETING = b"0001 BIRD 2.0.12 ready.\n"


@pytest.fixture
def bird(tmp_path):
    """Return what starts a BIRD that greets, hears one command and says these pieces."""
    heard, threads = [], []

    def start(*pieces):
        path = tmp_path / "bird.ctl"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()

        def serve():
            with server, server.accept()[0] as connection:
                connection.sendall(GREETING)
                heard.append(connection.recv(1000))
                for piece in pieces:
                    connection.sendall(piece)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return path, heard

    yield start
    for thread in threads:
        thread.join()


def test_the_lines_of_an_answer_come_back_however_they_were_cut(bird):
    path, heard = bird(b"0002-Reading con", b"figuration\n000", b"3 Reconfigured\n")

    lines = control.ask(path, "configure")

    assert [(one.code, one.text) for one in lines] == [(2, "Reading configuration"), (3, "Reconfigured")]
    assert heard == [b"configure\n"]


def test_an_error_is_told_in_birds_words_with_the_verb_alone(bird):
    path, _ = bird(b"8002 /x/bird.conf:3:1 syntax error\n")

    with pytest.raises(BirdRefused, match=r"^BIRD refuses 'configure': /x/bird\.conf:3:1 syntax error$"):
        control.ask(path, 'configure check "/x/bird.conf"')


def test_an_answer_that_breaks_off_is_no_answer(bird):
    path, _ = bird(b"1002-half\n")

    with pytest.raises(BirdUnreachable, match="does not answer 'show protocols all'") as raised:
        control.ask(path, "show protocols all")
    assert not isinstance(raised.value, NotRunning)
    assert raised.value.retry


def test_where_nobody_listens_one_may_be_started(tmp_path):
    with pytest.raises(NotRunning, match=r"no BIRD listens at .*bird\.ctl \(no such file or directory\)"):
        control.ask(tmp_path / "bird.ctl", "configure")


def test_two_commands_are_not_one(tmp_path):
    with pytest.raises(ValueError, match="expected one command"):
        control.ask(tmp_path / "bird.ctl", "configure\ndown")
