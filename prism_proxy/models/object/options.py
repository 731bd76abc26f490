"""The settings of the group `object` of a namespace."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from prism_proxy.contracts.driver import Area
from prism_proxy.object_stores.names import BUCKET_RULE, usable_bucket
from prism_runtime.settings import check, setting

GIB = 1024**3
STORE, OBJECT_STORE = "store", "object_store"


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """Objects of a namespace."""

    buckets: tuple[str, ...] = setting("The buckets that callers reach; no others, and never that of claims.", ())
    create_buckets: bool = setting("Whether buckets of the list that are missing are made when they are first used.",
                                   True)
    max_object_bytes: int = setting("A larger object is not stored.", 5 * GIB, minimum=1, unit="bytes")
    presign: bool = setting("Whether callers get URLs that read or write one object at the store itself, past this "
                            "proxy, its limits and its access rules.", False)

    def __post_init__(self) -> None:
        check(self)
        for bucket in self.buckets:
            if not usable_bucket(bucket):
                raise ValueError(f"buckets has {bucket!r}: a bucket must be named by {BUCKET_RULE}")

    def areas_in(self, namespace: str, slots: Mapping[str, Any]) -> tuple[str, Collection[Area]]:
        """Namespaces may share buckets of objects; nobody has claims there (see `contracts.driver.Occupying`)."""
        slot = OBJECT_STORE if OBJECT_STORE in slots else STORE
        server = getattr(slots[slot].config, "server", None) if slot in slots else None
        if server is None:
            return slot, ()
        return slot, [Area(f"{server}/{bucket}", b"", shared=True, machine=slots[slot].config.of_machine)
                      for bucket in self.buckets]
