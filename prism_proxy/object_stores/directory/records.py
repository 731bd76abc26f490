"""What is known of an object, as the small file beside its bytes. Format 1."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from prism_proxy.object_stores import transfer
from prism_proxy.object_stores.contract import ObjectInfo, PutOptions
from prism_proxy.object_stores.directory import paths
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError

VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """`data` names the file of its bytes, and is the etag."""

    key: str
    data: str
    size: int
    last_modified: float
    content_type: str = ""
    content_encoding: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def made(cls, key: str, data: str, size: int, now: float, options: PutOptions) -> Record:
        return cls(key, data, size, now, options.content_type, options.content_encoding, dict(options.metadata),
                   dict(options.tags))

    @property
    def info(self) -> ObjectInfo:
        return ObjectInfo(self.key, self.size, self.data, self.last_modified, self.content_type, self.content_encoding,
                          dict(self.metadata), transfer.expiry(self.tags))


def read(path: Path) -> Record:
    """FileNotFoundError when there is no such object. CORRUPT for a file that we did not write."""
    raw = path.read_bytes()
    try:
        found = json.loads(raw)
        if found.pop("version") != VERSION:
            raise ObjectStoreError("the folder was written by a newer version: upgrade this proxy",
                                   ErrorCode.UNSUPPORTED)
        return Record(**found)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ObjectStoreError("the file with what is known of the object is damaged", ErrorCode.CORRUPT) from None


def write(bucket: Path, path: Path, record: Record, sync: bool) -> None:
    """Replace the file by rename."""
    replace(bucket, path, json.dumps({"version": VERSION, **asdict(record)}, ensure_ascii=False).encode(), sync)


def replace(bucket: Path, path: Path, content: bytes, sync: bool) -> None:
    """Replace a small file of a bucket by rename: its readers see the old one or the new one."""
    beside = bucket / paths.UPLOADS / f"{paths.NEW}{uuid.uuid4().hex}"
    try:
        with open(beside, "xb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """What was renamed into a folder survives a loss of power."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
