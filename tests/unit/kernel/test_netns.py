import os
import socket
import threading

import pytest

from cloudnet.errors import MissingTool
from cloudnet.kernel import features, netns
from cloudnet.kernel.api import HostNamespace, KernelError
from cloudnet.kernel.features import Features
from cloudnet.kernel.netlink import NetlinkKernel, sysctl_path

NAME = f"cn-test-netns-{os.getpid()}"


@pytest.fixture
def name():
    with netns.temporary(NAME) as name:
        yield name


@pytest.mark.kernel
def test_the_machines_own_namespace_is_refused():
    with pytest.raises(HostNamespace, match="--allow-host-network"):
        netns.require_own_namespace(allow_host=False)
    with pytest.raises(HostNamespace, match="ip netns exec"):
        NetlinkKernel()


@pytest.mark.kernel
def test_the_machines_own_namespace_is_for_the_asking():
    assert netns.require_own_namespace(allow_host=True) == netns.current()


@pytest.mark.kernel
def test_another_namespace_is_fine(name):
    inside = netns.run_inside(name, lambda: netns.require_own_namespace(allow_host=False))

    assert inside != netns.current()


@pytest.mark.kernel
def test_work_inside_leaves_this_thread_where_it_was(name):
    before = netns.current()

    inside, thread = netns.run_inside(name, lambda: (netns.current(), threading.get_ident()))

    assert netns.current() == before != inside
    assert thread != threading.get_ident()


@pytest.mark.kernel
def test_a_socket_stays_where_it_was_opened(name):
    with netns.open_socket(name, socket.AF_INET, socket.SOCK_DGRAM) as opened:
        assert netns.of_socket(opened) == netns.run_inside(name, netns.current) != netns.current()


@pytest.mark.kernel
def test_an_error_inside_is_raised_outside(name):
    with pytest.raises(ZeroDivisionError):
        netns.run_inside(name, lambda: 1 // 0)


@pytest.mark.kernel
def test_namespaces_are_those_of_ip_netns(name):
    assert name in netns.names("cn-test-netns-")
    assert "lo: <LOOPBACK,UP" in netns.execute(name, ["ip", "link"])

    netns.remove(name)
    netns.remove(name)

    assert name not in netns.names()


def test_a_namespace_that_is_not_there_is_named():
    with pytest.raises(KernelError, match="'cn-test-nowhere'"):
        netns.run_inside("cn-test-nowhere", netns.current)


@pytest.mark.kernel
def test_a_failing_program_says_why(name):
    with pytest.raises(KernelError, match="does not exist"):
        netns.execute(name, ["ip", "link", "show", "dev", "nowhere"])


@pytest.mark.kernel
def test_a_setting_is_written_in_the_namespace_of_the_kernel(name):
    def work():
        kernel = NetlinkKernel()
        try:
            kernel.set_sysctl("net.ipv4.conf.lo.rp_filter", "2")
            kernel.set_sysctl("net/ipv4/conf/lo/rp_filter", "2")
        finally:
            kernel.close()
        return sysctl_path("net.ipv4.conf.lo.rp_filter").read_text()

    assert netns.run_inside(name, work).strip() == "2"


@pytest.mark.kernel
def test_a_setting_is_not_written_from_a_thread_elsewhere(name):
    kernel = netns.run_inside(name, NetlinkKernel)

    with pytest.raises(HostNamespace, match="another network namespace"):
        kernel.set_sysctl("net.ipv4.conf.lo.rp_filter", "2")
    with pytest.raises(HostNamespace, match="another network namespace"):
        kernel.notices()

    kernel.close()


@pytest.mark.kernel
def test_a_setting_that_is_not_there_is_named(name):
    def work():
        kernel = NetlinkKernel()
        try:
            kernel.set_sysctl("net.ipv4.conf.nowhere.rp_filter", "2")
        finally:
            kernel.close()

    with pytest.raises(KernelError, match=r"net\.ipv4\.conf\.nowhere\.rp_filter"):
        netns.run_inside(name, work)


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0.rp_filter", "net/ipv4/conf/eth0/rp_filter"),
        ("net.ipv4.conf.vxlan.calico.rp_filter", "net/ipv4/conf/vxlan.calico/rp_filter"),
        ("net/ipv6/conf/vxlan-v6.calico/accept_ra", "net/ipv6/conf/vxlan-v6.calico/accept_ra"),
    ],
)
def test_a_setting_has_a_file_dots_in_device_names_included(setting, path):
    assert str(sysctl_path(setting)) == f"/proc/sys/{path}"


@pytest.mark.parametrize("setting", ["", "net..ip_forward", "../../etc/passwd", "/etc/passwd"])
def test_a_setting_cannot_lead_elsewhere(setting):
    with pytest.raises(KernelError, match="no name of a setting"):
        sysctl_path(setting)


@pytest.mark.kernel
def test_this_kernel_has_what_the_tests_need():
    features.require(features.detect(), "net_admin", "namespaces", "vxlan", "policy_rules")


def test_each_missing_feature_has_one_line_that_says_what_to_do():
    lines = features.missing(Features(), *features.NAMES)

    assert len(lines) == len(features.REMEDIES)
    with pytest.raises(MissingTool, match="modprobe vxlan"):
        features.require(Features(net_admin=True), "net_admin", "vxlan")


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1.0-18-amd64", (6, 1)), ("5.4.0", (5, 4)), ("6.18.44-fc-v657", (6, 18)), ("?", (0, 0))],
)
def test_the_version_of_a_kernel_is_read(release, version):
    assert features.kernel_version(release) == version


def test_whoever_knows_better_decides_on_checksums():
    assert features.detect(vxlan_checksum_broken=True).vxlan_checksum_broken
