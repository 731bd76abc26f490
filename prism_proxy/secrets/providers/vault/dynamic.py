"""Credentials that Vault makes for us: `redis/creds/ROLE`, `database/creds/ROLE`, each with a lease."""

from __future__ import annotations

import json
from urllib.parse import quote

from prism_proxy.secrets.contract import Lease, SecretMissingError, SecretUnavailableError
from prism_proxy.secrets.providers.vault.session import VaultSession


class VaultDynamicProvider:
    """A path is that of the API, below /v1/."""

    type = "vault"

    def __init__(self, session: VaultSession) -> None:
        self._session = session

    async def fetch(self, path: str) -> bytes:
        return (await self.lease(path)).data

    async def lease(self, path: str) -> Lease:
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise SecretMissingError(f"{path!r} is no path of credentials")
        reply = await self._session.call("GET", quote(path))
        data, seconds = reply.get("data"), reply.get("lease_duration", 0)
        if not isinstance(data, dict) or not isinstance(seconds, int | float):
            raise SecretUnavailableError(f"{path!r} was answered without data")
        return Lease(json.dumps(data).encode(), str(reply.get("lease_id", "")), float(seconds))

    async def renew(self, lease_id: str) -> float:
        reply = await self._session.call("PUT", "sys/leases/renew", {"lease_id": lease_id})
        seconds = reply.get("lease_duration", 0)
        return float(seconds) if isinstance(seconds, int | float) else 0.0

    async def close(self) -> None:
        await self._session.close()
