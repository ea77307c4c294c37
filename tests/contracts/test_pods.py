"""The door for pods: the real kernel, in namespaces of its own, and the twin."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from cloudnet.kernel import netns
from cloudnet.kernel.pod_links import PodLinks
from cloudnet.kernel.pods_memory import MemoryPods
from cloudnet.testing.pods import PodsContract


def open_namespace() -> int:
    """Return an open file of the namespace that the calling thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class TestMemory(PodsContract):
    @pytest.fixture
    def files(self) -> Iterator[ExitStack]:
        with ExitStack() as stack:
            yield stack

    @pytest.fixture
    def namespace(self, files: ExitStack) -> Callable[[], int]:
        return lambda: files.enter_context(tempfile.TemporaryFile()).fileno()

    @pytest.fixture
    def own_namespace(self, namespace: Callable[[], int]) -> int:
        return namespace()

    @pytest.fixture
    def ordinary_file(self, files: ExitStack) -> int:
        return files.enter_context(Path(__file__).open("rb")).fileno()

    @pytest.fixture
    def pods(self, own_namespace: int) -> MemoryPods:
        status = os.fstat(own_namespace)
        return MemoryPods(host=(status.st_dev, status.st_ino))


@pytest.mark.kernel
class TestRealKernel(PodsContract):
    @pytest.fixture
    def opened(self) -> Iterator[tuple[PodLinks, int]]:
        pods, own = netns.run_in_a_new_one(lambda: (PodLinks(), open_namespace()))
        with closing(pods):
            yield pods, own
        os.close(own)

    @pytest.fixture
    def pods(self, opened: tuple[PodLinks, int]) -> PodLinks:
        return opened[0]

    @pytest.fixture
    def own_namespace(self, opened: tuple[PodLinks, int]) -> int:
        return opened[1]

    @pytest.fixture
    def namespace(self) -> Iterator[Callable[[], int]]:
        opened: list[int] = []

        def make() -> int:
            opened.append(netns.run_in_a_new_one(open_namespace))
            return opened[-1]

        yield make
        for descriptor in opened:
            os.close(descriptor)

    @pytest.fixture
    def ordinary_file(self) -> Iterator[int]:
        with tempfile.TemporaryFile() as file:
            yield file.fileno()
