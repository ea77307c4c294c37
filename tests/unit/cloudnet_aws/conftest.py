"""An AWS that answers from a script: no moto, no network, every request on record."""

import dataclasses
import random
from urllib.parse import parse_qs

import pytest
from botocore.awsrequest import AWSResponse

from cloudnet.clock import ManualClock
from cloudnet.provider.budget import Budget
from cloudnet_aws import AwsProvider
from cloudnet_aws.client import Client, Connection, connect
from cloudnet_aws.config import READ, WRITE, AwsConfig

KEY, SECRET = "AKIAEXAMPLE", "very-secret"


class Raw:
    """The part of a urllib3 response that botocore reads."""

    def __init__(self, body):
        self.body = body

    def stream(self, **_):
        yield self.body


class Script:
    """Answers calls in turn: ``say(action, ...)`` queues an answer, the last one is repeated."""

    def __init__(self):
        self.answers = {}
        self.requests = []

    def say(self, action, body="", *, status=200, headers=None, error=None):
        self.answers.setdefault(action, []).append((status, body, headers or {}, error))

    def refuse(self, action, status, code, message="refused", headers=None):
        body = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            "<RequestID>req-1</RequestID></Response>"
        )
        self.say(action, body, status=status, headers=headers)

    def answer(self, request, event_name, **_):
        action = event_name.rpartition(".")[2]
        form = {k: v[0] for k, v in parse_qs(request.body).items()} if "ec2" in event_name else {}
        self.requests.append((action, form))
        queue = self.answers.get(action) or [
            (200, f"<{action}Response><return>true</return></{action}Response>", {}, 0)
        ]
        status, body, headers, error = queue.pop(0) if len(queue) > 1 else queue[0]
        if error:
            raise error
        kind = "application/x-amz-json-1.1" if body.startswith("{") else "text/xml"
        return AWSResponse(request.url, status, {"content-type": kind, **headers}, Raw(body.encode()))

    def sent(self, action):
        return [form for name, form in self.requests if name == action]


@pytest.fixture(scope="session")
def connection():
    return connect(AwsConfig("eu-west-1", "vpc-1", access_key_id=KEY, secret_access_key=SECRET))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def config():
    return AwsConfig("eu-west-1", "vpc-1", access_key_id=KEY, secret_access_key=SECRET)


@pytest.fixture
def script(connection: Connection):
    script = Script()
    for client in (connection.ec2, connection.quotas):
        client.meta.events.register_first("before-send", script.answer, unique_id="script")
    yield script
    for client in (connection.ec2, connection.quotas):
        client.meta.events.unregister("before-send", unique_id="script")


@pytest.fixture
def make_provider(connection, clock, script):
    """Return a function that makes a provider with some settings changed."""

    def make(config, **changes):
        changed = dataclasses.replace(config, **changes)
        client = Client(
            changed, connection, clock=clock, budget=Budget(clock, read=READ, write=WRITE), rng=random.Random(1)
        )
        return AwsProvider(changed, client, clock)

    return make


@pytest.fixture
def provider(make_provider, config):
    return make_provider(config)
