"""``cloudnet preflight``: what of a cloud stands in the way of pods, before anything is written to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudnet.cli import ask, exits, output
from cloudnet.config import AgentConfig, settings
from cloudnet.errors import BadInput

if TYPE_CHECKING:  # `cloudnet --help` needs no provider
    from cloudnet.provider.preflight import Finding, Needs
    from cloudnet.store.api import Store

_PORT = 65535
_AGENTS: dict[str, Any] = {setting.name: setting.default for setting in settings(AgentConfig)}  # Any: as they are


def run(
    *,
    provider: Annotated[
        str, typer.Option(envvar="CLOUDNET_PROVIDER", help="which cloud; `cloudnet providers` lists them")
    ],
    provider_config: Annotated[
        str, typer.Option(envvar="CLOUDNET_PROVIDER_CONFIG", help="JSON file with the provider's own settings")
    ] = "",
    store: Annotated[str, typer.Option(envvar="CLOUDNET_STORE", help="where nodes, pools and blocks are")] = _AGENTS[
        "store"
    ],
    vxlan_port: Annotated[
        int, typer.Option(envvar="CLOUDNET_VXLAN_PORT", min=1, max=_PORT, help="UDP port of VXLAN, as agents have it")
    ] = _AGENTS["vxlan_port"],
    probe_port: Annotated[
        int,
        typer.Option(envvar="CLOUDNET_PROBE_PORT", min=1, max=_PORT, help="UDP port of probes, as agents have it"),
    ] = _AGENTS["probe_port"],
    pod_mtu: Annotated[
        int, typer.Option(envvar="CLOUDNET_POD_MTU", min=0, max=_PORT, help="MTU of pods, as agents have it")
    ] = _AGENTS["pod_mtu"],
    native_addresses: Annotated[
        str,
        typer.Option(
            envvar="CLOUDNET_NATIVE_ADDRESSES",
            help="which addresses pods get from the cloud itself, as the controller has it: none, ipv4, ipv6, dual",
        ),
    ] = "none",
    form: output.Output = output.Format.TABLE,
) -> None:
    """Look which permission, firewall rule, forwarding flag, route, quota or MTU stands in the way; change nothing.

    Ends with exit code 7 when something does: what it is and how to remedy it is printed.
    """
    from dataclasses import replace  # noqa: PLC0415 - `cloudnet --help` needs none of this

    from cloudnet.model.addresses import FAMILIES  # noqa: PLC0415 - the same
    from cloudnet.provider.preflight import blocks  # noqa: PLC0415 - the same

    if native_addresses not in FAMILIES:
        raise BadInput(
            f"expected one of {', '.join(FAMILIES)}, found {native_addresses!r}", path="--native-addresses"
        )
    with ask.store(store) as opened:
        needs = replace(
            read(opened),
            vxlan_port=vxlan_port,
            probe_port=probe_port,
            pod_mtu=pod_mtu,
            native=FAMILIES[native_addresses],
        )
    if not needs.nodes:
        raise BadInput(
            "it has no nodes, so there is nothing to look for: `cloudnet apply` Node resources, or start agents",
            path=f"store {store}",
        )
    findings = look(provider, provider_config, needs)
    if form is output.Format.JSON:
        output.print_json({"findings": findings, "blocks": blocks(findings)})
    else:
        show(findings)
    if blocks(findings):
        raise typer.Exit(exits.IN_THE_WAY)


def read(store: Store) -> Needs:
    """Return what the cluster in this store will ask of its cloud."""
    from collections import defaultdict  # noqa: PLC0415 - the same

    from cloudnet.model.resources import AffinityState, BlockAffinity, IPPool, Node  # noqa: PLC0415 - the same
    from cloudnet.provider.preflight import Needs  # noqa: PLC0415 - the same

    blocks = defaultdict(list)
    for stored in store.list(BlockAffinity).items:
        if stored.value.state is AffinityState.CONFIRMED and not stored.value.deleted:
            blocks[stored.value.node].append(stored.value.cidr)
    pools = (stored.value for stored in store.list(IPPool).items)
    return Needs(
        nodes=tuple(stored.value for stored in store.list(Node).items),
        pools=tuple(pool for pool in pools if not pool.disabled),
        blocks={node: tuple(held) for node, held in blocks.items()},
    )


def look(name: str, config: str, needs: Needs) -> Sequence[Finding]:
    """Return what the provider finds.

    Raises:
        BadInput: there is no such provider, or it cannot look.
        ProviderError: the cloud does not answer.
    """
    from cloudnet.clock import SystemClock  # noqa: PLC0415 - the same
    from cloudnet.provider import registry  # noqa: PLC0415 - the same
    from cloudnet.provider.preflight import Preflight  # noqa: PLC0415 - the same

    provider = registry.load(name, registry.read_config(config), clock=SystemClock())
    if not isinstance(provider, Preflight):
        raise BadInput(f"the provider {name!r} cannot look before it writes: ask who made it", path="--provider")
    return provider.preflight(needs)


def show(findings: Iterable[Finding]) -> None:
    """Print a line for each thing that was looked at, and below them how to remedy what is wrong."""
    every = sorted(findings, key=lambda finding: _ORDER.index(finding.severity.value))
    output.print_table(
        ("CHECK", "SEVERITY", "WHAT", "PROBLEM"),
        ((f.check, f.severity, f.subject, f.problem) for f in every),
        empty="nothing was looked at",
    )
    for finding in every:
        if finding.remedy:
            typer.echo(f"\n{finding.subject}: {finding.problem}\n    {finding.remedy}")


_ORDER = ("blocks", "warning", "ok")
