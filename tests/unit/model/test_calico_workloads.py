from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest

from cloudnet.errors import BadInput
from cloudnet.model import kinds
from cloudnet.model.resources import Metadata
from cloudnet.model.workloads import EndpointPort, FloatingAddress, WorkloadEndpoint

SPELT = {
    "orchestrator": "k8s",
    "node": "n1",
    "containerID": "abc",
    "pod": "web",
    "endpoint": "eth0",
    "serviceAccountName": "till",
    "ipNetworks": ["10.65.1.2/32", "fd00::2/128"],
    "ipNATs": [{"internalIP": "10.65.1.2", "externalIP": "203.0.113.7"}],
    "ipv4Gateway": "169.254.1.1",
    "profiles": ["kns.shop"],
    "interfaceName": "cali4e199eba087",
    "mac": "0a:58:0a:41:01:02",
    "ports": [{"name": "http", "protocol": "TCP", "port": 8080}, {"protocol": 132, "port": 7, "hostPort": 9}],
    "allowSpoofedSourcePrefixes": ["10.0.0.0/8"],
}

ENDPOINT = WorkloadEndpoint(
    Metadata("n1-k8s-web-eth0", "shop"),
    node="n1",
    orchestrator="k8s",
    endpoint="eth0",
    container_id="abc",
    pod="web",
    service_account="till",
    networks=(ip_network("10.65.1.2/32"), ip_network("fd00::2/128")),
    floating=(FloatingAddress(ip_address("10.65.1.2"), ip_address("203.0.113.7")),),
    ipv4_gateway=ip_address("169.254.1.1"),
    profiles=("kns.shop",),
    interface="cali4e199eba087",
    mac="0a:58:0a:41:01:02",
    ports=(EndpointPort("http", "TCP", 8080), EndpointPort("", "132", 7, 9)),
    allowed_sources=(ip_network("10.0.0.0/8"),),
)


def document(spec):
    return json.dumps(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "WorkloadEndpoint",
            "metadata": {"name": "n1-k8s-web-eth0", "namespace": "shop"},
            "spec": spec,
        }
    ).encode()


def test_an_endpoint_is_spelt_as_calico_spells_it():
    assert json.loads(kinds.encode(ENDPOINT))["spec"] == SPELT


def test_calicos_endpoint_is_read():
    assert kinds.decode(document(SPELT)) == ENDPOINT


def test_a_protocol_may_be_written_in_any_case():
    read = kinds.decode(document({"node": "n1", "ports": [{"protocol": "tcp", "port": 1}]}))

    assert read.ports == (EndpointPort("", "TCP", 1),)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ipNetworks": ["10.65.1.0/26"]}, r"spec.ipNetworks\[0\]: expected one address, 10.65.1.0/32, found"),
        ({"ipNetworks": ["x"]}, r"spec.ipNetworks\[0\]: expected a prefix"),
        (
            {"ipNATs": [{"internalIP": "x", "externalIP": "1.1.1.1"}]},
            r"spec.ipNATs\[0\].internalIP: expected an addr",
        ),
        ({"ports": [{"protocol": "TCQ", "port": 1}]}, r"spec.ports\[0\].protocol: expected one of 'TCP'"),
        ({"ports": [{"protocol": 256, "port": 1}]}, r"spec.ports\[0\].protocol: expected one of 'TCP'"),
        (
            {"ports": [{"protocol": "TCP", "port": 65536}]},
            r"spec.ports\[0\].port: expected an integer from 0 to 65535",
        ),
        ({"ipv4Gateway": "gw"}, "spec.ipv4Gateway: expected an address"),
        (
            {"allowSpoofedSourcePrefixes": ["10.0.0.1/8"]},
            r"spec.allowSpoofedSourcePrefixes\[0\]: expected a prefix w",
        ),
    ],
)
def test_a_wrong_endpoint_says_where(spec, message):
    with pytest.raises(BadInput, match=message):
        kinds.decode(document(spec))
