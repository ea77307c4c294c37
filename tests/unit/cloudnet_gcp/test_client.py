import subprocess
import sys
from uuid import UUID

import pytest

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput, MissingTool
from cloudnet.lab.clouds.trouble import Fault, Trouble
from cloudnet.provider.budget import Kind
from cloudnet.provider.errors import PermissionDenied, Throttled, Unavailable
from cloudnet_gcp import make
from cloudnet_gcp.config import READ, WRITE, GcpConfig
from cloudnet_gcp.errors import PERMISSIONS

GOOD = {"project": "p", "network": "vpc", "cluster": "c"}


def test_a_missing_sdk_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud", None)

    with pytest.raises(MissingTool, match=r"pip install 'cloudnet\[gcp\]'"):
        make({**GOOD, "access_token": "t"}, clock=ManualClock())


def test_a_file_that_holds_no_credentials_is_named(tmp_path):
    file = tmp_path / "key.json"
    file.write_text("{}")

    with pytest.raises(BadInput, match=r"^credentials_file: "):
        make({**GOOD, "credentials_file": str(file)}, clock=ManualClock())


def test_no_credentials_at_all_is_a_permission(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")

    with pytest.raises(PermissionDenied, match="give the machine a service account or set credentials_file"):
        make(GOOD, clock=ManualClock())


def test_what_is_made_has_called_nobody_and_spends_what_google_publishes():
    provider = make({**GOOD, "access_token": "t", "endpoint_url": "http://127.0.0.1:1"}, clock=ManualClock())

    assert provider.name == "gcp"
    assert not provider.budget.calls
    assert (provider.budget.rate(Kind.READ), provider.budget.rate(Kind.WRITE)) == (READ.rate, WRITE.rate)


def test_nobody_listening_is_unavailable_and_says_where():
    config = {**GOOD, "access_token": "t", "endpoint_url": "http://127.0.0.1:1", "deadline": 0.5}
    provider = make(config, clock=ManualClock())

    with pytest.raises(Unavailable, match=r"got no answer from http://127\.0\.0\.1:1"):
        provider.routes.read()


def test_every_call_is_counted_by_the_name_that_has_its_permissions(make_world):
    world = make_world(pod_range="pods")
    world.assign("n1", 1)
    world.provider.routes.read()

    assert {verb for verb, _ in world.provider.budget.calls} <= set(PERMISSIONS)


def test_operations_are_asked_for_at_our_endpoint_and_with_our_token(make_world):
    world = make_world()
    seen = []
    world.given = lambda request, _: seen.append((request.call, request.headers.get("authorization"))) or ()

    world.client.operations(["operation-1"])
    world.client.operations(["operation-1"], zone="here-a")

    assert seen == [
        ("compute.globalOperations.list", "Bearer token"),
        ("compute.zoneOperations.list", "Bearer token"),
    ]


def test_operations_are_asked_for_fifty_at_a_time(make_world):
    world = make_world()

    world.client.operations([f"operation-{k}" for k in range(101)])

    assert world.google.simulator.counts["compute.globalOperations.list"] == 3


def test_a_second_attempt_carries_the_same_request_id(make_world):
    world = make_world()
    seen = []
    world.given = lambda request, _: seen.append(request.query.get("requestId")) or ()
    world.google.simulator.faults.add(Fault("compute.routes.delete", Trouble.UNAVAILABLE, times=2))
    world.put_raw("cloudnet-x", "10.65.1.0/26", nextHopIp="10.0.1.99")

    world.client.delete_route("cloudnet-x", request_id="6f1d0e7c-0000-4000-8000-000000000001")

    assert seen == ["6f1d0e7c-0000-4000-8000-000000000001"] * 3


def test_request_ids_are_uuids_and_differ(make_world):
    client = make_world().client

    first, second = UUID(client.request_id()), UUID(client.request_id())

    assert first != second
    assert first.version == second.version == 4


def test_an_empty_list_of_alias_ranges_is_sent_as_one(make_world):
    world = make_world(pod_range="pods")
    bodies = []
    world.given = lambda request, _: bodies.append(request.body) or ()
    nic = world.client.machine("here-a/vm-1").nics[0]

    world.client.set_aliases("here-a/vm-1", nic, [], request_id="r")

    assert bodies[-1] == {"fingerprint": nic.fingerprint, "aliasIpRanges": []}


def test_a_named_delay_holds_everybody(make_world):
    world = make_world()
    world.google.simulator.faults.add(Fault("compute.routes.list", Trouble.THROTTLE, times=1, retry_after=7.0))

    world.provider.routes.read()

    assert world.clock.now() >= 7.0


def test_throttled_calls_slow_us_down(make_world):
    world = make_world(deadline=0.0)
    world.google.simulator.faults.add(Fault("compute.routes.list", Trouble.THROTTLE))

    with pytest.raises(Throttled):
        world.provider.routes.read()
    assert world.provider.budget.rate(Kind.READ) < READ.rate


def test_a_token_is_in_no_error(make_world):
    settings = {"access_token": "ya29.secret", "deadline": 0.0}
    world = make_world(**settings)
    world.google.simulator.faults.add(Fault("*", Trouble.AUTHENTICATION))

    with pytest.raises(PermissionDenied) as caught:
        world.provider.routes.read()
    assert "ya29" not in str(caught.value)


def test_the_settings_of_tests_are_those_of_the_plugin(world):
    assert isinstance(world.config, GcpConfig)


def test_the_plugin_alone_loads_no_sdk():
    code = (
        "import sys, cloudnet_gcp; print([m for m in sys.modules if m.partition('.')[0] in ('google', 'requests')])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
