"""The shelf router, in memory: its state, its HTTP API, and seven ways for a call to fail."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudnet.provider.memory import Fault

CALLS = {
    ("GET", "machines"): "describe_instances",
    ("GET", "tables"): "describe_tables",
    ("POST", "tables"): "create_route",
    ("PUT", "tables"): "replace_route",
    ("DELETE", "tables"): "delete_route",
    ("PUT", "ports"): "modify_interface",
}
REFUSALS = {Fault.THROTTLE: 429, Fault.PERMISSION: 403, Fault.QUOTA: 507}


@dataclass
class PlannedFault:
    """After ``skip`` calls of that name it strikes ``left`` times."""

    call: str
    fault: Fault
    left: float
    skip: int


@dataclass
class State:
    """What the router knows."""

    machines: dict[str, dict] = field(default_factory=dict)
    tables: dict[str, dict] = field(default_factory=dict)


class Router:
    """A router that listens on loopback until it is closed."""

    def __init__(self) -> None:
        self.state = State()
        self.seen: Counter[str] = Counter()
        self.faults: list[PlannedFault] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.router = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def strike(self, call: str) -> Fault | None:
        for planned in self.faults:
            if planned.call != call or planned.left <= 0:
                continue
            if planned.skip:
                planned.skip -= 1
                continue
            planned.left -= 1
            return planned.fault
        return None

    def answer(self, call: str, name: str, body: dict) -> tuple[int, object]:
        """Carry one call out; return status and body."""
        return getattr(self, f"_{call}")(name, body)

    def _describe_instances(self, _name: str, _body: dict) -> tuple[int, object]:
        return 200, list(self.state.machines.values())

    def _describe_tables(self, _name: str, _body: dict) -> tuple[int, object]:
        return 200, [{**t, "routes": list(t["routes"].values())} for t in self.state.tables.values()]

    def _create_route(self, name: str, body: dict) -> tuple[int, object]:
        table = self.state.tables.get(name)
        if table is None:
            return 404, {"error": f"no table {name}"}
        if body["prefix"] in table["routes"]:
            return 409, {"error": f"{body['prefix']} is taken"}
        if len(table["routes"]) >= table["limit"]:
            return 507, {"error": f"table {name} is full"}
        table["routes"][body["prefix"]] = body
        return 201, {}

    def _replace_route(self, name: str, body: dict) -> tuple[int, object]:
        table = self.state.tables.get(name, {"routes": {}})
        if body["prefix"] not in table["routes"]:
            return 404, {"error": f"no route to {body['prefix']}"}
        table["routes"][body["prefix"]] = body
        return 200, {}

    def _delete_route(self, name: str, body: dict) -> tuple[int, object]:
        table = self.state.tables.get(name, {"routes": {}})
        gone = table["routes"].pop(body["prefix"], None)
        return (204, None) if gone else (404, {"error": f"no route to {body['prefix']}"})

    def _modify_interface(self, name: str, body: dict) -> tuple[int, object]:
        machine = next((m for m in self.state.machines.values() if m["port"] == name), None)
        if machine is None:
            return 404, {"error": f"no port {name}"}
        machine.update(body)
        return 200, {}


class Handler(BaseHTTPRequestHandler):
    """Reads a request, lets a fault strike, answers."""

    wbufsize = -1  # one packet an answer
    server: ThreadingHTTPServer

    def handle_call(self) -> None:
        router: Router = self.server.router
        kind, name = [*self.path.split("/"), ""][1:3]
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        call = CALLS[self.command, kind]
        router.seen[call] += 1
        fault = router.strike(call)
        if fault is Fault.UNAVAILABLE:
            return self.hang_up()
        if fault in REFUSALS:
            return self.send(REFUSALS[fault], {"error": "refused"})
        answer = router.answer(call, name, body)
        return self.hang_up() if fault is Fault.TIMEOUT else self.send(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = handle_call  # noqa: N815  the names that http.server calls

    def hang_up(self) -> None:
        self.close_connection = True

    def send(self, status: int, body: object) -> None:
        self.send_response(status)
        self.send_header("Request-Id", "req-1")
        payload = b"" if body is None else json.dumps(body).encode()
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""
