from importlib.metadata import EntryPoint

import pytest

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput, MissingTool
from cloudnet.provider import registry
from cloudnet.provider.budget import Bucket, Budget


def test_the_core_and_the_clouds_are_installed():
    assert {"aws", "memory"} <= registry.installed().keys()


def test_a_provider_is_made_by_name_with_the_budget_it_is_given():
    budget = Budget(ManualClock(), read=Bucket(1.0, 1.0), write=Bucket(1.0, 1.0))

    provider = registry.load("memory", {}, clock=ManualClock(), budget=budget)

    assert provider.name == "memory"
    assert provider.budget is budget


def test_an_unknown_name_lists_what_is_installed():
    with pytest.raises(BadInput, match=r"^provider: no provider is named 'azuer'; installed: .*aws.*memory"):
        registry.load("azuer", {}, clock=ManualClock())


def test_nothing_installed_is_said_plainly():
    with pytest.raises(BadInput, match="installed: none"):
        registry.load("aws", {}, clock=ManualClock(), found=[])


def test_a_plugin_whose_package_is_missing_names_the_extra():
    broken = EntryPoint("gcp", "cloudnet_no_such_package:make", registry.GROUP)

    with pytest.raises(MissingTool, match=r"pip install 'cloudnet\[gcp\]'") as caught:
        registry.load("gcp", {}, clock=ManualClock(), found=[broken])

    assert "\n" not in str(caught.value)
