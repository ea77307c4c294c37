"""The contract of providers that look before they write: nothing found where nothing is, each obstacle found alone.

Subclass, name the obstacles that your cloud can have, give it a ``world``, and pytest collects the whole contract::

    class TestMyCloud(CloudPreflightContract):
        CHECKS = frozenset({Check.PERMISSION, Check.MACHINES, Check.QUOTA})
        OBSTACLES = (
            Obstacle("full table", fill_the_table, Check.QUOTA, problem="3 are wanted", remedy="ask for more"),
        )

        @pytest.fixture
        def world(self) -> World:
            return MyWorld()

The world is a cloud in which nothing stands in the way of three nodes ``n1`` to ``n3`` and one pool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import pytest

from cloudnet.provider.errors import ProviderError
from cloudnet.provider.preflight import Check, Finding, Needs, Preflight, Severity, blocks


class World(Protocol):
    """A cloud under test, and what is needed of it."""

    provider: Preflight
    needs: Needs

    def writes(self) -> Sequence[str]:
        """Return the names of the calls that arrived and could have changed something; dry runs do not count."""

    def cut_off(self) -> None:
        """Let no call reach the cloud anymore, where there is one."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that may stand in the way. ``problem`` and ``remedy`` are regular expressions that must be found.

    ``plant`` puts it into the world and may return other needs.
    """

    name: str
    plant: Callable[[Any], Needs | None]  # Any: the subclass's own world
    check: Check
    severity: Severity = Severity.BLOCKS
    problem: str = "."
    remedy: str = "."


class PreflightContract:
    """What every provider that looks before it writes promises. ``CHECKS``: what it looks at."""

    CHECKS: ClassVar[frozenset[Check]] = frozenset(Check)
    OBSTACLES: ClassVar[Sequence[Obstacle]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "obstacle" in metafunc.fixturenames:
            metafunc.parametrize("obstacle", [pytest.param(each, id=each.name) for each in self.OBSTACLES])

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError("give the contract a world")

    def test_it_has_the_face(self, world: World) -> None:
        assert isinstance(world.provider, Preflight)

    def test_where_nothing_stands_in_the_way_all_is_well(self, world: World) -> None:
        found = world.provider.preflight(world.needs)

        assert [f for f in found if f.severity is not Severity.OK] == []
        assert {f.check for f in found} == self.CHECKS
        assert not blocks(found)
        assert all(f.subject and not f.problem and not f.remedy for f in found)
        assert list(world.writes()) == []

    def test_each_obstacle_is_found_by_itself_with_its_remedy(self, world: World, obstacle: Obstacle) -> None:
        needs = obstacle.plant(world) or world.needs
        written = list(world.writes())

        wrong = [f for f in world.provider.preflight(needs) if f.severity is not Severity.OK]

        assert {(f.check, f.severity) for f in wrong} == {(obstacle.check, obstacle.severity)}
        assert any(fits(f, obstacle) for f in wrong), wrong
        assert list(world.writes()) == written

    def test_a_second_look_says_the_same(self, world: World) -> None:
        assert list(world.provider.preflight(world.needs)) == list(world.provider.preflight(world.needs))


class CloudPreflightContract(PreflightContract):
    """What a provider promises besides that has a cloud to ask."""

    def test_a_cloud_that_does_not_answer_is_an_error(self, world: World) -> None:
        world.cut_off()

        with pytest.raises(ProviderError):
            world.provider.preflight(world.needs)


def fits(finding: Finding, obstacle: Obstacle) -> bool:
    """Tell whether problem and remedy say what they have to."""
    return bool(re.search(obstacle.problem, finding.problem) and re.search(obstacle.remedy, finding.remedy))
