from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from cloudnet.cni.annotations import PREFIX, wishes
from cloudnet.cni.netconf import Ipam, NetConf
from cloudnet.cni.wire import CniError, Code
from cloudnet.model.addresses import Family

CONF = NetConf("1.1.0", "net", Ipam(ipv4_pools=("of-the-configuration",)))


def noted(**annotations):
    return {PREFIX + key: value for key, value in annotations.items()}


@pytest.mark.parametrize(
    ("pod", "namespace", "pools"),
    [
        (noted(ipv4pools='["of-the-pod"]'), noted(ipv4pools='["of-the-namespace"]'), ("of-the-pod",)),
        ({}, noted(ipv4pools='["of-the-namespace"]'), ("of-the-namespace",)),
        ({}, {}, ("of-the-configuration",)),
    ],
    ids=["pod", "namespace", "configuration"],
)
def test_the_pods_word_on_pools_counts_before_its_namespaces_and_that_before_the_configurations(
    pod, namespace, pools
):
    assert wishes(CONF, pod, namespace).pools[Family.IPV4] == pools


def test_families_are_chosen_by_annotation():
    assert wishes(CONF, noted(ipFamilies='["IPv6","IPv4"]'), {}).families == (Family.IPV4, Family.IPV6)
    assert wishes(CONF, {}, noted(ipFamilies='["ipv6"]')).families == (Family.IPV6,)


def test_addresses_mac_and_allowed_sources_are_the_pods_own():
    found = wishes(
        CONF, noted(ipAddrs='["10.65.1.7"]', hwAddr="0a:58:0a:41:01:07", allowedSourcePrefixes='["10.0.0.0/8"]'), {}
    )

    assert found.addresses == (ip_address("10.65.1.7"),)
    assert found.mac == "0a:58:0a:41:01:07"
    assert found.allowed_sources == (ip_network("10.0.0.0/8"),)


def test_floating_addresses_need_the_feature():
    annotations = noted(floatingIPs='["203.0.113.7"]')

    with pytest.raises(CniError, match=r"needs feature_control\.floating_ips"):
        wishes(CONF, annotations, {})
    assert wishes(NetConf("1.1.0", "net", floating=True), annotations, {}).floating == (ip_address("203.0.113.7"),)


@pytest.mark.parametrize(
    "annotations",
    [
        noted(ipv4pools="default"),
        noted(ipv4pools="[1]"),
        noted(ipv4pools="{}"),
        noted(ipFamilies='["IPv5"]'),
        noted(ipAddrs='["10.65.1"]'),
        noted(ipAddrsNoIpam='["10.65.1.7"]'),
        noted(hwAddr="ff:ff:ff:ff:ff:ff"),
        noted(allowedSourcePrefixes='["10.0.0.1/8"]'),
    ],
    ids=lambda annotations: next(iter(annotations)).removeprefix(PREFIX),
)
def test_a_wrong_annotation_is_error_7_and_named(annotations):
    with pytest.raises(
        CniError, match=f"annotation {next(iter(annotations))}: .*: change it, or remove it"
    ) as caught:
        wishes(CONF, annotations, {})

    assert caught.value.code is Code.INVALID_CONFIGURATION
