"""One self-contained page about a demo: a picture of every path over time, the steps and the promises. Pure.

The page loads nothing, runs no script, and follows the reader's light or dark preference. Each source of packets
for a block has a bar; its colour is the kind of path, red is what was lost, a line across is a step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from html import escape
from types import MappingProxyType

from cloudnet.lab.results import DemoResult, PathMoment, Story

WIDTH = 1240  # of the picture, in its own units
LEFT = 130  # room for the names of blocks
RIGHT = 40  # room for the last step's name
TOP = 96  # room for the names of steps
BAR = 7
GAP = 10  # between two blocks

_COLOURS: Mapping[str, str] = MappingProxyType(
    {"native": "native", "direct": "direct", "vxlan": "vxlan"}  # path kind: CSS class; others are "none"
)

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2530; --faint: #8a95a3; --line: #d9dee5;
  --native: #2f9e6e; --direct: #2b7fb8; --vxlan: #e0a030; --none: #b8bfc8; --bad: #d1242f; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181e; --ink: #e4e9ef; --faint: #7f8b99; --line: #2c343e;
  --native: #3fb984; --direct: #4a9fd8; --vxlan: #e5b04f; --none: #4a5460; --bad: #ff5c66; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--faint); font-weight: 600; }
.number { text-align: right; } .bad { color: var(--bad); font-weight: 600; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .faint { fill: var(--faint); } svg .mark { stroke: var(--line); } svg .heal { stroke-dasharray: 2 3; }
svg .native, i.native { fill: var(--native); background: var(--native); }
svg .direct, i.direct { fill: var(--direct); background: var(--direct); }
svg .vxlan, i.vxlan { fill: var(--vxlan); background: var(--vxlan); }
svg .none, i.none { fill: var(--none); background: var(--none); }
svg .lost, i.lost { fill: var(--bad); background: var(--bad); }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 1em; }
"""


def page(story: Story, result: DemoResult) -> str:
    """Return the whole page."""
    verdict = "Every promise was kept." if result.ok else "<span class=bad>A promise was broken.</span>"
    lost, sent = sum(step.lost for step in result.steps), sum(step.sent for step in result.steps)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cloudnet: a cloud that refuses, and pods that stay connected</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>A cloud that refuses, and pods that stay connected</h1>
<p>{len(result.steps)} steps, {sent:,} packets sent, {lost:,} lost. {verdict}</p>
<h2>The path of each destination over time</h2>
<p>One bar for each node that sends to the block:
<i class="native"></i>native <i class="direct"></i>direct <i class="vxlan"></i>VXLAN
<i class="none"></i>no path known <i class="lost"></i>packets lost.
Lines are steps, dotted where something is healed.</p>
{picture(story)}
<h2>Steps</h2>
{_steps(story)}
<h2>Promises</h2>
{_promises(result)}
</body>
</html>
"""


# --- the picture --------------------------------------------------------------------------------------------


def picture(story: Story) -> str:
    """Return the timeline as SVG."""
    end = max([step.ended for step in story.steps] + [moment.at for moment in story.moments] + [1.0])
    scale = (WIDTH - LEFT - RIGHT) / end
    rows = _rows(story.moments)
    height = TOP + sum(BAR * len(sources) + GAP for sources in rows.values()) + 20
    parts = [*_marks(story, scale, height), *_bars(story, rows, scale, end), *_axis(end, scale, height)]
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="paths over time">\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def _rows(moments: Iterable[PathMoment]) -> dict[str, list[str]]:
    """Return ``{block: sending nodes}`` in the order of their appearance, then by name."""
    rows: dict[str, list[str]] = {}
    for moment in moments:
        sources = rows.setdefault(moment.to_block, [])
        if moment.from_node not in sources:
            sources.append(moment.from_node)
    return {block: sorted(rows[block]) for block in sorted(rows, key=_block_order)}


def _block_order(block: str) -> tuple[int, ...]:
    address, _, length = block.partition("/")
    parts = address.split(".")
    return tuple(int(part) for part in [*parts, length] if part.isdigit())


def _marks(story: Story, scale: float, height: float) -> Iterator[str]:
    for number, step in enumerate(story.steps, start=1):
        x = LEFT + step.began * scale
        heals = step.result.kind == "heal"
        sort = "mark heal" if heals else "mark"
        yield f'<line class="{sort}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 18}"/>'
        says = _title(f"{step.result.fault}, {step.result.kind}: {step.title}")
        name = escape(f"{number} {step.result.fault}")
        sort = "faint" if heals else "fault"
        place = f"translate({x + 4:.1f} {TOP - 12}) rotate(-60)"
        yield f'<text class="{sort}" transform="{place}">{name}{says}</text>'


def _bars(story: Story, rows: Mapping[str, Sequence[str]], scale: float, end: float) -> Iterator[str]:
    y = float(TOP)
    for block, sources in rows.items():
        yield f'<text x="0" y="{y + BAR * len(sources) / 2 + 4:.1f}">{escape(block)}</text>'
        for source in sources:
            yield from _bar(story, source, block, y=y, scale=scale, end=end)
            y += BAR
        y += GAP


def _bar(story: Story, source: str, block: str, *, y: float, scale: float, end: float) -> Iterator[str]:
    mine = [moment for moment in story.moments if (moment.from_node, moment.to_block) == (source, block)]
    for moment, until in zip(mine, [later.at for later in mine[1:]] + [end], strict=True):
        says = f"{source} to {block}: {moment.kind} ({moment.reason}) from {moment.at:.1f} s to {until:.1f} s"
        yield _box(_COLOURS.get(moment.kind, "none"), moment.at, until, y=y, scale=scale, says=says)
    for loss in story.losses:
        if (loss.from_node, loss.to_block) == (source, block):
            says = f"{source} to {block}: {loss.lost} lost in a row, {loss.gap_ms:.0f} ms, at {loss.at:.1f} s"
            yield _box("lost", loss.at, loss.at + loss.gap_ms / 1000, y=y, scale=scale, says=says)


def _box(sort: str, begin: float, end: float, *, y: float, scale: float, says: str) -> str:
    x, width = LEFT + begin * scale, max(1.5, (end - begin) * scale)
    return (
        f'<rect class="{sort}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR - 1}">{_title(says)}</rect>'
    )


def _axis(end: float, scale: float, height: float) -> Iterator[str]:
    pace = next((pace for pace in (1, 5, 10, 20, 30, 60) if end / pace <= 15), 120)  # noqa: PLR2004 - fits the width
    for seconds in range(0, int(end) + 1, pace):
        yield f'<text class="faint" x="{LEFT + seconds * scale:.1f}" y="{height - 4}">{seconds} s</text>'


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>"


# --- the tables ---------------------------------------------------------------------------------------------


def _steps(story: Story) -> str:
    rows = [
        (
            str(number),
            step.result.fault,
            step.result.kind,
            step.title,
            "; ".join(step.result.changes()) or "none",
            _count(step.result.sent),
            _count(step.result.lost),
            f"{step.result.longest_gap_ms:.0f}",
            "yes" if step.result.tcp_intact else "NO",
            step.problem,
        )
        for number, step in enumerate(story.steps, start=1)
    ]
    heads = (
        "",
        "fault",
        "kind",
        "what happens",
        "paths changed, and why",
        "sent",
        "lost",
        "longest gap, ms",
        "TCP intact",
    )
    return _table(
        (*heads, "not as expected"), rows, numbers={0, 5, 6, 7}, bad=lambda row: row[8] == "NO" or bool(row[9])
    )


def _promises(result: DemoResult) -> str:
    rows = [(p.name, p.allowed, p.measured, "kept" if p.ok else "BROKEN") for p in result.promises]
    return _table(("promise", "allowed", "measured", ""), rows, numbers={1, 2}, bad=lambda row: row[3] == "BROKEN")


def _count(number: int) -> str:
    return f"{number:,}"


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[int],
    bad: Callable[[Sequence[str]], bool],
) -> str:
    """Return a table; columns in ``numbers`` stand to the right, rows that are ``bad`` stand out."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if index in numbers else ''}>{escape(cell)}</{tag}>"
            for index, cell in enumerate(row)
        )

    body = "\n".join(f"<tr{' class=bad' if bad(row) else ''}>{cells('td', row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{cells('th', heads)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
