from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.simulator import Answer
from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.provider.budget import Kind
from cloudnet.provider.errors import PermissionDenied, Unavailable
from cloudnet_azure import make
from cloudnet_azure.client import credentials


def test_no_sdk_is_loaded_before_its_cloud_is_used():
    asked = (
        "import sys, cloudnet_azure, cloudnet_azure.client; print([m for m in sys.modules if m.startswith('azure')])"
    )

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_making_a_provider_calls_nobody():
    config = {"subscription_id": "s", "resource_group": "rg", "cluster": "c", "access_token": "t"}

    provider = make({**config, "endpoint_url": "http://127.0.0.1:9"}, clock=ManualClock())

    assert provider.name == "azure"
    assert not provider.capabilities.l2_adjacent


def test_every_call_names_its_version_and_carries_the_token(cloud, provider, three):
    seen = []
    cloud.simulator.judge = lambda request, _: seen.append(request) or ()

    provider.instances(three)
    provider.routes.read()

    assert {r.query["api-version"] for r in seen} == {"2025-05-01", "2018-10-01"}
    assert {r.headers["authorization"] for r in seen} == {"Bearer SECRET-TOKEN"}
    assert all(r.headers["user-agent"].startswith("cloudnet/c1") for r in seen)


def test_a_token_that_is_not_valid_is_a_matter_of_permission(cloud, provider):
    cloud.simulator.conditions = dataclasses.replace(cloud.simulator.conditions, keys=frozenset({"other"}))

    with pytest.raises(PermissionDenied, match="check the credentials"):
        provider.routes.read()


def test_the_sdk_tries_nothing_again_by_itself(cloud):
    client = cloud.client(deadline=0.0)
    cloud.simulator.faults.add(Fault("RouteTables_List", Trouble.UNAVAILABLE))

    with pytest.raises(Unavailable):
        client.route_tables()

    assert cloud.count("RouteTables_List") == 1


def test_a_named_delay_holds_all_calls_and_is_waited_out(cloud, provider):
    cloud.simulator.faults.add(Fault("RouteTables_List", Trouble.THROTTLE, times=1, retry_after=4.0))

    provider.routes.read()

    assert 4.0 <= cloud.clock.now() < 10.0
    assert provider.budget.calls["Microsoft.Network/routeTables/read", "throttled"] == 1
    assert provider.budget.rate(Kind.READ) < 25.0


def test_every_attempt_and_every_look_is_paid_from_the_budget(cloud, provider, three):
    provider.instances(three)
    provider.allow_forwarding(provider.instances(three)["n2"])

    calls = provider.budget.calls
    assert sum(calls.values()) >= cloud.count()
    assert calls["Microsoft.Compute/locations/operations/read", "ok"] == cloud.count("Operations_Get") > 0


def test_pages_follow_each_other_and_a_failed_one_is_asked_for_again(cloud, provider):
    for k in range(4, 9):
        cloud.add_table(f"rt-{k}", (f"s{k}", f"10.0.{k}.0/24"))
    cloud.simulator.handler = paged(cloud.arm, size=3)
    cloud.simulator.faults.add(Fault("RouteTables_List", Trouble.UNAVAILABLE, times=1, skip=1))

    found = provider.routes.read(["rt-1", "rt-5", "rt-8"]).tables

    assert [t.id for t in found] == ["rt-1", "rt-5", "rt-8"]
    assert cloud.count("RouteTables_List") == 4


def paged(arm, *, size):
    """Give out lists in pages, as Azure does with long ones: each names the URL of the next."""

    def handle(request):
        answer = arm(request)
        if not answer.body or "value" not in answer.body:
            return answer
        first = int(request.query.get("$skiptoken", 0))
        body = {"value": answer.body["value"][first : first + size]}
        if first + size < len(answer.body["value"]):
            url = f"http://{request.headers['host']}{request.path}?api-version={request.query['api-version']}"
            body["nextLink"] = f"{url}&$skiptoken={first + size}"
        return Answer(200, body)

    return handle


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"value": 3}', b'{"value": [7]}', b'{"other": []}', b"\xff\xfe"])
def test_an_answer_of_another_shape_is_not_taken_for_an_empty_list(cloud, provider, raw):
    cloud.simulator.handler = lambda _: Answer(200, raw=raw)

    with pytest.raises(Unavailable, match="answered by something that is not Azure"):
        provider.routes.read()


def test_nobody_there_is_unavailable_and_said_where(cloud, provider):
    cloud.listener.close()

    with pytest.raises(Unavailable, match=r"got no answer from http://127\.0\.0\.1"):
        provider.routes.read()
    cloud.listener.open()


def test_credentials_are_a_secret_an_identity_or_a_token_as_it_is(cloud):
    secret, _ = credentials(cloud.config(access_token="", client_secret="x", tenant_id="t", client_id="c"))  # noqa: S106 - none
    managed, _ = credentials(cloud.config(access_token="", client_id="c"))
    _, policies = credentials(cloud.config())

    assert type(secret).__name__ == "ClientSecretCredential"
    assert type(managed).__name__ == "DefaultAzureCredential"
    assert set(policies) == {"authentication_policy"}
