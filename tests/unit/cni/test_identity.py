from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.cni import identity
from cloudnet.cni.identity import identify
from cloudnet.cni.wire import Environment
from cloudnet.kernel.pods import Owner

HEX = "0123456789abcdef" * 4


def of(container=HEX, interface="eth0", **args):
    return identify(Environment(container, "/n", interface, args), "net", node="n1", prefix="cali")


def test_a_pod_of_kubernetes_is_named_as_calico_names_it():
    found = of(K8S_POD_NAME="mypod", K8S_POD_NAMESPACE="default")

    assert (found.orchestrator, found.namespace, found.pod) == ("k8s", "default", "mypod")
    assert (found.name, found.link, found.handle) == ("n1-k8s-mypod-eth0", "cali4e199eba087", f"net.{HEX}")


def test_a_bare_container_is_named_as_calico_names_it():
    found = of()

    assert (found.orchestrator, found.namespace) == ("cni", "default")
    assert (found.name, found.link) == (f"n1-cni-{HEX}-eth0", "cali0123456789a")


@pytest.mark.parametrize("args", [{"K8S_POD_NAME": "web"}, {"K8S_POD_NAMESPACE": "shop"}])
def test_half_a_pods_name_makes_no_pod_of_kubernetes(args):
    assert of(**args).orchestrator == "cni"


def test_containers_whose_ids_begin_alike_do_not_share_a_link():
    assert of("cnitool-77383ca0a0715733ca6f").link != of("cnitool-77383ca0a0715733ca70").link


@pytest.mark.parametrize("args", [{}, {"K8S_POD_NAME": "web", "K8S_POD_NAMESPACE": "shop"}])
def test_a_second_interface_shares_nothing_with_the_first(args):
    first, second = of(**args), of(interface="net1", **args)

    assert first.link != second.link
    assert first.handle != second.handle
    assert first.name != second.name


@given(st.text("abcXYZ019_.-", min_size=1, max_size=128), st.sampled_from(["eth0", "net1", "x" * 15]))
def test_a_link_always_has_a_name_that_the_kernel_takes_and_an_alias_that_says_whose_it_is(container, interface):
    found = of(container, interface)

    assert len(found.link) == 15
    assert Owner.of(found.owner.alias) == found.owner


def test_the_longest_names_that_are_allowed_fit_an_alias():
    owner = Owner("n" * 100, "c" * 128, "i" * 15)

    assert len(owner.alias) <= 255
    assert Owner.of(owner.alias) == owner


@pytest.mark.parametrize("alias", ["", "cloudnet", "cloudnet eth0 net", "somebody eth0 net c1"])
def test_another_alias_is_nobody_of_ours(alias):
    assert Owner.of(alias) is None


def test_the_handle_of_the_first_interface_has_calicos_form():
    assert identity.handle(Owner("net", "c1", "eth0")) == "net.c1"
