from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloudnet.ipam import picture
from cloudnet.ipam.audit import MEANINGS, Trouble, problems
from cloudnet.model.addresses import NodeName
from cloudnet.model.calico import affinity_name
from cloudnet.model.calico_ipam import handle_name
from cloudnet.model.resources import BlockAffinity, IPAMBlock, IPAMHandle, IPPool, Metadata
from cloudnet.model.workloads import WorkloadEndpoint


def found(books):
    return [(problem.trouble, problem.subject) for problem in problems(picture.take(books.store))]


def change(books, kind, edit, namespace=""):
    (item,) = books.store.list(kind).items
    books.store.update(edit(item.value), expected=item.revision)


def test_books_of_pods_that_come_and_go_agree(books):
    books.pod("web")
    books.pod("db", count=20)
    books.ipam.release_by_handle("net.gone")

    assert found(books) == []


def test_every_trouble_has_a_meaning():
    assert set(MEANINGS) == set(Trouble)


def test_an_address_without_its_pod_has_leaked_and_can_be_released_as_it_stands(books):
    (address,) = books.give("gone")

    (problem,) = problems(picture.take(books.store))

    assert problem.trouble is Trouble.LEAKED
    assert (problem.address, problem.handle) == (address.ip, "net.gone")
    assert problem.sequence > 0
    assert "pod shop/gone on n1" in problem.detail


def test_two_pods_with_one_address_are_told(books):
    (address,) = books.pod("web")
    meta, networks = Metadata("n1-k8s-web2-eth0", "shop"), (ip_network(f"{address.ip}/32"),)
    books.store.create(WorkloadEndpoint(meta, NodeName("n1"), "k8s", "eth0", pod="web2", networks=networks))

    assert found(books) == [(Trouble.TWO_OWNERS, str(address.ip))]


def test_a_pod_with_an_address_that_nobody_gave_is_told(books):
    meta, networks = Metadata("n1-k8s-web-eth0", "shop"), (ip_network("10.65.0.77/32"),)
    books.store.create(WorkloadEndpoint(meta, NodeName("n1"), "k8s", "eth0", pod="web", networks=networks))

    assert found(books) == [(Trouble.NOT_ALLOCATED, "10.65.0.77")]


def test_addresses_of_a_pool_that_is_gone_are_told(books):
    (address,) = books.pod("web")
    books.store.delete(IPPool, "default")

    assert found(books) == [(Trouble.NO_POOL, str(address.ip))]


@pytest.mark.parametrize(("count", "trouble"), [(0, Trouble.LOW_COUNT), (2, Trouble.HIGH_COUNT)])
def test_a_handle_that_counts_wrong_is_told(books, count, trouble):
    books.pod("web")

    change(books, IPAMHandle, lambda handle: replace(handle, blocks=dict.fromkeys(handle.blocks, count)))

    assert found(books) == [(trouble, "net.web")]


def test_a_handle_that_is_missing_and_one_that_holds_nothing_are_told(books):
    (address,) = books.pod("web")
    books.store.delete(IPAMHandle, "net.web")
    books.store.create(IPAMHandle(Metadata(handle_name("net.old")), "net.old", {address.network: 1}))

    assert found(books) == [(Trouble.EMPTY_HANDLE, "net.old"), (Trouble.MISSING_HANDLE, "net.web")]


def test_a_block_that_no_affinity_speaks_of_is_told(books):
    (address,) = books.pod("web")
    books.store.delete(BlockAffinity, affinity_name(NodeName("n1"), address.network))

    assert found(books) == [(Trouble.NO_AFFINITY, str(address.network))]


def test_an_affinity_for_anothers_block_is_told(books):
    (address,) = books.pod("web")
    name = affinity_name(NodeName("n2"), address.network)
    books.store.create(BlockAffinity(Metadata(name), NodeName("n2"), address.network))

    assert found(books) == [
        (Trouble.TWO_AFFINITIES, str(address.network)),
        (Trouble.NO_BLOCK, str(address.network)),
    ]


def test_an_address_missing_from_the_queue_is_lost(books):
    books.pod("web")

    change(books, IPAMBlock, lambda block: replace(block, unallocated=block.unallocated[1:]))

    assert [trouble for trouble, _ in found(books)] == [Trouble.LOST]
