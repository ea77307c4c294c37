from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from cloudnet.lab.report import page, picture
from cloudnet.lab.results import Losses, PathChange, PathMoment, StepKind, StepRecord, StepResult, Story

CHANGE = PathChange("n1", "10.65.2.0/26", "native", "vxlan", "probes-lost")
STEPS = (
    StepRecord(
        StepResult("blackhole", StepKind.UNPLANNED, 5000, 130, 655.0, tcp_intact=True, paths=(CHANGE,)),
        "packets <vanish> & nobody says so",
        0.0,
        4.0,
    ),
    StepRecord(StepResult("blackhole", StepKind.HEAL, 6000, 0, 0.0, tcp_intact=True), "they arrive again", 4.0, 9.0),
)
MOMENTS = (
    PathMoment(0.0, "n1", "10.65.2.0/26", "native", "proven"),
    PathMoment(1.0, "n1", "10.65.2.0/26", "vxlan", "probes-lost"),
    PathMoment(0.0, "n3", "10.65.10.0/26", "direct", "proven"),
)
STORY = Story(STEPS, MOMENTS, (Losses(0.4, "n1", "n2", "10.65.2.0/26", 130, 655.0),))


def drawn(story: Story) -> ET.Element:
    return ET.fromstring(picture(story))  # noqa: S314 - we drew it ourselves


def boxes(story: Story) -> list[tuple[str, str]]:
    return [(box.get("class", ""), box.findtext("title", "")) for box in drawn(story).iter("rect")]


def test_a_bar_has_a_box_for_each_path_in_turn_and_one_for_each_loss() -> None:
    assert boxes(STORY) == [
        ("native", "n1 to 10.65.2.0/26: native (proven) from 0.0 s to 1.0 s"),
        ("vxlan", "n1 to 10.65.2.0/26: vxlan (probes-lost) from 1.0 s to 9.0 s"),
        ("lost", "n1 to 10.65.2.0/26: 130 lost in a row, 655 ms, at 0.4 s"),
        ("direct", "n3 to 10.65.10.0/26: direct (proven) from 0.0 s to 9.0 s"),
    ]


def test_blocks_are_in_the_order_of_addresses() -> None:
    labels = [text.text for text in drawn(STORY).iter("text")]

    assert labels.index("10.65.2.0/26") < labels.index("10.65.10.0/26")


def test_every_step_has_its_mark_and_heals_are_dotted() -> None:
    assert [line.get("class") for line in drawn(STORY).iter("line")] == ["mark", "mark heal"]


def test_boxes_lie_inside_the_picture() -> None:
    width, height = (float(x) for x in drawn(STORY).get("viewBox", "").split()[2:])

    for box in drawn(STORY).iter("rect"):
        assert float(box.get("x", "")) + float(box.get("width", "")) <= width + 0.2
        assert float(box.get("y", "")) + float(box.get("height", "")) <= height


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    text = page(STORY, STORY.result())

    assert not re.search(r"<script|<link|<img|src=|href=|url\(|@import|https?:", text)


def test_what_people_wrote_is_text_and_not_markup() -> None:
    text = page(STORY, STORY.result())

    assert "packets &lt;vanish&gt; &amp; nobody says so" in text
    assert "<vanish>" not in text


def test_a_broken_promise_stands_out() -> None:
    kept = Story(STEPS[1:])
    broken = Story((StepRecord(StepResult("quota", StepKind.HEAL, 10, 3, 10.0, tcp_intact=True), "", 0.0, 1.0),))

    assert "Every promise was kept." in page(kept, kept.result())
    assert "A promise was broken." in page(broken, broken.result())
    assert "<tr class=bad><td>lost on the way back to native</td>" in page(broken, broken.result())


def test_nothing_seen_is_an_empty_picture() -> None:
    assert boxes(Story(())) == []
