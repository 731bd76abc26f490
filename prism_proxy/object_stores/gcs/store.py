"""A Google Cloud Storage by obstore: objects, ranges, listings, presigned URLs. No test here has
met a server."""

from __future__ import annotations

from typing import Any

from obstore.store import GCSStore as Client

from prism_proxy.object_stores.cloud.store import CloudStore
from prism_proxy.object_stores.gcs.settings import GcsSettings


class GcsStore(CloudStore):
    """An `ObjectStore`."""

    name = "gcs"

    def __init__(self, settings: GcsSettings) -> None:
        super().__init__(settings)
        self._gcs = settings

    def client(self, bucket: str) -> Any:
        return Client(bucket, **self._gcs.obstore_options())
