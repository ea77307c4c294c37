"""The settings of the two programs: frozen values with their defaults, units and reasons, and where they come from.

A setting is taken from the first of: the flag (``--probe-interval 0.2``), the environment
(``CLOUDNET_PROBE_INTERVAL=0.2``), the settings files (``probe_interval = 0.2``), the default.
A wrong value is refused by name, wherever it came from; nothing is guessed.

A settings file serves all programs: settings stand at its top, or in a section ``agent`` or ``controller`` for that
program alone. ``cloudnet.cli.settings`` knows which files there are.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from cloudnet.errors import BadInput

C = TypeVar("C", bound="AgentConfig | ControllerConfig")


@dataclass(frozen=True, slots=True)
class Says:
    """What a setting means, in one sentence, and which values make sense: numbers from ``low`` to ``high``."""

    meaning: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()


_LEVELS = ("debug", "info", "warning", "error")
_PORT = 65535
_STORE = Says(
    "where the cluster's resources are: sqlite:///ABSOLUTE/PATH, etcd(s)://HOST:PORT,..., kubernetes://, memory://"
)
_LEVEL = Says("log from this level up", choices=_LEVELS)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Settings of ``cloudnet agent``. All times are seconds."""

    node: Annotated[str, Says("name of this node, as in its Node resource")]
    store: Annotated[str, _STORE] = "sqlite:///var/lib/cloudnet/store.sqlite"
    socket: Annotated[str, Says("Unix socket for `cloudnet routes` and `cloudnet status`")] = (
        "/run/cloudnet/agent.sock"
    )
    metrics: Annotated[str, Says("address and port of /metrics, /healthz and /readyz")] = "127.0.0.1:9091"
    cni_socket: Annotated[str, Says("Unix socket that the CNI plugin speaks to; empty: this agent adds no pods")] = (
        "/run/cloudnet/cni.sock"
    )
    cni_state: Annotated[str, Says("folder for what is still to be released when the store is back")] = (
        "/var/lib/cloudnet/cni"
    )
    cni_config: Annotated[
        str,
        Says(
            "file with the runtime's configuration, as `cloudnet cni install` makes it, to be put in place once this "
            "agent can add pods; empty: somebody else does that"
        ),
    ] = ""
    cni_config_to: Annotated[str, Says("where the runtime looks for it")] = "/etc/cni/net.d/10-cloudnet.conflist"
    state: Annotated[
        str, Says("folder for what the agent remembers: the host's settings before it, and what the store said last")
    ] = "/var/lib/cloudnet"
    ip_autodetection_method: Annotated[
        str,
        Says(
            "how this node's IPv4 address is found: kubernetes-internal-ip, first-found, can-reach=HOST, "
            "interface=REGEX,..., skip-interface=REGEX,..., cidr=PREFIX,...; none: its Node says it"
        ),
    ] = "none"
    ip6_autodetection_method: Annotated[str, Says("the same for its IPv6 address")] = "none"
    interface_prefix: Annotated[str, Says("what names of pods' links begin with on this host")] = "cali"  # Calico's
    policy_only: Annotated[
        bool, Says("keep policy beside another plugin's pod network: no overlay, no routes, no addresses, no NAT")
    ] = False
    pod_mtu: Annotated[int, Says("MTU of pods in bytes; 0 is what every path can carry", low=0, high=_PORT)] = 0
    allow_host_network: Annotated[bool, Says("run in the machine's own network namespace and change its routes")] = (
        False
    )
    log_level: Annotated[str, _LEVEL] = "info"
    resync_seconds: Annotated[
        float, Says("how often the kernel is read again, to repair what others changed", low=1)
    ] = 90.0  # Calico's routeRefreshInterval
    vxlan_vni: Annotated[int, Says("VXLAN network identifier, the same on every node", low=1, high=2**24 - 1)] = 4096
    vxlan_port: Annotated[int, Says("UDP port of VXLAN, the same on every node", low=1, high=_PORT)] = 4789
    vxlan_mtu: Annotated[
        int, Says("MTU of the VXLAN device in bytes; 0 is the underlay's less the encapsulation", low=0)
    ] = 0
    probe_port: Annotated[int, Says("UDP port of path probes, the same on every node", low=1, high=_PORT)] = 4793
    probe_interval: Annotated[float, Says("seconds between probes of one destination", low=0.01)] = 0.1
    probe_budget: Annotated[
        float, Says("probes a second that the agent sends at most; with more destinations the interval grows", low=1)
    ] = 2000.0
    lost_probes: Annotated[int, Says("a native path is lost after this many unanswered probes in a row …", low=1)] = 4
    lost_after: Annotated[float, Says("… and this many seconds since the last answer", low=0)] = 0.5
    prove_seconds: Annotated[float, Says("a native path is proven after answers in a row for so long", low=0)] = 1.0
    hold_first: Annotated[
        float, Says("how long a native path stays unused after it was lost; doubles with each flap", low=0)
    ] = 2.0
    hold_limit: Annotated[float, Says("the longest such hold-down", low=0)] = 300.0
    endpoint_to_host: Annotated[
        str,
        Says(
            "what becomes of packets of pods to their own node that their policy allows",
            choices=("Drop", "Return", "Accept"),
        ),
    ] = "Drop"  # Calico's defaultEndpointToHostAction
    log_denied: Annotated[bool, Says("log packets that policy denies, a few a second of each policy")] = True
    fast_path: Annotated[
        bool, Says("let established connections of pods bypass netfilter on this node, where the kernel can (6.6)")
    ] = True
    bgp: Annotated[
        bool, Says("speak BGP by BIRD, as BGPConfiguration and BGPPeers say: by default with every other node")
    ] = False
    bgp_folder: Annotated[str, Says("folder for BIRD's configuration, control socket and log")] = "/run/cloudnet/bird"
    bgp_program: Annotated[str, Says("program to start BIRD with; empty: somebody else starts it")] = "bird"
    bgp_secrets: Annotated[str, Says("folder with the passwords of BGP sessions, a file FOLDER/SECRET/KEY each")] = (
        "/etc/cloudnet/secrets"
    )
    nat_outgoing_exclusions: Annotated[
        str,
        Says(
            "where pods of natOutgoing pools keep their address: inside all pools, or at addresses of nodes too",
            choices=("IPPoolsOnly", "IPPoolsAndHostIPs"),
        ),
    ] = "IPPoolsOnly"
    nat_port_range: Annotated[
        str, Says("ports that outgoing TCP and UDP connections come from, FIRST:LAST; empty is any")
    ] = ""
    nat_outgoing_address: Annotated[
        str, Says("address that outgoing packets get; empty is that of the device that they leave by")
    ] = ""
    nat_outgoing_interface: Annotated[
        str, Says("outgoing NAT only on this device; a + at the end stands for anything; empty is every device")
    ] = ""

    @property
    def on_kubernetes(self) -> bool:
        """Whether the store is Kubernetes itself, whose kubelets make Nodes and Pods."""
        return self.store.startswith("kubernetes:")


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """Settings of ``cloudnet controller``. All times are seconds."""

    store: Annotated[str, _STORE] = "sqlite:///var/lib/cloudnet/store.sqlite"
    provider: Annotated[str, Says("which cloud to program; `cloudnet providers` lists them; there is no default")] = (
        ""
    )
    provider_config: Annotated[str, Says("JSON file with the provider's own settings")] = ""
    metrics: Annotated[str, Says("address and port of /metrics, /healthz and /readyz")] = "127.0.0.1:9092"
    identity: Annotated[str, Says("name in the leader lease; empty is host name and process id")] = ""
    log_level: Annotated[str, _LEVEL] = "info"
    lease_seconds: Annotated[float, Says("how long a silent leader keeps its place", low=1)] = 15.0
    resync_seconds: Annotated[float, Says("how often cloud tables and instances are read again", low=1)] = (
        900.0  # four table reads and four instance reads an hour
    )
    retry_first: Annotated[
        float,
        Says("wait after a refusal (quota, permission, conflict) before trying again; doubles each time", low=0.1),
    ] = 60.0
    retry_limit: Annotated[float, Says("the longest such wait", low=0.1)] = 600.0
    withdraw_timeout: Annotated[
        float, Says("how long an agent that does not answer can hold up the deletion of a cloud route", low=0)
    ] = 10.0
    every_route_in_every_table: Annotated[
        bool, Says("write a block's route also into the tables of its own node's subnet")
    ] = False
    headroom: Annotated[int, Says("entries of each cloud table left free for others", low=0)] = 0
    leak_seconds: Annotated[
        float, Says("how long an address whose pod cannot be found is kept before it is taken back", low=1)
    ] = 900.0  # Calico's leakGracePeriod
    collect_seconds: Annotated[float, Says("how often leaked addresses are looked for", low=1)] = (
        300.0  # Calico's too
    )
    native_addresses: Annotated[
        str,
        Says("which addresses pods get from the cloud itself", choices=("none", "ipv4", "ipv6", "dual")),
    ] = "none"
    native_warm: Annotated[int, Says("free native addresses that a node keeps at hand", low=0)] = 8  # Cilium's
    native_pod_limit: Annotated[
        int, Says("pods of a node at most, where its annotation cloudnet.io/pod-limit names no other number", low=1)
    ] = 110  # Kubernetes' own default
    native_idle_seconds: Annotated[
        float, Says("how long native addresses that nobody needs are kept before they leave", low=0)
    ] = 300.0
    native_quarantine_seconds: Annotated[
        float, Says("how long native addresses without a pod are kept from the next node", low=0)
    ] = 60.0  # connections to them are dead by then
    native_resync_seconds: Annotated[float, Says("how often native addresses are read again", low=1)] = (
        3600.0  # what others change is rare, and what we change we know
    )


SECTIONS: Mapping[type[object], str] = MappingProxyType({AgentConfig: "agent", ControllerConfig: "controller"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, for flags and documentation; ``type`` is str, int, float or bool."""

    name: str
    type: type[str | int | float | bool]
    default: object
    says: Says

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "CLOUDNET_" + self.name.upper()


def settings(kind: type[C]) -> tuple[Setting, ...]:
    """Return every setting of a program, in the order of its class."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(Setting(f.name, *_split(hints[f.name], f.default)) for f in dataclasses.fields(kind))


COMMANDS: Mapping[str, Says] = MappingProxyType(
    {
        "store": _STORE,
        "socket": Says("Unix socket of the agent of this node"),
        "namespace": Says("namespace of resources where neither -n nor the document names one"),
    }
)
"""What a settings file can say for all other commands, just as ``CLOUDNET_STORE`` and its like."""


def load(
    kind: type[C],
    *,
    files: Sequence[tuple[str, Mapping[str, object]]] = (),
    file: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    flags: Mapping[str, object] = MappingProxyType({}),
) -> C:
    """Return the settings of one program; a flag that is ``None`` was not given.

    ``files``: what settings files hold, with their names, the weakest first; ``file``: a TOML file over all of them.

    Other variables that begin with ``CLOUDNET_`` are left alone: Kubernetes makes such variables for a service
    of that name.

    Raises:
        BadInput: a value is missing, of the wrong type or out of range, or the file names an unknown setting.
    """
    known = {setting.name: setting for setting in settings(kind)}
    chosen: dict[str, object] = {}
    for origin, document in [*files, *([(str(file), read_toml(file))] if file else [])]:
        for path, name, value in _concerning(kind, document, origin):
            chosen[name] = _typed(known[name], value, path=path)
    for setting in known.values():
        if setting.variable in environment:
            chosen[setting.name] = _parsed(setting, environment[setting.variable], path=setting.variable)
        if (value := flags.get(setting.name)) is not None:
            chosen[setting.name] = _typed(setting, value, path=setting.flag)
        if setting.required and not chosen.get(setting.name):
            raise BadInput(
                f"not set: give {setting.flag}, {setting.variable}, or {setting.name} in the file of --config",
                path=setting.name,
            )
    return kind(**chosen)  # type: ignore[arg-type]  # each value was checked against its field above


def _split(hint: Any, default: object) -> tuple[type[str | int | float | bool], object, Says]:  # Any: a type form
    type_, says = get_args(hint)
    return type_, default, says


def read_toml(file: Path) -> Mapping[str, object]:
    """Return what a TOML file holds.

    Raises:
        BadInput: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise BadInput(f"cannot be read ({(e.strerror or str(e)).lower()})", path=str(file)) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadInput(f"not TOML: {e}", path=str(file)) from e


def _concerning(kind: type[C], document: Mapping[str, object], origin: str) -> Iterator[tuple[str, str, object]]:
    """Yield path, name and value of what a file says to one program: first at its top, then in its section."""
    known = {setting.name: setting for setting in settings(kind)}
    for name, value in check_file(document, origin, also=known).items():
        if name in known:
            yield f"{origin}: {name}", name, value
    for name, value in section(kind, document, origin).items():
        yield f"{origin}: {SECTIONS[kind]}.{name}", name, value


def section(kind: type[C], document: Mapping[str, object], origin: str) -> Mapping[str, object]:
    """Return what a settings file says to one program alone.

    Raises:
        BadInput: a name is no setting of this program.
    """
    known = {setting.name: setting for setting in settings(kind)}
    own = _object(document.get(SECTIONS[kind], {}), f"{origin}: {SECTIONS[kind]}")
    for name in own:
        if name not in known:
            path = f"{origin}: {SECTIONS[kind]}.{name}"
            raise BadInput(f"there is no such setting{_did_you_mean(name, known)}", path=path)
    return own


def check_file(
    document: Mapping[str, object], origin: str, *, also: Mapping[str, object] = MappingProxyType({})
) -> Mapping[str, object]:
    """Return what stands at the top of a settings file; ``also``: which settings to propose for an unknown one.

    Raises:
        BadInput: a name is no setting of any program.
    """
    top = {name: value for name, value in document.items() if name not in SECTIONS.values()}
    programs = (*settings(AgentConfig), *settings(ControllerConfig))
    everything = {*COMMANDS, *(setting.name for setting in programs)}
    for name in top:
        if name not in everything:
            proposals = list(also) or sorted(everything)
            raise BadInput(f"there is no such setting{_did_you_mean(name, proposals)}", path=f"{origin}: {name}")
    return top


def _object(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise BadInput(f"expected an object, found {value!r}", path=path)
    return value


_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _parsed(setting: Setting, text: str, *, path: str) -> object:
    """Return the typed value of a text, as it comes from the environment."""
    if setting.type is bool:
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise BadInput(f"expected true or false, found {text!r}", path=path)
        return word in _TRUE
    try:
        value = setting.type(text)
    except ValueError as e:
        raise BadInput(f"expected {_expected(setting)}, found {text!r}", path=path) from e
    return _typed(setting, value, path=path)


def _typed(setting: Setting, value: object, *, path: str) -> object:
    """Return the value if it fits the setting; an integer is a good float, a truth value is no number."""
    if setting.type is float and type(value) is int:
        value = float(value)
    fits = type(value) is setting.type and all(_fits(setting.says, value))
    if not fits:
        raise BadInput(f"expected {_expected(setting)}, found {value!r}", path=path)
    return value


def _fits(says: Says, value: object) -> Iterator[bool]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield math.isfinite(value) and says.low <= value <= says.high
    if says.choices:
        yield value in says.choices


def _expected(setting: Setting) -> str:
    if setting.says.choices:
        return "one of " + ", ".join(setting.says.choices)
    noun = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}[setting.type]
    low, high = setting.says.low, setting.says.high
    if math.isfinite(high):
        return f"{noun} from {low:g} to {high:.0f}"
    return f"{noun} of at least {low:g}" if math.isfinite(low) else noun


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {near[0]!r}?" if near else f": there are {', '.join(known)}"
