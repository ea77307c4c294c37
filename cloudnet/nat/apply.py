"""NAT in the kernel: writes what is wished, finds out what others did to it, and mends that."""

from __future__ import annotations

from collections.abc import Mapping

from cloudnet.kernel.nft import Nft, NftError, Standing, StandingChain
from cloudnet.nat import plan
from cloudnet.nat.plan import Desired


class Nat:
    """Our one table. Use it from one thread at a time."""

    def __init__(self, nft: Nft) -> None:
        self._nft = nft
        self._written: Desired | None = None  # what we believe to stand; nothing when nobody knows
        self._chains: Mapping[str, StandingChain] = {}  # as they read right after we wrote them

    def settle(self, wanted: Desired) -> bool:
        """Make the kernel hold what is wanted; return whether anything had to be done.

        Raises:
            NftError: nothing was changed; the next call begins anew.
        """
        if wanted == self._written:
            return False
        if self._written is None or wanted.rules != self._written.rules:
            self._write(wanted)
            return True
        changes = plan.changes(self._written, wanted)
        try:
            self._nft.change(changes)
        except NftError:
            self._written = None  # somebody may have been at it: write everything the next time
            raise
        self._written = wanted
        return True

    def repair(self) -> bool:
        """Read the table back; if it is not as we wrote it, write it again. Returns whether it was not.

        Raises:
            NftError: it cannot be read or written.
        """
        wanted = self._written
        if wanted is None or self._stands(wanted, self._nft.list(plan.TABLE)):
            return False
        self._write(wanted)
        return True

    def _write(self, wanted: Desired) -> None:
        self._written = None
        self._nft.run(plan.transaction(wanted, self._nft.list(plan.TABLE)))
        standing = self._nft.list(plan.TABLE)
        self._chains = standing.chains if standing is not None else {}
        self._written = wanted

    def _stands(self, wanted: Desired, standing: Standing | None) -> bool:
        """Compare rules with how they read before: the kernel spells them otherwise than we do."""
        if standing is None or standing.chains != self._chains:
            return False
        members = {one.set: one.elements for one in standing.sets.values() if not one.strange}
        return members == wanted.members
