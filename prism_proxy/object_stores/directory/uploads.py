"""Uploads into a folder: a file that is locked while its process writes it, and moves into place when it is whole.

    open --write*--> open --complete--> an object        (rename under the bucket's lock)
                          --abort-----> nothing
    the process dies: the lock goes with it, and the next `open` of the store removes the file
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from prism_proxy.object_stores.contract import Chunk, PutOptions, PutResult, UploadInfo
from prism_proxy.object_stores.directory import paths
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError

if TYPE_CHECKING:
    from prism_proxy.object_stores.directory.files import Files

WRITE_BYTES = 1024 * 1024
ResultT = TypeVar("ResultT")
Args = ParamSpec("Args")


class Submit(Protocol):
    """Runs what blocks in a thread."""

    def __call__(
        self, work: Callable[Args, ResultT], *args: Args.args, **kwargs: Args.kwargs
    ) -> asyncio.Future[ResultT]: ...


class DirectoryUpload:
    """An `Upload`. Small chunks are gathered, so that a thread is not asked for each."""

    def __init__(self, submit: Submit, files: Files, bucket: str, key: str, options: PutOptions) -> None:
        self.upload_id = uuid.uuid4().hex
        self._submit, self._files = submit, files
        self._bucket, self._key, self._options = bucket, key, options
        self._path = files.folder(bucket) / paths.UPLOADS / self.upload_id
        self._file = -1
        self._gathered = bytearray()
        self._size = 0
        self._running: asyncio.Future[Any] | None = None

    async def begin(self) -> None:
        await self._run(self._create)

    async def write(self, chunk: Chunk) -> None:
        self._check_open()
        self._size += len(chunk)
        if len(self._gathered) + len(chunk) < WRITE_BYTES:
            self._gathered += chunk
            return
        gathered, self._gathered = self._gathered, bytearray()
        await self._run(self._write, gathered, chunk)

    async def complete(self) -> PutResult:
        self._check_open()
        return await self._run(self._finish)

    async def abort(self) -> None:
        if self._running is not None:  # a thread may still write to the file
            await asyncio.wait({self._running})
        if self._file >= 0:
            await self._run(self._remove)

    async def _run(self, work: Callable[Args, ResultT], *args: Args.args, **kwargs: Args.kwargs) -> ResultT:
        running = self._running = self._submit(work, *args, **kwargs)
        return await asyncio.shield(running)

    def _check_open(self) -> None:
        if self._file < 0:
            raise ObjectStoreError("the upload is over: it was aborted, or completed", ErrorCode.UPLOAD_NOT_FOUND)

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _create(self) -> None:
        with self._files.locked(self._bucket):  # who removes leftovers never sees it without its lock
            _key_file(self._path).write_text(self._key)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def _write(self, *chunks: Chunk) -> None:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._file, view):]

    def _finish(self) -> PutResult:
        self._write(self._gathered)
        if self._files.sync:
            os.fsync(self._file)
        result = self._files.adopt(self._bucket, self._key, self._path, self._size, self._options)
        self._close()
        _key_file(self._path).unlink(missing_ok=True)
        return result

    def _remove(self) -> None:
        self._close()
        remove(self._path)

    def _close(self) -> None:
        handle, self._file = self._file, -1
        os.close(handle)


def remove(path: Path) -> None:
    """An upload that nobody will complete."""
    path.unlink(missing_ok=True)
    _key_file(path).unlink(missing_ok=True)


@contextlib.contextmanager
def noted(bucket: Path, key: str) -> Iterator[None]:
    """Should the process die within, the next start tidies up at the key. The lock of the bucket is held."""
    note = _key_file(bucket / paths.UPLOADS / uuid.uuid4().hex)
    note.write_text(key)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def listed(bucket: Path, prefix: str) -> list[UploadInfo]:
    """Those of all processes, dead ones too."""
    found = []
    for note in _notes(bucket):
        with contextlib.suppress(FileNotFoundError):
            key, path = note.read_text(), _upload_of(note)
            if key.startswith(prefix):
                found.append(UploadInfo(key, path.name, path.stat().st_mtime))
    return found


def remove_leftovers(bucket: Path) -> list[str]:
    """Remove the uploads of dead processes: nobody holds the lock of their file. The keys of these, and of other
    changes that did not come to their end. The caller holds the lock of the bucket."""
    keys = []
    for path in (bucket / paths.UPLOADS).glob(f"{paths.NEW}*"):
        path.unlink()
    for note in _notes(bucket):
        path = _upload_of(note)
        if not _in_use(path):
            keys.append(note.read_text())
            remove(path)
    return keys


def _in_use(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _notes(bucket: Path) -> list[Path]:
    return sorted((bucket / paths.UPLOADS).glob(f"*{paths.UPLOAD_KEY}"))


def _key_file(path: Path) -> Path:
    return path.with_name(path.name + paths.UPLOAD_KEY)


def _upload_of(note: Path) -> Path:
    return note.with_name(note.name.removesuffix(paths.UPLOAD_KEY))
