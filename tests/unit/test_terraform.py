"""Each Terraform module parses, is formatted, and grants what the plugin calls: none missing, none too many."""

from __future__ import annotations

import dataclasses
import inspect
import json
import random
import re
from pathlib import Path

import hcl2
import pytest
from botocore.awsrequest import AWSResponse

from cloudnet.clock import ManualClock
from cloudnet.lab.clouds.ibm.contract import ENDPOINTS
from cloudnet.provider.budget import Budget
from cloudnet_aws.client import Client, connect
from cloudnet_aws.config import READ, WRITE, AwsConfig
from cloudnet_azure import client as azure
from cloudnet_azure import rights
from cloudnet_azure.config import AzureConfig
from cloudnet_gcp import client as google_client
from cloudnet_gcp import errors as google
from cloudnet_gcp.config import GcpConfig
from cloudnet_ibm.client import Client as IbmClient
from cloudnet_ibm.config import IbmConfig
from cloudnet_ibm.errors import Refusal, translate

TERRAFORM = Path(__file__).parents[2] / "terraform"
FILES = sorted(TERRAFORM.rglob("*.tf"))
MODULES = sorted(path.name for path in TERRAFORM.iterdir() if path.is_dir())


def parsed(*parts):
    """Return a file of a module, its strings without their quotes."""
    return plain(hcl2.loads(TERRAFORM.joinpath(*parts).read_text()))


def plain(value):
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items() if k != "__is_block__"}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value[1:-1] if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"' else value


def blocks(document, kind, *labels):
    """Return the blocks of a kind that bear these labels: ``("data", "aws_iam_policy_document", "routes")``."""
    found = document.get(kind, [])
    for label in labels:
        found = [block[label] for block in found if label in block]
    return found


# --- form ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(TERRAFORM)))
def test_each_file_parses(path):
    assert hcl2.loads(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(TERRAFORM)))
def test_each_file_is_formatted(path):
    assert list(misplaced(path.read_text())) == []


def misplaced(text):
    """Yield the lines that ``terraform fmt`` would change: indentation, blanks at the end, the column of ``=``."""
    opened, group = [], []  # the line of each open bracket: those of one line indent once
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield "end of file"
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        closing = len(re.match(r"[\s\])}]*", line).group().replace(" ", ""))
        depth = len(set(opened[: len(opened) - closing]))
        if line != line.rstrip() or "\t" in line or (line.strip() and indent(line) != 2 * depth):
            yield f"line {number}: {line!r}"
        for bracket in re.findall(r"[\[\](){}]", line.partition(" #")[0]):
            opened = [*opened, number] if bracket in "[({" else opened[:-1]
        attribute = re.match(r"( *)([\w\"./-]+)( +)= (?!.*[{\[(]$)", line)
        if attribute:
            group.append((number, attribute.end(3)))
            continue
        if len({column for _, column in group}) > 1:
            yield f"lines {group[0][0]} to {group[-1][0]}: the equals signs stand in different columns"
        group = []


def indent(line):
    return len(line) - len(line.lstrip(" "))


@pytest.mark.parametrize(
    "text",
    [
        "a {\n    b = 1\n}\n",
        "a {\n  b = 1\n  long = 2\n}\n",
        "a {\n  b = 1 \n}\n",
        "a {\n\tb = 1\n}\n",
        "a {\n  b = 1\n}",
        "a {\n  b = [\n  1,\n  ]\n}\n",
    ],
    ids=["indentation", "columns", "blank", "tab", "end", "list"],
)
def test_what_is_not_formatted_is_found(text):
    assert list(misplaced(text)) != []


@pytest.mark.parametrize("module", MODULES)
def test_each_module_says_what_its_variables_and_outputs_are(module):
    variables = parsed(module, "variables.tf")["variable"]
    outputs = parsed(module, "outputs.tf")["output"]

    assert not [name for v in variables for name, body in v.items() if not body.get("description")]
    assert not [name for o in outputs for name, body in o.items() if not body.get("description")]
    assert "provider_config" in {name for o in outputs for name in o}


@pytest.mark.parametrize("module", MODULES)
def test_each_variable_is_used_and_each_use_is_declared(module):
    declared = {name for v in parsed(module, "variables.tf")["variable"] for name in v}
    text = "".join(path.read_text() for path in (TERRAFORM / module).glob("*.tf"))

    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared


@pytest.mark.parametrize("module", MODULES)
def test_the_example_gives_what_the_module_asks_for(module):
    variables = {name: body for v in parsed(module, "variables.tf")["variable"] for name, body in v.items()}
    required = {name for name, body in variables.items() if "default" not in body}
    (call,) = blocks(parsed(module, "examples", "small", "main.tf"), "module", "cloudnet")

    assert required <= set(call) - {"source"} <= set(variables)


# --- names: what the providers publish ------------------------------------------------------------------------------

SCHEMA = json.loads((Path(__file__).parents[1] / "cases" / "terraform_schema.json").read_text())
UNPUBLISHED = "ibm"  # of whose provider nobody publishes a schema in a package
ANYWHERE = {"count", "for_each", "provider", "depends_on", "lifecycle"}  # Terraform's own
REFERENCE = re.compile(r"\b(data\.)?((?:aws|azurerm|google)_\w+)\.\w+(?:\[[^\]]*\])?\.(\w+)")


def unknown(document, schema):
    """Yield the place of every name in the blocks of a file that the schema does not have."""
    for kind in ("resource", "data"):
        for block in document.get(kind, []):
            ((type_, named),) = block.items()
            if type_.startswith(UNPUBLISHED):
                continue
            known = schema["blocks"].get(f"{kind} {type_}")
            if known is None:
                yield f"{kind} {type_}"
            else:
                ((name, body),) = named.items()
                yield from strangers(f"{type_}.{name}", body, known["arguments"], anywhere=ANYWHERE)


def strangers(place, body, known, *, anywhere=frozenset()):
    for name, value in body.items():
        if name in anywhere:
            continue
        if name not in known:
            yield f"{place}.{name}"
        elif known[name] is not None:
            for each in value if isinstance(value, list) else [value]:
                yield from strangers(f"{place}.{name}", each, known[name])


def unshown(text, schema):
    """Yield the references of a file to what a block neither takes nor shows."""
    for data, type_, attribute in REFERENCE.findall(text):
        known = schema["blocks"][f"{'data' if data else 'resource'} {type_}"]
        if attribute not in known["shows"] and attribute not in known["arguments"]:
            yield f"{data}{type_} …{attribute}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(TERRAFORM)))
def test_each_name_is_one_that_the_provider_knows(path):
    assert list(unknown(plain(hcl2.loads(path.read_text())), SCHEMA)) == []
    assert list(unshown(path.read_text(), SCHEMA)) == []


def test_the_schema_has_what_the_modules_use_and_nothing_else():
    text = "\n".join(path.read_text() for path in FILES)
    used = re.findall(r'^(resource|data) "(\w+)" ', text, re.MULTILINE)

    assert {f"{kind} {name}" for kind, name in used if not name.startswith(UNPUBLISHED)} == set(SCHEMA["blocks"])
    assert set(SCHEMA["from"]) == {"aws", "azurerm", "google"}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", of["provider"]) for of in SCHEMA["from"].values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('resource "aws_vpc" "v" {\n  cidr_blok = "10.0.0.0/16"\n}\n', "aws_vpc.v.cidr_blok"),
        ('resource "aws_vpcs" "v" {\n}\n', "resource aws_vpcs"),
        ('data "aws_vpc" "v" {\n}\n', "data aws_vpc"),
        (
            'resource "azurerm_role_definition" "r" {\n  permissions {\n    action = ["*"]\n  }\n}\n',
            "azurerm_role_definition.r.permissions.action",
        ),
        (
            'resource "google_compute_firewall" "f" {\n  allow {\n    protocl = "all"\n  }\n}\n',
            "google_compute_firewall.f.allow.protocl",
        ),
    ],
)
def test_a_name_that_the_provider_does_not_know_is_found(text, found):
    assert list(unknown(plain(hcl2.loads(text)), SCHEMA)) == [found]


@pytest.mark.parametrize(
    "text",
    [
        "arn = aws_iam_role.controller.arm",
        "id = data.azurerm_subscription.this.ident",
        "google_compute_network.n[0].x",
    ],
)
def test_a_reference_to_what_is_not_there_is_found(text):
    assert len(list(unshown(text, SCHEMA))) == 1


# --- AWS: what goes over the wire -----------------------------------------------------------------------------------

ARGUMENTS = {  # of the client's methods, where they need any
    "prefix_lists": (["pl-1"],),
    "create_route": ({"RouteTableId": "r", "DestinationCidrBlock": "10.0.0.0/8", "NetworkInterfaceId": "e"},),
    "replace_route": ({"RouteTableId": "r", "DestinationCidrBlock": "10.0.0.0/8", "NetworkInterfaceId": "e"},),
    "delete_route": ({"RouteTableId": "r", "DestinationCidrBlock": "10.0.0.0/8"},),
    "switch_source_check_off": ("eni-1",),
    "security_groups": (["sg-1"],),
    "ask_whether": ("ec2:CreateRoute", {"RouteTableId": "r", "DestinationCidrBlock": "10.0.0.0/8"}),
    "instance_types": (["m5.large"],),
    "assign_ipv4": ({"NetworkInterfaceId": "e", "Ipv4PrefixCount": 1},),
    "assign_ipv6": ({"NetworkInterfaceId": "e", "Ipv6PrefixCount": 1},),
    "unassign_ipv4": ({"NetworkInterfaceId": "e"},),
    "unassign_ipv6": ({"NetworkInterfaceId": "e"},),
    "create_interface": ({"SubnetId": "s"},),
    "attach_interface": ("eni-1", "i-1", 1),
    "delete_with_instance": ("eni-1", "eni-attach-1"),
    "detach_interface": ("eni-attach-1",),
    "delete_interface": ("eni-1",),
}
IMPLIED = {"ec2:CreateNetworkInterface": {"ec2:CreateTags"}}  # tags in a create ask for the right to tag
ROUTES = {"route_tables", "instances", "prefix_lists", "routes_quota", "create_route", "replace_route"}
ROUTES |= {"delete_route", "switch_source_check_off"}
PREFLIGHT = {"security_groups", "ask_whether"}


class Wire:
    """Answers every call with nothing, and notes it as a permission is spelt."""

    def __init__(self):
        self.seen = set()

    def answer(self, request, event_name, **_):
        service, action = event_name.removeprefix("before-send.").split(".")
        self.seen.add(f"{service.replace('-', '')}:{action}")
        body = b"{}" if service != "ec2" else f"<{action}Response></{action}Response>".encode()
        return AWSResponse(request.url, 200, {}, Raw(body))


class Raw:
    """The part of a urllib3 response that botocore reads."""

    def __init__(self, body):
        self.body = body

    def stream(self, **_):
        yield self.body


@pytest.fixture(scope="module")
def called():
    """Return ``{client method: permissions that its call needs}``, for every method of the AWS plugin's client."""
    config = AwsConfig("eu-west-1", "vpc-1", access_key_id="AKIAEXAMPLE", secret_access_key="x")  # noqa: S106
    connection, clock = connect(config), ManualClock()
    client = Client(
        config, connection, clock=clock, budget=Budget(clock, read=READ, write=WRITE), rng=random.Random(1)
    )
    found = {}
    for name, method in inspect.getmembers(client, inspect.ismethod):
        if name.startswith("_"):
            continue
        wire = Wire()
        for sdk in (connection.ec2, connection.quotas):
            sdk.meta.events.register_first("before-send", wire.answer, unique_id="wire")
        try:
            method(*ARGUMENTS.get(name, ()))
        except KeyError:  # the empty answer lacks what the method returns; the call was made
            assert wire.seen
        for sdk in (connection.ec2, connection.quotas):
            sdk.meta.events.unregister("before-send", unique_id="wire")
        found[name] = wire.seen | {i for action in wire.seen for i in IMPLIED.get(action, ())}
    return found


def granted(policy):
    (document,) = blocks(parsed("aws", "main.tf"), "data", "aws_iam_policy_document", policy)
    return {action for statement in document["statement"] for action in statement["actions"]}


def test_aws_grants_for_routes_what_routes_call(called):
    assert granted("routes") == set().union(*(called[name] for name in ROUTES))


def test_aws_grants_for_addresses_what_addresses_call_besides(called):
    wanted = set().union(*(actions for name, actions in called.items() if name not in ROUTES | PREFLIGHT))

    assert granted("addresses") == wanted - granted("routes")


def test_aws_grants_for_a_look_before_the_first_write_what_that_calls_besides(called):
    assert granted("preflight") == set().union(*(called[name] for name in PREFLIGHT)) - granted("routes")


def test_aws_grants_no_write_without_a_scope():
    for policy in ("routes", "addresses", "preflight"):
        (document,) = blocks(parsed("aws", "main.tf"), "data", "aws_iam_policy_document", policy)
        wide = [s["sid"] for s in document["statement"] if s["resources"] == ["*"]]
        assert all(sid.startswith("Read") for sid in wide)


# --- the other clouds: what their plugins name ---------------------------------------------------------------------


def test_azure_grants_the_actions_that_the_plugin_names():
    granted = {
        name: set(v) for one in parsed("azure", "main.tf")["locals"] for name, v in one.items() if "for_" in name
    }
    (role,) = blocks(parsed("azure", "main.tf"), "resource", "azurerm_role_definition", "controller")
    (permissions,) = role["permissions"]
    named = set(re.findall(r'"(Microsoft\.\w+/[\w/]+)"', inspect.getsource(azure)))
    looking = {azure.PERMISSIONS_READ, azure.SECURITY_GROUPS_READ}
    joined = {  # writing an interface that is in a subnet and a security group asks for these
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Network/networkSecurityGroups/join/action",
    }

    assert set(permissions) == {"actions"}
    assert permissions["actions"] == "${concat(local.for_controller, var.preflight ? local.for_preflight : [])}"
    assert granted == {"for_controller": named - looking | joined, "for_preflight": looking}


def test_azure_preflight_looks_for_the_rights_of_the_controllers_role():
    granted = {
        name: set(v) for one in parsed("azure", "main.tf")["locals"] for name, v in one.items() if "for_" in name
    }

    assert {right.action for right in rights.RIGHTS} == granted["for_controller"]


def test_azure_grants_them_in_the_resource_groups_alone():
    (assignment,) = blocks(parsed("azure", "main.tf"), "resource", "azurerm_role_assignment", "controller")

    assert (assignment["for_each"], assignment["scope"]) == ("${local.scopes}", "${each.value}")


FOR_ADDRESSES = {  # Google's calls that only native addresses make
    "compute.instances.updateNetworkInterface",
    "compute.subnetworks.get",
    "compute.zoneOperations.list",
}

FOR_PREFLIGHT = {  # and those that only a look before the first write makes
    "compute.firewalls.list",
    "compute.networks.get",
    "compute.subnetworks.aggregatedList",
}


def test_google_grants_the_permissions_that_the_plugins_calls_need():
    granted = {name: set(value) for one in parsed("gcp", "main.tf")["locals"] for name, value in one.items()}
    needed = {call: set(permissions) for call, permissions in google.PERMISSIONS.items()}
    others = FOR_ADDRESSES | FOR_PREFLIGHT

    assert granted["for_routes"] == set().union(*(p for call, p in needed.items() if call not in others))
    assert granted["for_addresses"] == set().union(*(needed[call] for call in FOR_ADDRESSES))
    assert granted["for_preflight"] == set().union(*(needed[call] for call in FOR_PREFLIGHT))


def test_google_knows_the_permissions_of_every_call():
    called = set(re.findall(r'"((?:compute|cloudresourcemanager)\.\w+\.\w+)"', inspect.getsource(google_client)))

    assert called == set(google.PERMISSIONS)


def test_ibm_grants_the_roles_that_the_plugins_calls_need():
    (policy,) = blocks(parsed("ibm", "main.tf"), "resource", "ibm_iam_service_policy", "controller")
    called = set(re.findall(r'"(\w+)"', inspect.getsource(IbmClient))) & {e.name for e in ENDPOINTS}
    remedies = [str(translate(Refusal(call, 403, "not_authorized"))) for call in called]
    needed = {re.search(r"grant the role ([\w ]+) on VPC", remedy).group(1) for remedy in remedies}

    assert called == {e.name for e in ENDPOINTS}
    assert set(policy["roles"]) == needed


CONFIGS = {"aws": AwsConfig, "azure": AzureConfig, "gcp": GcpConfig, "ibm": IbmConfig}


@pytest.mark.parametrize("module", MODULES)
def test_the_output_configures_the_provider_with_settings_that_it_has(module):
    text = (TERRAFORM / module / "outputs.tf").read_text()
    written = text[text.index("jsonencode(") : text.index('output "controller')]
    named = set(re.findall(r"(\w+) += (?:data|var|local|\w+_\w+)\.", written))
    fields = {f.name: f for f in dataclasses.fields(CONFIGS[module])}
    required = {name for name, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}

    assert required <= named <= set(fields)
