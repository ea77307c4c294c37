from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from cloudnet.errors import BadInput
from cloudnet_azure import client
from cloudnet_azure.config import AzureConfig, parse

LEAST = {"subscription_id": "s", "resource_group": "rg", "cluster": "c1"}
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "azure.md"


def test_three_settings_are_enough():
    config = parse(LEAST)

    assert (config.tables_group, config.routes_per_table, config.bulk) == ("rg", 400, 4)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"cluster": ""}, "cluster: expected 1 to 25 letters"),
        ({"cluster": "a" * 26}, "cluster"),
        ({"cluster": "a/b"}, "cluster"),
        ({"resource_group": ""}, "resource_group: expected a name"),
        ({"subscription_id": "/subscriptions/s"}, "subscription_id"),
        ({"endpoint_url": "management.azure.com"}, "endpoint_url: expected a URL"),
        ({"client_secret": "x"}, "client_secret: a client_secret needs tenant_id and client_id"),
        ({"bulk": 0}, "bulk: expected a number above 0"),
        ({"read_burst": 0.5}, "read_burst: expected 1 or more"),
        ({"mtu": "big"}, "mtu"),
        ({"vnet": "v"}, "vnet: is not a setting of the azure provider"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_a_wrong_setting_is_named(changed, says):
    with pytest.raises(BadInput, match=says):
        parse({**LEAST, **changed})


def test_a_missing_setting_is_named():
    with pytest.raises(BadInput, match="cluster"):
        parse({"subscription_id": "s", "resource_group": "rg"})


def test_a_secret_is_not_shown():
    config = AzureConfig(**LEAST, client_secret="SECRET", access_token="TOKEN")  # noqa: S106 - what shall not be seen

    assert "SECRET" not in repr(config)
    assert "TOKEN" not in repr(config)
    assert set(config.secrets) == {"SECRET", "TOKEN"}


def test_every_setting_is_on_its_page():
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))

    assert {f.name for f in fields(AzureConfig)} <= listed


def test_the_role_on_the_page_allows_what_the_plugin_calls_and_nothing_else():
    written = set(re.findall(r'^    "(Microsoft\.[\w./]+)"', PAGE.read_text(), re.MULTILINE))
    constants = [value for name, value in vars(client).items() if name.endswith(("_READ", "_WRITE", "_DELETE"))]
    called = {c for c in constants if isinstance(c, str)} | set(client.OPERATIONS_READ.values())

    linked = {"subnets", "networkSecurityGroups"}  # what an interface refers to is checked when it is written
    assert {action for action in written - called if action.split("/")[-3] not in linked} == set()
    assert called <= written
