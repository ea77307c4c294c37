from __future__ import annotations

import kubernetes_validate
import pytest
import typer
from typer.core import TyperGroup

from cloudnet.cli import lazy, main
from cloudnet.errors import BadInput
from cloudnet.manifests import agent, uninstall
from cloudnet.manifests.options import OVERLAYS, parse


def pod(module, *settings, overlay="kubeadm"):
    (document,) = module.documents(parse(settings), OVERLAYS[overlay])
    kubernetes_validate.validate(document, "1.36", strict=True)
    return document["spec"]["template"]["spec"]


def test_a_node_with_the_label_has_this_and_no_agent():
    (term,) = pod(agent)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]

    for key, value in agent.LEAVING.items():
        assert pod(uninstall)["nodeSelector"][key] == value
        assert {"key": key, "operator": "NotIn", "values": [value]} in term["matchExpressions"]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("settings", [(), ("policy_only=true", "interface_prefix=eni"), ("privileged=true",)])
def test_each_mount_is_of_a_volume_and_each_agent_folder_is_where_the_agent_had_it(overlay, settings):
    found = pod(uninstall, *settings, overlay=overlay)
    of_agent = pod(agent, *settings, overlay=overlay)
    (worker,) = found["initContainers"]
    mounts = {(one["name"], one["mountPath"]) for one in worker["volumeMounts"]}

    assert {name for name, _ in mounts} == {one["name"] for one in found["volumes"]}
    assert found["volumes"] == of_agent["volumes"]
    assert {(one["name"], one["mountPath"]) for one in of_agent["containers"][0]["volumeMounts"]} <= mounts


@pytest.mark.parametrize("settings", [(), ("policy_only=true", "interface_prefix=eni")])
def test_the_command_line_takes_the_words_of_the_container(settings):
    (worker,) = pod(uninstall, *settings)["initContainers"]
    words = worker["args"][2:]
    command = typer.main.get_command(main.build(lab=False))
    assert isinstance(command, lazy.Group)
    command.load(words[0])
    command = command.commands[words[0]]
    assert not isinstance(command, TyperGroup)

    with command.make_context("agent", words[1:]) as context:
        assert context.params["uninstall"]
        for option in ("bin_dir", "conf_dir"):
            mounts = {one["mountPath"] for one in worker["volumeMounts"]}
            assert settings or str(context.params[option]) in mounts


def test_a_node_that_was_taken_over_goes_back_another_way():
    with pytest.raises(BadInput, match="takeover rollback"):
        uninstall.documents(parse(["takeover=true"]), OVERLAYS["kubeadm"])
