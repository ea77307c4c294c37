"""The calls that a lab's Google answers, by the ids of its published descriptions: Compute Engine's, and one more.

``tests/unit/lab/test_gcp_contract.py`` holds each line against the descriptions in google-api-python-client.
What an account may do is asked of Cloud Resource Manager, which is another host in the real Google.
"""

from __future__ import annotations

from cloudnet.lab.clouds.contract import Contract, Endpoint

READ = "read"
WRITE = "write"

_GLOBAL = "/compute/v1/projects/{project}/global"
_REGION = "/compute/v1/projects/{project}/regions/{region}"
_ZONE = "/compute/v1/projects/{project}/zones/{zone}"


def _read(name: str, path: str) -> Endpoint:
    return Endpoint(f"compute.{name}", "GET", path, bucket=READ)


def _write(name: str, method: str, path: str) -> Endpoint:
    return Endpoint(f"compute.{name}", method, path, bucket=WRITE)


CONTRACT = Contract(
    (
        _read("projects.get", "/compute/v1/projects/{project}"),
        Endpoint(
            "cloudresourcemanager.projects.testIamPermissions", "POST", "/v1/projects/{resource}:testIamPermissions"
        ),
        _read("firewalls.list", f"{_GLOBAL}/firewalls"),
        _write("firewalls.insert", "POST", f"{_GLOBAL}/firewalls"),
        _read("networks.get", f"{_GLOBAL}/networks/{{network}}"),
        _write("networks.insert", "POST", f"{_GLOBAL}/networks"),
        _write("networks.delete", "DELETE", f"{_GLOBAL}/networks/{{network}}"),
        _read("subnetworks.aggregatedList", "/compute/v1/projects/{project}/aggregated/subnetworks"),
        _read("subnetworks.get", f"{_REGION}/subnetworks/{{subnetwork}}"),
        _write("subnetworks.insert", "POST", f"{_REGION}/subnetworks"),
        _write("subnetworks.delete", "DELETE", f"{_REGION}/subnetworks/{{subnetwork}}"),
        _read("routes.list", f"{_GLOBAL}/routes"),
        _read("routes.get", f"{_GLOBAL}/routes/{{route}}"),
        _write("routes.insert", "POST", f"{_GLOBAL}/routes"),
        _write("routes.delete", "DELETE", f"{_GLOBAL}/routes/{{route}}"),
        _read("instances.aggregatedList", "/compute/v1/projects/{project}/aggregated/instances"),
        _read("instances.get", f"{_ZONE}/instances/{{instance}}"),
        _write("instances.insert", "POST", f"{_ZONE}/instances"),
        _write("instances.delete", "DELETE", f"{_ZONE}/instances/{{instance}}"),
        _write("instances.stop", "POST", f"{_ZONE}/instances/{{instance}}/stop"),
        _write("instances.start", "POST", f"{_ZONE}/instances/{{instance}}/start"),
        _write("instances.updateNetworkInterface", "PATCH", f"{_ZONE}/instances/{{instance}}/updateNetworkInterface"),
        _read("globalOperations.list", f"{_GLOBAL}/operations"),
        _read("globalOperations.get", f"{_GLOBAL}/operations/{{operation}}"),
        _read("regionOperations.get", f"{_REGION}/operations/{{operation}}"),
        _read("zoneOperations.list", f"{_ZONE}/operations"),
        _read("zoneOperations.get", f"{_ZONE}/operations/{{operation}}"),
    )
)
