"""What a change of policies means for traffic: which pairs of endpoints may do more or less than before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloudnet.errors import BadInput
from cloudnet.model.addresses import Address
from cloudnet.policy.cluster import Cluster
from cloudnet.policy.matrix import Group, Pairs, are_two, groups, questions, slim
from cloudnet.policy.options import Options
from cloudnet.policy.questions import Question, summary
from cloudnet.policy.reach import End, reach
from cloudnet.policy.verdicts import Step


@dataclass(frozen=True, slots=True)
class Changed:
    """What changes between two groups: ``opened`` and ``closed`` in words, and who decides in the end, for the first.

    ``before`` and ``after``: all that may be sent.
    """

    source: Group
    target: Group
    before: str
    after: str
    opened: str
    closed: str
    deciding: Step | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The changed pairs, and endpoints that are only there before (``gone``) or after (``new``)."""

    changed: tuple[Changed, ...]
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()


def difference(
    before: Cluster, after: Cluster, *, outside: Iterable[Address] = (), options: Options | None = None
) -> Difference:
    """Return what changes for the endpoints that are there before and after."""
    both = before.members.keys() & after.members.keys()
    found = [group for group in groups([before, after], outside) if group.first.title in both or group.first.outside]
    old, new = slim(before, found), slim(after, found)
    asked = (Pairs(old, options or Options()), Pairs(new, options or Options()))
    pairs = [(one, other) for one in found for other in found if are_two(one, other)]
    changed = [change for one, other in pairs if (change := _compare(asked, (old, new), one, other))]
    return Difference(
        tuple(changed),
        tuple(sorted(before.members.keys() - both)),
        tuple(sorted(after.members.keys() - both)),
    )


def _compare(
    asked: tuple[Pairs, Pairs], clusters: tuple[Cluster, Cluster], source: Group, target: Group
) -> Changed | None:
    ends = [(_in(cluster, source.first), _in(cluster, target.first)) for cluster in clusters]
    some = questions(asked, source.first, target.first)
    try:
        was, now = (pairs.asked(*pair, some) for pairs, pair in zip(asked, ends, strict=True))
    except BadInput:
        return None  # they have no address of one family, before or after
    different = [(q, allowed) for (q, allowed), (_, before) in zip(now, was, strict=True) if allowed != before]
    if not different:
        return None
    opened, closed = ([q for q, allowed in different if allowed is wanted] for wanted in (True, False))
    deciding = reach(clusters[1], *ends[1], different[0][0].wanted).deciding
    said = _said(opened, some), _said(closed, some)
    return Changed(source, target, summary(was), summary(now), *said, deciding)


def _said(chosen: list[Question], all_: list[Question]) -> str:
    wanted = set(chosen)
    return summary([(question, question in wanted) for question in all_]) if chosen else ""


def _in(cluster: Cluster, end: End) -> End:
    return End(end.title, cluster.members[end.title]) if end.member else end
