"""What the Object model declares. Imports no code that serves calls."""

from __future__ import annotations

from prism_proxy.contracts.pattern import ModelDeclaration
from prism_proxy.models.object.contract import SERVICE, STORAGE
from prism_proxy.models.object.options import ObjectOptions

DECLARATION = ModelDeclaration(
    "object", "Objects of any size in buckets.", "prism_proxy.models.object.model:ObjectModel", ObjectOptions, {
        STORAGE: "prism_proxy.models.object.servicers.storage:StorageObjectServicer",
        SERVICE: "prism_proxy.models.object.servicers.service:ObjectStoreServicer",
    })
