"""Why an address is not given or not taken back."""

from __future__ import annotations

from cloudnet.errors import CloudnetError


class IpamError(CloudnetError):
    """No address can be given or taken back as asked."""


class NoPool(IpamError):
    """No pool may be used for this node, namespace and purpose; the message says which were looked at."""


class NoFreeAddress(IpamError):
    """Every address that may be used is taken, reserved or cooling down."""

    retry = True


class BlockLimit(IpamError):
    """The node has as many blocks as it may have, and they are full."""

    retry = True


class AddressTaken(IpamError):
    """The address belongs to somebody, or cools down after somebody."""


class NotOurBlock(IpamError):
    """The block belongs to another node, and affinity is strict."""


class StaleRelease(IpamError):
    """The address has changed hands since the caller looked: handle or sequence number differ."""


class ClaimLost(IpamError):
    """Another node has the block that this one wanted."""

    retry = True
