"""Keys in secrets of a Kubernetes cluster, read over its API. For development: whoever may read the namespace's secrets
has the keys, and etcd may hold them in the clear."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from prism_proxy.secrets.contract import SecretDeniedError, SecretMissingError
from prism_proxy.secrets.options import ProviderOptions
from prism_runtime import log
from prism_runtime.settings import check, setting

if TYPE_CHECKING:
    from prism_proxy.secrets.http import JsonHttp

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions(ProviderOptions):
    """Secret provider `kubernetes`: secrets of the cluster that the proxy runs in. For development."""

    type: Literal["kubernetes"] = setting("What kind of provider it is.", "kubernetes")
    namespace: str = setting("The cluster's namespace; by default that of the service account.", "")
    field: str = setting("The key within a secret, where the path does not end with /KEY.", "key")
    address: str = setting("URL of the API server.", "https://kubernetes.default.svc")
    token_path: Path = setting("The token of the service account, read again for each request.", ACCOUNT / "token")
    ca_file: Path | None = setting("Certificate authorities of the API server, PEM.", ACCOUNT / "ca.crt")

    def __post_init__(self) -> None:
        check(self)

    def make(self, environment: Mapping[str, str]) -> KubernetesProvider:
        from prism_proxy.secrets.http import JsonHttp

        log.get("prism.secrets").warning("a provider of type kubernetes is for development: a cluster's secrets are "
                                         "only as private as its roles and its etcd")
        return KubernetesProvider(self, JsonHttp(self.address, self.ca_file))


class KubernetesProvider:
    """A path is SECRET or SECRET/KEY."""

    type = "kubernetes"

    def __init__(self, options: KubernetesOptions, http: JsonHttp) -> None:
        self._options = options
        self._http = http

    async def fetch(self, path: str) -> bytes:
        name, _, field = path.partition("/")
        if name in ("", ".", ".."):
            raise SecretMissingError(f"{path!r} is no path SECRET or SECRET/KEY")
        namespace = self._options.namespace or await asyncio.to_thread(_text, ACCOUNT / "namespace")
        token = await asyncio.to_thread(_text, self._options.token_path)
        reply = await self._http.call("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets/"
                                      f"{quote(name, safe='')}", headers={"Authorization": f"Bearer {token}"})
        data = reply.get("data")
        value = data.get(field or self._options.field) if isinstance(data, dict) else None
        try:
            found = b64decode(value, validate=True) if isinstance(value, str) else b""
        except ValueError:
            found = b""
        if not found:
            raise SecretMissingError(f"the secret {name!r} has no {field or self._options.field!r}")
        return found

    async def close(self) -> None:
        await self._http.close()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SecretDeniedError(f"{path} cannot be read: {error.strerror}") from None
