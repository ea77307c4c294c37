"""Write tests/cases/terraform_schema.json: what the blocks that our Terraform modules use may hold, by name.

The names are facts of HashiCorp's providers. They are read off the bindings that HashiCorp generates from each
provider's published schema (cdktf-cdktf-provider-… on PyPI, MPL-2.0), which are 45 to 60 MB each: too much for every
test run. So a test reads the file, and this program is run when a module uses something new. Only names are kept.

    python scripts/terraform_schema.py [FOLDER WITH THE WHEELS]
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "tests" / "cases" / "terraform_schema.json"
PROVIDERS = ("aws", "azurerm", "google")  # nobody publishes such bindings of IBM's provider

_BLOCK = re.compile(r'^(resource|data) "(([a-z]+)_\w+)" ', re.MULTILINE)
_FUNCTION = re.compile(r"function (\w+)ToTerraform\(struct\) \{.*?return \{\n(.*?)\n {4}\};", re.DOTALL)
_OWN = re.compile(r" {4}synthesizeAttributes\(\) \{\n {8}return \{\n(.*?)\n {8}\};", re.DOTALL)
_LINE = re.compile(r"^\s+(\w+): (.*),$", re.MULTILINE)
_NESTED = re.compile(r"(?<!cdktf\.)\b(\w+)ToTerraform\b")
_SHOWN = re.compile(r"Attribute\('(\w+)'\)")

Json = Any  # a tree of names, as it is written


def used() -> Iterator[tuple[str, str, str]]:
    """Yield kind, type and provider of every block in our modules and examples."""
    text = "\n".join(path.read_text() for path in (ROOT / "terraform").rglob("*.tf"))
    yield from sorted({(kind, name, provider) for kind, name, provider in _BLOCK.findall(text)})


def wheel(provider: str, folder: Path) -> Path:
    """Return the provider's bindings, downloaded unless they are in the folder."""
    package = f"cdktf-cdktf-provider-{provider}"
    if not list(folder.glob(f"{package.replace('-', '_')}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
        subprocess.run(command, check=True)
    return max(folder.glob(f"{package.replace('-', '_')}-*.whl"))


def archive(path: Path) -> tarfile.TarFile:
    """Return the bindings' own sources, in which every name stands as Terraform spells it."""
    with zipfile.ZipFile(path) as outer:
        (inner,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        return tarfile.open(fileobj=io.BytesIO(outer.read(inner)))


def folder_of(kind: str, name: str, provider: str) -> str:
    rest = name.removeprefix(f"{provider}_").replace("_", "-")
    return f"data-{provider}-{rest}" if kind == "data" else rest


def described(text: str) -> Mapping[str, Json]:
    """Return what one block may hold: ``arguments``, with a tree for each nested block, and what it ``shows``."""
    functions = dict(_FUNCTION.findall(text))
    own = _OWN.search(text)
    return {"arguments": tree(own[1] if own else "", functions), "shows": sorted(set(_SHOWN.findall(text)))}


def tree(body: str, functions: Mapping[str, str]) -> Mapping[str, Json]:
    found: dict[str, Json] = {}
    for name, value in _LINE.findall(body):
        nested = next((n for n in _NESTED.findall(value) if n in functions), None)
        found[name] = tree(functions[nested], functions) if nested else None
    return found


def schema(wheels: Path) -> Mapping[str, Json]:
    blocks: dict[str, Json] = {}
    sources: dict[str, Json] = {}
    for provider in PROVIDERS:
        path = wheel(provider, wheels)
        with archive(path) as inside:
            for kind, name, of in used():
                if of != provider:
                    continue
                member = inside.extractfile(f"package/lib/{folder_of(kind, name, of)}/index.js")
                if member is None:
                    raise SystemExit(f"{path.name} has no {kind} {name}")
                text = member.read().decode()
                blocks[f"{kind} {name}"] = described(text)
                version = re.search(r"providerVersion: '([\d.]+)'", text)
                sources[provider] = {"provider": version[1] if version else "", "package": path.name}
    return {"from": sources, "blocks": blocks}


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        found = schema(Path(arguments[0]) if arguments else Path(temporary))
    TARGET.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(f"{TARGET.relative_to(ROOT)}: {len(found['blocks'])} blocks")  # noqa: T201 - a program


if __name__ == "__main__":
    main(sys.argv[1:])
