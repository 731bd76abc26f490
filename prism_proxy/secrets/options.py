"""The settings under `proxy.secrets`: which providers there are. Namespaces name a provider and never configure one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class GrantOptions:
    """What namespaces that an admin assigns may use of a provider."""

    namespaces: str = setting("Names of namespaces, with * as a wildcard.")
    paths: str = setting("Paths of secrets, with * as a wildcard.")


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """One secret provider."""

    type: Literal["file", "env"] = setting("What kind of provider it is.", choices=("file", "env"))
    directory: Path | None = setting("type file: the directory whose files are the keys.", None)
    prefix: str = setting("type env: what the names of the variables begin with.", "PRISM_KEY_")
    allow: tuple[GrantOptions, ...] = setting(
        "What namespaces assigned by an admin may use; those of the proxy's own file may use everything.", ())

    def __post_init__(self) -> None:
        check(self)
        if self.type == "file" and self.directory is None:
            raise ValueError("directory is missing: a provider of type file needs one")


@dataclass(frozen=True, slots=True)
class SecretsOptions:
    """Where keys come from."""

    providers: Mapping[str, ProviderOptions] = setting("Secret providers by name.", factory=dict)
    cache_ttl: float = setting("How long a key is used before it is fetched again.", 86400.0, minimum=1, unit="s")
    allow_core_dumps: bool = setting("Let core files be written of a process that holds keys.", False)
    grace_period: float = setting(
        "How much longer a key is used when its provider does not answer.", 0.0, minimum=0, unit="s")
