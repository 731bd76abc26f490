"""The files of an object store in a folder. Everything here blocks and runs in a thread.

Whatever changes names holds the lock of the bucket, against other threads and other processes. A crash between two
steps of a change leaves the key in `%uploads`, and the next start tidies there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prism_proxy.object_stores.contract import LifecycleRule, ObjectInfo, Page, PutOptions, PutResult
from prism_proxy.object_stores.directory import listing, paths, records, uploads
from prism_proxy.object_stores.directory.records import Record
from prism_proxy.object_stores.errors import BucketNotFound, ErrorCode, ObjectNotFound, ObjectStoreError

_NO_LINK = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS}
OPEN_ATTEMPTS = 5  # of an object that is replaced between the reading of its record and the opening of its bytes


class Files:
    def __init__(self, root: Path, sync: bool) -> None:
        self.root, self.sync = root, sync

    def folder(self, bucket: str) -> Path:
        return self.root / bucket

    def adopt(self, bucket: str, key: str, source: Path, size: int, options: PutOptions) -> PutResult:
        """Make a whole file the bytes of an object, in place of those there were."""
        record = Record.made(key, uuid.uuid4().hex, size, time.time(), options)
        try:
            self._place(bucket, record, source.rename)
        except FileNotFoundError:
            raise ObjectStoreError("the upload was aborted", ErrorCode.UPLOAD_NOT_FOUND) from None
        return PutResult(record.data, size)

    def prepare(self) -> None:
        self.root.mkdir(exist_ok=True)
        for path in self.root.iterdir():
            if path.name.startswith(paths.GONE):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir():
                with self.locked(path.name) as bucket:
                    (bucket / paths.UPLOADS).mkdir(exist_ok=True)
                    for key in uploads.remove_leftovers(bucket):
                        tidy(bucket, key)

    def existing(self, bucket: str) -> Path:
        folder = self.folder(bucket)
        if not folder.is_dir():
            raise BucketNotFound("there is no such bucket: create it")
        return folder

    @contextlib.contextmanager
    def locked(self, bucket: str) -> Iterator[Path]:
        """No other thread or process changes names in the bucket meanwhile."""
        folder = self.existing(bucket)
        with open(folder / paths.LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder

    def record(self, bucket: str, key: str) -> Record:
        try:
            return records.read(paths.meta_path(self.existing(bucket), key))
        except FileNotFoundError:
            raise ObjectNotFound("there is no such object") from None

    def open(self, bucket: str, key: str) -> tuple[Record, int]:
        """The record of an object and its open file, which agree."""
        meta = paths.meta_path(self.existing(bucket), key)
        for _ in range(OPEN_ATTEMPTS):
            record = self.record(bucket, key)
            try:
                handle = os.open(paths.data_path(meta, record.data), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            if os.fstat(handle).st_size == record.size:
                return record, handle
            os.close(handle)
            raise ObjectStoreError("the file of the object has another length than it was written with",
                                   ErrorCode.CORRUPT)
        raise ObjectStoreError("the file of the object is missing", ErrorCode.CORRUPT)

    def _place(self, bucket: str, record: Record, move: Callable[[Path], Any]) -> None:
        """`move` brings the bytes of a new object to where they belong."""
        with self.locked(bucket) as folder:
            meta = paths.meta_path(folder, record.key)
            meta.parent.mkdir(parents=True, exist_ok=True)
            before = _read_or_none(meta)
            data = paths.data_path(meta, record.data)
            move(data)
            try:
                records.write(folder, meta, record, self.sync)
            except BaseException:
                data.unlink(missing_ok=True)
                raise
            if before is not None:
                paths.data_path(meta, before.data).unlink(missing_ok=True)

    def delete(self, bucket: str, key: str) -> None:
        with self.locked(bucket) as folder:
            meta = paths.meta_path(folder, key)
            before = _read_or_none(meta)
            if before is not None:
                with uploads.noted(folder, key):
                    meta.unlink()
                    paths.data_path(meta, before.data).unlink(missing_ok=True)
            else:
                meta.unlink(missing_ok=True)
            parent = meta.parent
            with contextlib.suppress(OSError):  # the first folder that is not empty
                while parent != folder:
                    parent.rmdir()
                    parent = parent.parent

    def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> PutResult:
        """The bytes never change, so the copy is a second name of them."""
        record, handle = self.open(source_bucket, source_key)
        os.close(handle)
        source = paths.data_path(paths.meta_path(self.folder(source_bucket), source_key), record.data)
        made = replace(record, key=key, data=uuid.uuid4().hex, last_modified=time.time())
        try:
            with uploads.noted(self.existing(bucket), key):
                self._place(bucket, made, lambda target: _second_name(source, target))
        except FileNotFoundError:
            raise ObjectStoreError("the object was replaced while it was copied", ErrorCode.CHANGED) from None
        return PutResult(made.data, made.size)

    def list(self, bucket: str, prefix: str, limit: int, after: str | None) -> Page:
        found: list[ObjectInfo] = []
        for _, path in listing.keys(self.existing(bucket), prefix, after):
            with contextlib.suppress(FileNotFoundError):  # deleted since
                found.append(records.read(path).info)
            if len(found) > limit:
                return Page(found[:limit], found[limit - 1].key)
        return Page(found)

    def retag(self, bucket: str, key: str, change: Callable[[Mapping[str, str]], dict[str, str]]) -> None:
        with self.locked(bucket) as folder:
            record = self.record(bucket, key)
            records.write(folder, paths.meta_path(folder, key), replace(record, tags=change(record.tags)), self.sync)

    def create(self, bucket: str) -> bool:
        folder = self.folder(bucket)
        try:
            folder.mkdir()
        except FileExistsError:
            return False
        (folder / paths.UPLOADS).mkdir()
        if self.sync:
            records.sync_folder(folder.parent)
        return True

    def delete_bucket(self, bucket: str) -> None:
        gone = self.root / f"{paths.GONE}{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            self.folder(bucket).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def rules(self, bucket: str) -> dict[str, LifecycleRule]:
        try:
            raw = (self.existing(bucket) / paths.LIFECYCLE).read_bytes()
        except FileNotFoundError:
            return {}
        return {rule["rule_id"]: LifecycleRule(**rule) for rule in json.loads(raw)}

    def change_rules(
        self, bucket: str, change: Callable[[dict[str, LifecycleRule]], dict[str, LifecycleRule]]
    ) -> None:
        with self.locked(bucket) as folder:
            changed = [asdict(rule) for rule in change(self.rules(bucket)).values()]
            records.replace(folder, folder / paths.LIFECYCLE, json.dumps(changed).encode(), self.sync)


def _read_or_none(path: Path) -> Record | None:
    """What is damaged can be replaced and deleted."""
    with contextlib.suppress(FileNotFoundError, ObjectStoreError):
        return records.read(path)
    return None


def _second_name(source: Path, target: Path) -> None:
    """As a link, or as a copy where the file system has no links, or no more of them."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)


def tidy(bucket: Path, key: str) -> None:
    """Remove the files of an object that its record does not name. The caller holds the lock of the bucket."""
    meta = paths.meta_path(bucket, key)
    record = _read_or_none(meta)
    known = paths.data_path(meta, record.data).name if record is not None else ""
    begin = meta.name.removesuffix(paths.META) + paths.DATA
    with contextlib.suppress(FileNotFoundError):
        for path in list(meta.parent.iterdir()):
            if path.name.startswith(begin) and paths.is_data(path.name) and path.name != known:
                path.unlink(missing_ok=True)
