"""The lab's AWS: moto behind the rules that EC2 enforces and moto does not, and the fabric that follows it.

Runs as a process inside the cloud's network namespace. Two listeners on loopback share one state: the *account*
port, where cloudnet calls and faults apply, and the *outsider* port, for the lab's own hand and for people who
change routes behind cloudnet's back: strict as well, but never refused, delayed or counted. A Unix socket takes
faults and questions, as JSON lines.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeAlias

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.test import run_wsgi_app

from cloudnet.errors import BadInput, CloudnetError
from cloudnet.lab import control
from cloudnet.lab.clouds import ec2, ec2_addresses, moto, wire
from cloudnet.lab.clouds.forwarding import fabric_state
from cloudnet.lab.fabric import Fabric, FabricState
from cloudnet.model.addresses import Family
from cloudnet.provider.budget import EC2_READ, EC2_WRITE, Kind, TokenBucket

log = logging.getLogger(__name__)

ACCOUNT_PORT = 5000
OUTSIDER_PORT = 5001
REGION = "eu-west-1"

_LIMITS = {Kind.READ: EC2_READ, Kind.WRITE: EC2_WRITE}
_READS = ("Describe", "Get", "List")

Environ: TypeAlias = dict[str, Any]  # PEP 3333's environ
StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], object]
Answer: TypeAlias = tuple[int, list[tuple[str, str]], bytes]


_ADDRESS_VERBS = {
    "AssignPrivateIpAddresses": (ec2_addresses.assign, Family.IPV4),
    "AssignIpv6Addresses": (ec2_addresses.assign, Family.IPV6),
    "UnassignPrivateIpAddresses": (ec2_addresses.unassign, Family.IPV4),
    "UnassignIpv6Addresses": (ec2_addresses.unassign, Family.IPV6),
}


class StrictEc2:
    """A WSGI application: EC2 as moto knows it, and as strict as EC2 is. Calls are carried out one at a time."""

    def __init__(self, region: str, conditions: ec2.Conditions, *, changed: Callable[[], None]) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._region = moto.Region(region)
        self._lock = threading.RLock()
        self._views = ec2.Views()
        self._changed = changed
        self._buckets = {each: TokenBucket(limit, time.monotonic()) for each, limit in _LIMITS.items()}
        self.conditions = conditions
        self.calls: Counter[str] = Counter()
        self._views.add(time.monotonic(), self._region.read(), keep=0)

    def account(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve the account that faults apply to."""
        return _send(self._handle(environ, outsider=False), start_response)

    def outsider(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve those whom no fault concerns."""
        return _send(self._handle(environ, outsider=True), start_response)

    def read(self) -> ec2.Vpcs:
        with self._lock:
            return self._region.read()

    def _handle(self, environ: Environ, *, outsider: bool) -> Answer:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        key, _, service = wire.credential(environ.get("HTTP_AUTHORIZATION", ""))
        target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        parameters = {} if target else wire.fields(body)
        action = target or parameters.get("Action", "")
        with self._lock:
            if not outsider:
                self.calls[action] += 1
                refusal = ec2.admit(action, key, self.conditions) or self._metered(action)
                if refusal:
                    return _refuse(refusal)
            if service == "servicequotas":
                return self._quota(action, body, environ)
            return self._ec2(action, parameters, environ, outsider=outsider)

    def _metered(self, action: str) -> ec2.Refusal | None:
        bucket = self._buckets[Kind.READ if action.startswith(_READS) else Kind.WRITE]
        return None if bucket.take(time.monotonic()) else ec2.throttled()

    def _ec2(self, action: str, parameters: ec2.Parameters, environ: Environ, *, outsider: bool) -> Answer:
        limit, vpcs = self.conditions.routes_per_table, self._region.read()
        if refusal := ec2.judge(action, parameters, vpcs, routes_per_table=limit, more=ec2_addresses.RULES):
            return _refuse(refusal)
        if action in _ADDRESS_VERBS:
            return self._addresses(action, parameters, vpcs)
        if action == "CreateNetworkInterface":
            return self._create_interface(parameters, vpcs, environ)
        if action == "DeleteNetworkInterface":
            self._region.release(parameters.get("NetworkInterfaceId", ""))
        status, headers, body = self._pass_on(environ)
        if status >= 400:  # noqa: PLR2004 - HTTP's errors
            return status, headers, body
        if action == "DescribeRouteTables":
            lag = 0.0 if outsider else self.conditions.lag(self.calls[action])
            tables = self._views.tables(time.monotonic() - lag)
            return status, headers, wire.with_routes(body, tables, self._region.read())
        if not action.startswith("Describe"):
            self._mend(action, parameters)
            self._happened()
        return status, headers, body

    def _addresses(self, action: str, parameters: ec2.Parameters, vpcs: ec2.Vpcs) -> Answer:
        """Give or take addresses of an interface: moto would give without limit, and knows no prefixes."""
        decide, version = _ADDRESS_VERBS[action]
        decided = decide(version, parameters, vpcs)
        if isinstance(decided, ec2.Refusal):
            return _refuse(decided)
        interface = parameters["NetworkInterfaceId"]
        if decide is ec2_addresses.assign:
            self._region.give(interface, decided.cidrs)
        else:
            self._region.take(interface, decided.cidrs)
        self._happened()
        return 200, [("Content-Type", "text/xml;charset=UTF-8")], wire.addresses(action, interface, decided)

    def _create_interface(self, parameters: ec2.Parameters, vpcs: ec2.Vpcs, environ: Environ) -> Answer:
        """Let moto make an interface with the address that we choose: it does not know what is taken."""
        decided = ec2_addresses.create(parameters, vpcs)
        if isinstance(decided, ec2.Refusal):
            return _refuse(decided)
        kept = {k: v for k, v in parameters.items() if not k.endswith(("PrefixCount", "AddressCount"))}
        status, headers, body = self._pass_on(wire.replaced(environ, kept | {"PrivateIpAddress": str(decided.own)}))
        if status < 400:  # noqa: PLR2004 - HTTP's errors
            self._region.give(wire.interface_made(body), decided.cidrs)
            body = wire.with_addresses(body, decided)
            self._happened()
        return status, headers, body

    def _happened(self) -> None:
        """Remember what readers see from now on, and let the fabric follow."""
        self._views.add(time.monotonic(), self._region.read(), keep=60)
        self._changed()

    def _pass_on(self, environ: Environ) -> Answer:
        parts, status, headers = run_wsgi_app(self._moto, environ, buffered=True)
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        return int(status.split()[0]), kept, b"".join(parts)

    def _mend(self, action: str, parameters: ec2.Parameters) -> None:
        """Carry out what EC2 does besides, and moto does not."""
        if action == "TerminateInstances":
            for name in [v for k, v in parameters.items() if k.startswith("InstanceId.")]:
                self._region.drop_interfaces(name)
        if wanted := parameters.get("Attachment.DeleteOnTermination"):
            self._region.delete_with_instance(parameters["NetworkInterfaceId"], wanted=wanted.lower() == "true")
        if not any(name.startswith("SourceDestCheck") for name in parameters):
            return
        if action == "ModifyInstanceAttribute":
            self._region.link_check_of_instance(parameters["InstanceId"])
        elif action == "ModifyNetworkInterfaceAttribute":
            self._region.link_check_of_interface(parameters["NetworkInterfaceId"])

    def _quota(self, action: str, body: bytes, environ: Environ) -> Answer:
        if action == "GetServiceQuota" and json.loads(body).get("QuotaCode") == wire.ROUTES_PER_TABLE_QUOTA:
            json_type = [("Content-Type", "application/x-amz-json-1.1")]
            return 200, json_type, wire.quota(self.conditions.routes_per_table)
        return self._pass_on(environ)


def _refuse(refusal: ec2.Refusal) -> Answer:
    headers = [("Content-Type", "text/xml;charset=UTF-8")]
    if refusal.retry_after is not None:
        headers.append(("Retry-After", f"{refusal.retry_after:g}"))
    return refusal.status, headers, wire.error(refusal)


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    status, headers, body = answer
    start_response(f"{status} {'OK' if status < 400 else 'Error'}", [*headers, ("Content-Length", str(len(body)))])  # noqa: PLR2004
    return [body]


class Listener:
    """An HTTP server on loopback that can be closed and opened again: closed, the kernel refuses connections.

    Port 0 takes a free one on the first opening and keeps it.
    """

    def __init__(self, port: int, application: Callable[[Environ, StartResponse], Iterable[bytes]]) -> None:
        self.port = port
        self._application = application
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        if self._server is None:
            self._server = make_server(
                "127.0.0.1", self.port, self._application, threaded=True, request_handler=_QuietHandler
            )
            self.port = self._server.server_port
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()

    def close(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_args: object, **_kwargs: object) -> None:
        """Say nothing: calls are counted."""


class Follower:
    """A thread that carries fabric states out, each ``propagation`` seconds after it became true."""

    def __init__(self, apply: Callable[[FabricState], None], propagation: float) -> None:
        self._apply = apply
        self._propagation = propagation
        self._waiting: deque[tuple[float, FabricState]] = deque()
        self._condition = threading.Condition()
        self._busy = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="fabric", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread; states that are not due yet are forgotten."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()

    def follow(self, state: FabricState) -> None:
        with self._condition:
            self._waiting.append((time.monotonic() + self._propagation, state))
            self._condition.notify_all()

    def settle(self, state: FabricState, *, timeout: float = 10.0) -> None:
        """Carry a state out now, and return when that is done; states that wait are out of date."""
        with self._condition:
            self._waiting.clear()
            self._waiting.append((time.monotonic(), state))
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._waiting and not self._busy, timeout)

    def _run(self) -> None:
        while state := self._next():
            try:
                self._apply(state)
            except CloudnetError:
                log.exception("the fabric could not follow")
            with self._condition:
                self._busy = False
                self._condition.notify_all()

    def _next(self) -> FabricState | None:
        """Wait for a state that is due and take it, with every older one that it replaces; nothing at the end."""
        with self._condition:
            while not self._closing:
                now = time.monotonic()
                due = [state for at, state in self._waiting if at <= now]
                if due:
                    for _ in due:
                        self._waiting.popleft()
                    self._busy = True
                    return due[-1]
                self._condition.wait(self._waiting[0][0] - now if self._waiting else None)
            return None


class Cloud:
    """Everything together, and the verbs of the control socket."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        conditions = ec2.Conditions(
            routes_per_table=arguments.routes_per_table,
            read_delay=arguments.read_delay,
            keys=frozenset(arguments.key),
        )
        self._fabric = Fabric()
        self._follower = Follower(self._fabric.apply, arguments.propagation)
        self._vpc = ""
        self._strict = StrictEc2(arguments.region, conditions, changed=self._follow)
        self._account = Listener(ACCOUNT_PORT, self._strict.account)
        self._outsider = Listener(OUTSIDER_PORT, self._strict.outsider)
        self._client = boto3.client(
            "ec2",
            region_name=arguments.region,
            endpoint_url=f"http://127.0.0.1:{OUTSIDER_PORT}",
            aws_access_key_id="OUTSIDER",
            aws_secret_access_key="outsider",  # noqa: S106 - moto checks no secret
            config=Config(retries={"max_attempts": 1}),
        )

    def start(self) -> None:
        self._account.open()
        self._outsider.open()
        self._follower.start()

    def close(self) -> None:
        self._account.close()
        self._outsider.close()
        self._follower.close()

    def answer(self, message: control.Message) -> control.Message:
        """Answer one request of the control socket."""
        verbs: Mapping[str, Callable[[control.Message], control.Message]] = {
            "ec2": self._call,
            "vpc": self._watch_vpc,
            "sync": self._sync,
            "set": self._set,
            "stats": self._stats,
        }
        verb = verbs.get(message.get("verb", ""))
        if verb is None:
            raise BadInput(f"expected one of {', '.join(verbs)}, found {message.get('verb')!r}", path="verb")
        return verb(message)

    def _call(self, message: control.Message) -> control.Message:
        """Make one EC2 call as an outsider: ``{"call": "create_vpc", "arguments": {…}}``."""
        return {"result": getattr(self._client, message["call"])(**message.get("arguments", {}))}

    def _watch_vpc(self, message: control.Message) -> control.Message:
        self._vpc = message["vpc"]
        return self._sync(message)

    def _sync(self, _message: control.Message) -> control.Message:
        """Make the fabric follow at once; for devices that came or went."""
        self._follower.settle(self._now())
        return {}

    def _set(self, message: control.Message) -> control.Message:
        """Change conditions: any of the fields of ``ec2.Conditions``."""
        self._strict.conditions = ec2.change(self._strict.conditions, **_conditions(message.get("conditions", {})))
        if self._strict.conditions.api == "down":
            self._account.close()
        else:
            self._account.open()
        self._follow()
        return {}

    def _stats(self, _message: control.Message) -> control.Message:
        conditions = self._strict.conditions
        return {
            "calls": dict(self._strict.calls),
            "drops": self._fabric.drops() if self._vpc else {},
            "conditions": {
                "routes_per_table": conditions.routes_per_table,
                "denied": sorted(conditions.denied),
                "throttled": conditions.throttled,
                "silent": sorted(str(n) for n in conditions.silent),
                "api": conditions.api,
                "read_delay": conditions.read_delay,
                "replicas": conditions.replicas,
            },
        }

    def _follow(self) -> None:
        if self._vpc:
            self._follower.follow(self._now())

    def _now(self) -> FabricState:
        return fabric_state(self._strict.read(), self._vpc, silent=self._strict.conditions.silent)


_PARSERS: Mapping[str, Callable[[Any], object]] = {
    "routes_per_table": int,
    "denied": frozenset,
    "throttled": bool,
    "retry_after": lambda value: None if value is None else float(value),
    "silent": lambda values: frozenset(IPv4Network(v) for v in values),
    "api": str,
    "read_delay": float,
    "replicas": lambda value: max(1, int(value)),
    "keys": frozenset,
}


def _conditions(fields: Mapping[str, Any]) -> dict[str, object]:
    unknown = sorted(set(fields) - set(_PARSERS))
    if unknown:
        raise BadInput(f"expected one of {', '.join(_PARSERS)}", path=unknown[0])
    return {name: _PARSERS[name](value) for name, value in fields.items()}


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="AWS for a lab; started by cloudnet lab up")
    parser.add_argument("--socket", required=True, type=Path)
    parser.add_argument("--region", default=REGION)
    parser.add_argument("--routes-per-table", type=int, default=50)
    parser.add_argument("--propagation", type=float, default=0.2, help="seconds")
    parser.add_argument("--read-delay", type=float, default=0.0, help="seconds")
    parser.add_argument("--key", action="append", default=[], help="a valid access key; none means any")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cloud = Cloud(parsed)
    cloud.start()
    server = control.Server(parsed.socket, cloud.answer)
    log.info("serving region=%s pid=%d", parsed.region, os.getpid())
    stop.wait()
    server.close()
    cloud.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
