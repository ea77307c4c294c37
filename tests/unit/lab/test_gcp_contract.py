import json
from importlib.resources import files

import pytest

from cloudnet.lab.clouds.gcp.contract import CONTRACT
from cloudnet.testing.discovery import Description


@pytest.fixture(scope="module")
def published():
    page = files("googleapiclient") / "discovery_cache" / "documents" / "compute.v1.json"
    return Description(json.loads(page.read_text()))


@pytest.mark.parametrize("endpoint", CONTRACT.endpoints, ids=lambda each: each.name)
def test_every_call_is_as_google_publishes_it(published, endpoint):
    method = published.methods[endpoint.name]

    assert (endpoint.method, endpoint.path) == (method["httpMethod"], "/compute/v1/" + method["path"])
