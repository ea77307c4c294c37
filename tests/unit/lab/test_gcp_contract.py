import json
from importlib.resources import files

import pytest

from cloudnet.lab.clouds.gcp.contract import CONTRACT
from cloudnet.testing.discovery import Description


@pytest.fixture(scope="module")
def published():
    """Return the methods of both APIs, by id, each with the part of its path that its service adds."""
    found = {}
    for api in ("compute", "cloudresourcemanager"):
        page = files("googleapiclient") / "discovery_cache" / "documents" / f"{api}.v1.json"
        document = json.loads(page.read_text())
        found |= {id_: (m, "/" + document["servicePath"]) for id_, m in Description(document).methods.items()}
    return found


@pytest.mark.parametrize("endpoint", CONTRACT.endpoints, ids=lambda each: each.name)
def test_every_call_is_as_google_publishes_it(published, endpoint):
    method, base = published[endpoint.name]

    assert (endpoint.method, endpoint.path) == (method["httpMethod"], base + method["path"])
