"""Traffic of the real Compute Engine, replayed into the lab's: what it answered, the lab has to answer.

The recordings are those of ``gcp/recordings`` in the folder of the vendors' descriptions. Names in them are
placeholders (``${networkID}``), ids and times are normalised; so statuses, names of headers, reasons of errors and
the keys of bodies are what can be compared.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.conditions import Conditions
from cloudnet.lab.clouds.gcp.contract import CONTRACT
from cloudnet.lab.clouds.gcp.plane import PROJECT, Google
from cloudnet.testing.discovery import keys

pytestmark = pytest.mark.specs

REPLAYED = {  # calls of the lab's contract in each recording; the rest is of other services and resources
    "computeroute_computeroute": 20,
    "computesubnetwork_computesubnetwork": 14,
    "computesubnetwork_reservedinternalrange": 14,
    "computeinstance_computeinstancebasicexample": 13,
}
SENT_ANYWAY = {"compute.instances.insert: body.zone: only the server writes it"}  # by the recorded client
OTHERWISE_CHANGED = {  # by calls that the lab does not have: what they add and take away is not compared
    "labels",
    "machineType",
    "metadata",
    "scheduling",
    "serviceAccounts",
}


@dataclass(frozen=True)
class Exchange:
    method: str
    url: str
    body: object
    status: int
    headers: frozenset[str]
    answer: object


def exchanges(text):
    for part in re.split(r"^---$", text, flags=re.MULTILINE):
        request, status, answer = re.split(r"^(\d{3}) .*$", part.strip(), maxsplit=1, flags=re.MULTILINE)
        first, _, sent = request.partition("\n\n")
        headers, _, body = answer.strip().partition("\n\n")
        method, url = first.splitlines()[0].split()
        names = frozenset(line.partition(":")[0].lower() for line in headers.splitlines())
        yield Exchange(method, url, parsed(sent), int(status), names, parsed(body))


def parsed(text):
    return json.loads(text) if text.strip() else None


def filled(text, operation):
    """Put names for the placeholders: the lab's project, the operation that was begun last."""
    known = {"projectId": PROJECT, "operationID": operation}
    return re.sub(r"\$\{(\w+)\}", lambda m: known.get(m[1], m[1].lower()), text)


class Replay:
    def __init__(self, description):
        self.clock = ManualClock()
        self.google = Google(Conditions(), clock=self.clock, judge=description.judge)
        self.operation = ""
        self.given = set()

    def send(self, exchange):
        """Send a recorded request; return the lab's answer, or nothing for what is not in its contract."""
        parts = urlsplit(filled(exchange.url, self.operation))
        if parts.netloc != "compute.googleapis.com" or CONTRACT.match(exchange.method, parts.path) is None:
            self.operation = ""  # nor does it have the operation that is asked for next
            return None
        self.clock.advance(1.0)
        body = filled(json.dumps(exchange.body), self.operation).encode() if exchange.body else b""
        if exchange.method == "GET" and exchange.status == 200 and "/networks/" in parts.path:
            self.there(parts.path)
        answer = self.google.simulator.handle(
            exchange.method, f"{parts.path}?{parts.query}", {}, body, outsider=False
        )
        if answer.status == 200 and "operationType" in answer.body:
            self.operation = answer.body["name"]
        return answer

    def there(self, path):
        """Have a network that was there before a recording began."""
        name = path.rpartition("/")[2]
        if f"projects/{PROJECT}/global/networks/{name}" not in self.google.project.resources:
            body = json.dumps({"name": name}).encode()
            self.google.simulator.handle("POST", path.rpartition("/")[0], {}, body, outsider=True)
            self.given.add(name)


@pytest.mark.parametrize("recording", REPLAYED)
def test_what_the_real_api_answered_the_labs_answers(specs, description, recording):
    text = (specs / "gcp" / "recordings" / f"{recording}.http.log").read_text()
    replay, compared = Replay(description), 0

    for exchange in exchanges(text):
        answer = replay.send(exchange)
        if answer is None:
            continue
        compared += 1
        where = f"{exchange.method} {exchange.url}"
        assert answer.status == exchange.status, where
        assert exchange.headers <= {name.lower() for name in answer.headers}, where
        if answer.body.get("name") not in replay.given:
            compare_bodies(exchange, answer, where)

    assert compared == REPLAYED[recording]
    assert set(replay.google.simulator.violations) <= SENT_ANYWAY


def compare_bodies(exchange, answer, where):
    if exchange.status >= 400:
        assert answer.body["error"]["errors"][0]["reason"] == exchange.answer["error"]["errors"][0]["reason"], where
    seen, wanted = set(keys(answer.body)), set(keys(exchange.answer))
    if answer.body.get("kind") == "compute#instance":
        assert without(wanted) <= seen, where  # the recording lacks what the server generates: an interface's name, …
    else:
        assert seen == wanted, where


def without(places):
    return {place for place in places if place.split(".")[0].removesuffix("[]") not in OTHERWISE_CHANGED}


def test_a_recording_is_read_whole(specs):
    text = (specs / "gcp" / "recordings" / "computeroute_computeroute.http.log").read_text()

    found = list(exchanges(text))

    assert len(found) == text.count("\n---\n") + 1
    assert {e.status for e in found} == {200, 404}


@pytest.mark.parametrize(
    "damage", [lambda b: b.pop("selfLink"), lambda b: b.update(nextHopILB="x")], ids=["less", "more"]
)
def test_a_damaged_answer_does_not_pass(specs, description, damage):
    text = (specs / "gcp" / "recordings" / "computeroute_computeroute.http.log").read_text()
    replay = Replay(description)
    answers = [(e, replay.send(e)) for e in exchanges(text)]
    exchange, answer = next((e, a) for e, a in answers if a.body.get("kind") == "compute#route")
    damage(answer.body)

    with pytest.raises(AssertionError):
        compare_bodies(exchange, answer, "")
