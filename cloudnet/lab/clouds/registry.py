"""The clouds that a lab can be, by name. A new one is one line here, its control plane and its hand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cloudnet.errors import BadInput
from cloudnet.lab.clouds.api import Kind
from cloudnet.lab.clouds.azure.hand import Azure
from cloudnet.lab.clouds.azure.tenant import AzureTenant
from cloudnet.lab.clouds.gcp.hand import Google
from cloudnet.lab.clouds.gcp.tenant import GoogleTenant
from cloudnet.lab.clouds.ibm.hand import Ibm
from cloudnet.lab.clouds.static.hand import NO_API, Static
from cloudnet.lab.clouds.vpc import Aws
from cloudnet.lab.clouds.vpc_tenant import AwsTenant

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        each.name: each
        for each in (
            Kind(
                "aws",
                "cloudnet.lab.clouds.aws",
                Aws,
                packages=("moto", "boto3", "werkzeug"),
                listed=1,  # the local route
                tenant=AwsTenant,
            ),
            Kind(
                "azure",
                "cloudnet.lab.clouds.azure.plane",
                Azure,
                packages=("azure.mgmt.network", "azure.mgmt.compute"),
                flat=False,
                tells_quota=False,
                tenant=AzureTenant,
            ),
            Kind(
                "gcp",
                "cloudnet.lab.clouds.gcp.plane",
                Google,
                packages=("google.cloud.compute_v1",),
                flat=False,
                listed=1,  # the default route
                tenant=GoogleTenant,
            ),
            Kind(
                "ibm",
                "cloudnet.lab.clouds.ibm.plane",
                Ibm,
                packages=("ibm_vpc",),
                flat=False,
                tells_quota=False,
                zonal=True,
            ),
            Kind(
                "static",
                "cloudnet.lab.clouds.static.plane",
                Static,
                tells_death=False,
                without=NO_API,
            ),
        )
    }
)


def kind(name: str) -> Kind:
    """Return one kind of cloud.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in KINDS:
        raise BadInput(f"expected one of {', '.join(KINDS)}, found {name!r}", path="cloud")
    return KINDS[name]
