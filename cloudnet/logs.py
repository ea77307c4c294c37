"""Log lines for people and for machines: ``key=value`` on standard error, one line an event.

A message is written as words and then fields, ``log.info("route programmed block=%s table=%s", ...)``; the
fields stay fields and the words become ``msg``. A line break in a value is escaped, so that nobody can forge a
line; only a traceback, which marks a defect of ours, takes more lines.
"""

from __future__ import annotations

import logging
import re
import sys
import time

from cloudnet.errors import BadInput

LEVELS = ("debug", "info", "warning", "error")

_FIELDS = re.compile(
    r"""(?:^|\s+)(?P<fields>[a-z][\w.]*=(?:"[^"]*"|'[^']*'|\S+)(?:\s+[a-z][\w.]*=(?:"[^"]*"|'[^']*'|\S+))*)$"""
)
_BARE = re.compile(r'[^\s"=]+')


class KeyValue(logging.Formatter):
    """``time=2026-01-31T12:00:00.123Z level=info logger=agent.loop msg="path changed" block=10.65.1.0/26``."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        found = _FIELDS.search(message)
        words = message[: found.start()] if found else message
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = [
            f"time={seconds}.{int(record.msecs):03d}Z",
            f"level={record.levelname.lower()}",
            f"logger={record.name.removeprefix('cloudnet.')}",
        ]
        if words:
            line.append(f"msg={_quoted(words)}")
        if found:
            line.append(found["fields"])
        text = " ".join(line)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def setup(level: str) -> None:
    """Send the log to standard error from ``level`` up; a second call replaces the first.

    Raises:
        BadInput: there is no such level.
    """
    if level not in LEVELS:
        raise BadInput(f"expected one of {', '.join(LEVELS)}, found {level!r}", path="log_level")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValue())
    ours = logging.getLogger("cloudnet")
    ours.handlers[:] = [handler]
    ours.setLevel(level.upper())
    ours.propagate = False
    others = logging.getLogger()  # libraries: their warnings are worth a line, their chatter is not
    others.handlers[:] = [handler]
    others.setLevel(logging.WARNING)


def _quoted(words: str) -> str:
    return words if _BARE.fullmatch(words) else '"' + words.replace('"', "'") + '"'
