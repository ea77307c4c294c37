from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cloudnet.clock import ManualClock
from cloudnet.errors import BadInput
from cloudnet.model.addresses import Family, InterfaceId, TableId
from cloudnet.model.resources import Metadata, NextHop, Node
from cloudnet.provider.api import RouteChange, Verb
from cloudnet.provider.budget import Bucket, Budget, Kind
from cloudnet.provider.errors import Conflict, NotFound, PermissionDenied, QuotaExceeded, Throttled, Unavailable
from cloudnet.provider.memory import READ, WRITE, Fault, MemoryCloud, MemoryProvider, make

TABLE = TableId("rtb-1")
BLOCK = ip_network("10.65.1.0/26")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def cloud(clock):
    cloud = MemoryCloud(clock)
    cloud.add_table(TABLE, subnets=["subnet-1"])
    cloud.add_instance("i-1", "subnet-1", [ip_address("10.0.1.11")])
    cloud.add_instance("i-2", "subnet-1", [ip_address("10.0.1.12")])
    return cloud


@pytest.fixture
def hop(cloud):
    return cloud.instance("i-1").next_hop


def shown(cloud):
    (table,) = cloud.describe_tables().tables
    return {r.destination: r for r in table.routes}


@pytest.mark.parametrize("happens", ["stop_instance", "remove_instance"])
def test_routes_to_a_dead_instance_are_black_holes(cloud, hop, happens):
    cloud.create_route(TABLE, BLOCK, hop)
    assert not shown(cloud)[BLOCK].black_hole

    getattr(cloud, happens)("i-1")

    assert shown(cloud)[BLOCK].black_hole


def test_a_started_instance_lights_its_routes_again(cloud, hop):
    cloud.create_route(TABLE, BLOCK, hop)
    cloud.stop_instance("i-1")
    cloud.start_instance("i-1")

    assert not shown(cloud)[BLOCK].black_hole


def test_a_route_by_interface_alone_is_completed_with_its_instance(cloud):
    cloud.create_route(TABLE, BLOCK, NextHop(interface=InterfaceId("eni-1")))

    assert shown(cloud)[BLOCK].next_hop.instance == "i-1"


def test_a_route_to_an_interface_that_does_not_exist_is_not_found(cloud):
    with pytest.raises(NotFound, match="eni-9"):
        cloud.create_route(TABLE, BLOCK, NextHop(interface=InterfaceId("eni-9")))


def test_a_second_create_conflicts_even_when_it_is_alike(cloud, hop):
    cloud.create_route(TABLE, BLOCK, hop)

    with pytest.raises(Conflict):
        cloud.create_route(TABLE, BLOCK, hop)


def test_a_full_table_refuses_until_something_leaves(cloud, hop):
    cloud.set_limit(TABLE, Family.IPV4, 2)
    blocks = list(ip_network("10.65.0.0/16").subnets(new_prefix=26))
    cloud.create_route(TABLE, blocks[0], hop)
    cloud.create_route(TABLE, blocks[1], hop)

    with pytest.raises(QuotaExceeded, match="2 of 2 IPv4"):
        cloud.create_route(TABLE, blocks[2], hop)
    cloud.create_route(TABLE, ip_network("fd65::/122"), hop)
    cloud.delete_route(TABLE, blocks[0])
    cloud.create_route(TABLE, blocks[2], hop)


def test_foreign_routes_count_against_the_limit(cloud, hop):
    cloud.set_limit(TABLE, Family.IPV4, 1)
    cloud.add_foreign_route(TABLE, ip_network("0.0.0.0/0"), "internet gateway igw-1")

    with pytest.raises(QuotaExceeded):
        cloud.create_route(TABLE, BLOCK, hop)


def test_an_empty_bucket_throttles_and_the_call_does_nothing(clock, cloud, hop):
    for k in range(50):
        cloud.create_route(TABLE, ip_network(f"10.65.{k}.0/26"), hop)

    with pytest.raises(Throttled):
        cloud.create_route(TABLE, ip_network("10.66.0.0/26"), hop)
    clock.advance(1 / WRITE.rate)
    cloud.create_route(TABLE, ip_network("10.66.0.0/26"), hop)


def test_reads_lag_behind_writes_by_the_delay(clock, cloud, hop):
    cloud.read_delay = 2.0
    cloud.create_route(TABLE, BLOCK, hop)

    assert BLOCK in cloud.routes(TABLE)
    assert BLOCK not in shown(cloud)
    clock.advance(2.0)
    assert BLOCK in shown(cloud)

    cloud.delete_route(TABLE, BLOCK)
    assert BLOCK in shown(cloud)
    clock.advance(2.0)
    assert BLOCK not in shown(cloud)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.THROTTLE, Throttled),
        (Fault.PERMISSION, PermissionDenied),
        (Fault.QUOTA, QuotaExceeded),
        (Fault.CONFLICT, Conflict),
        (Fault.NOT_FOUND, NotFound),
        (Fault.UNAVAILABLE, Unavailable),
        (Fault.TIMEOUT, Unavailable),
    ],
    ids=lambda v: getattr(v, "value", ""),
)
def test_a_fault_strikes_as_often_as_planned(cloud, hop, fault, error):
    cloud.fail("create_route", fault, times=1)

    with pytest.raises(error):
        cloud.create_route(TABLE, BLOCK, hop)
    assert (BLOCK in cloud.routes(TABLE)) is (fault is Fault.TIMEOUT)
    cloud.create_route(TABLE, ip_network("10.65.2.0/26"), hop)


def test_a_fault_can_pick_one_change_of_a_batch(cloud, hop):
    cloud.fail("create_route", Fault.PERMISSION, destination=BLOCK)

    cloud.create_route(TABLE, ip_network("10.65.2.0/26"), hop)
    with pytest.raises(PermissionDenied):
        cloud.create_route(TABLE, BLOCK, hop)


def test_a_fault_of_every_verb_is_healed_with_the_rest(cloud, hop):
    cloud.fail("*", Fault.UNAVAILABLE)
    with pytest.raises(Unavailable):
        cloud.describe_tables()

    cloud.heal()

    assert cloud.describe_tables().tables


def test_a_misspelt_verb_is_refused(cloud):
    with pytest.raises(BadInput, match="create_route"):
        cloud.fail("creat_route", Fault.QUOTA)


def test_the_log_tells_what_arrived_and_how_it_ended(clock, cloud, hop):
    cloud.fail("create_route", Fault.QUOTA, times=1)
    with pytest.raises(QuotaExceeded):
        cloud.create_route(TABLE, BLOCK, hop)
    clock.advance(3.0)
    cloud.create_route(TABLE, BLOCK, hop)

    assert [(c.verb, c.outcome, c.at, c.destination) for c in cloud.log] == [
        ("create_route", "quota", 0.0, BLOCK),
        ("create_route", "ok", 3.0, BLOCK),
    ]
    assert cloud.count("create_route") == cloud.count() == 2


def test_a_removed_table_is_gone_from_reads(cloud):
    cloud.remove_table(TABLE)

    assert cloud.describe_tables().tables == ()


def test_a_create_hidden_by_a_lagging_read_is_not_taken_for_success(clock, cloud, hop):
    provider = MemoryProvider(cloud, clock)
    cloud.read_delay = 5.0
    cloud.put_route(TABLE, BLOCK, cloud.instance("i-2").next_hop)

    (result,) = provider.routes.apply([RouteChange(Verb.CREATE, TABLE, BLOCK, hop)])

    assert isinstance(result.error, Conflict)


def test_a_delete_is_sent_though_the_read_lags(clock, cloud, hop):
    provider = MemoryProvider(cloud, clock)
    cloud.read_delay = 5.0
    cloud.create_route(TABLE, BLOCK, hop)

    (result,) = provider.routes.apply([RouteChange(Verb.DELETE, TABLE, BLOCK, hop)])

    assert result.error is None
    assert BLOCK not in cloud.routes(TABLE)


def test_throttling_by_the_cloud_slows_the_provider_down(clock):
    cloud = MemoryCloud(clock, write=Bucket(rate=1.0, burst=1.0))
    cloud.add_table(TABLE, subnets=["subnet-1"])
    hop = cloud.add_instance("i-1", "subnet-1", [ip_address("10.0.1.11")]).next_hop
    provider = MemoryProvider(cloud, clock, budget=Budget(clock, read=READ, write=WRITE))
    changes = [RouteChange(Verb.CREATE, TABLE, ip_network(f"10.65.{k}.0/26"), hop) for k in range(5)]

    results = provider.routes.apply(changes)

    assert [r.error for r in results] == [None] * 5
    assert provider.budget.rate(Kind.WRITE) < WRITE.rate


def test_nodes_are_found_by_id_before_address(clock, cloud):
    provider = MemoryProvider(cloud, clock)
    both = Node(Metadata("n1"), (ip_interface("10.0.1.12/24"),), provider_id="memory:///z/i-1")
    plain = Node(Metadata("n2"), (ip_interface("10.0.1.12/24"),))

    found = provider.instances([both, plain])

    assert {name: i.id for name, i in found.items()} == {"n1": "i-1", "n2": "i-2"}


def test_a_configured_cloud_is_made_by_name():
    config = {
        "tables": [{"id": "rtb-1", "subnets": ["subnet-1"], "foreign": {"0.0.0.0/0": "internet gateway"}}],
        "instances": [{"id": "i-1", "subnet": "subnet-1", "addresses": ["10.0.1.11"]}],
        "routes_per_table": 7,
    }

    (table,) = make(config, clock=ManualClock()).routes.read().tables

    assert [str(r.destination) for r in table.routes] == ["0.0.0.0/0"]
    assert table.limits == {Family.IPV4: 7, Family.IPV6: 7}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"table": []}, "table"),
        ({"tables": [{"id": 5}]}, r"tables\[0\].id"),
        ({"instances": [{"id": "i-1", "subnet": "s", "addresses": ["ten"]}]}, "'ten'"),
    ],
    ids=["unknown", "kind", "address"],
)
def test_a_wrong_configuration_names_the_field(config, message):
    with pytest.raises(BadInput, match=message):
        make(config, clock=ManualClock())
