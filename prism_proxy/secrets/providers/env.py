"""Keys in variables of the process's environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prism_proxy.secrets.contract import SecretMissingError
from prism_proxy.secrets.options import ProviderOptions
from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvOptions(ProviderOptions):
    """Secret provider `env`: variables of the process's environment."""

    type: Literal["env"] = setting("What kind of provider it is.", "env")
    prefix: str = setting("What the names of the variables begin with.", "PRISM_KEY_")

    def __post_init__(self) -> None:
        check(self)

    def make(self, environment: Mapping[str, str]) -> EnvProvider:
        return EnvProvider(self.prefix, environment)


class EnvProvider:
    """The variable of path `orders/key` is the prefix and ORDERS_KEY."""

    type = "env"

    def __init__(self, prefix: str, environment: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._environment = environment

    async def fetch(self, path: str) -> bytes:
        name = self.variable(path)
        value = self._environment.get(name)
        if not value:
            raise SecretMissingError(f"the variable {name} is not set")
        return value.encode()

    async def close(self) -> None:
        """Nothing is open."""

    def variable(self, path: str) -> str:
        return self._prefix + re.sub(r"[^A-Za-z0-9]", "_", path).upper()
