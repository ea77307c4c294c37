"""The CNI specification as values: requests, results and errors, in every version that we speak. No I/O.

Versions 0.3.1, 0.4.0, 1.0.0 and 1.1.0; a result is one value, and each version's shape is made from it at the end.
Source: github.com/containernetworking/cni SPEC.md of each version. ``netconf.py`` reads the network configuration.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from cloudnet.errors import CloudnetError
from cloudnet.model.addresses import Address, Network

VERSIONS: Final = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST: Final = VERSIONS[-1]

Json = dict[str, Any]  # Any: JSON of the runtime's or another plugin's, handed on as it is


class Command(enum.Enum):
    """What a runtime can ask."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


SINCE: Mapping[Command, str] = {Command.CHECK: "0.4.0", Command.GC: "1.1.0", Command.STATUS: "1.1.0"}
"""The version that a command came with; the others have always been there."""


class Code(enum.IntEnum):
    """Error codes: below 100 the specification's, from 100 on ours."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    UNDECODABLE = 6
    INVALID_CONFIGURATION = 7
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    NOT_AVAILABLE_LIMITED = 51
    INTERNAL = 100  # a defect of ours; the agent's log has the traceback
    ATTACHED_ELSEWHERE = 101  # the container is attached already, in another network namespace
    INTERFACE_TAKEN = 102  # the pod has an interface of that name, which is not ours
    NO_ADDRESS = 103  # no address can be given as asked
    NOT_AS_ADDED = 104  # CHECK found a difference
    OTHER_PLUGIN = 105  # an IPAM plugin that we were told to run failed


class CniError(CloudnetError):
    """What the runtime is answered instead of a result."""

    def __init__(self, code: Code, message: str, *, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


# --- the environment ----------------------------------------------------------------------------------------

_CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")  # section 2, CNI_CONTAINERID
_LONGEST_CONTAINER = 128  # the alias of a link holds it, with the network's name (kernel/pods.py)
_LONGEST_INTERFACE = 15  # IFNAMSIZ less its NUL
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")  # RFC 1123 subdomain
_LONGEST_NAME = 253
_WORD = 60  # letters of somebody's text that a message repeats


@dataclass(frozen=True, slots=True)
class Environment:
    """What the runtime says beside the configuration. ``netns`` is a path, of which only messages speak."""

    container: str = ""
    netns: str = ""
    interface: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()


def environment(variables: Mapping[str, str], command: Command) -> Environment:
    """Return what the variables say, as far as the command needs them.

    Raises:
        CniError: one is missing or wrong (code 4).
    """
    if command in {Command.GC, Command.STATUS, Command.VERSION}:
        return Environment(path=_path(variables))
    container, interface = variables.get("CNI_CONTAINERID", ""), variables.get("CNI_IFNAME", "")
    _check_container(container)
    _check_interface(interface)
    netns = variables.get("CNI_NETNS", "")
    if not netns and command is not Command.DEL:
        raise _wrong("CNI_NETNS is missing: it names the network namespace of the container")
    return Environment(container, netns, interface, arguments(variables.get("CNI_ARGS", "")), _path(variables))


def _path(variables: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(folder for folder in variables.get("CNI_PATH", "").split(":") if folder.startswith("/"))


def _check_container(container: str) -> None:
    if not container:
        raise _wrong("CNI_CONTAINERID is missing: it names the container")
    if not _CONTAINER.fullmatch(container):
        raise _wrong(
            f"CNI_CONTAINERID is {short(container)}: expected letters, digits, '_', '.' and '-', "
            "a letter or digit first"
        )
    if len(container) > _LONGEST_CONTAINER:
        raise _wrong(f"CNI_CONTAINERID has {len(container)} characters: expected {_LONGEST_CONTAINER} at most")


def _check_interface(name: str) -> None:
    if not name:
        raise _wrong("CNI_IFNAME is missing: it names the interface inside the container, such as 'eth0'")
    if len(name.encode(errors="surrogatepass")) > _LONGEST_INTERFACE:
        raise _wrong(f"CNI_IFNAME is {short(name)}: expected {_LONGEST_INTERFACE} bytes at most")
    if name in {".", ".."} or any(c in "/:%" or c.isspace() or not c.isprintable() for c in name):
        raise _wrong(f"CNI_IFNAME is {short(name)}: expected no '/', ':', '%' or blank, and neither '.' nor '..'")


def arguments(text: str) -> Mapping[str, str]:
    """Return what ``CNI_ARGS`` says, ``K=V;K2=V2``; a key without a value is empty.

    Raises:
        CniError: it is of another form (code 4), or names no possible pod.
    """
    found: dict[str, str] = {}
    for pair in text.split(";"):
        key, equals, value = pair.partition("=")
        if not pair:
            continue
        if not equals or not key:
            raise _wrong(f"CNI_ARGS has {short(pair)}: expected KEY=VALUE pairs with ';' between")
        found[key] = value
    for key in ("K8S_POD_NAME", "K8S_POD_NAMESPACE"):
        name = found.get(key, "")
        if name and (len(name) > _LONGEST_NAME or not _LABEL.fullmatch(name)):
            raise _wrong(f"{key} in CNI_ARGS is {short(name)}: expected a name as Kubernetes allows it")
    return found


def _wrong(message: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, message)


def short(text: str) -> str:
    """Return a text as a message may repeat it: quoted, on one line, and not the whole of ten megabytes."""
    return repr(text if len(text) <= _WORD else f"{text[:_WORD]}...")


# --- results ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Device:
    """A network device in a result; ``sandbox`` is the path of the namespace it is in, empty for the host."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What an ADD made: host end and pod end of a link, the pod's addresses, and where it leads."""

    devices: tuple[Device, ...]
    addresses: tuple[Address, ...]
    routes: tuple[Network, ...] = ()
    dns: Mapping[str, Any] = field(default_factory=dict)  # Any: DNS settings, handed on as they came


_encode = msgspec.json.Encoder().encode


def result(value: Result, version: str, previous: Json | None = None) -> bytes:
    """Return a result in the shape of a version, added to that of the plugins before us."""
    before = previous or {}
    devices = [*before.get("interfaces", ()), *(_device(device, version) for device in value.devices)]
    document: Json = {"cniVersion": version, "interfaces": devices}
    document["ips"] = [*before.get("ips", ()), *(_ip(a, len(devices) - 1, version) for a in value.addresses)]
    routes = [*before.get("routes", ()), *({"dst": str(network)} for network in value.routes)]
    if routes:
        document["routes"] = routes
    document["dns"] = value.dns or before.get("dns") or {}
    return _encode(document)


def _device(device: Device, version: str) -> Json:
    document: Json = {"name": device.name}
    if device.mac:
        document["mac"] = device.mac
    if device.mtu and version == "1.1.0":
        document["mtu"] = device.mtu
    if device.sandbox:
        document["sandbox"] = device.sandbox
    return document


def _ip(address: Address, device: int, version: str) -> Json:
    document: Json = {"address": f"{address}/{address.max_prefixlen}", "interface": device}
    if version.startswith("0."):
        document["version"] = str(address.version)
    return document


def error(problem: CniError, version: str) -> bytes:
    """Return an error as the runtime reads it."""
    document: Json = {"cniVersion": version, "code": int(problem.code), "msg": str(problem)}
    if problem.details:
        document["details"] = problem.details
    return _encode(document)


def versions(version: str) -> bytes:
    """Return the answer to VERSION."""
    return _encode({"cniVersion": version, "supportedVersions": VERSIONS})


def at_least(version: str, other: str) -> bool:
    """Tell whether one of our versions is as new as another."""
    return VERSIONS.index(version) >= VERSIONS.index(other)


def words(texts: Iterable[str]) -> str:
    return ", ".join(repr(text) for text in texts)
