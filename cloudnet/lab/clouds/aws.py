"""The lab's AWS: moto behind the rules that EC2 enforces and moto does not."""

from __future__ import annotations

import argparse
import io
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.test import run_wsgi_app

from cloudnet.lab import control
from cloudnet.lab.clouds import ec2, ec2_addresses, moto, process, wire
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.forwarding import Site, fabric_state
from cloudnet.lab.clouds.listener import MakeServer
from cloudnet.lab.clouds.process import Verb
from cloudnet.lab.fabric import FabricState
from cloudnet.model.addresses import Family
from cloudnet.provider.budget import Bucket, Kind, TokenBucket

REGION = "eu-west-1"

# EC2's published buckets ("Request throttling for the EC2 API"). Not the plugin's: a cloud that reads its customer's
# settings would grant whatever the customer believes.
_LIMITS: Mapping[Kind, Bucket] = MappingProxyType(
    {Kind.READ: Bucket(rate=20.0, burst=100.0), Kind.WRITE: Bucket(rate=5.0, burst=50.0)}
)
_READS = ("Describe", "Get", "List")

Environ: TypeAlias = dict[str, Any]  # PEP 3333's environ
StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], object]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]
Answer: TypeAlias = tuple[int, list[tuple[str, str]], bytes]


_ADDRESS_VERBS = {
    "AssignPrivateIpAddresses": (ec2_addresses.assign, Family.IPV4),
    "AssignIpv6Addresses": (ec2_addresses.assign, Family.IPV6),
    "UnassignPrivateIpAddresses": (ec2_addresses.unassign, Family.IPV4),
    "UnassignIpv6Addresses": (ec2_addresses.unassign, Family.IPV6),
}


class StrictEc2:
    """A WSGI application: EC2 as moto knows it, and as strict as EC2 is. Calls are carried out one at a time."""

    def __init__(
        self,
        region: str,
        conditions: Conditions,
        *,
        changed: Callable[[], None],
        limits: Mapping[Kind, Bucket] = _LIMITS,
    ) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._region = moto.Region(region)
        self._lock = threading.RLock()
        self._views = ec2.Views()
        self._changed = changed
        self._buckets = {each: TokenBucket(limit, time.monotonic()) for each, limit in limits.items()}
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
                self.calls[_counted(action, parameters)] += 1
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


def _counted(action: str, parameters: ec2.Parameters) -> str:
    """Return what a call is counted as: a dry run writes nothing, and is told apart."""
    return f"{action} (dry run)" if parameters.get("DryRun", "").lower() == "true" else action


def _refuse(refusal: ec2.Refusal) -> Answer:
    headers = [("Content-Type", "text/xml;charset=UTF-8")]
    if refusal.retry_after is not None:
        headers.append(("Retry-After", f"{refusal.retry_after:g}"))
    return refusal.status, headers, wire.error(refusal)


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    status, headers, body = answer
    start_response(f"{status} {'OK' if status < 400 else 'Error'}", [*headers, ("Content-Length", str(len(body)))])  # noqa: PLR2004
    return [body]


def server(application: Application) -> MakeServer:
    def make(port: int) -> BaseWSGIServer:
        return make_server("127.0.0.1", port, application, threaded=True, request_handler=_QuietHandler)

    return make


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_args: object, **_kwargs: object) -> None:
        """Say nothing: calls are counted."""


class AwsPlane:
    """The lab's AWS for its process: EC2, one VPC that the fabric follows, and the hand of an outsider."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._vpc = ""
        self._site = Site()
        self._changed: Callable[[], None] = _nothing
        self._strict = StrictEc2(arguments.region, process.conditions(arguments), changed=self._tell)
        self._client = boto3.client(
            "ec2",
            region_name=arguments.region,
            endpoint_url=f"http://127.0.0.1:{process.OUTSIDER_PORT}",
            aws_access_key_id="OUTSIDER",
            aws_secret_access_key="outsider",  # noqa: S106 - moto checks no secret
            config=Config(retries={"max_attempts": 1}),
        )

    @property
    def conditions(self) -> Conditions:
        return self._strict.conditions

    @conditions.setter
    def conditions(self, wanted: Conditions) -> None:
        self._strict.conditions = wanted

    @property
    def account(self) -> MakeServer:
        return server(self._strict.account)

    @property
    def outsider(self) -> MakeServer:
        return server(self._strict.outsider)

    @property
    def verbs(self) -> Mapping[str, Verb]:
        return {"ec2": self._call, "vpc": self._watch_vpc}

    def watch(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def _tell(self) -> None:
        self._changed()

    def fabric_state(self) -> FabricState | None:
        if not self._vpc:
            return None
        return fabric_state(self._strict.read(), self._vpc, silent=self._strict.conditions.silent, site=self._site)

    def calls(self) -> Mapping[str, int]:
        return self._strict.calls

    def _call(self, message: control.Message) -> control.Message:
        """Make one EC2 call as an outsider: ``{"call": "create_vpc", "arguments": {…}}``."""
        return {"result": getattr(self._client, message["call"])(**message.get("arguments", {}))}

    def _watch_vpc(self, message: control.Message) -> control.Message:
        self._vpc = message["vpc"]
        self._site = Site(message["lab"], message["mtu"])
        self._changed()
        return {}


def _nothing() -> None:
    """Nobody watches yet."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM."""
    parser = process.parser("AWS for a lab; started by cloudnet lab up")
    parser.add_argument("--region", default=REGION)
    parsed = parser.parse_args(arguments)
    return process.serve(AwsPlane(parsed), parsed)


if __name__ == "__main__":
    sys.exit(main())
