"""Settings of an Azure Blob Storage."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from prism_proxy.object_stores.cloud.settings import CloudSettings
from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureSettings(CloudSettings):
    """Containers are what is called buckets elsewhere. Without access_key or sas_token, credentials come from where
    Azure's own tools take them."""

    account: str = setting("The name of the storage account.")
    access_key: str = setting("The key of the account.", "", secret=True)
    sas_token: str = setting("A shared access signature, instead of the key.", "", secret=True)
    endpoint: str = setting("The server; that of the account at Azure without.", "")

    def __post_init__(self) -> None:
        check(self)
        self.check_buffers()
        if self.access_key and self.sas_token:
            raise ValueError("access_key and sas_token are given: one of them is enough")

    of_machine: ClassVar[bool] = False

    @property
    def server(self) -> str:
        """The same for all settings that lead to one account."""
        return f"azure {self.account}"

    def with_credentials(self, username: str, password: str) -> Self:
        """These settings with the key of the account. ValueError where there is one already."""
        if self.access_key or self.sas_token:
            raise ValueError("access_key is given twice: by itself and by auth")
        return replace(self, access_key=password)

    def without_credentials(self) -> Self:
        """As that of `S3Settings`."""
        return replace(self, access_key=base64.b64encode(b"no credentials yet").decode())

    @property
    def ambient(self) -> bool:
        """Whether the credentials are those of the machine."""
        return not (self.access_key or self.sas_token)

    def obstore_options(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "account_name": self.account, "retry_config": self.retry_config(),
            "client_options": {**self.client_options(), "allow_http": self.endpoint.startswith("http://")}}
        given = {"access_key": self.access_key, "sas_key": self.sas_token, "endpoint": self.endpoint}
        return found | {key: value for key, value in given.items() if value}
