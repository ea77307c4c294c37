"""The configuration list that a runtime reads: write one, or check one that somebody else wrote. No I/O.

Network configuration lists are defined by the CNI specification 1.1.0, section 1. The list names plugins in the order
in which ADD calls them; a plugin's ``type`` is the name of its program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from cloudnet.errors import BadInput

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")

CHAINED: Mapping[str, Mapping[str, object]] = {
    "portmap": {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
    "bandwidth": {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    "tuning": {"type": "tuning", "capabilities": {"mac": True}},
}
"""The reference plugins that may follow ours, as Calico's and most others' lists have them."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")  # of networks; section 1, "name"


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen about a list that we write. An empty text or 0 leaves the key out: the agent decides."""

    program: str = "cloudnet"
    name: str = "k8s-pod-network"  # Calico's: its handles begin with it, so that addresses stay with their pods
    version: str = "1.0.0"  # containerd before 2.0 knows no newer one
    chain: tuple[str, ...] = ("portmap",)
    ipam: str = "calico-ipam"
    policy: str = "k8s"
    mtu: int = 0
    agent_socket: str = ""


def write(options: Options) -> bytes:
    """Return a configuration list.

    Raises:
        BadInput: the options make none.
    """
    for name in options.chain:
        if name not in CHAINED:
            raise BadInput(f"expected {', '.join(CHAINED)}, found {name!r}: others need a --config", path="chain")
    ours: dict[str, object] = {"type": options.program}
    if options.agent_socket:
        ours["agent_socket"] = options.agent_socket
    if options.ipam:
        ours["ipam"] = {"type": options.ipam}
    if options.policy:
        ours["policy"] = {"type": options.policy}
    if options.mtu:
        ours["mtu"] = options.mtu
    document = {
        "cniVersion": options.version,
        "name": options.name,
        "plugins": [ours, *(CHAINED[name] for name in options.chain)],
    }
    text = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    check(text, ours=options.program)
    return text


def check(text: bytes, *, ours: str) -> tuple[str, ...]:
    """Return the types of a list's plugins, in order, if a runtime takes the list and ``ours`` is among them.

    Raises:
        BadInput: with the path of what is wrong.
    """
    document = parse(text)
    types = tuple(_type(plugin, f"plugins[{i}].type") for i, plugin in enumerate(document["plugins"]))
    if ours not in types:
        raise BadInput(f"expected one of type {ours!r}, found only {', '.join(types)}", path="plugins")
    for i, plugin in enumerate(document["plugins"]):
        if "agent_socket" in plugin:
            _check_socket(plugin["agent_socket"], f"plugins[{i}].agent_socket")
    return types


def parse(text: bytes) -> dict[str, Any]:  # Any: plugins of others have keys of their own
    """Return a list as it stands, if a runtime takes it.

    Raises:
        BadInput: with the path of what is wrong.
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise BadInput(f"not a network configuration list: {str(e).lower()}") from e
    if not isinstance(document, dict):
        raise BadInput(f"expected an object with cniVersion, name and plugins, found {_kind(document)}")
    version = document.get("cniVersion")
    if version not in VERSIONS:
        raise BadInput(f"expected one of {', '.join(VERSIONS)}, found {version!r}", path="cniVersion")
    name = document.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput(f"expected letters, digits, '_', '.' and '-', found {name!r}", path="name")
    plugins = document.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise BadInput("expected a list of at least one plugin", path="plugins")
    for i, plugin in enumerate(plugins):
        if not isinstance(plugin, dict):
            raise BadInput(f"expected an object, found {_kind(plugin)}", path=f"plugins[{i}]")
        _type(plugin, f"plugins[{i}].type")
    return document


def _type(plugin: Mapping[str, object], path: str) -> str:
    name = plugin.get("type")
    if not isinstance(name, str) or not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise BadInput(f"expected the name of a program, found {name!r}", path=path)
    return name


def _check_socket(value: object, path: str) -> None:
    """Refuse what the program would refuse when a pod starts: it copies the path, and reads no escapes."""
    longest = 107  # bytes; sun_path in unix(7), less the NUL
    plain = isinstance(value, str) and value.startswith("/") and not set(value) & {'"', "\\"} and value.isprintable()
    if not plain or len(str(value).encode()) > longest:
        raise BadInput(f"expected an absolute path of at most {longest} plain bytes, found {value!r}", path=path)


def _kind(value: object) -> str:
    names: Sequence[tuple[type, str]] = (
        (list, "an array"),
        (str, "a string"),
        (bool, "a boolean"),
        (dict, "an object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "null" if value is None else "a number")
