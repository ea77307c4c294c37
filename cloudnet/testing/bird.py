"""The contract that every door to BIRD keeps: derive from ``BirdContract`` and say how a world is made.

class TestMemory(BirdContract):
    @pytest.fixture
    def world(self):
        return MemoryBirdWorld()
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Protocol

import pytest

from cloudnet.bgp import render
from cloudnet.bgp.api import Bird, BirdRefused, BirdUnreachable
from cloudnet.bgp.memory import MemoryBird
from cloudnet.bgp.speaker import Origin, Session, Speaker

OWN = ip_address("10.0.1.11")  # the world's host has this address
PEERS = tuple(
    Session(Origin.MESH, f"node 'n{k}'", ip_address(f"10.0.1.{k}"), 64512, 64512, source=OWN) for k in (12, 13)
)
NAMES = tuple(render.name(peer) for peer in PEERS)


class World(Protocol):
    """A host with a BIRD that nobody has started yet; its peers do not answer."""

    @property
    def bird(self) -> Bird: ...

    @property
    def log(self) -> str:
        """Where BIRD may log."""

    def die(self) -> None:
        """Kill BIRD; returns when it is dead."""


class MemoryBirdWorld:
    """The twin as a world."""

    log = "/nowhere/bird.log"

    def __init__(self) -> None:
        self.bird = MemoryBird()

    def die(self) -> None:
        self.bird.die()


class BirdContract:
    """What a test of one implementation derives from."""

    def test_before_anything_was_said_nobody_is_there(self, world: World) -> None:
        with pytest.raises(BirdUnreachable):
            world.bird.sessions()

    def test_there_is_a_session_for_each_that_was_asked_for(self, world: World) -> None:
        world.bird.configure(text(world, *PEERS))

        found = world.bird.sessions()

        assert tuple(status.name for status in found) == NAMES
        assert not any(status.established for status in found)

    def test_the_last_word_counts(self, world: World) -> None:
        world.bird.configure(text(world, *PEERS))
        world.bird.configure(text(world, *PEERS[:1]))

        assert [status.name for status in world.bird.sessions()] == [NAMES[0]]

    def test_the_same_may_be_said_twice(self, world: World) -> None:
        world.bird.configure(text(world, *PEERS))
        world.bird.configure(text(world, *PEERS))

        assert len(world.bird.sessions()) == len(PEERS)

    def test_nonsense_is_refused_and_what_was_said_before_stays(self, world: World) -> None:
        world.bird.configure(text(world, *PEERS))

        with pytest.raises(BirdRefused):
            world.bird.configure("nonsense;")

        assert tuple(status.name for status in world.bird.sessions()) == NAMES

    def test_nonsense_is_refused_where_nobody_runs_and_nobody_is_started_for_it(self, world: World) -> None:
        with pytest.raises(BirdRefused):
            world.bird.configure("nonsense;")

        with pytest.raises(BirdUnreachable):
            world.bird.sessions()

    def test_one_that_died_comes_back_when_it_is_told_something(self, world: World) -> None:
        world.bird.configure(text(world, *PEERS))
        world.die()

        with pytest.raises(BirdUnreachable):
            world.bird.sessions()
        world.bird.configure(text(world, *PEERS))

        assert tuple(status.name for status in world.bird.sessions()) == NAMES


def text(world: World, *peers: Session) -> str:
    return render.render(Speaker(IPv4Address(int(OWN)), sessions=peers), log=world.log)
