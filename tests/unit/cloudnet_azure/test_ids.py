from __future__ import annotations

import pytest

from cloudnet_azure import ids

GROUP = "/subscriptions/S/resourceGroups/RG/providers"


@pytest.mark.parametrize(
    ("resource", "short"),
    [
        (f"{GROUP}/Microsoft.Network/networkInterfaces/Nic", "rg/nic"),
        (f"{GROUP}/Microsoft.Network/virtualNetworks/V/subnets/A", "rg/v/a"),
        (f"{GROUP}/Microsoft.Compute/virtualMachines/Vm", "rg/vm"),
        (f"{GROUP}/Microsoft.Compute/virtualMachineScaleSets/V/virtualMachines/0", "rg/v/0"),
        (f"{GROUP}/Microsoft.Compute/virtualMachineScaleSets/V/virtualMachines/0/networkInterfaces/n", "rg/v/0/n"),
        ("", ""),
        ("i-0123", ""),
        ("/subscriptions/S", ""),
    ],
)
def test_an_id_is_the_names_in_it_in_small_letters(resource, short):
    assert ids.short(resource) == short


def test_case_does_not_tell_two_ids_apart():
    resource = f"{GROUP}/Microsoft.Network/routeTables/Rt"

    assert ids.short(resource.upper()) == ids.short(resource.lower())


@pytest.mark.parametrize(
    ("provider_id", "machine"),
    [
        (f"azure://{GROUP}/Microsoft.Compute/virtualMachines/vm", "rg/vm"),
        (f"azure://{GROUP}/microsoft.compute/virtualMachineScaleSets/v/virtualMachines/3", "rg/v/3"),
        ("aws:///eu-west-1a/i-1", None),
        ("", None),
        (f"{GROUP}/Microsoft.Network/networkInterfaces/nic", None),
    ],
)
def test_a_provider_id_names_a_machine_or_nothing(provider_id, machine):
    assert ids.machine(provider_id) == machine
