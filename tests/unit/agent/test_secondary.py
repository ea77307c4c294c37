from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from cloudnet.agent import secondary
from cloudnet.kernel.api import Link, Route, Rule
from cloudnet.model.addresses import Family
from cloudnet.model.cloud_addresses import CloudAddresses, CloudInterface, CloudPrefix
from cloudnet.model.resources import Metadata

PRIMARY = CloudInterface("eni-1", 0, "02:00:00:00:00:10", "subnet-1", (ip_interface("10.0.1.11/24"),))
SECOND = CloudInterface("eni-2", 1, "02:00:00:00:00:20", "subnet-1", (ip_interface("10.0.1.20/24"),))
ON_PRIMARY, ON_SECOND = ip_network("10.0.1.32/28"), ip_network("10.0.1.64/28")
RECORD = CloudAddresses(
    Metadata("n1"), (PRIMARY, SECOND), (CloudPrefix(ON_PRIMARY, "eni-1"), CloudPrefix(ON_SECOND, "eni-2"))
)
POOL = ip_network("10.65.0.0/16")
ETH0 = Link("eth0", 2, 9001, up=True, mac=PRIMARY.mac, addresses=(ip_interface("10.0.1.11/24"),))
ETH1 = Link("eth1", 3, 9001, up=True, mac=SECOND.mac, addresses=(ip_interface("10.0.1.20/32"),))


def attached(*links, record=RECORD):
    return secondary.attached(record, {link.name: link for link in links})


def objects(*links, record=RECORD, pools=(POOL,)):
    return list(secondary.objects(record, attached(*links, record=record), pools))


def to_own(cidr):
    return Rule(Family.IPV4, 101, 254, destination=cidr)


def test_a_further_interface_is_found_by_its_mac():
    (found,) = attached(ETH0, ETH1)

    assert (found.link.name, found.interface.number, found.ready) == ("eth1", 1, True)


def test_a_device_that_is_down_or_without_its_address_is_not_ready():
    (down,) = attached(replace(ETH1, up=False))
    (bare,) = attached(replace(ETH1, addresses=()))

    assert not down.ready
    assert bare.missing == (ip_address("10.0.1.20"),)


def test_answers_of_its_pods_leave_by_it_and_those_to_pods_here_and_on_the_overlay_do_not():
    assert objects(ETH0, ETH1) == [
        to_own(ON_PRIMARY),
        to_own(ON_SECOND),
        Route(ip_network("0.0.0.0/0"), "eth1", ip_address("10.0.1.1"), table=4801, onlink=True),
        Rule(Family.IPV4, 102, 254, source=ON_SECOND, destination=POOL),
        Rule(Family.IPV4, 103, 4801, source=ip_network("10.0.1.20/32")),
        Rule(Family.IPV4, 103, 4801, source=ON_SECOND),
    ]


def test_pods_of_the_primary_interface_alone_need_no_rule():
    assert objects(ETH0) == []
    assert objects(ETH0, record=None) == []


def test_neighbouring_prefixes_share_a_rule():
    more = (*RECORD.prefixes, CloudPrefix(ip_network("10.0.1.80/28"), "eni-2"))

    rules = objects(ETH0, ETH1, record=replace(RECORD, prefixes=more))

    assert to_own(ip_network("10.0.1.64/27")) in rules
    assert Rule(Family.IPV4, 103, 4801, source=ip_network("10.0.1.64/27")) in rules
    assert len([r for r in rules if isinstance(r, Rule) and r.priority == 101]) == 2
