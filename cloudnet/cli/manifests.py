"""``cloudnet manifests``: everything that a cluster needs to run cloudnet, for ``kubectl apply -f -``."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudnet.errors import BadInput

if TYPE_CHECKING:  # its files are for those who print manifests
    from collections.abc import Sequence


class OverlayName(enum.StrEnum):
    """The ways to run Kubernetes that we know particulars of."""

    KUBEADM = "kubeadm"
    EKS = "eks"
    AKS = "aks"
    GKE = "gke"


class Part(enum.StrEnum):
    """What to print: all of it, or the definitions alone, for whoever installs them apart."""

    ALL = "all"
    CRDS = "crds"


def run(
    *,
    provider: Annotated[str, typer.Option(help="cloud to program [default: the overlay's]")] = "",
    overlay: Annotated[OverlayName, typer.Option(help="how the cluster is run")] = OverlayName.KUBEADM,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, may be repeated; --list-settings shows them")
    ] = None,
    provider_config: Annotated[
        Path | None, typer.Option(help="JSON file with the provider's own settings, as the controller takes it")
    ] = None,
    part: Annotated[Part, typer.Option(help="what to print")] = Part.ALL,
    list_settings: Annotated[bool, typer.Option("--list-settings", help="show what --set knows")] = False,
) -> None:
    """Print namespace, definitions, rights, controller, agent and the rest as YAML; nothing is changed anywhere.

    Apply it with ``cloudnet manifests --overlay eks | kubectl apply --server-side -f -``.
    """
    from cloudnet.cli import output  # noqa: PLC0415 - `cloudnet --help` needs none of them
    from cloudnet.manifests import build, crds  # noqa: PLC0415
    from cloudnet.manifests import options as choices  # noqa: PLC0415

    if list_settings:
        defaults = choices.Options()
        rows = ((name, getattr(defaults, name), says) for name, says in choices.MEANINGS.items())
        output.print_table(("NAME", "DEFAULT", "MEANING"), rows)
        return
    options, chosen = choices.parse(settings or ()), choices.OVERLAYS[overlay.value]
    if part is Part.CRDS:
        typer.echo(_yaml([*crds.own_crds(), *(crds.calico_crds() if options.calico_crds else ())]))
        return
    config = _config(provider_config) if provider_config else None
    found = build.documents(options, chosen, provider=provider or chosen.provider, provider_config=config)
    typer.echo(_yaml(found))


def _config(file: Path) -> dict[str, Any]:  # Any: the provider checks it when it starts
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be used ({error}): name a JSON file", path="--provider-config") from error
    if not isinstance(found, dict):
        raise BadInput(f"expected an object in {file}", path="--provider-config")
    return found


def _yaml(documents: Sequence[dict[str, Any]]) -> str:
    from cloudnet.model import manifests  # noqa: PLC0415 - the same

    return "---\n".join(manifests.dump(one) for one in documents).rstrip("\n")
