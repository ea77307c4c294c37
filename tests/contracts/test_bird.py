"""The twin and a real BIRD, in a network namespace of its own, keep the contract of ``cloudnet.testing.bird``."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import stat
import time
from functools import partial
from pathlib import Path

import pytest

from cloudnet.bgp.api import BirdRefused, BirdUnreachable
from cloudnet.bgp.daemon import BirdDaemon
from cloudnet.errors import MissingTool
from cloudnet.kernel import netns
from cloudnet.testing.bird import NAMES, OWN, PEERS, BirdContract, MemoryBirdWorld, text

_numbers = itertools.count()


class Inside:
    """A door whose every word is said inside a network namespace."""

    def __init__(self, namespace, door):
        self._namespace, self._door = namespace, door

    def __getattr__(self, name):
        return lambda *arguments: netns.run_inside(self._namespace, partial(getattr(self._door, name), *arguments))


class DaemonWorld:
    """A host with one address, and Debian's BIRD."""

    def __init__(self, namespace, folder):
        self.namespace, self.folder = namespace, folder
        lines = "link set lo up", f"address add {OWN}/32 dev lo", "link add eth0 type veth peer name other"
        netns.execute(namespace, ["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
        door = BirdDaemon(str(folder), "bird")
        self.bird, self.log = Inside(namespace, door), door.log

    @property
    def pid(self):
        return int((self.folder / "bird.pid").read_text())

    def die(self):
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        gone(pid)

    def end(self):
        with contextlib.suppress(OSError, ValueError):
            self.die()


def gone(pid):
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/exe").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def daemon(tmp_path):
    with netns.temporary(f"cn-bird-{os.getpid()}-{next(_numbers)}") as namespace:
        world = DaemonWorld(namespace, tmp_path / "bird")
        try:
            yield world
        finally:
            world.end()


class TestMemory(BirdContract):
    @pytest.fixture
    def world(self):
        return MemoryBirdWorld()


@pytest.mark.kernel
class TestDaemon(BirdContract):
    @pytest.fixture
    def world(self, daemon):
        return daemon

    def test_what_may_hold_passwords_is_for_its_owner_alone(self, world):
        world.bird.configure(text(world, *PEERS))

        assert stat.S_IMODE(world.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((world.folder / "bird.conf").stat().st_mode) == 0o600

    def test_what_is_refused_is_not_what_the_next_one_would_read(self, world):
        world.bird.configure(text(world, *PEERS))

        with pytest.raises(BirdRefused):
            world.bird.configure("nonsense;")

        assert (world.folder / "bird.conf").read_text() == text(world, *PEERS)

    def test_one_that_is_cleared_away_ends_and_leaves_no_file(self, world):
        world.bird.configure(text(world, *PEERS))
        pid = world.pid

        assert world.bird.clear(text(world))
        gone(pid)

        assert not world.folder.exists()
        assert not world.bird.clear(text(world))

    def test_routes_that_one_left_behind_when_it_was_killed_are_cleared_away_too(self, world):
        world.bird.configure(text(world, *PEERS))
        for table in ("main", "4795"):
            route = f"route add 10.65.9.0/26 dev lo proto bird metric 32 table {table}"
            netns.execute(world.namespace, ["ip", *route.split()])
        world.die()

        assert world.bird.clear(text(world))

        left = netns.execute(world.namespace, ["ip", "route", "show", "table", "all", "proto", "bird"])
        assert (left, world.folder.exists()) == ("", False)

    def test_one_of_another_network_namespace_is_left_alone(self, world):
        world.bird.configure(text(world, *PEERS))

        outside = BirdDaemon(str(world.folder), "bird")
        with pytest.raises(BirdUnreachable, match="is in another network namespace: give each agent a folder"):
            outside.configure(text(world))
        assert not outside.clear(text(world))
        assert len(world.bird.sessions()) == len(PEERS)

    def test_where_somebody_else_starts_it_his_is_told_and_never_ended(self, world):
        others = Inside(world.namespace, BirdDaemon(str(world.folder), ""))
        with pytest.raises(BirdUnreachable, match=r"start one with -c .*bird\.conf -s .*bird\.ctl"):
            others.configure(text(world, *PEERS))
        files = [f"-c{world.folder}/bird.conf", f"-s{world.folder}/bird.ctl", f"-P{world.folder}/bird.pid"]
        netns.execute(world.namespace, ["bird", *files])

        others.configure(text(world, *PEERS[:1]))
        told = [status.name for status in others.sessions()]
        cleared = others.clear(text(world)), others.clear(text(world))

        assert told == [NAMES[0]]
        assert cleared == (True, False)
        assert others.sessions() == ()

    def test_a_program_that_is_missing_is_named_with_its_package(self, world):
        with pytest.raises(MissingTool, match="no program 'birdie': apt-get install bird2"):
            Inside(world.namespace, BirdDaemon(str(world.folder), "birdie")).configure(text(world, *PEERS))
