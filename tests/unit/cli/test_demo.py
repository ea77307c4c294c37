from __future__ import annotations

import pytest

from cloudnet.cli import demo
from cloudnet.cli.output import Format
from cloudnet.errors import BadInput
from cloudnet.lab.results import DemoResult, PathChange, Promise, StepKind, StepResult

CHANGES = tuple(PathChange(f"n{i}", "10.65.2.0/26", "native", "vxlan", "quota") for i in (1, 3, 4))
RESULT = DemoResult(
    (StepResult("quota", StepKind.PLANNED, 1234, 0, 0.0, tcp_intact=True, paths=CHANGES),),
    (
        Promise("lost when the cloud refuses", 0, "packets", 0, ok=True),
        Promise("longest gap", 1200.4, "ms", 1000, ok=False),
    ),
)


def test_the_tables_say_what_moved_and_which_promise_is_broken(capsys) -> None:
    demo.show(RESULT)

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "quota planned 1234 0 0 yes 3 native > vxlan (quota)" in lines
    assert "lost when the cloud refuses 0 packets 0 packets yes" in lines
    assert "longest gap under 1000 ms 1200 ms NO" in lines


@pytest.mark.parametrize(("form", "where"), [(Format.JSON, "err"), (Format.TABLE, "out")])
def test_the_story_is_told_beside_a_result_for_programs(form, where, capsys) -> None:
    demo.teller(form)("[1/2] quota, planned: it falls [red]\n")

    told = capsys.readouterr()
    assert "[1/2] quota, planned: it falls [red]" in getattr(told, where)
    assert not getattr(told, "out" if where == "err" else "err")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"nodes": 2}, "nodes: the demo needs 3 nodes"),
        ({"pods": 0}, "pods: the demo sends between pods"),
        ({"only": ["flood"]}, "only: expected one of"),
    ],
    ids=["too-few-nodes", "no-pods", "unknown-fault"],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_built(arguments, says) -> None:
    with pytest.raises(BadInput, match=says):
        demo.demo(**arguments)


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_built(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"--report: .*nowhere/demo\.html cannot be written: No such file"):
        demo.demo(report=tmp_path / "nowhere" / "demo.html")
