"""``cloudnet agent --policy-only``: policy beside somebody else's pod network, and nothing besides.

A cloud's own CNI plugin gives pods their address, link and routes; this agent keeps policy in force for them. It lays
no ground, sends no probes, gives no addresses, adds no pods, rewrites no packets: it writes one nftables table.

The other plugin names the links. Those of AWS (``eni``), Azure (``azv``) and GKE (``gke``) put their own prefix
before the eleven digits of the same hash as Calico's ``cali``, so the prefix is all that has to be said. A link with
it whose pod the store does not know yet passes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from cloudnet.agent import policy
from cloudnet.agent.enforcing import enforcing, unreadable_policies
from cloudnet.agent.policy import PolicyThread
from cloudnet.agent.service import measuring, stopping_on_signals
from cloudnet.agent.socket import SocketServer
from cloudnet.clock import Clock, SystemClock
from cloudnet.config import AgentConfig
from cloudnet.errors import BadInput
from cloudnet.kernel import features
from cloudnet.model.cluster_events import at_own_node
from cloudnet.model.resources import Resource
from cloudnet.model.workloads import WorkloadEndpoint
from cloudnet.policy import feed
from cloudnet.policy.options import Options
from cloudnet.store import last_known
from cloudnet.store.api import Event
from cloudnet.store.event_recorder import recording
from cloudnet.store.informer import Batch, Informer
from cloudnet.store.last_known import LastKnown
from cloudnet.store.registry import open_store

if TYPE_CHECKING:
    from cloudnet.agent.metrics import Metrics

log = logging.getLogger(__name__)

_CALICO: Final = "cali"  # what names of links begin with in endpoints that are made from pods


@dataclass(frozen=True, slots=True)
class _Heard:
    """When the store told something last, and whether it has told all."""

    at: float
    synced: bool = False


class PolicyAgent:
    """What is known of this agent; any thread may ask."""

    def __init__(self, config: AgentConfig, policing: PolicyThread, clock: Clock) -> None:
        self.metrics: Metrics | None = None
        self.laid = threading.Event()
        self.informer: Informer | None = None
        self._config, self._policing, self._clock = config, policing, clock
        self._heard = _Heard(clock.now())

    def hear(self, batch: Batch) -> None:
        """Hand on what the store delivered."""
        self._policing.hear(tuple(renamed(batch.events, self._config.interface_prefix)), synced=batch.synced)
        self._heard = _Heard(self._clock.now(), self._heard.synced or batch.synced)
        if self._heard.synced:
            self.laid.set()

    @property
    def heard_at(self) -> float:
        return self._heard.at

    @property
    def awake_until(self) -> float:
        """The policy thread waits for as long as nothing is heard; that it ended shows in ``not_ready``."""
        return self._clock.now()

    def not_ready(self) -> str:
        if not self._heard.synced:
            return "waiting for the store"
        return self._policing.problem or "; ".join(self._unreadable())

    def answer(self, request: Mapping[str, object]) -> object:
        """Answer one request on the Unix socket.

        Raises:
            BadInput: there is no such verb, or none without a pod network.
        """
        node = self._config.node
        match request.get("verb"):
            case "status":
                problem = self.informer.problem if self.informer else ""
                why = self.not_ready()
                return {
                    "node": node,
                    "mode": "policy only",
                    "ready": not why,
                    "message": why,
                    "store_problem": problem,
                }
            case "policy":
                return {"node": node, "counts": [asdict(count) for count in self._policing.traffic()]}
        raise BadInput(
            f"expected policy or status of an agent that keeps policy only, found {request.get('verb')!r}",
            path="verb",
        )

    def _unreadable(self) -> Iterator[str]:
        if self.informer is not None:
            yield from unreadable_policies(self.informer)


def renamed(events: Iterable[Event[Resource]], prefix: str) -> Iterator[Event[Resource]]:
    """Yield the events with the names that the other plugin gives to links of pods."""
    for event in events:
        value = event.value
        if isinstance(value, WorkloadEndpoint) and value.interface.startswith(_CALICO):
            own = replace(value, interface=prefix + value.interface.removeprefix(_CALICO))
            yield Event(event.type, own, event.revision)
        else:
            yield event


def options(config: AgentConfig) -> Options:
    """Return the settings of enforcement; whose VXLAN it is, is not ours to say."""
    return replace(
        policy.options(config),
        vxlan_port=0,
        overlay_ports=(),
        vxlan_from_pods=True,
        ipip_from_pods=True,
        fast_path=False,
    )


def run(config: AgentConfig) -> int:
    """Run until SIGTERM or SIGINT; the policy stays in the kernel. Returns the exit status.

    Raises:
        CloudnetError: it cannot start; the message says why and what to do.
    """
    clock = SystemClock()
    stop = threading.Event()
    with ExitStack() as stack:
        features.require(features.detect(), "net_admin")
        store = open_store(config.store)
        stack.callback(store.close)
        tell = at_own_node(stack.enter_context(recording(store, config.node)), config.node)
        policing = stack.enter_context(enforcing(config, options(config), clock, tell))
        agent = PolicyAgent(config, policing, clock)
        kept = LastKnown(last_known.path(config.state), clock)
        agent.informer = stack.enter_context(Informer(store, feed.KINDS, agent.hear, last_known=kept))
        stack.callback(SocketServer(config.socket, agent.answer).close)
        stack.enter_context(measuring(config, agent, clock, (policing,)))
        stack.enter_context(stopping_on_signals(stop.set))
        log.info("keeping policy and nothing besides node=%s links=%s*", config.node, config.interface_prefix)
        stop.wait()
        log.info("stopping, the policy stays node=%s", config.node)
    return 0
