import re
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudnet_gcp import names, wire
from cloudnet_gcp.names import Marks

MARKS = Marks("prod", "vpc")
BLOCK = ip_network("10.65.1.0/26")


def route(**changes):
    fields = {"name": MARKS.name(BLOCK, "z/i"), "description": MARKS.description} | changes
    return wire.Route(destination=BLOCK, priority=1000, **fields)


@given(st.text(min_size=1), st.ip_addresses(), st.text(min_size=1))
def test_every_name_is_one_that_the_api_allows(cluster, address, instance):
    name = Marks(cluster, "vpc").name(ip_network(address), instance)

    assert re.fullmatch(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", name)


def test_a_name_depends_on_cluster_network_destination_and_next_hop():
    other = ip_network("10.65.1.0/27")
    found = {
        MARKS.name(BLOCK, "z/i"),
        MARKS.name(BLOCK, "z/j"),
        MARKS.name(other, "z/i"),
        Marks("prod", "vpc2").name(BLOCK, "z/i"),
        Marks("prod2", "vpc").name(BLOCK, "z/i"),
    }

    assert len(found) == 5


@pytest.mark.parametrize(
    ("seen", "ours"),
    [
        (route(), True),
        (route(name="by-hand"), False),
        (route(description=""), False),
        (route(name=Marks("other", "vpc").name(BLOCK, "z/i")), False),
        (route(description=Marks("other", "vpc").description), False),
    ],
    ids=["ours", "another name", "no description", "another cluster's name", "another cluster's description"],
)
def test_a_route_is_ours_by_name_and_description(seen, ours):
    assert MARKS.ours(seen) is ours


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/i", "z/i"),
        ("projects/p/zones/z/instances/i", "z/i"),
        ("zones/z/instances/i", "z/i"),
        ("projects/p/regions/r/forwardingRules/i", None),
        ("", None),
    ],
)
def test_a_machine_is_read_from_any_url_of_it(url, found):
    assert names.machine_id(url) == found


@pytest.mark.parametrize(
    ("provider_id", "found"),
    [
        ("gce://p/europe-west1-b/vm-1", "europe-west1-b/vm-1"),
        ("gce:///europe-west1-b/vm-1", None),
        ("aws:///eu-west-1a/i-0abc", None),
        ("gce://p/europe-west1-b/.*", None),
        ("", None),
    ],
)
def test_a_machine_is_read_from_a_provider_id_of_this_cloud_only(provider_id, found):
    assert names.from_provider_id(provider_id) == found


def test_ids_and_urls_lead_to_each_other():
    assert names.machine_id(names.machine_url("p", "z/i")) == "z/i"
    assert names.subnet_id("https://x/compute/v1/projects/p/regions/r/subnetworks/s") == "r/s"
