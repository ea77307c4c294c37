"""Messages of etcd's JSON gateway, as in ``rpc.proto``: bytes in base64, long integers as strings, no zeros."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cloudnet.store.api import Revision

# Any: messages as JSON; who asks knows the shape.
Json = dict[str, Any]

RANGE: Final = "/v3/kv/range"
TXN: Final = "/v3/kv/txn"
COMPACT: Final = "/v3/kv/compaction"
WATCH: Final = "/v3/watch"
OWN: Final = "/cloudnet/"
"""A key that everybody may read who may use the store; to ask for nothing but the revision."""

AUTHENTICATE: Final = "/v3/auth/authenticate"

to_json = msgspec.json.Encoder().encode
from_json = msgspec.json.Decoder().decode


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


@dataclass(frozen=True, slots=True)
class Range:
    """Keys from ``first`` up to, not including, ``end``; just ``first`` where ``end`` is empty."""

    first: str
    end: str = ""


def prefix(text: str) -> Range:
    """Return the range of all keys that begin so."""
    return Range(text, text[:-1] + chr(ord(text[-1]) + 1))


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value as etcd holds them, with the revisions it was created and last written at."""

    key: str
    value: bytes
    created: Revision
    modified: Revision


# --- asking -------------------------------------------------------------------------------------------------


def get(key: str) -> Json:
    return {"request_range": {"key": b64(key)}}


def page(wanted: Range, size: int, *, after: str = "", at: Revision | None = None) -> Json:
    """Return the question for the next entries of a range, ``after`` the last one that is known."""
    message: Json = {"key": b64(f"{after}\0" if after else wanted.first), "limit": str(size)}
    if wanted.end:
        message["range_end"] = b64(wanted.end)
    if at is not None:
        message["revision"] = str(at)
    return message


def put(key: str, value: bytes) -> Json:
    return {"request_put": {"key": b64(key), "value": b64(value)}}


def delete(key: str) -> Json:
    return {"request_delete_range": {"key": b64(key)}}


def is_absent(key: str) -> Json:
    return {"key": b64(key), "target": "VERSION", "result": "EQUAL", "version": "0"}


def is_there(key: str) -> Json:
    return {"key": b64(key), "target": "VERSION", "result": "GREATER", "version": "0"}


def has_revision(key: str, revision: Revision) -> Json:
    return {"key": b64(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


# --- answers ------------------------------------------------------------------------------------------------


def revision(answer: Json) -> Revision:
    """Return the revision that etcd was at."""
    return Revision(int(answer["header"]["revision"]))


def entries(answer: Json) -> list[Entry]:
    """Return what a read found."""
    return [entry(found) for found in answer.get("kvs", ())]


def entries_in(answer: Json) -> list[Entry]:
    """Return what the reads of a transaction found."""
    return [found for one in answer.get("responses", ()) for found in entries(one.get("response_range", {}))]


def entry(found: Json) -> Entry:
    return Entry(
        base64.b64decode(found["key"]).decode("utf-8", "replace"),
        base64.b64decode(found.get("value", "")),
        Revision(int(found.get("create_revision", 0))),  # none where a key was deleted
        Revision(int(found["mod_revision"])),
    )
