"""Settings of the object stores as drivers: the library's own, and what each declares about itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import ClassVar

from prism_proxy.contracts.driver import VOLATILE, Declaration
from prism_proxy.object_stores.contract import ObjectStore
from prism_proxy.object_stores.directory.settings import DirectorySettings
from prism_proxy.object_stores.memory.settings import MemoryObjectsSettings

INTERFACES = frozenset({"storage_object", "object_store"})
_PARTS = frozenset({"objects"})


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
