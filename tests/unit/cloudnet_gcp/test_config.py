import dataclasses
from pathlib import Path

import pytest

from cloudnet.errors import BadInput
from cloudnet_gcp.config import A_MINUTE, READ, WRITE, GcpConfig, parse

GOOD = {"project": "p", "network": "vpc", "cluster": "c"}


def test_project_network_and_cluster_are_enough():
    assert parse(GOOD) == GcpConfig("p", "vpc", "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"netwrok": "x"}, r"^netwrok: is not a setting of the gcp provider; there are project, network"),
        ({"project": ""}, r"^project: expected a name"),
        ({"cluster": ""}, r"^cluster: expected a name"),
        ({"network": "projects/p/global/networks/vpc"}, r"^network: expected the resource's name, without project"),
        ({"network": ""}, r"^network: expected"),
        ({"pod_range": "Pods"}, r"^pod_range: expected"),
        ({"project": 5}, r"project"),
        ({"endpoint_url": "compute.googleapis.com"}, r"^endpoint_url: expected https://"),
        ({"access_token": "t", "credentials_file": "f"}, r"^access_token: set access_token or credentials_file"),
        ({"routes_per_network": -1}, r"^routes_per_network: expected 0 or more"),
        ({"parallel": 0}, r"^parallel: expected a number above 0"),
        ({"write_burst": 0.5}, r"^write_burst: expected 1 or more"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(BadInput, match=message):
        parse({**GOOD, **change})


@pytest.mark.parametrize("missing", GOOD)
def test_a_missing_setting_is_named(missing):
    with pytest.raises(BadInput, match=missing):
        parse({name: value for name, value in GOOD.items() if name != missing})


def test_a_token_is_never_shown():
    config = parse({**GOOD, "access_token": "ya29.secret"})

    assert "ya29.secret" not in repr(config)
    assert config.secrets == ("ya29.secret",)


@pytest.mark.parametrize("bucket", [READ, WRITE], ids=["read", "write"])
def test_no_minute_takes_more_than_google_publishes(bucket):
    assert A_MINUTE == 1500
    assert bucket.burst + 60 * bucket.rate <= A_MINUTE


def test_every_setting_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "gcp.md").read_text()

    assert [f.name for f in dataclasses.fields(GcpConfig) if f"| `{f.name}` |" not in page] == []
