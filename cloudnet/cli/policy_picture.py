"""The matrix of who reaches whom as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from html import escape

from cloudnet.policy.matrix import NO_WAY, Group, Matrix

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #1b1f24; background: #fff; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
p { margin: 0 0 1rem; color: #57606a; }
.wide { overflow: auto; max-height: 85vh; border: 1px solid #d0d7de; }
table { border-collapse: separate; border-spacing: 0; }
th, td { border-right: 1px solid #d0d7de; border-bottom: 1px solid #d0d7de; padding: .3rem .5rem; }
thead th { position: sticky; top: 0; background: #f6f8fa; vertical-align: bottom; z-index: 1; font-weight: 600; }
thead th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 16rem; white-space: nowrap; }
tbody th { position: sticky; left: 0; background: #f6f8fa; text-align: left; font-weight: 600; white-space: nowrap; }
td { text-align: center; font-size: 12px; min-width: 2.5rem; }
.all { background: #1a7f37; color: #fff; }
.some { background: #d4a72c; color: #1b1f24; }
.none { background: #cf222e; color: #fff; }
.no { background: #eaeef2; color: #57606a; }
.key span { padding: .1rem .5rem; margin-right: .5rem; }
"""


def page(matrix: Matrix, title: str) -> str:
    """Return the page. Rows send, columns get; each cell says what is let through, in words as well as in colour."""
    head = "".join(
        f'<th scope="col" title="{_all(one)}"><span>{escape(one.title)}</span></th>' for one in matrix.groups
    )
    rows = "".join(_row(matrix, i) for i in range(len(matrix.groups)))
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n"
        "<p>Rows send, columns get. Endpoints that fare alike stand together; the names of all are shown when the "
        "pointer rests on one.</p>\n"
        '<p class="key"><span class="all">all</span><span class="some">some</span>'
        '<span class="none">none</span></p>\n'
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>\n'
        "</body></html>\n"
    )


def _row(matrix: Matrix, number: int) -> str:
    source = matrix.groups[number]
    cells = "".join(
        f'<td class="{_class(cell)}" title="{escape(f"{source.title} > {target.title}: {cell}")}">{escape(cell)}</td>'
        for target, cell in zip(matrix.groups, matrix.cells[number], strict=True)
    )
    return f'<tr><th scope="row" title="{_all(source)}">{escape(source.title)}</th>{cells}</tr>\n'


def _class(cell: str) -> str:
    return {"all": "all", "none": "none", NO_WAY: "no"}.get(cell, "some")


def _all(group: Group) -> str:
    return escape(", ".join(end.title for end in group.ends))
