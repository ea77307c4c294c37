import dataclasses
from pathlib import Path

import pytest

from cloudnet.errors import BadInput
from cloudnet_aws.config import READ, WRITE, AwsConfig, parse

GOOD = {"region": "eu-west-1", "vpc_id": "vpc-1"}


def test_region_and_vpc_are_enough():
    assert parse(GOOD) == AwsConfig("eu-west-1", "vpc-1")


def test_table_ids_come_as_a_list():
    assert parse({**GOOD, "route_table_ids": ["rtb-1", "rtb-2"]}).route_table_ids == ("rtb-1", "rtb-2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regoin": "x"}, r"^regoin: is not a setting of the aws provider; there are region, vpc_id"),
        ({"vpc_id": "subnet-1"}, r"^vpc_id: expected vpc-…, found 'subnet-1'"),
        ({"region": ""}, r"^region: expected a region"),
        ({"region": 5}, r"region"),
        ({"route_table_ids": ["rtb-1", "vpc-1"]}, r"^route_table_ids\[1\]: expected rtb-…"),
        ({"access_key_id": "AKIA"}, r"^access_key_id: set both"),
        ({"write_rate": 0}, r"^write_rate: expected a number above 0"),
        ({"write_burst": 0.5}, r"^write_burst: expected 1 or more"),
        ({"routes_per_table": -1}, r"^routes_per_table"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(BadInput, match=message):
        parse({**GOOD, **change})


@pytest.mark.parametrize("missing", GOOD)
def test_a_missing_setting_is_named(missing):
    with pytest.raises(BadInput, match=missing):
        parse({k: v for k, v in GOOD.items() if k != missing})


def test_secrets_do_not_show():
    shown = repr(parse({**GOOD, "access_key_id": "AKIA", "secret_access_key": "hush", "session_token": "shh"}))

    assert not any(s in shown for s in ("AKIA", "hush", "shh"))


@pytest.mark.parametrize("setting", [f.name for f in dataclasses.fields(AwsConfig)])
def test_every_setting_is_in_the_reference(setting):
    page = Path(__file__).parents[3] / "docs" / "reference" / "aws.md"

    assert f"| `{setting}` |" in page.read_text(encoding="utf-8")


def test_the_defaults_are_the_buckets_that_ec2_publishes():
    assert (READ.rate, READ.burst) == (20.0, 100.0)
    assert (WRITE.rate, WRITE.burst) == (5.0, 50.0)
