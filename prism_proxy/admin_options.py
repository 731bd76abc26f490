"""Settings of a proxy that is joined to an admin: who it is, and how it reaches the admin and is reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class AdminOptions:
    """ValueError, which begins with a setting's name, for what does not go together."""

    endpoint: str = setting("Admin that names the namespaces to serve, as HOST:PORT; empty is a proxy of its own.", "")
    proxy_id: str = setting("Name of this proxy at the admin, the same at every start; needed with an endpoint.", "")
    region: str = setting("Region of this proxy, as the admin shows it.", "")
    advertise: str = setting(
        "HOST:PORT at which the admin and other proxies reach this proxy; by default the first address of listen.", "")
    token_file: Path | None = setting(
        "File with the token that admin and proxies share, to know each other. Without one, only callers from this "
        "machine are believed.", None)
    ca: Path | None = setting("Reach the admin, and other proxies, by TLS, and trust this CA (PEM).", None)
    cert: Path | None = setting("Certificate (PEM) to show the admin, for mTLS.", None)
    key: Path | None = setting("Private key (PEM) of that certificate.", None)
    data_dir: Path | None = setting(
        "Folder of the files that assigned namespaces name: relative paths begin there, and none may lead out. It is "
        "made when a namespace needs it, for this user alone; ~/.prism/proxies/PROXY_ID without.", None)
    heartbeat_s: float = setting("Time between two heartbeats.", 30.0, minimum=0.05, maximum=3600, unit="seconds")
    reconnect_s: float = setting(
        "Time between two attempts to reach an admin that is away.", 5.0, minimum=0.05, maximum=3600, unit="seconds")

    def __post_init__(self) -> None:
        check(self)
        for name in ("endpoint", "advertise"):
            text = getattr(self, name)
            if text and not _is_host_port(text):
                raise ValueError(f"{name} is {text!r}: write HOST:PORT")
        if self.endpoint and not self.proxy_id:
            raise ValueError("proxy_id is missing: give this proxy a name that no other one has, such as proxy-01")
        if self.proxy_id and not (len(self.proxy_id) <= 253 and self.proxy_id.isascii() and self.proxy_id.isprintable()
                                  and " " not in self.proxy_id):
            raise ValueError("proxy_id must be at most 253 printable ASCII characters without spaces")
        if (self.cert is None) != (self.key is None):
            raise ValueError(f"{'key' if self.key is None else 'cert'} is missing: a certificate and its key go "
                             "together")
        if self.cert is not None and self.ca is None:
            raise ValueError("ca is missing: a certificate is shown over TLS, which needs the CA of the admin")

    @property
    def joined(self) -> bool:
        """Whether this proxy belongs to an admin."""
        return bool(self.endpoint)


def _is_host_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536
