"""What the settings of native addresses become."""

import pytest

from cloudnet.clock import ManualClock
from cloudnet.config import ControllerConfig
from cloudnet.controller.main import native_pools
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Family
from cloudnet.provider.memory import MemoryCloud, MemoryProvider
from cloudnet.provider.memory_addresses import AddressSpace


def provider(*, native=True):
    clock = ManualClock()
    return MemoryProvider(MemoryCloud(clock), clock, space=AddressSpace(clock) if native else None)


def test_nothing_is_managed_unless_it_is_asked_for():
    assert native_pools(ControllerConfig(), provider()) is None


@pytest.mark.parametrize(
    ("word", "families"),
    [("ipv4", {Family.IPV4}), ("ipv6", {Family.IPV6}), ("dual", {Family.IPV4, Family.IPV6})],
)
def test_the_families_that_are_asked_for_are_managed_as_the_settings_say(word, families):
    config = ControllerConfig(native_addresses=word, native_warm=3, native_pod_limit=30, leak_seconds=7.0)

    pools = native_pools(config, provider())

    assert pools.settings.families == families
    assert (pools.settings.warm, pools.settings.pod_limit, pools.settings.leak) == (3, 30, 7.0)


def test_a_cloud_without_native_addresses_refuses_at_start():
    with pytest.raises(BadInput, match="native_addresses: the memory provider gives pods no addresses of the cloud"):
        native_pools(ControllerConfig(native_addresses="ipv4"), provider(native=False))
