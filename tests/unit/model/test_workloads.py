from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet.errors import BadInput
from cloudnet.model import wire, workloads
from cloudnet.model.workloads import EndpointId
from cloudnet.testing import strategies


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (EndpointId("node1", "k8s", "my-pod", "eth0"), "node1-k8s-my--pod-eth0"),
        (EndpointId("n-1.local", "k8s", "a.b", "eth0"), "n--1.local-k8s-a.b-eth0"),
        (EndpointId("n1", "cni", "a--b", "eth0"), "n1-cni-a----b-eth0"),
    ],
)
def test_an_endpoint_is_named_as_calico_names_it(of, name):
    assert workloads.endpoint_name(of) == name


@given(st.builds(EndpointId, *[strategies.names()] * 4))
def test_a_name_says_what_it_was_made_of(of):
    name = workloads.endpoint_name(of)

    assert workloads.endpoint_id(name) == of


@given(st.builds(EndpointId, *[st.text(min_size=1, max_size=300)] * 4))
def test_whatever_a_runtime_calls_things_the_name_is_one_that_a_store_takes(of):
    wire.check_name(workloads.endpoint_name(of))


@given(*[st.text(min_size=1, max_size=300)] * 2)
def test_two_containers_never_share_a_name(one, other):
    names = {workloads.endpoint_name(EndpointId("n1", "cni", each, "eth0")) for each in (one, other)}

    assert len(names) == len({one, other})


@pytest.mark.parametrize(
    "name", ["", "n1", "n1-k8s-web", "n1-k8s-web-eth0-x", "-k8s-web-eth0", "n1-k8s-web-", "N-a-b-c"]
)
def test_a_name_of_something_else_is_refused(name):
    with pytest.raises(BadInput, match="expected node, orchestrator, workload and endpoint"):
        workloads.endpoint_id(name)


def test_a_pod_is_labelled_with_its_namespace_orchestrator_and_service_account():
    labels = workloads.endpoint_labels({"app": "web"}, namespace="shop", orchestrator="k8s", service_account="till")

    assert labels == {
        "app": "web",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "till",
    }


@pytest.mark.parametrize("account", ["", "a" * 63])
def test_without_a_service_account_that_fits_a_label_nobody_claims_to_be_one(account):
    labels = workloads.endpoint_labels(
        {"projectcalico.org/serviceaccount": "admin"}, namespace="shop", orchestrator="k8s", service_account=account
    )

    assert "projectcalico.org/serviceaccount" not in labels


@pytest.mark.parametrize(
    "forged", ["pcns.team", "pcsa.role", "projectcalico.org/namespace", "projectcalico.org/orchestrator"]
)
def test_a_pod_cannot_give_itself_what_belongs_to_its_namespace(forged):
    labels = workloads.endpoint_labels({forged: "mine"}, namespace="shop", orchestrator="k8s")

    assert "mine" not in labels.values()


def test_profiles_are_the_namespaces_and_the_service_accounts():
    assert workloads.kubernetes_profiles("shop", "till") == ("kns.shop", "ksa.shop.till")
    assert workloads.kubernetes_profiles("shop") == ("kns.shop",)
