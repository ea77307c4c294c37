"""What Calico leaves in the kernel when its node program stops: routes, and iptables chains that go on enforcing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

from cloudnet.kernel import iptables
from cloudnet.kernel.foreign import ForeignRoutes
from cloudnet.kernel.nft import remove
from cloudnet.kernel.nft_library import NftLibrary
from cloudnet.nat import plan as nat
from cloudnet.policy import elements as policy

PREFIX: Final = "cali-"  # of Felix's chains
_MARK: Final = "cali:"  # in comments of Felix's rules in other chains
PROTOCOLS: Final = frozenset({80, 12})  # Felix, BIRD
_TABLE: Final = "calico"  # of families ip and ip6, with nftablesMode Enabled
_PROGRAM: Final = "calico-node"


class Remains(Protocol):
    """Calico's traces on this host, and ours, for the moment when one hands over to the other."""

    def runs(self) -> bool:
        """Tell whether Calico's node program is seen here."""

    def has_nftables(self) -> bool:
        """Tell whether Calico enforces by nftables tables of its own."""

    def chains(self) -> Sequence[str]:
        """Return the names of Felix's iptables chains, of both families."""

    def remove_chains(self) -> None:
        """Remove them, with all that leads to them."""

    def routes(self) -> Sequence[str]:
        """Return Felix's and BIRD's routes, each spelled as it can be given back."""

    def lower(self, route: str) -> None: ...

    def raise_again(self, route: str) -> None: ...

    def drop_ours(self) -> None:
        """Remove our nftables tables."""


class HostRemains:
    """The real ones, in the namespace of the calling thread."""

    def __init__(self, spared: str, *, allow_host_network: bool = False) -> None:
        self._spared, self._allowed = spared, allow_host_network

    def runs(self) -> bool:
        return any(_PROGRAM in _command(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit())

    def has_nftables(self) -> bool:
        with closing(NftLibrary(allow_host_network=self._allowed)) as nft:
            return any(table.name == _TABLE for table in nft.tables())

    def chains(self) -> Sequence[str]:
        saved = iptables.save(allow_host=self._allowed)
        return [name for text in saved.values() for name in iptables.chains(text, PREFIX)]

    def remove_chains(self) -> None:
        for family, text in iptables.save(allow_host=self._allowed).items():
            iptables.restore(family, iptables.removal(text, PREFIX, _MARK), allow_host=self._allowed)

    def routes(self) -> Sequence[str]:
        with closing(self._foreign()) as routes:
            return [body.hex() for body in routes.read()]

    def lower(self, route: str) -> None:
        with closing(self._foreign()) as routes:
            routes.lower(bytes.fromhex(route))

    def raise_again(self, route: str) -> None:
        with closing(self._foreign()) as routes:
            routes.raise_again(bytes.fromhex(route))

    def _foreign(self) -> ForeignRoutes:
        return ForeignRoutes(PROTOCOLS, self._spared, allow_host_network=self._allowed)

    def drop_ours(self) -> None:
        with closing(NftLibrary(allow_host_network=self._allowed)) as nft:
            for table in (policy.TABLE, nat.TABLE):
                remove(nft, table)


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:  # it has ended
        return ""
