from __future__ import annotations

from cloudnet.cli import policy_stats


def count(name, packets, *, staged=False, namespace=""):
    traffic = {"packets": packets, "bytes": packets * 60}
    owner = {"kind": "NetworkPolicy", "namespace": namespace, "name": name}
    return {**owner, "direction": "ingress", "action": "deny", "staged": staged, "traffic": traffic}


def test_the_busiest_policy_comes_first_and_those_that_counted_nothing_only_when_asked_for():
    counts = [count("idle", 0), count("slow", 1), count("busy", 9, namespace="shop", staged=True)]

    shown = policy_stats.rows(counts, everything=False)

    assert shown == [
        ("NetworkPolicy shop/busy", "ingress", "deny (staged)", "9", "540"),
        ("NetworkPolicy slow", "ingress", "deny", "1", "60"),
    ]
    assert len(policy_stats.rows(counts, everything=True)) == 3
