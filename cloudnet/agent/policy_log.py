"""Tells in the log which packets policy denied, and those that rules with ``log`` report, by the names of policies.

The kernel limits how many it reports a second for each policy; nothing is lost but lines. The counters count all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from cloudnet.errors import CloudnetError
from cloudnet.kernel.nflog import Logged

log = logging.getLogger(__name__)

_POLL = 0.5  # seconds until the thread sees that it should end


class Reports(Protocol):
    """Where logged packets come from: ``kernel.nflog.NflogSocket``, or a twin."""

    def read(self, timeout: float) -> list[Logged]: ...

    def close(self) -> None: ...


class PolicyLog:
    """A thread that reads reports until it is closed. ``names``: ``{what stands for a policy: its name}``."""

    def __init__(self, open_reports: Callable[[], Reports], names: Mapping[str, str]) -> None:
        self._open, self._names = open_reports, names
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            reports = self._open()
        except CloudnetError as e:
            log.warning("denied packets are counted, not logged reason=%r", str(e))
            return
        try:
            while not self._ending.is_set():
                for one in reports.read(_POLL):
                    tell(one, self._names)
        except CloudnetError as e:
            log.warning("denied packets are not logged any more reason=%r", str(e))
        finally:
            reports.close()


def tell(one: Logged, names: Mapping[str, str]) -> None:
    """Write one line: ``deny-in-10f8…`` and ``log in-10f8… 3`` are prefixes that chains.py gives."""
    verb, _, rest = one.prefix.replace(" ", "-").partition("-")
    direction, _, who = rest.partition("-")
    who, _, rule = who.partition("-")
    log.info(
        "%s direction=%s policy=%r%s source=%s destination=%s protocol=%d port=%s",
        {"deny": "denied", "log": "logged", "drop": "dropped"}.get(verb, verb),
        {"in": "ingress", "out": "egress"}.get(direction, "-"),
        names.get(who, rest),
        f" rule={rule}" if rule and verb == "log" else "",
        one.source,
        one.destination,
        one.protocol,
        "-" if one.port is None else one.port,
    )
