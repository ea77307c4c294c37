from dataclasses import replace
from ipaddress import ip_network

from cloudnet.controller.sight import LAG, Sight
from cloudnet.provider.api import Holdings, NetworkInterface

A, B = ip_network("10.0.0.16/28"), ip_network("10.0.0.32/28")
ENI = NetworkInterface("eni-1", "subnet-1", "i-1", cidrs=(A,))


def seen(*interfaces, nodes=("i-1",), started=0.0, now=0.0, sight=None):
    sight = sight or Sight()
    sight.take_in(Holdings(interfaces), nodes, started=started, now=now)
    return sight


def test_a_read_is_believed():
    sight = seen(ENI)

    assert sight.known
    assert sight.of("i-1") == (ENI,)


def test_what_a_later_read_leaves_out_is_gone():
    sight = seen(ENI)

    seen(started=5.0, now=5.0, sight=sight)

    assert sight.of("i-1") == ()
    assert sight.interface("eni-1") is None


def test_a_read_that_began_before_a_change_knows_less():
    sight = seen(ENI)
    more = replace(ENI, cidrs=(A, B))
    sight.changed(more, now=10.0)

    seen(ENI, started=9.0, now=11.0, sight=sight)
    seen(ENI, started=10.0 + LAG / 2, now=16.0, sight=sight)

    assert sight.of("i-1") == (more,)


def test_a_read_that_began_long_enough_after_a_change_is_believed():
    sight = seen(ENI)
    sight.changed(replace(ENI, cidrs=(A, B)), now=10.0)

    seen(ENI, started=10.0 + LAG, now=30.0, sight=sight)

    assert sight.of("i-1") == (ENI,)


def test_a_removed_interface_does_not_come_back_by_a_late_read():
    sight = seen(ENI)
    sight.removed("eni-1", now=10.0)

    seen(ENI, started=9.0, now=11.0, sight=sight)

    assert sight.of("i-1") == ()


def test_an_interface_of_ours_without_a_node_is_a_stray_since_it_was_first_seen():
    loose, lost = (replace(ENI, id=f"eni-{k}", instance=on, ours=True) for k, on in ((8, None), (9, "i-9")))
    sight = seen(loose, lost, ENI, now=3.0)

    seen(loose, ENI, started=60.0, now=60.0, sight=sight)

    assert sight.strays == {"eni-8": 3.0}
