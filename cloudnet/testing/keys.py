"""Keys and certificates for servers of tests: an authority, what it signed, and another that signed nothing.

keys = keys.make(tmp_path)
ApiServer(tls=keys.server(), ca=keys.text("ca.pem"))
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME: Final = "kubernetes"
"""Whose certificate ``server.pem`` is, besides 127.0.0.1's."""

_NEW: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_EXTENSIONS: Final = f"subjectAltName=DNS:{NAME},IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"


@dataclass(frozen=True, slots=True)
class Keys:
    """A folder with NAME.pem and NAME.key of ``ca``, ``other``, ``server`` and ``client``."""

    folder: Path

    def text(self, file: str) -> str:
        return (self.folder / file).read_text()

    def server(self, *protocols: str, clients_too: bool = False) -> ssl.SSLContext:
        """Return a server's side, which may choose from ``protocols``, and ask clients for certificates, too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if clients_too:
            context.load_verify_locations(self.folder / "ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make(folder: Path) -> Keys:
    for name in ("ca", "other"):
        words = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
        _openssl(folder, ["req", "-x509", *_NEW, *words])
    (folder / "ext").write_text(_EXTENSIONS)
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext")
    for name in ("server", "client"):
        words = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        _openssl(folder, ["req", *_NEW, *words])
        _openssl(folder, ["x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem"])
    return Keys(folder)


def _openssl(folder: Path, arguments: Sequence[str]) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
