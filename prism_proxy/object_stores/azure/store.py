"""An Azure Blob Storage by obstore: objects, ranges, listings, presigned URLs. No test here has
met a server."""

from __future__ import annotations

from typing import Any

from obstore.store import AzureStore as Client

from prism_proxy.object_stores.azure.settings import AzureSettings
from prism_proxy.object_stores.cloud.store import CloudStore


class AzureStore(CloudStore):
    """An `ObjectStore`."""

    name = "azure"

    def __init__(self, settings: AzureSettings) -> None:
        super().__init__(settings)
        self._azure = settings

    def client(self, bucket: str) -> Any:
        return Client(bucket, **self._azure.obstore_options())
