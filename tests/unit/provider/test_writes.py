from ipaddress import ip_network

import pytest

from cloudnet.model.addresses import InterfaceId, TableId
from cloudnet.model.resources import NextHop
from cloudnet.provider import writes
from cloudnet.provider.api import Owner, RouteChange, RouteTable, RouteTables, TableRoute, Verb
from cloudnet.provider.errors import Conflict, NotFound, PermissionDenied, Throttled, Unavailable, Unsupported

TABLE = TableId("rtb-1")
HOP = NextHop(interface=InterfaceId("eni-1"))
BLOCKS = [ip_network(f"10.65.{k}.0/26") for k in range(10)]


class Cloud:
    """Shows ``routes`` to readers and answers each write with the next of ``errors``, then with success."""

    def __init__(self, *routes, errors=(), read_error=None):
        self.routes = routes
        self.errors = list(errors)
        self.read_error = read_error
        self.reads = 0
        self.sent = []

    def read(self, tables):
        self.reads += 1
        assert TABLE in tables
        if self.read_error:
            raise self.read_error
        return RouteTables((RouteTable(TABLE, frozenset(), self.routes),))

    def write(self, change, deadline):
        self.sent.append((change, deadline))
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error

    def apply(self, *changes):
        return [r.error for r in writes.apply(changes, read=self.read, write=self.write, provider="test")]


def create(block=BLOCKS[0]):
    return RouteChange(Verb.CREATE, TABLE, block, HOP)


def delete(block=BLOCKS[0]):
    return RouteChange(Verb.DELETE, TABLE, block, HOP)


def down(number=0):
    return Unavailable(f"down {number}", provider="test")


def conflict():
    return Conflict("exists", provider="test", code="RouteAlreadyExists", request_id="req-1")


def test_creates_cost_no_read():
    cloud = Cloud()

    assert cloud.apply(*(create(b) for b in BLOCKS)) == [None] * 10
    assert cloud.reads == 0


def test_deletes_of_one_batch_share_one_read():
    cloud = Cloud()

    assert cloud.apply(*(delete(b) for b in BLOCKS)) == [None] * 10
    assert cloud.reads == 1


def test_a_conflict_keeps_the_clouds_code_and_request():
    theirs = TableRoute(BLOCKS[0], NextHop(), Owner.FOREIGN, target="NAT gateway nat-1")

    (error,) = Cloud(theirs, errors=[conflict()]).apply(create())

    assert (type(error), error.code, error.request_id) == (Conflict, "RouteAlreadyExists", "req-1")
    assert "NAT gateway nat-1" in str(error)


def test_a_conflict_that_no_read_explains_stays_a_conflict():
    cloud = Cloud(errors=[conflict()])

    (error,) = cloud.apply(create())

    assert isinstance(error, Conflict)
    assert cloud.reads == 2


def test_a_route_that_forgot_where_it_led_can_be_deleted():
    dead = TableRoute(BLOCKS[0], NextHop(), black_hole=True)

    cloud = Cloud(dead)

    assert cloud.apply(delete()) == [None]
    assert len(cloud.sent) == 1


def test_a_read_that_fails_holds_deletes_back_and_lets_creates_through():
    denied = PermissionDenied("no", provider="test")
    cloud = Cloud(read_error=denied)

    assert cloud.apply(delete(BLOCKS[0]), create(BLOCKS[1]), delete(BLOCKS[2])) == [denied, None, denied]
    assert [c.verb for c, _ in cloud.sent] == [Verb.CREATE]


def test_after_a_failure_the_next_change_gets_one_attempt():
    cloud = Cloud(errors=[down()])

    cloud.apply(create(BLOCKS[0]), create(BLOCKS[1]), create(BLOCKS[2]))

    assert [deadline for _, deadline in cloud.sent] == [None, 0.0, None]


def test_three_failures_in_a_row_end_the_batch():
    cloud = Cloud(errors=[down(k) for k in range(10)])

    errors = cloud.apply(*(create(b) for b in BLOCKS))

    assert len(cloud.sent) == 3
    assert all(isinstance(e, Unavailable) for e in errors)
    assert "was not sent" in str(errors[-1])
    assert "down 2" in str(errors[-1])


def test_a_batch_that_ends_throttled_says_so_with_the_named_delay():
    slow = Throttled("slow", provider="test", retry_after=7.0)

    errors = Cloud(errors=[slow] * 3).apply(*(create(b) for b in BLOCKS))

    assert isinstance(errors[-1], Throttled)
    assert errors[-1].retry_after == 7.0


@pytest.mark.parametrize("between", [None, Unsupported("shape", provider="test")], ids=["success", "refusal"])
def test_an_answer_in_between_shows_that_the_cloud_is_alive(between):
    cloud = Cloud(errors=[down(), down(), between, down(), down(), None])

    cloud.apply(*(create(b) for b in BLOCKS))

    assert len(cloud.sent) == 10


def test_a_delete_that_finds_nothing_is_done():
    assert Cloud(errors=[NotFound("no route", provider="test")]).apply(delete()) == [None]
