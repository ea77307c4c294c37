"""``cloudnet manifests``: everything that a cluster needs to run cloudnet, for ``kubectl apply -f -``."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # its files are for those who print manifests
    from collections.abc import Sequence


class OverlayName(enum.StrEnum):
    """The ways to run Kubernetes that we know particulars of."""

    KUBEADM = "kubeadm"
    EKS = "eks"
    AKS = "aks"
    GKE = "gke"


class Part(enum.StrEnum):
    """What to print: all of it, the definitions alone, all but these, or what takes cloudnet off labelled nodes."""

    ALL = "all"
    CRDS = "crds"
    INSTALL = "install"
    UNINSTALL = "uninstall"


def run(
    *,
    provider: Annotated[str, typer.Option(help="cloud to program [default: the overlay's]")] = "",
    overlay: Annotated[OverlayName, typer.Option(help="how the cluster is run")] = OverlayName.KUBEADM,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, may be repeated; --list-settings shows them")
    ] = None,
    provider_config: Annotated[
        str, typer.Option(help="JSON file with the provider's own settings, as the controller takes it")
    ] = "",
    part: Annotated[Part, typer.Option(help="what to print")] = Part.ALL,
    list_settings: Annotated[bool, typer.Option("--list-settings", help="show what --set knows")] = False,
) -> None:
    """Print namespace, definitions, rights, controller, agent and the rest as YAML; nothing is changed anywhere.

    Apply it with ``cloudnet manifests --overlay eks | kubectl apply --server-side -f -``.
    """
    from cloudnet.cli import output  # noqa: PLC0415 - `cloudnet --help` needs none of them
    from cloudnet.manifests import build, crds, uninstall  # noqa: PLC0415
    from cloudnet.manifests import options as choices  # noqa: PLC0415
    from cloudnet.provider import registry  # noqa: PLC0415

    if list_settings:
        defaults = choices.Options()
        rows = ((name, getattr(defaults, name), says) for name, says in choices.MEANINGS.items())
        output.print_table(("NAME", "DEFAULT", "MEANING"), rows)
        return
    options, chosen = choices.parse(settings or ()), choices.OVERLAYS[overlay.value]
    if part is Part.CRDS:
        typer.echo(_yaml(build.definitions(options)))
        return
    if part is Part.UNINSTALL:
        typer.echo(_yaml(uninstall.documents(options, chosen)))
        return
    config = registry.read_config(provider_config)
    found = build.documents(options, chosen, provider=provider or chosen.provider, provider_config=config)
    typer.echo(_yaml([one for one in found if part is Part.ALL or one["kind"] != crds.KIND]))


def _yaml(documents: Sequence[dict[str, Any]]) -> str:
    from cloudnet.model import manifests  # noqa: PLC0415 - the same

    return "---\n".join(manifests.dump(one) for one in documents).rstrip("\n")
