"""Cut a pool into smaller ones of equal size, all blocks staying where they are: ``cloudnet ipam split``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Network
from cloudnet.model.resources import IPPool, Metadata


def parts(pool: IPPool, number: int, *, taken: Iterable[str]) -> tuple[IPPool, ...]:
    """Return the pools that take a pool's place, named ``split-<name>-<n>`` as ``calicoctl`` names them.

    Raises:
        BadInput: the number is no power of two, a part would be smaller than a block, or a name is taken.
    """
    if number < 2 or number & (number - 1):  # noqa: PLR2004 - one part is no split
        raise BadInput(f"expected a power of two from 2 on, found {number}", path="number")
    length = pool.cidr.prefixlen + number.bit_length() - 1
    if length > pool.block_size:
        most = 1 << (pool.block_size - pool.cidr.prefixlen)
        raise BadInput(
            f"pool {pool.meta.name!r} ({pool.cidr}) has room for {most} blocks of /{pool.block_size}: "
            f"expected {most} parts at most, found {number}",
            path="number",
        )
    names = [f"split-{pool.meta.name}-{i}" for i in range(number)]
    if clash := sorted(set(names) & set(taken)):
        raise BadInput(f"there is a pool {clash[0]!r} already: rename or delete it", path="pool")
    meta = pool.meta
    cidrs: list[Network] = [*pool.cidr.subnets(new_prefix=length)]
    return tuple(
        replace(pool, meta=Metadata(name, labels=meta.labels, annotations=meta.annotations), cidr=cidr)
        for name, cidr in zip(names, cidrs, strict=True)
    )
