"""The install pages, walked as somebody with a kubeconfig would: each command exists and takes these very words."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import kubernetes_validate
import pytest
import typer
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner

from cloudnet.cli import lazy, main
from cloudnet.manifests import options

PAGES = sorted(
    page for page in (Path(__file__).parents[3] / "docs" / "install").glob("*.md") if page.name != "README.md"
)
VERSION = "1.36"
NOT_KUBERNETES = {"IPPool"}  # its schema is in its definition

page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path) -> list[list[str]]:
    """Return the commands of the page's code blocks in order, each in words, without comments."""
    joined = page.read_text().replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in re.findall(r"^ {4,}(\S.*)$", joined, re.MULTILINE)]


def inline(page: Path) -> list[list[str]]:
    """Return the commands that stand in a sentence."""
    return [shlex.split(text) for text in re.findall(r"`(cloudnet\s[^`]+)`", page.read_text())]


def printing(page: Path) -> tuple[list[str], str]:
    """Return the words of the page's last ``cloudnet manifests``, and the file that its output goes to."""
    *command, arrow, file = [words for words in blocks(page) if words[:2] == ["cloudnet", "manifests"]][-1]
    assert arrow == ">"
    return command[1:], file


def printed(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    (folder / "provider.json").write_text('{"a": 1}')
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(main.build(lab=False), words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return list(yaml.safe_load_all(done.stdout))


@page
def test_every_command_exists_and_takes_its_options(page):
    commands = [words for words in [*blocks(page), *inline(page)] if words[0] == "cloudnet"]

    assert len(commands) > 3
    for words in commands:
        rest = words[1 : words.index(">")] if ">" in words else words[1:]
        command = typer.main.get_command(main.build(lab=False))
        while isinstance(command, TyperGroup):
            if isinstance(command, lazy.Group):
                command.load(rest[0])
            command, rest = command.commands[rest[0]], rest[1:]
        with command.make_context(words[1], list(rest)) as context:
            assert not context.args


@page
def test_the_manifests_are_what_kubernetes_allows(page, tmp_path, monkeypatch):
    words, _ = printing(page)

    documents = printed(words, tmp_path, monkeypatch)

    assert {"DaemonSet", "Deployment", "IPPool", "ClusterRole"} <= {one["kind"] for one in documents}
    for document in documents:
        if document["kind"] not in NOT_KUBERNETES:
            kubernetes_validate.validate(document, VERSION, strict=True)


@page
def test_definitions_are_applied_and_waited_for_before_anything_that_they_define(page):
    """kubectl maps all kinds of a file before it applies the first: one file would be refused the first time."""
    steps = [words for words in blocks(page) if words[:2] in (["cloudnet", "manifests"], ["kubectl", "apply"])]
    waits = [words for words in blocks(page) if words[:2] == ["kubectl", "wait"]]
    _, file = printing(page)

    assert steps[0] == ["cloudnet", "manifests", "--part", "crds", ">", "crds.yaml"]
    assert steps[1] == ["kubectl", "apply", "--server-side", "-f", "crds.yaml"]
    assert [words[-1] for words in waits] == ["crds.yaml"]
    assert steps[3] == ["kubectl", "apply", "--server-side", "-f", file]
    assert len(steps) == 4


@page
def test_every_choice_that_a_sentence_names_is_one(page):
    for word in re.findall(r"`--set (\S+=\S+)`", page.read_text()):
        options.parse([word])


@pytest.mark.parametrize("name", ["eks", "aks", "gke"])
def test_policy_alone_is_the_same_command_with_its_choice_in_place_of_the_pool(name, tmp_path, monkeypatch):
    (page,) = (page for page in PAGES if page.stem == name)
    words, _ = printing(page)
    alone = ["policy_only=true" if word.startswith("pod_cidr=") else word for word in words]

    documents = printed(alone, tmp_path, monkeypatch)

    assert "with `--set policy_only=true` in place of `pod_cidr`" in " ".join(page.read_text().split())
    assert "Deployment" not in {one["kind"] for one in documents}


def test_nodes_that_keep_the_vpc_cni_are_labelled_before_it_asks_for_the_label():
    (page,) = (page for page in PAGES if page.stem == "eks")
    verbs = [word for words in blocks(page) for word in words if words[0] == "kubectl" and word in {"label", "patch"}]

    assert verbs == ["label", "patch"]
