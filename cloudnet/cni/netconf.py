"""The network configuration that comes with a request: Calico's keys, read once, wrong ones named. No I/O.

Keys of Calico's that mean nothing here are allowed and ignored: how Calico's own plugin finds its datastore
(``etcd_*``, ``kubernetes.kubeconfig``, ``log_*``), for the agent has its own way. Keys that would change what a pod
gets, and that we do not do, are refused. Source: Calico ``cni-plugin/pkg/types/types.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface
from types import MappingProxyType
from typing import Any, Final

import msgspec

from cloudnet.cni.wire import SINCE, VERSIONS, CniError, Code, Command, Json, at_least, short, words
from cloudnet.errors import BadInput
from cloudnet.model import wire as documents
from cloudnet.model.addresses import Address, Family

BLOCKS: Final = "calico-ipam"
"""The IPAM ``type`` that means our own blocks …"""

NATIVE: Final = "cloudnet-native"
"""… and the one that means addresses which the cloud gave the node; any other is the name of a plugin to run."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")  # of networks; CNI specification, section 1
_LONGEST_NAME = 100
_PLUGIN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_\-]*")  # a file in CNI_PATH
_MAC = re.compile(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_SMALLEST_MTU, _LARGEST_MTU = 576, 65535  # RFC 791: what every IPv4 host takes; and the field's own size
_MOST_QUEUES = 4096


@dataclass(frozen=True, slots=True)
class Ipam:
    """Where addresses come from: our own blocks, or the plugin ``type``. ``addresses`` are asked for by name."""

    type: str = BLOCKS
    families: tuple[Family, ...] = (Family.IPV4,)
    ipv4_pools: tuple[str, ...] = ()
    ipv6_pools: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()

    @property
    def delegated(self) -> bool:
        return self.type not in {BLOCKS, NATIVE}

    @property
    def native(self) -> bool:
        return self.type == NATIVE


@dataclass(frozen=True, slots=True)
class Attachment:
    """One container's interface, as GC names the valid ones."""

    container: str
    interface: str


@dataclass(frozen=True, slots=True)
class NetConf:
    """What a network configuration says. ``document`` is all of it, for plugins that we run in turn."""

    version: str
    name: str
    ipam: Ipam = field(default_factory=Ipam)
    mtu: int = 0
    node: str = ""
    kubernetes: bool = False
    queues: int = 1
    forwards: bool = False
    default_routes: bool = False
    floating: bool = False
    mac: str = ""
    previous: Json | None = field(default=None, hash=False)
    valid: tuple[Attachment, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict, hash=False)  # Any: JSON, as it came


# --- the document -------------------------------------------------------------------------------------------


class _Ipam(msgspec.Struct):
    type: str = ""
    assign_ipv4: str | bool = "true"
    assign_ipv6: str | bool = "false"
    ipv4_pools: list[str] = []
    ipv6_pools: list[str] = []
    addresses: list[Any] = []  # of objects for plugins that we run


class _Policy(msgspec.Struct):
    type: str = ""


class _Features(msgspec.Struct):
    ip_addrs_no_ipam: bool = False
    floating_ips: bool = False


class _Container(msgspec.Struct):
    allow_ip_forwarding: bool = False


class _Kubernetes(msgspec.Struct):
    node_name: str = ""


class _Dataplane(msgspec.Struct):
    type: str = ""


class _Runtime(msgspec.Struct):
    ips: list[str] = []
    mac: str = ""


class _Attachment(msgspec.Struct):
    container_id: str = msgspec.field(name="containerID")
    ifname: str


class _Document(msgspec.Struct):
    version: str = msgspec.field(name="cniVersion", default="")
    name: str = ""
    ipam: _Ipam | None = None
    mtu: int = 0
    num_queues: int = 0
    nodename: str = ""
    mode: str = ""
    device_type: str = ""
    include_default_routes: bool = False
    policy: _Policy | None = None
    kubernetes: _Kubernetes | None = None
    feature_control: _Features | None = None
    container_settings: _Container | None = None
    dataplane_options: _Dataplane | None = None
    runtime: _Runtime | None = msgspec.field(name="runtimeConfig", default=None)
    previous: dict[str, Any] | None = msgspec.field(name="prevResult", default=None)
    valid: list[_Attachment] = msgspec.field(name="cni.dev/valid-attachments", default=[])


_any = msgspec.json.Decoder()


class _Header(msgspec.Struct):
    version: str = msgspec.field(name="cniVersion", default="")


_header = msgspec.json.Decoder(_Header)


def version_of(data: bytes) -> str:
    """Return the version that an answer to this configuration must have; the oldest we speak when it names none."""
    try:
        found = _header.decode(data).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return VERSIONS[-1]
    return found if found in VERSIONS else VERSIONS[-1]


def parse(data: bytes, command: Command) -> NetConf:
    """Return what a configuration says, as far as the command needs it.

    Raises:
        CniError: it is no JSON (code 6), of a version that we do not speak (1), wrong (7), or asks for what we do
            not do (2).
    """
    whole = _json(data)
    try:
        document = msgspec.convert(whole, _Document)
    except msgspec.ValidationError as e:
        raise CniError(Code.INVALID_CONFIGURATION, str(documents.explain(str(e), whole))) from e
    version = _version(document.version, command)
    try:
        return _read(document, version, whole)
    except BadInput as e:
        raise CniError(Code.INVALID_CONFIGURATION, str(e)) from e


def _json(data: bytes) -> Any:  # Any: whatever somebody sent
    try:
        return _any.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        why = str(e).removeprefix("JSON is malformed: ")
        raise CniError(Code.UNDECODABLE, f"the network configuration is no JSON: {why}") from e


def _version(version: str, command: Command) -> str:
    if version not in VERSIONS:
        found = short(version) if version else "none, which means '0.2.0'"
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion: expected one of {words(VERSIONS)}, found {found}: change the network configuration",
        )
    if command in SINCE and not at_least(version, SINCE[command]):
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion: {command.value} came with {SINCE[command]}, and the configuration has {version!r}",
        )
    return version


def _read(document: _Document, version: str, whole: Json) -> NetConf:
    if len(document.name) > _LONGEST_NAME or not _NAME.fullmatch(document.name):
        raise BadInput(
            f"expected letters, digits, '_', '.' and '-', a letter or digit first, {_LONGEST_NAME} at most, "
            f"found {short(document.name)}",
            path="name",
        )
    _refuse(document)
    runtime = document.runtime or _Runtime()
    features = document.feature_control or _Features()
    return NetConf(
        version=version,
        name=document.name,
        ipam=_ipam(document.ipam or _Ipam(), runtime),
        mtu=_within(document.mtu, "mtu", _SMALLEST_MTU, _LARGEST_MTU),
        node=(document.nodename or (document.kubernetes or _Kubernetes()).node_name).strip().lower(),
        kubernetes=(document.policy or _Policy()).type == "k8s" or document.kubernetes is not None,
        queues=max(1, _within(document.num_queues, "num_queues", 1, _MOST_QUEUES)) if document.num_queues > 0 else 1,
        forwards=(document.container_settings or _Container()).allow_ip_forwarding,
        default_routes=document.include_default_routes,
        floating=features.floating_ips,
        mac=mac(runtime.mac, "runtimeConfig.mac") if runtime.mac else "",
        previous=_previous(document.previous),
        valid=tuple(Attachment(entry.container_id, entry.ifname) for entry in document.valid),
        document=MappingProxyType(whole),
    )


def _refuse(document: _Document) -> None:
    """Refuse what we do not do, rather than give a pod something else than was asked for."""
    dataplane = (document.dataplane_options or _Dataplane()).type
    for key, found, known in (
        ("mode", document.mode, {""}),
        ("device_type", document.device_type, {"", "veth"}),
        ("dataplane_options.type", dataplane, {"", "linux"}),
    ):
        if found not in known:
            raise CniError(
                Code.UNSUPPORTED_FIELD, f"{key}: {short(found)} is nothing that cloudnet does: leave it out"
            )
    if document.feature_control is not None and document.feature_control.ip_addrs_no_ipam:
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            "feature_control.ip_addrs_no_ipam: cloudnet gives no address that IPAM does not know: use ipAddrs",
        )


def _ipam(document: _Ipam, runtime: _Runtime) -> Ipam:
    kind = document.type or BLOCKS
    if not _PLUGIN.fullmatch(kind):
        raise BadInput(f"expected the name of a plugin, found {short(kind)}", path="ipam.type")
    if kind != BLOCKS:
        return Ipam(kind)
    wanted = (
        (Family.IPV4, document.assign_ipv4, "ipam.assign_ipv4"),
        (Family.IPV6, document.assign_ipv6, "ipam.assign_ipv6"),
    )
    families = tuple(family for family, found, path in wanted if _truth(found, path))
    if not families:
        raise BadInput("neither IPv4 nor IPv6 is wanted: set one of assign_ipv4 and assign_ipv6", path="ipam")
    named = [(text, f"ipam.addresses[{i}]") for i, text in enumerate(document.addresses)]
    named += [(text, f"runtimeConfig.ips[{i}]") for i, text in enumerate(runtime.ips)]
    return Ipam(
        kind,
        families,
        tuple(document.ipv4_pools),
        tuple(document.ipv6_pools),
        tuple(address(text, path) for text, path in named),
    )


def _truth(found: object, path: str) -> bool:
    """Return what ``"true"`` says; Calico wants a string here, and people write a truth value."""
    if isinstance(found, bool):
        return found
    word = str(found).lower()
    if word not in {"true", "false"}:
        raise BadInput(f"expected 'true' or 'false', found {short(str(found))}", path=path)
    return word == "true"


def address(text: object, path: str) -> Address:
    """Return an address, also one with the length of its network."""
    try:
        return ip_interface(str(text)).ip
    except ValueError:
        raise BadInput(f"expected an address such as 10.65.1.7, found {short(str(text))}", path=path) from None


def mac(text: str, path: str) -> str:
    """Return a MAC address in lower case; one of a group is nobody's."""
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1:
        raise BadInput(
            f"expected the MAC address of one device such as 0a:58:0a:41:01:02, found {short(text)}", path=path
        )
    return text.lower()


def _within(value: int, path: str, low: int, high: int) -> int:
    if value and not low <= value <= high:
        raise BadInput(f"expected an integer from {low} to {high}, or 0, found {value}", path=path)
    return value


def _previous(found: Json | None) -> Json | None:
    """Check as much of an earlier result as we read or add to: lists of objects."""
    for key in ("interfaces", "ips", "routes"):
        entries = (found or {}).get(key)
        if entries is None:
            continue
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise BadInput("expected a list of objects", path=f"prevResult.{key}")
    return {key: value for key, value in found.items() if value is not None} if found is not None else None
