import json
from importlib import metadata

import pytest
from typer.testing import CliRunner

from cloudnet.cli import main, providers


@pytest.fixture
def plugin(tmp_path):
    """Make an installed distribution with one provider and the given requirements."""

    def install(*requires):
        folder = tmp_path / "acme_net-1.0.dist-info"
        folder.mkdir()
        lines = [
            "Metadata-Version: 2.1",
            "Name: acme-net",
            "Version: 1.0",
            *(f"Requires-Dist: {r}" for r in requires),
        ]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        (folder / "entry_points.txt").write_text("[cloudnet.providers]\nacme = acme_net:make\n")
        found = metadata.Distribution.discover(path=[str(tmp_path)])
        return [point for distribution in found for point in distribution.entry_points]

    return install


def test_a_provider_whose_sdk_is_there_is_usable(plugin):
    row = providers.installed(plugin("pytest>=1; extra == 'acme'"))[0]

    assert row.usable
    assert row.sdk == (f"pytest {metadata.version('pytest')}",)
    assert row.remedy == ""


def test_a_provider_whose_sdk_is_missing_names_the_extra(plugin):
    row = providers.installed(plugin('acme-sdk>=2 ; extra == "acme"', 'other; extra == "docs"', "typer"))[0]

    assert not row.usable
    assert row.missing == ("acme-sdk",)
    assert row.remedy == "pip install 'acme-net[acme]'"


def test_a_provider_without_an_sdk_is_usable(plugin):
    row = providers.installed(plugin())[0]

    assert (row.name, row.package, row.version, row.usable, row.sdk) == ("acme", "acme-net", "1.0", True, ())


def test_the_command_lists_the_installed_providers():
    done = CliRunner().invoke(main.build(lab=False), ["providers", "-o", "json"])

    listed = {row["name"]: row for row in json.loads(done.stdout)["providers"]}
    assert listed["memory"]["usable"]
    assert listed["aws"]["package"] == "cloudnet"
