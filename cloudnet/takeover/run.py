"""Go through the steps, forth or back, the journal one step ahead: whoever is killed goes on with the same call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudnet.takeover import act, plan
from cloudnet.takeover import back as backwards
from cloudnet.takeover.hands import Hands
from cloudnet.takeover.journal import FINISH, Journal, Phase
from cloudnet.takeover.plan import Job
from cloudnet.takeover.steps import Step


@dataclass(frozen=True, slots=True)
class Done:
    """One step that went forth or back, or stays, and ``why``."""

    step: str
    phase: Phase
    what: str
    why: str = ""


def forth(hands: Hands, journal: Journal, job: Job) -> Iterator[Done]:
    """Take the node over, from wherever the journal stands; yield each step when it is done.

    Raises:
        CloudnetError: a step cannot be done; what is done stays, and the next call goes on.
    """
    journal.open(job)
    job = journal.job or job
    for step in plan.steps(job):
        entry = journal.steps.get(step.name)
        if entry is not None and entry.phase is Phase.DONE:
            continue
        if entry is None or entry.phase is Phase.UNDONE:
            was = act.before(step, hands, job)
            journal.begin(step.name, was)
        else:
            was = entry.before
        act.do(step, hands, was)
        journal.note(step.name, Phase.DONE)
        yield Done(step.name, Phase.DONE, step.says)


def back(hands: Hands, journal: Journal) -> Iterator[Done]:
    """Give the node back, from wherever the journal stands; what may not go yet is told, and left for the next call.

    Raises:
        CloudnetError: a step cannot be taken back; what is done stays, and the next call goes on.
        Stopped: what the predecessor left is being removed already.
    """
    job = journal.job
    if job is None:
        return
    if FINISH in journal.steps:
        raise act.Stopped("there is no way back: `takeover finish` has begun here, and goes on when it is run again")
    given_back = journal.steps.get("close" if job.block else "cni")
    if given_back is not None and given_back.phase is Phase.UNDONE:
        backwards.notice_gone(hands, job)
    for step in reversed(plan.steps(job)):
        yield from _back(step, hands, journal, job)
    if all(entry.phase is Phase.UNDONE for entry in journal.steps.values()):
        journal.close()


def _back(step: Step, hands: Hands, journal: Journal, job: Job) -> Iterator[Done]:
    entry = journal.steps.get(step.name)
    if entry is None or entry.phase is Phase.UNDONE:
        return
    why = backwards.undo(step, hands, job, entry.before, switched="cni" in journal.steps)
    phase = Phase.KEPT if why else Phase.UNDONE
    journal.note(step.name, phase, why)
    yield Done(step.name, phase, step.back, why)
