"""Google keeps the provider contract: the real SDK, over loopback HTTP, against the lab's Compute Engine."""

from cloudnet.testing.provider import ProviderContract


class TestGcp(ProviderContract):
    """``world`` comes from conftest.py."""

    world = None
