"""A controller that may do what its Terraform module grants, and nothing else, programs a whole lab."""

from __future__ import annotations

import time
from pathlib import Path

import boto3
import hcl2
import pytest

from cloudnet.lab.lab import Lab
from cloudnet.lab.spec import LabSpec

pytestmark = pytest.mark.lab

MODULE = Path(__file__).parents[2] / "terraform" / "aws" / "main.tf"


def granted(policy: str) -> set[str]:
    """Return the EC2 actions of one of the module's policies, without their prefix."""
    name = f'"{policy}"'
    documents = [
        d['"aws_iam_policy_document"']
        for d in hcl2.loads(MODULE.read_text())["data"]
        if len(d) == 1 and '"aws_iam_policy_document"' in d
    ]
    (document,) = (d[name] for d in documents if name in d)
    actions = {action.strip('"') for statement in document["statement"] for action in statement["actions"]}
    return {action.removeprefix("ec2:") for action in actions if action.startswith("ec2:")}


def test_the_modules_rights_are_enough_and_all_of_them_are_asked_for() -> None:
    ec2 = boto3.client("ec2", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106
    allowed = granted("routes")
    lab = Lab.up(LabSpec("trights", nodes=3, pods=1, controller=False))
    try:
        lab.cloud.set(denied=sorted(set(ec2.meta.service_model.operation_names) - allowed))
        lab.start_controller()
        lab.wait_native(timeout=40.0)
        lab.add_node("n4")
        lab.wait_native(timeout=40.0)
        lab.remove_node("n3")
        deadline = time.monotonic() + 40.0
        while "DeleteRoute" not in lab.status().calls and time.monotonic() < deadline:
            time.sleep(0.2)
        called = {name for name in lab.status().calls if name != "GetServiceQuota"}
    finally:
        lab.down()

    assert called <= allowed
    assert allowed - called <= {
        "DescribeManagedPrefixLists",
        "ReplaceRoute",
    }  # no prefix list here, and no next hop moves
