from __future__ import annotations

import json

import kubernetes_validate
import pytest

from cloudnet.config import AgentConfig, ControllerConfig, load
from cloudnet.errors import BadInput
from cloudnet.manifests import build, crds
from cloudnet.manifests.options import MEANINGS, OVERLAYS, Options, parse
from cloudnet.model import manifests
from cloudnet.testing.kube.server import ApiServer

VERSION = "1.36"
NOT_KUBERNETES = {"IPPool", "ServiceMonitor"}  # their schemas are in their definitions


def built(*settings, overlay="kubeadm", provider="static", config=None):
    return build.documents(parse(settings), OVERLAYS[overlay], provider=provider, provider_config=config)


def only(documents, kind, name=""):
    (found,) = [one for one in documents if one["kind"] == kind and name in one["metadata"]["name"]]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("policy_only=true", "privileged=true", "interface_prefix=veth"),
        ("monitoring=true", "pod_cidr=10.65.0.0/16", "pull_secret=s"),
        ("api_server=10.0.0.1:6443", "identity=me"),
        ("takeover=true",),
        ("bgp=true", "bgp_secrets=tor, mesh"),
    ],
    ids=["usual", "policy only", "all in", "api server", "takeover", "bgp"],
)
def test_every_object_is_what_kubernetes_schemas_allow(overlay, settings):
    for document in built(*settings, overlay=overlay, config={"a": 1}):
        if document["kind"] not in NOT_KUBERNETES:
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_what_is_applied_twice_is_there_once():
    names = [
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
        for one in built("monitoring=true", "pod_cidr=10.65.0.0/16")
    ]

    assert len(names) == len(set(names))


def test_yaml_is_read_back_as_what_it_was():
    documents = built()

    text = "---\n".join(manifests.dump(one) for one in documents)

    assert manifests.load_all(text, "it") == json.loads(json.dumps(documents))


@pytest.mark.parametrize(
    "settings", [(), ("policy_only=true", "interface_prefix=lxc", "monitoring=true", "log_level=debug")]
)
def test_the_settings_are_what_both_programs_understand(settings):
    data = only(built(*settings, config={"region": "x"}), "ConfigMap")["data"]
    (sections,) = manifests.load_all(data["settings.yaml"], "settings.yaml")
    files = [("settings.yaml", sections)]

    agent = load(AgentConfig, files=files, environment={"CLOUDNET_NODE": "n1"})
    controller = load(ControllerConfig, files=files)

    assert agent.store == controller.store == "kubernetes://?namespace=cloudnet-system"
    assert agent.allow_host_network
    assert agent.policy_only is bool(settings)
    assert controller.provider == "static"
    assert json.loads(data["provider.json"]) == {"region": "x"}


def test_pods_reach_their_own_node_unless_somebody_says_no():
    """The API of a control plane's node, DNS caches, metadata proxies: a cluster does not work without them."""
    actions = []
    for settings in ((), ("endpoint_to_host=Drop",), ("takeover=true",)):
        (sections,) = manifests.load_all(
            only(built(*settings), "ConfigMap")["data"]["settings.yaml"], "settings.yaml"
        )
        actions.append(sections["agent"]["endpoint_to_host"])

    assert actions == ["Accept", "Drop", "Accept"]


@pytest.mark.parametrize("setting", ["endpoint_to_host=Maybe", "log_level=loud"])
def test_a_setting_that_a_program_would_refuse_is_refused_at_once(setting):
    with pytest.raises(BadInput, match=f"--set: agent.{setting.partition('=')[0]}: expected one of"):
        built(setting)


def test_the_agent_has_capabilities_and_not_everything():
    pod = only(built(), "DaemonSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert "privileged" not in container["securityContext"]
    assert container["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["NET_ADMIN", "SYS_ADMIN"],
    }
    assert pod["hostNetwork"]
    assert pod["tolerations"] == [{"operator": "Exists"}]


@pytest.mark.parametrize(
    ("overlay", "more", "prefix"),
    [("eks", (), "eni"), ("aks", (), "azv"), ("gke", (), "gke"), ("kubeadm", ("interface_prefix=lxc",), "lxc")],
)
def test_policy_only_knows_the_links_of_the_other_plugin_and_lets_pods_reach_their_node(overlay, more, prefix):
    documents = built("policy_only=true", *more, overlay=overlay)
    (sections,) = manifests.load_all(only(documents, "ConfigMap")["data"]["settings.yaml"], "settings.yaml")

    agent = load(AgentConfig, files=[("settings.yaml", sections)], environment={"CLOUDNET_NODE": "n1"})

    assert (agent.policy_only, agent.interface_prefix, agent.endpoint_to_host) == (True, prefix, "Accept")
    assert not [one for one in documents if one["kind"] == "Deployment"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("policy_only=true",), "--set interface_prefix: expected what names of pods' links begin with"),
        (("policy_only=true", "interface_prefix=lxc", "pod_cidr=10.65.0.0/16"), "--set pod_cidr: expected none"),
        (("policy_only=true", "interface_prefix=lxc", "takeover=true"), "--set takeover: expected false"),
    ],
)
def test_policy_only_needs_a_prefix_and_no_pool(settings, message):
    with pytest.raises(BadInput, match=message):
        built(*settings)


def test_policy_only_installs_no_plugin():
    pod = only(built("policy_only=true", overlay="eks"), "DaemonSet")["spec"]["template"]["spec"]

    assert "initContainers" not in pod
    assert {volume["name"] for volume in pod["volumes"]} == {"settings", "run", "state"}


@pytest.mark.parametrize(
    ("overlay", "annotation", "folder"),
    [
        ("eks", "eks.amazonaws.com/role-arn", "/opt/cni/bin"),
        ("aks", "azure.workload.identity/client-id", "/opt/cni/bin"),
        ("gke", "iam.gke.io/gcp-service-account", "/home/kubernetes/bin"),
    ],
)
def test_an_overlay_knows_its_cloud(overlay, annotation, folder):
    documents = built("identity=me", overlay=overlay, provider=OVERLAYS[overlay].provider)

    account = only(documents, "ServiceAccount", "controller")
    pod = only(documents, "DaemonSet")["spec"]["template"]["spec"]

    assert account["metadata"]["annotations"] == {annotation: "me"}
    assert folder in [volume.get("hostPath", {}).get("path") for volume in pod["volumes"]]


def test_a_cluster_without_a_cloud_is_asked_for_one():
    with pytest.raises(BadInput, match="--provider: expected a cloud"):
        built(provider="")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("replica=2", "unknown setting 'replica', did you mean 'replicas'"),
        ("image", "unknown setting 'image'.*expected NAME=VALUE"),
        ("replicas=none", "--set replicas: expected an integer above 0, found 'none'"),
        ("monitoring=yes", "--set monitoring: expected true or false"),
        ("namespace=A", "--set namespace: expected the name of a namespace"),
        ("image=", "--set image: expected a container image"),
        ("api_server=host", "--set api_server: expected HOST:PORT"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(word, said):
    with pytest.raises(BadInput, match=said):
        parse([word])


def test_a_pool_of_no_prefix_is_refused():
    with pytest.raises(BadInput, match="--set pod_cidr: expected a prefix"):
        built("pod_cidr=10.65.0.1/16")


def test_every_setting_has_a_meaning():
    assert set(MEANINGS) == set(Options.__dataclass_fields__)


@pytest.fixture
def api():
    with ApiServer() as api:
        for document in (*crds.own_crds(), *crds.calico_crds(), *crds.policy_crds()):
            api.create(document)
        for name in ("n1", "n2"):
            api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        yield api


# --- definitions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("definition", crds.own_crds(), ids=lambda one: one["metadata"]["name"])
def test_a_definition_of_ours_drops_what_it_does_not_know(definition):
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    assert "x-kubernetes-preserve-unknown-fields" not in json.dumps(schema)
    assert set(schema["properties"]) >= {"apiVersion", "kind", "metadata", "status"}
    assert definition["spec"]["versions"][0]["additionalPrinterColumns"][-1]["name"] == "Age"


def test_a_wrong_value_in_one_of_our_kinds_is_refused_by_the_api(api):
    with pytest.raises(Exception, match=r"status.tables.*state.*Unsupported value"):
        api.create(
            {
                "apiVersion": "cloudnet.io/v1",
                "kind": "CloudRoute",
                "metadata": {"name": "r"},
                "spec": {"cidr": "10.0.0.0/24", "node": "n1"},
                "status": {"tables": [{"table": "t", "state": "done"}]},
            }
        )


def test_a_cluster_to_be_taken_over_has_agents_where_a_label_says_so_and_nothing_that_installs_by_itself():
    documents = built("takeover=true", overlay="gke")
    (daemon,) = [d for d in documents if d["kind"] == "DaemonSet"]
    pod = daemon["spec"]["template"]["spec"]
    (agent,) = pod["containers"]

    assert pod["nodeSelector"]["cloudnet.io/agent"] == "yes"
    assert {"DAC_OVERRIDE", "NET_RAW"} < {*agent["securityContext"]["capabilities"]["add"]}
    assert "initContainers" not in pod
    assert {m["mountPath"] for m in agent["volumeMounts"]} >= {
        "/etc/cni/net.d",
        "/opt/cni/bin",
        "/var/lib/cni/networks",
    }
    assert {m["name"] for m in agent["volumeMounts"]} <= {v["name"] for v in pod["volumes"]}
    (role,) = [d for d in documents if d["kind"] == "ClusterRole" and d["metadata"]["name"] == "cloudnet-agent"]
    assert any("ipreservations" in rule["resources"] and "create" in rule["verbs"] for rule in role["rules"])


BGP_KINDS = {"bgpconfigurations", "bgppeers", "bgpfilters"}


def readable(documents):
    role = only(documents, "ClusterRole", "cloudnet-agent")
    return {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}


def test_agents_that_speak_bgp_may_see_its_kinds_bind_its_port_and_find_its_passwords():
    documents = built("bgp=true", "bgp_secrets=tor, mesh")
    pod = only(documents, "DaemonSet")["spec"]["template"]["spec"]
    (sections,) = manifests.load_all(only(documents, "ConfigMap")["data"]["settings.yaml"], "settings.yaml")
    agent = load(AgentConfig, files=[("settings.yaml", sections)], environment={"CLOUDNET_NODE": "n1"})
    (container,) = pod["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    secrets = {one["name"]: one["secret"] for one in pod["volumes"] if "secret" in one}

    assert agent.bgp
    assert "NET_BIND_SERVICE" in container["securityContext"]["capabilities"]["add"]
    assert {kind for kind, verb in readable(documents) if verb == "watch"} >= BGP_KINDS
    assert {name: one["secretName"] for name, one in secrets.items()} == {"secret-tor": "tor", "secret-mesh": "mesh"}
    assert {mounts[name] for name in secrets} == {f"{agent.bgp_secrets}/tor", f"{agent.bgp_secrets}/mesh"}
    assert all(one["optional"] for one in secrets.values())


def test_agents_that_speak_no_bgp_may_see_nothing_of_it_and_bind_no_low_port():
    documents = built()
    (container,) = only(documents, "DaemonSet")["spec"]["template"]["spec"]["containers"]

    assert "NET_BIND_SERVICE" not in container["securityContext"]["capabilities"]["add"]
    assert not {kind for kind, _ in readable(documents)} & BGP_KINDS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("bgp_secrets=tor",), "--set bgp: expected true where there are secrets"),
        (("bgp=true", "bgp_secrets=../tor"), "--set bgp_secrets: expected names of secrets, found '../tor'"),
        (("bgp=true", "takeover=true"), "--set bgp: expected false: the other network"),
        (("bgp=true", "policy_only=true", "interface_prefix=lxc"), "--set bgp: expected false, for with policy_only"),
    ],
)
def test_what_does_not_go_together_with_bgp(settings, message):
    with pytest.raises(BadInput, match=message):
        built(*settings)
