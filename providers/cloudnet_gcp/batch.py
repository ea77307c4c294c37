"""Carry out a batch of changes: many writes on the wire, their operations followed together, an outcome for each.

A change is some steps in order (``steps.py``), each of them a write and its operation. Steps of different changes do
not wait for each other, but for deletions, which come first. What a batch gives up on and when is as in
``cloudnet.provider.writes``: after a failure every write has one attempt, and after three in a row the rest is not
sent. Why threads: docs/decisions/writes-in-flight.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

from cloudnet.model.addresses import Network
from cloudnet.provider.api import RouteChange, RouteResult, Verb
from cloudnet.provider.errors import Conflict, NotFound, ProviderError, Throttled, Unavailable
from cloudnet.provider.writes import GIVE_UP_AFTER, not_sent
from cloudnet_gcp import steps, wire
from cloudnet_gcp.client import Client
from cloudnet_gcp.errors import NAME
from cloudnet_gcp.names import Marks, machine_id
from cloudnet_gcp.operations import Followed
from cloudnet_gcp.steps import Insert, Step

A_WAVE = 32  # writes between two looks at the operations


@dataclass(slots=True)
class Job:
    """One change on its way. ``operation`` is what it waits for, ``left`` what is still to be done."""

    change: RouteChange
    left: list[Step]
    error: ProviderError | None = None
    operation: str = ""
    request_id: str = ""

    @property
    def ready(self) -> bool:
        return bool(self.left) and not self.operation and self.error is None


@dataclass(slots=True)
class Luck:
    """How the cloud has been lately; shared by the threads of one batch."""

    failures: int = 0
    last: ProviderError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def had(self, error: ProviderError | None) -> None:
        with self.lock:
            self.failures = self.failures + 1 if isinstance(error, Throttled | Unavailable) else 0
            self.last = error if self.failures else None

    def gone(self) -> ProviderError | None:
        """Return why nothing more is sent, if so."""
        with self.lock:
            return self.last if self.failures >= GIVE_UP_AFTER else None


SendAll: TypeAlias = Callable[[Callable[[Job], object], list[Job]], object]
"""Sends every job of a wave, together or in turn, and returns when all were answered."""


class Batch:
    """The changes of one ``apply``, against the routes that stood there just before."""

    def __init__(
        self, client: Client, followed: Followed, marks: Marks, standing: Mapping[Network, Collection[wire.Route]]
    ) -> None:
        self._client = client
        self._followed = followed
        self._marks = marks
        self._standing = standing
        self._luck = Luck()
        self._gone: set[Network] = set()  # destinations from which this batch has deleted what was ours

    def run(self, changes: Sequence[RouteChange], *, parallel: int) -> tuple[RouteResult, ...]:
        """Return the outcome of each change, in their order. Deletions come first: their room may be needed."""
        if parallel == 1:
            jobs = self._both(changes, _in_turn)
        else:
            with ThreadPoolExecutor(parallel, thread_name_prefix="gcp-write") as pool:
                jobs = self._both(changes, lambda send, wave: list(pool.map(send, wave)))
        return tuple(RouteResult(change, jobs[at].error) for at, change in enumerate(changes))

    def _both(self, changes: Sequence[RouteChange], send_all: SendAll) -> Mapping[int, Job]:
        """Carry the deletions out to their end, then the rest; return ``{place in the batch: job}``."""
        deletions = {at: self._job(c) for at, c in enumerate(changes) if c.verb is Verb.DELETE}
        self._drive(list(deletions.values()), send_all)
        self._gone.update(job.change.destination for job in deletions.values() if job.error is None)
        rest = {at: self._job(c) for at, c in enumerate(changes) if at not in deletions}
        self._drive(list(rest.values()), send_all)
        return deletions | rest

    def _job(self, change: RouteChange) -> Job:
        standing = self._standing.get(change.destination, ())
        if change.destination in self._gone:
            standing = [route for route in standing if not self._marks.ours(route)]
        try:
            planned = steps.plan(change, standing, self._marks)
        except ProviderError as error:
            return Job(change, [], error)
        return Job(change, list(planned))

    def _drive(self, jobs: Sequence[Job], send_all: SendAll) -> None:
        """Send what is ready in waves, look at the operations when it is time, until nothing is left of either."""
        while True:
            wave = [job for job in jobs if job.ready][:A_WAVE]
            for job in wave:
                job.request_id = self._client.request_id()
            send_all(self._send, wave)
            for job in wave:
                self._follow(job)
            if len(self._followed) and (not wave or self._followed.due()):
                self._settle(jobs, self._followed.look(wait=not wave))
            elif not wave:
                return

    def _send(self, job: Job) -> None:
        """Send the job's next step. Runs in a thread of its own; touches nothing but its job and the luck."""
        if (why := self._luck.gone()) is not None:
            job.error = not_sent(job.change, why, provider=NAME)
            return
        try:
            job.operation = self._accepted(job).name
        except ProviderError as error:
            self._luck.had(error)
            self._refused(job, error)
        else:
            self._luck.had(None)

    def _accepted(self, job: Job) -> wire.Operation:
        step, deadline = job.left[0], 0.0 if self._luck.failures else None
        if isinstance(step, Insert):
            return self._client.insert_route(
                step, request_id=job.request_id, description=self._marks.description, deadline=deadline
            )
        return self._client.delete_route(step.name, request_id=job.request_id, deadline=deadline)

    def _follow(self, job: Job) -> None:
        if job.operation:
            verb = "insert" if isinstance(job.left[0], Insert) else "delete"
            self._followed.add(f"compute.routes.{verb}", wire.Operation(job.operation))

    def _settle(self, jobs: Iterable[Job], ended: Mapping[str, ProviderError | None]) -> None:
        for job in jobs:
            if job.operation not in ended:
                continue
            error, job.operation = ended[job.operation], ""
            if error is None:
                job.left.pop(0)
            else:
                self._refused(job, error)

    def _refused(self, job: Job, error: ProviderError) -> None:
        """Decide what a refused step means: a delete of what is gone is done, a create may have met itself."""
        step = job.left[0]
        if isinstance(error, NotFound) and not isinstance(step, Insert):
            job.left.pop(0)
        elif isinstance(error, Conflict) and isinstance(step, Insert):
            self._met(job, step, error)
        else:
            job.error = error

    def _met(self, job: Job, step: Insert, error: ProviderError) -> None:
        """A route of that name is there already: done when it is the one that was to be made."""
        try:
            found = self._client.route(step.name)
        except ProviderError as trouble:
            job.error = trouble if trouble.retry else error
            return
        alike = found.destination == step.destination and machine_id(found.instance) == step.instance
        if alike and self._marks.ours(found):
            job.left.pop(0)
        else:
            job.error = steps.conflict(job.change, found, code=error.code, status=error.status)


def _in_turn(send: Callable[[Job], object], wave: list[Job]) -> None:
    for job in wave:
        send(job)
