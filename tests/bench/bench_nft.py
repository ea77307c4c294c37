"""What one change of nftables costs beside sets of 10, 1,000 and 50,000 elements, by each way in.

Per size there are three sets of that many elements: addresses, networks (an interval set) and a verdict map. The
peer is ``nft -f -``. All of it happens in one network namespace of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from cloudnet.kernel import netns, ruleset
from cloudnet.kernel.nft import Exclude, Include
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.kernel.ruleset import Element, Fate, KeyType, Set, Table, Verdict

TABLE = Table("cn-bench")
HOSTS = Set(TABLE, "hosts", (KeyType.IPV4,))
NETS = Set(TABLE, "nets", (KeyType.IPV4,), interval=True)
PODS = Set(TABLE, "pods", (KeyType.DEVICE,), verdicts=True)
SIZES = (10, 1000, 50_000)
RUNS = 15
RULES = 20
JUMP = Verdict(Fate.JUMP, "pod")


def measure() -> list[dict[str, object]]:
    """Return the rows, in about fifteen seconds."""
    with netns.temporary(f"cn-bench-nft-{os.getpid()}") as name:
        return netns.run_inside(name, _measure)


def _measure() -> list[dict[str, object]]:
    nft = NftLibrary()
    try:
        return [one for size in SIZES for one in _rows(nft, size)]
    finally:
        nft.close()


def _rows(nft: NftLibrary, size: int) -> Iterator[dict[str, object]]:
    fill(nft, size)
    for name, members, one in (
        ("an address", HOSTS, Element((IPv4Address("192.168.0.1"),))),
        ("a network", NETS, Element((IPv4Network("192.168.0.0/24"),))),
        ("a verdict", PODS, Element(("cali-new",), JUMP)),
    ):
        yield from one_element(nft, f"put {name} in", f"beside {size:,}", members, one)
    chain = chain_script()
    leave = ruleset.script([ruleset.flush_chain(TABLE, "new"), ruleset.delete_chain(TABLE, "new")])

    def clean() -> None:
        nft.change([Exclude(PODS, (Element(("cali-new",)),))])
        nft.run(leave)

    whole = median(lambda: nft.run(chain), clean)
    peer = median(lambda: execute(chain), clean)
    yield row(f"put a chain of {RULES} rules and its verdict in, beside {size:,}", whole, peer, most=2.0)


def one_element(nft: NftLibrary, name: str, where: str, members: Set, one: Element) -> Iterator[dict[str, object]]:
    declaration = ruleset.script([ruleset.add_set(members, (one,))])
    command = f"add element {members} {{ {ruleset.element(one)} }}"

    def undo() -> None:
        nft.change([Exclude(members, (one,))])

    peer = median(lambda: execute(command), undo)
    change = median(lambda: nft.change([Include(members, (one,))]), undo)
    yield row(f"{name}, {where}", change, peer, most=8.0)
    yield row(f"{name} by declaring its set, {where}", median(lambda: nft.run(declaration), undo), peer, most=8.0)
    yield row(f"{name} by 'add element', {where}", median(lambda: nft.run(command), undo), peer)


def fill(nft: NftLibrary, size: int) -> None:
    """Make the table anew, its three sets with ``size`` elements each."""
    numbers = range(size)
    hosts = tuple(Element((IPv4Address((10 << 24) + number),)) for number in numbers)
    nets = tuple(Element((IPv4Network(((10 << 24) + 2 * number, 32)),)) for number in numbers)
    pods = tuple(Element((f"cali{number}",), JUMP) for number in numbers)
    sets = ((HOSTS, hosts), (NETS, nets), (PODS, pods))
    lines = [ruleset.delete_table(TABLE), ruleset.add_table(TABLE), ruleset.add_chain(TABLE, "pod")]
    nft.run(ruleset.script([*lines, *(ruleset.add_set(members) for members, _ in sets)]))
    nft.change([Include(members, elements) for members, elements in sets])


def chain_script() -> str:
    rules = [f"ip saddr 10.1.{number}.0/24 tcp dport {number + 1} accept" for number in range(RULES)]
    return ruleset.script(
        [
            ruleset.add_chain(TABLE, "new"),
            *(ruleset.add_rule(TABLE, "new", rule) for rule in rules),
            ruleset.add_set(PODS, (Element(("cali-new",), Verdict(Fate.JUMP, "new")),)),
        ]
    )


def execute(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


def median(work: Callable[[], None], undo: Callable[[], None]) -> float:
    """Return milliseconds."""
    times: list[float] = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
        undo()
    return statistics.median(times) * 1000


def row(name: str, value: float, peer: float, *, most: float | None = None) -> dict[str, object]:
    target = f"at most {most:g}" if most is not None else "for comparison"
    ok = most is None or value <= most
    return {
        "name": name,
        "value": value,
        "unit": "ms",
        "target": target,
        "peer": f"nft -f -: {peer:.1f} ms",
        "ok": ok,
    }


def show(rows: Sequence[dict[str, object]]) -> None:
    for one in rows:
        print(f"{one['name']:60} {one['value']:9.3f} {one['unit']}  {one['target']:15} {one['peer']}")  # noqa: T201


if __name__ == "__main__":
    show(measure())
