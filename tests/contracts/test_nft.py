"""nftables and its twin keep the contract of ``cloudnet.testing.nft``, and one answers as the other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings

from cloudnet.kernel import netns, ruleset
from cloudnet.kernel.api import HostNamespace
from cloudnet.kernel.nft import Exclude, Include, NftError
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.kernel.nft_memory import MemoryNft
from cloudnet.testing import nft as contract
from cloudnet.testing.nft import NETS, PLAIN, PODS, TABLE, NftContract, host, net, pod


class Inside:
    """A door whose every call runs inside one network namespace, as on a thread that stays there."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._door = netns.run_inside(namespace, NftLibrary)

    def __getattr__(self, name):
        verb = getattr(self._door, name)
        return lambda *given, **named: netns.run_inside(self._namespace, lambda: verb(*given, **named))


@pytest.fixture
def namespace(request):
    with netns.temporary(f"cn-nft-{os.getpid()}") as name:
        yield name


@pytest.fixture
def inside(namespace):
    door = Inside(namespace)
    yield door
    door.close()


class TestMemory(NftContract):
    @pytest.fixture
    def nft(self):
        return MemoryNft()


@pytest.mark.kernel
class TestLibrary(NftContract):
    @pytest.fixture
    def nft(self, inside):
        return inside


@pytest.mark.kernel
def test_the_twin_ends_where_nftables_ends(inside):
    @settings(max_examples=60, deadline=None)
    @given(changes=contract.changes())
    def check(changes):
        twin = MemoryNft()
        for door in (inside, twin):
            door.run(ruleset.script([ruleset.delete_table(TABLE)]))
            contract.begin(door)

        answers = [refusal(door, changes) for door in (inside, twin)]

        assert answers[0] == answers[1]
        for one in (PLAIN, PODS):
            assert contract.elements(inside, one) == contract.elements(twin, one)

    def refusal(door, changes):
        try:
            door.change(changes)
        except NftError as e:
            return e.errno
        return 0

    check()


@pytest.mark.kernel
def test_the_machines_own_namespace_is_refused():
    with pytest.raises(HostNamespace):
        NftLibrary()


@pytest.mark.kernel
def test_a_thread_of_another_namespace_is_refused(namespace):
    door = netns.run_inside(namespace, NftLibrary)
    try:
        for call in (lambda: door.run("add table inet stray"), lambda: door.change([]), door.tables):
            with pytest.raises(HostNamespace):
                call()
    finally:
        netns.run_inside(namespace, door.close)


@pytest.mark.kernel
def test_the_nft_program_reads_what_went_in_by_netlink(inside, namespace):
    contract.begin(inside)

    inside.change([Include(NETS, (net("10.0.0.0/8"), net("128.0.0.0/1"))), Include(PODS, (pod("cali1"),))])

    shown = netns.execute(namespace, ["nft", "list", "table", "inet", "cn-test"])
    assert "elements = { 10.0.0.0/8, 128.0.0.0/1 }" in shown
    assert 'elements = { "cali1" : jump pod }' in shown


@pytest.mark.kernel
def test_the_nft_program_takes_out_what_went_in_by_netlink(inside, namespace):
    contract.begin(inside)
    inside.change([Include(NETS, (net("10.0.0.0/8"), net("11.0.0.0/8")))])

    netns.execute(namespace, ["nft", "delete", "element", "inet", "cn-test", "nets", "{", "10.0.0.0/8", "}"])

    assert contract.elements(inside, NETS) == {net("11.0.0.0/8")}


@pytest.mark.kernel
def test_an_element_that_nobody_of_us_made_is_counted_as_strange(inside, namespace):
    contract.begin(inside)
    netns.execute(namespace, ["nft", "add set inet cn-test timed { type ipv4_addr; flags timeout; }"])

    netns.execute(namespace, ["nft", "add element inet cn-test timed { 10.0.0.1 timeout 1h }"])

    assert contract.standing(inside).sets["timed"].strange == 1


@pytest.mark.kernel
def test_absent_elements_among_thousands_do_not_keep_the_others_in(inside):
    contract.begin(inside)
    many = tuple(host(f"10.0.{number >> 8}.{number & 255}") for number in range(3000))
    inside.change([Include(PLAIN, many[::2])])

    inside.change([Exclude(PLAIN, many)])

    assert contract.elements(inside, PLAIN) == frozenset()


@pytest.mark.kernel
def test_other_threads_run_while_a_long_transaction_does(inside):
    contract.begin(inside)
    many = tuple(host(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}") for number in range(60_000))
    script = ruleset.script([ruleset.add_set(PLAIN, many)])
    ticks: list[int] = []
    done = threading.Event()

    def count():
        while not done.wait(0.001):
            ticks.append(1)

    counter = threading.Thread(target=count)
    counter.start()
    inside.run(script)
    done.set()
    counter.join()

    assert len(ticks) > 5


@pytest.mark.kernel
def test_a_missing_library_is_one_line_that_says_what_to_install(namespace, tmp_path):
    program = (
        "import ctypes\n"
        "def refuse(name, *rest, real=ctypes.CDLL, **named):\n"
        "    if name and 'nftables' in str(name): raise OSError('not there')\n"
        "    return real(name, *rest, **named)\n"
        "ctypes.CDLL = refuse\n"
        "from cloudnet.errors import MissingTool\n"
        "from cloudnet.kernel.nft_library import NftLibrary\n"
        "try: NftLibrary()\n"
        "except MissingTool as e: print(e)\n"
    )

    command = netns.command_inside(namespace, [sys.executable, "-c", program])

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip() == "there is no libnftables.so.1: apt-get install libnftables1"
