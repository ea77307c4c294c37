from __future__ import annotations

from cloudnet.lab.clouds.trouble import Fault, Faults, Trouble


def hits(faults, call, count, path="/"):
    return [bool(faults.hit(call, path)) for _ in range(count)]


def test_a_fault_lets_calls_pass_first_and_hits_so_many_times():
    faults = Faults()
    faults.add(Fault("Routes_Create", Trouble.QUOTA, times=2, skip=1))

    assert hits(faults, "Routes_Create", 5) == [False, True, True, False, False]


def test_a_pattern_means_every_call_that_fits():
    faults = Faults()
    faults.add(Fault("Routes_*", Trouble.QUOTA))

    assert hits(faults, "Routes_Delete", 2) == [True, True]
    assert hits(faults, "Tables_Get", 1) == [False]


def test_a_spent_fault_makes_way_for_the_next():
    faults = Faults()
    faults.add(Fault("Get", Trouble.THROTTLE, times=1))
    faults.add(Fault("Get", Trouble.UNAVAILABLE, times=1))

    assert [faults.hit("Get", "/").trouble for _ in range(2)] == [Trouble.THROTTLE, Trouble.UNAVAILABLE]
    assert faults.hit("Get", "/") is None


def test_a_fault_can_aim_at_some_paths():
    faults = Faults()
    faults.add(Fault("Get", Trouble.QUOTA, only=lambda path: path.endswith("/b")))

    assert hits(faults, "Get", 1, "/a") == [False]
    assert hits(faults, "Get", 1, "/b") == [True]


def test_faults_are_forgotten_by_pattern():
    faults = Faults()
    faults.add(Fault("Routes_Get", Trouble.QUOTA))
    faults.add(Fault("Tables_Get", Trouble.QUOTA))

    faults.clear("Routes_*")

    assert hits(faults, "Routes_Get", 1) + hits(faults, "Tables_Get", 1) == [False, True]
