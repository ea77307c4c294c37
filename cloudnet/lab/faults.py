"""What a lab breaks on purpose, by name: one table of what each fault does and how it heals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Protocol

from cloudnet.errors import BadInput
from cloudnet.lab.clouds.api import Cloud, Tenant
from cloudnet.lab.errors import LabError
from cloudnet.lab.state import Fault, LabState


class Breakable(Protocol):
    """What faults need of a lab."""

    @property
    def state(self) -> LabState: ...

    @property
    def cloud(self) -> Cloud: ...

    @property
    def tenant(self) -> Tenant | None: ...

    def block_of(self, target: str) -> IPv4Network: ...

    def start_agent(self, node: str) -> None: ...

    def kill_agent(self, node: str) -> None: ...

    def start_controller(self) -> None: ...

    def kill_controller(self) -> None: ...

    def lose_leader(self) -> None: ...

    def restore_leader(self) -> None: ...

    def power_off(self, node: str) -> None: ...

    def power_on(self, node: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault. ``target`` and ``value`` say in a word what is expected there; empty means nothing."""

    about: str
    make: Callable[[Breakable, Fault], None]
    heal: Callable[[Breakable, Fault], None]
    target: str = ""
    value: str = ""


def _quota(lab: Breakable, fault: Fault) -> None:
    limit = _number(fault.value or "3", path="value")
    lab.cloud.set(routes_per_table=limit)


def _permission(lab: Breakable, fault: Fault) -> None:
    writes = lab.cloud.route_writes
    if lab.state.spec.native:
        writes |= _tenant(lab).address_writes
    lab.cloud.set(denied=sorted(fault.value.split(",") if fault.value else writes))


def _throttle(lab: Breakable, fault: Fault) -> None:
    lab.cloud.set(throttled=True, retry_after=_number(fault.value, path="value") if fault.value else None)


def _delete_route(lab: Breakable, fault: Fault) -> None:
    block = lab.block_of(fault.target)
    for table in lab.state.cloud.tables.values():
        lab.cloud.delete_route(table, block)


def _silence(lab: Breakable, blocks: set[IPv4Network]) -> None:
    lab.cloud.set(silent=sorted(str(block) for block in blocks))


def _silent(lab: Breakable) -> set[IPv4Network]:
    return {IPv4Network(text) for text in lab.cloud.stats()["conditions"]["silent"]}


def _tenant(lab: Breakable) -> Tenant:
    if lab.tenant is None:
        raise BadInput(f"pods get no addresses of the cloud in a {lab.state.spec.cloud} lab", path="fault")
    return lab.tenant


def _subnet(lab: Breakable, fault: Fault) -> str:
    """Return the cloud's subnet of the node that a fault aims at."""
    return lab.state.cloud.subnets[lab.state.node(fault.target).subnet]


def _prefix(lab: Breakable, fault: Fault) -> tuple[str, IPv4Network]:
    """Return a node's interface, and the block of its first pod that has a native address."""
    record = lab.state.node(fault.target)
    block = next((pod.block for pod in record.pods if pod.block not in record.blocks), None)
    if block is None:
        raise LabError(f"no pod of node {record.name} has a native address: start one first")
    return record.interface, block


def _api_down(lab: Breakable, fault: Fault) -> None:
    if fault.value not in {"", "down", "unavailable"}:
        raise BadInput(f"expected down or unavailable, found {fault.value!r}", path="value")
    lab.cloud.set(api=fault.value or "down")


def _nothing(_lab: Breakable, _fault: Fault) -> None:
    """Heal by itself: cloudnet repairs what was deleted."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "quota": Kind(
            "a route table holds no more than value entries (3), the cloud's own included",
            _quota,
            lambda lab, _: lab.cloud.set(routes_per_table=lab.state.spec.routes_per_table),
            value="limit",
        ),
        "permission": Kind(
            "calls to write routes (and addresses of pods) are denied, or those calls that value names",
            _permission,
            lambda lab, _: lab.cloud.set(denied=[]),
            value="action,action",
        ),
        "throttle": Kind(
            "every call is refused as too fast, with Retry-After: value where given",
            _throttle,
            lambda lab, _: lab.cloud.set(throttled=False, retry_after=None),
            value="seconds",
        ),
        "foreign-route": Kind(
            "somebody else leads the block to his own machine, in every table",
            lambda lab, fault: lab.cloud.claim(lab.state.cloud, lab.block_of(fault.target)),
            lambda lab, fault: lab.cloud.unclaim(lab.state.cloud, lab.block_of(fault.target)),
            target="block",
        ),
        "delete-route": Kind(
            "somebody else deletes the block's routes, in every table", _delete_route, _nothing, target="block"
        ),
        "blackhole": Kind(
            "the API says that all is well, but native packets to the block vanish",
            lambda lab, fault: _silence(lab, _silent(lab) | {lab.block_of(fault.target)}),
            lambda lab, fault: _silence(lab, _silent(lab) - {lab.block_of(fault.target)}),
            target="block",
        ),
        "fragmented": Kind(
            "somebody has an address in every free prefix of the node's subnet",
            lambda lab, fault: _tenant(lab).fragment(_subnet(lab, fault)),
            lambda lab, fault: _tenant(lab).leave(_subnet(lab, fault)),
            target="node",
        ),
        "exhausted": Kind(
            "somebody has every free address of the node's subnet",
            lambda lab, fault: _tenant(lab).fill(_subnet(lab, fault)),
            lambda lab, fault: _tenant(lab).leave(_subnet(lab, fault)),
            target="node",
        ),
        "take-prefix": Kind(
            "somebody takes the prefix of the node's first native pod for himself",
            lambda lab, fault: _tenant(lab).rob(*_prefix(lab, fault)),
            lambda lab, fault: _tenant(lab).restore(*_prefix(lab, fault)),
            target="node",
        ),
        "stop-node": Kind(
            "the node's instance is stopped",
            lambda lab, fault: lab.power_off(fault.target),
            lambda lab, fault: lab.power_on(fault.target),
            target="node",
        ),
        "api-down": Kind(
            "the API refuses connections, or answers 503 to all with value unavailable",
            _api_down,
            lambda lab, _: lab.cloud.set(api="up"),
            value="down|unavailable",
        ),
        "agent-kill": Kind(
            "the node's agent is killed with SIGKILL",
            lambda lab, fault: lab.kill_agent(fault.target),
            lambda lab, fault: lab.start_agent(fault.target),
            target="node",
        ),
        "controller-kill": Kind(
            "the controller is killed with SIGKILL",
            lambda lab, _: lab.kill_controller(),
            lambda lab, _: lab.start_controller(),
        ),
        "leader-kill": Kind(
            "a second controller stands by, and the one that leads is killed with SIGKILL",
            lambda lab, _: lab.lose_leader(),
            lambda lab, _: lab.restore_leader(),
        ),
    }
)


def kind(fault: Fault) -> Kind:
    """Return what a fault is.

    Raises:
        BadInput: no fault has that name, or it needs a target.
    """
    found = KINDS.get(fault.name)
    if found is None:
        raise BadInput(f"expected one of {', '.join(KINDS)}, found {fault.name!r}", path="fault")
    if found.target and not fault.target:
        raise BadInput(f"{fault.name} needs a {found.target}", path="target")
    return found


def _number(text: str, *, path: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BadInput(f"expected a whole number, found {text!r}", path=path) from error


def needs_target(name: str) -> bool:
    """Tell whether a fault aims at something.

    Raises:
        BadInput: no fault has that name.
    """
    return bool(kind(Fault(name, target="any")).target)
