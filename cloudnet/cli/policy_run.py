"""What the commands of ``cloudnet policy`` do; how they are called stands in ``policy.py``, which starts faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from cloudnet.cli import output, policy_picture, policy_read, policy_show
from cloudnet.errors import BadInput
from cloudnet.model.problems import problems_of
from cloudnet.policy import cluster, differ, expectations, lint, matrix, reach
from cloudnet.policy.expectations import decided_by
from cloudnet.policy.reach import End

Files = Sequence[str] | None


def explain(source: str, target: str, port: str, *, files: Files, store: str, form: output.Format) -> None:
    found = cluster.build(policy_read.without_broken(policy_read.read(files, store)))
    from_, to = reach.find(found, source), reach.find(found, target)
    answer = reach.reach(found, from_, to, reach.wanted(port, to))
    shown = policy_show.explanation(found, from_, to, answer)
    if form is output.Format.JSON:
        output.print_json(shown)
    else:
        typer.echo("\n".join(policy_show.lines(shown)))


def draw(*, files: Files, store: str, port: str, outside: Files, html: Path | None, form: output.Format) -> None:
    found = cluster.build(policy_read.without_broken(policy_read.read(files, store)))
    only = reach.wanted(port, End("the cluster")) if port else None
    answer = matrix.matrix(found, outside=policy_read.addresses(outside), only=only)
    if html:
        title = f"Who reaches whom, {port}" if port else "Who reaches whom"
        html.write_text(policy_picture.page(answer, title), encoding="utf-8")
    if form is output.Format.JSON:
        pairs = [
            {"source": _titles(one.ends), "target": _titles(other.ends), "allowed": cell}
            for one, row in zip(answer.groups, answer.cells, strict=True)
            for other, cell in zip(answer.groups, row, strict=True)
            if cell != matrix.NO_WAY
        ]
        output.print_json({"pairs": pairs})
        return
    output.print_table(
        ("FROM / TO", *(group.title for group in answer.groups)),
        ((one.title, *row) for one, row in zip(answer.groups, answer.cells, strict=True)),
        empty="there are no endpoints",
    )


def _titles(ends: Sequence[End]) -> tuple[str, ...]:
    return tuple(end.title for end in ends)


@dataclass(frozen=True, slots=True)
class _Line:
    severity: str
    where: str
    field: str
    message: str


def check(*, files: Files, store: str, strict: bool, form: output.Format) -> bool:
    """Print what is wrong; return whether that is nothing, or nothing but warnings."""
    documents = policy_read.read(files, store)
    lines = [
        _Line("error", f"{one.manifest.title} ({one.manifest.origin})", path, message)
        for one in documents.broken
        for path, message in problems_of(one.error)
    ]
    lines += [
        _Line("error", f"{one.manifest.title} ({one.manifest.origin})", one.path, one.message)
        for one in documents.odd
    ]
    findings = lint.lint(cluster.build(documents.resources))
    lines += [_Line(one.severity.value, str(one.policy), one.field, one.message) for one in findings]
    number = policy_read.policies_of(documents.resources)
    if form is output.Format.JSON:
        output.print_json({"findings": lines, "policies": number})
    else:
        output.print_table(
            ("SEVERITY", "POLICY", "FIELD", "FINDING"),
            ((line.severity, line.where, line.field, line.message) for line in lines),
            empty=f"policies read: {number}; nothing to say of them",
        )
    return not any(strict or line.severity == "error" for line in lines)


def diff(
    change: Sequence[str], *, files: Files, store: str, delete: bool, outside: Files, form: output.Format
) -> None:
    now = policy_read.without_broken(policy_read.read(files, store))
    new = policy_read.without_broken(policy_read.read_files(change))
    after = policy_read.minus(now, new) if delete else policy_read.together(now, new)
    found = differ.difference(cluster.build(now), cluster.build(after), outside=policy_read.addresses(outside))
    if form is output.Format.JSON:
        changed = [
            {
                "source": _titles(one.source.ends),
                "target": _titles(one.target.ends),
                "before": one.before,
                "after": one.after,
                "opened": one.opened,
                "closed": one.closed,
                "decided_by": decided_by(one.deciding),
            }
            for one in found.changed
        ]
        output.print_json({"changed": changed, "gone": found.gone, "new": found.new})
        return
    output.print_table(
        ("FROM", "TO", "OPENED", "CLOSED", "NOW DECIDED BY"),
        ((o.source.title, o.target.title, o.opened, o.closed, decided_by(o.deciding)) for o in found.changed),
        empty="nothing changes for the endpoints that are there",
    )


def test(path: Path, *, files: Files, store: str, form: output.Format) -> bool:
    """Print which expectations do not hold; return whether all do."""
    wanted = expectations.read(policy_read.load_one(path))
    if not wanted.tests:
        raise BadInput("expected one test at least", path=f"{path}: tests")
    resources = policy_read.without_broken(policy_read.read_files(wanted.files, beside=path.parent))
    if files or store:
        resources = policy_read.together(policy_read.without_broken(policy_read.read(files, store)), resources)
    outcomes = expectations.check(cluster.build(policy_read.together(wanted.resources, resources)), wanted.tests)
    failed = [one for one in outcomes if not one.holds]
    if form is output.Format.JSON:
        rows = [{"test": str(one.test), "holds": one.holds, "problem": one.problem} for one in outcomes]
        output.print_json({"tests": rows})
    else:
        for one in failed:
            expected = "allow" if one.test.allowed else "deny"
            typer.echo(f"fails: {one.test}: expected {expected}, found {one.problem}")
        typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} hold")
    return not failed
