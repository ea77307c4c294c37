"""The look before the first write in every lab: nothing stands in the way of its nodes, and nothing is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from cloudnet.lab.clouds.registry import KINDS
from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec, cloud_namespace

pytestmark = pytest.mark.lab

NAME = f"pf{os.getpid() % 100000}"


@pytest.fixture(params=sorted(KINDS))
def lab(request):
    """A lab whose nodes are in the store, with neither agents nor a controller that would set anything right."""
    wanted = LabSpec(NAME, nodes=3, subnets=2, pods=0, cloud=request.param, agents=False, controller=False)
    built = Lab.up(wanted)
    yield built
    built.down()


def look(lab):
    """Return the findings, as the controller's machine sees the cloud."""
    command = [sys.executable, "-m", "cloudnet", "preflight", "--provider", lab.kind.name, "-o", "json"]
    place = ["--store", lab.store_url, "--provider-config", str(lab.directory / "provider.json")]
    inside = ["ip", "netns", "exec", cloud_namespace(lab.name)]
    done = subprocess.run([*inside, *command, *place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_nothing_stands_in_the_way_of_a_labs_nodes(lab):
    found = look(lab)

    assert found["blocks"] is False
    wrong = {f["check"] for f in found["findings"] if f["severity"] != "ok"}
    assert wrong <= {"forwarding"}  # which the controller sets right
    assert len(found["findings"]) > len(wrong)
    assert not lab.cloud.route_writes & set(lab.cloud.stats().get("calls", {}))
