"""What agents report goes with their nodes, and no sooner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudnet.model.resources import AgentReport, Node, NodeCondition


def reports(cluster):
    return [item.value.meta.name for item in cluster.store.list(AgentReport).items]


def test_the_report_of_a_node_that_goes_goes_too(cluster):
    cluster.join(1, 2)
    cluster.report(1)
    cluster.report(2)
    cluster.run()

    cluster.leave(2)
    cluster.run()

    assert reports(cluster) == ["n1"]


def test_a_report_that_a_leaving_agent_writes_after_its_node_goes_too(cluster):
    cluster.join(1)
    cluster.report(1)
    cluster.run()
    cluster.leave(1)
    cluster.run()

    cluster.report(1, ready=False)
    cluster.run()

    assert reports(cluster) == []


def test_what_stayed_while_nobody_led_goes_once_somebody_leads(cluster):
    cluster.join(1, 2)
    cluster.report(1)
    cluster.report(2)
    cluster.leave(2)

    cluster.restart()
    cluster.run()

    assert reports(cluster) == ["n1"]


def test_an_agent_may_report_before_its_node_is_made(cluster):
    cluster.run()

    cluster.report(1)
    cluster.run(1000)

    assert reports(cluster) == ["n1"]


def verdict(stored):
    return replace(stored.value, node_uid="")


@pytest.mark.parametrize("led", [True, False], ids=["somebody leads", "nobody leads"])
def test_a_node_that_is_made_anew_in_one_moment_is_told_its_verdict_once_more(cluster, led):
    """What Kubernetes shows of a node goes with it, while our record of the verdict is the same."""

    def go_on(seconds=5.0):
        if not led:
            cluster.restart()
        cluster.run(seconds)

    cluster.join(1)
    cluster.report(1)
    cluster.run()
    before = cluster.store.get(NodeCondition, "n1")

    cluster.store.delete(Node, "n1")
    cluster.node(1)
    cluster.report(1)
    go_on()
    after = cluster.store.get(NodeCondition, "n1")
    go_on(1000)

    assert after.revision > before.revision
    assert verdict(after) == verdict(before)
    assert after.value.node_uid == cluster.get_node(1).meta.uid
    assert cluster.store.get(NodeCondition, "n1").revision == after.revision, "once"


def test_a_verdict_that_cannot_say_of_which_node_it_is_is_written_once(cluster):
    """An older definition drops the field; what is another verdict all the time would be written all the time."""
    cluster.join(1)
    cluster.report(1)
    cluster.run()
    stored = cluster.store.get(NodeCondition, "n1")
    dropped = cluster.store.update(verdict(stored), expected=stored.revision)

    cluster.restart()
    cluster.run()

    assert cluster.store.get(NodeCondition, "n1") == dropped


def test_a_node_that_comes_back_keeps_what_its_agent_reports(cluster):
    cluster.join(1)
    cluster.run()
    cluster.leave(1)
    cluster.run()

    cluster.node(1)
    cluster.report(1)
    cluster.run()

    assert reports(cluster) == ["n1"]
    assert cluster.condition(1).ready
