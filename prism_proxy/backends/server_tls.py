"""Settings of TLS towards the server of a backend."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from prism_runtime.settings import check, setting
from prism_runtime.tls import check_files


@dataclass(frozen=True, slots=True)
class ServerTls:
    """How the server is recognised, and how it recognises the proxy."""

    ca_file: Path | None = setting("Certificates of the authorities that vouch for the server; the system's without.",
                                   None)
    cert_file: Path | None = setting("The proxy's certificate, where the server asks for one.", None)
    key_file: Path | None = setting("The key of the proxy's certificate.", None)
    server_name: str = setting("The name in the server's certificate; the host of the address without.", "")

    def __post_init__(self) -> None:
        check(self)
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or neither")

    def context(self) -> ssl.SSLContext:
        """ValueError or OSError when the files cannot be used."""
        check_files(self.cert_file, self.key_file, self.ca_file)
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context
