"""Settings of the object stores as drivers: the library's own, and what each declares about itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import ClassVar

from prism_proxy.contracts.driver import VOLATILE, Declaration
from prism_proxy.object_stores.azure.settings import AzureSettings
from prism_proxy.object_stores.contract import ObjectStore
from prism_proxy.object_stores.directory.settings import DirectorySettings
from prism_proxy.object_stores.gcs.settings import GcsSettings
from prism_proxy.object_stores.memory.settings import MemoryObjectsSettings
from prism_proxy.object_stores.s3.settings import S3Settings
from prism_runtime.settings import setting

INTERFACES = frozenset({"storage_object", "object_store"})
_PARTS = frozenset({"objects"})
REPLICATED = "replicated"  # what an acknowledgement of a cloud's store means is the cloud's promise


@dataclass(frozen=True, slots=True)
class MemoryObjectsConfig(MemoryObjectsSettings):
    """Objects in the memory of one worker, gone with it."""

    DECLARES: ClassVar[Declaration] = Declaration("memory", INTERFACES, state="local", durability=VOLATILE,
                                                  parts=_PARTS)

    @property
    def declaration(self) -> Declaration:
        return self.DECLARES

    def store(self) -> ObjectStore:
        from prism_proxy.object_stores.memory.store import MemoryStore

        return MemoryStore(self)


@dataclass(frozen=True, slots=True)
class DirectoryConfig(DirectorySettings):
    """Objects as files of a folder."""

    DECLARES: ClassVar[Declaration] = Declaration("directory", INTERFACES, state="local", durability="synced",
                                                  parts=_PARTS)

    @property
    def declaration(self) -> Declaration:
        return self.DECLARES if self.sync else replace(self.DECLARES, durability="checkpointed")

    def store(self) -> ObjectStore:
        from prism_proxy.object_stores.directory.store import DirectoryStore

        return DirectoryStore(self)

    def trouble(self) -> tuple[str, str] | None:
        """Why the folder cannot be used on this machine now."""
        place = self.path if self.path.exists() else self.path.parent
        if not place.is_dir():
            return "path", f"is of no use: {place} is no folder"
        if not os.access(place, os.W_OK | os.X_OK):
            return "path", f"is of no use: the proxy may not write to {place}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Config(S3Settings):
    """A server that speaks S3. Without access_key, credentials come from where AWS's own tools take them."""

    DECLARES: ClassVar[Declaration] = Declaration("s3", INTERFACES, state="shared", durability=REPLICATED, parts=_PARTS)

    @property
    def declaration(self) -> Declaration:
        return self.DECLARES

    def store(self) -> ObjectStore:
        from prism_proxy.object_stores.s3.store import S3Store

        return S3Store(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinioConfig(S3Config):
    """A MinIO server: as s3, at its own port unless it says another."""

    DECLARES: ClassVar[Declaration] = replace(S3Config.DECLARES, name="minio")
    endpoint: str = setting("The server: http://HOST:PORT, https:, or HOST:PORT.", "http://127.0.0.1:9000")


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsConfig(GcsSettings):
    """Google Cloud Storage. Without a service account, credentials come from where Google's own tools take them."""

    DECLARES: ClassVar[Declaration] = replace(S3Config.DECLARES, name="gcs")

    @property
    def declaration(self) -> Declaration:
        return self.DECLARES

    def store(self) -> ObjectStore:
        from prism_proxy.object_stores.gcs.store import GcsStore

        return GcsStore(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureConfig(AzureSettings):
    """Azure Blob Storage, whose containers are the buckets."""

    DECLARES: ClassVar[Declaration] = replace(S3Config.DECLARES, name="azure")

    @property
    def declaration(self) -> Declaration:
        return self.DECLARES

    def store(self) -> ObjectStore:
        from prism_proxy.object_stores.azure.store import AzureStore

        return AzureStore(self)
