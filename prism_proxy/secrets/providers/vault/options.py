"""Settings of a provider of type `vault`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prism_proxy.secrets.contract import SecretProvider
from prism_proxy.secrets.options import ProviderOptions
from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultOptions(ProviderOptions):
    """Secret provider `vault`: HashiCorp Vault, or OpenBao."""

    type: Literal["vault"] = setting("What kind of provider it is.", "vault")
    address: str = setting("URL of the server.")
    engine: Literal["kv", "transit", "dynamic"] = setting(
        "`kv` reads what lies there; `transit` unwraps keys that lie in `directory`; `dynamic` has credentials of "
        "backends made, with leases.", "kv")
    mount: str = setting("Where the engine is mounted; by default `secret` for kv, `transit` for transit.", "")
    kv_version: int = setting("Version of the KV engine.", 2, minimum=1, maximum=2)
    field: str = setting("engine kv: the field of a secret that holds the key.", "key")
    key_name: str = setting("engine transit: the name of the wrapping key.", "")
    directory: Path | None = setting("engine transit: the directory of the wrapped keys.", None)
    namespace: str = setting("Namespace of the server (X-Vault-Namespace).", "")
    auth: Literal["token", "approle", "kubernetes"] = setting("How the proxy logs in.", "token")
    auth_mount: str = setting("Where the auth method is mounted; by default its name.", "")
    token: str = setting("auth token: the token.", "", secret=True)
    token_path: Path | None = setting("auth token: a file with the token, read again at each login.", None)
    role: str = setting("auth kubernetes: the role. auth approle: the role id.", "")
    secret_id: str = setting("auth approle: the secret id.", "", secret=True)
    jwt_path: Path = setting("auth kubernetes: the token of the service account.",
                             Path("/var/run/secrets/kubernetes.io/serviceaccount/token"))
    ca_file: Path | None = setting("Certificate authorities of the server, PEM; by default those of the system.", None)

    def __post_init__(self) -> None:
        check(self)
        if not self.address.startswith(("https://", "http://")):
            raise ValueError(f"address is {self.address!r}: it must be an http or https URL")
        if self.address.startswith("http://") and not _loopback(self.address):
            raise ValueError("address must be an https URL: keys travel over it")
        if self.engine == "transit" and not (self.key_name and self.directory):
            raise ValueError("key_name and directory are needed with engine transit")
        if self.auth == "token" and bool(self.token) == (self.token_path is not None):
            raise ValueError("token or token_path is needed with auth token, and not both")
        if self.auth != "token" and not self.role:
            raise ValueError(f"role is needed with auth {self.auth}")

    def make(self, environment: Mapping[str, str]) -> SecretProvider:
        from prism_proxy.secrets.providers.vault.kv import VaultKvProvider
        from prism_proxy.secrets.providers.vault.session import VaultSession

        session = VaultSession(self)
        if self.engine == "kv":
            return VaultKvProvider(session, self)
        if self.engine == "dynamic":
            from prism_proxy.secrets.providers.vault.dynamic import VaultDynamicProvider

            return VaultDynamicProvider(session)
        from prism_proxy.secrets.providers.file import FileProvider
        from prism_proxy.secrets.providers.vault.transit import VaultTransit
        from prism_proxy.secrets.wrapped import WrappedProvider

        assert self.directory is not None  # __post_init__ saw to it
        return WrappedProvider(self.type, FileProvider(self.directory), VaultTransit(session, self))


def _loopback(url: str) -> bool:
    from urllib.parse import urlsplit

    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
