"""The settings of the group `object` of a namespace."""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy.object_stores.names import BUCKET_RULE, usable_bucket
from prism_runtime.settings import check, setting

GIB = 1024**3


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
