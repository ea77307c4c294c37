from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from cloudnet.model import kinds
from cloudnet.model.kubernetes import Pod
from cloudnet.model.workloads import EndpointPort

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "resourceVersion": "7"},
    "spec": {
        "nodeName": "n1",
        "serviceAccountName": "till",
        "containers": [
            {
                "name": "server",
                "image": "registry/server",
                "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9}],
            },
            {"name": "side", "image": "registry/side"},
        ],
        "initContainers": [{"name": "first", "ports": [{"containerPort": 53, "hostPort": 53, "protocol": "UDP"}]}],
    },
    "status": {"phase": "Running", "podIP": "10.65.1.2", "podIPs": [{"ip": "10.65.1.2"}, {"ip": "fd00::2"}]},
}


def test_a_pod_as_the_api_server_gives_it_is_read():
    pod = kinds.decode(json.dumps(POD).encode())

    assert (pod.meta.name, pod.meta.namespace, dict(pod.meta.labels)) == ("web", "shop", {"app": "web"})
    assert (pod.node, pod.service_account, pod.host_network, pod.finished) == ("n1", "till", False, False)
    assert pod.addresses == (ip_address("10.65.1.2"), ip_address("fd00::2"))


def test_ports_without_a_name_that_the_host_does_not_forward_are_nobodys_business():
    pod = kinds.decode(json.dumps(POD).encode())

    assert pod.ports == (EndpointPort("http", "TCP", 8080), EndpointPort("", "UDP", 53, 53))


@pytest.mark.parametrize(("phase", "finished"), [("Running", False), ("Succeeded", True), ("Failed", True)])
def test_a_pod_whose_containers_have_ended_for_good_is_finished(phase, finished):
    pod = kinds.of(Pod).decode(json.dumps({**POD, "status": {"phase": phase}}).encode())

    assert pod.finished is finished


def test_labelling_a_pod_leaves_its_containers_as_they_were():
    stored = json.dumps(POD).encode()
    pod = kinds.of(Pod).decode(stored)

    written = json.loads(kinds.of(Pod).encode(pod, onto=stored))

    assert written == POD
