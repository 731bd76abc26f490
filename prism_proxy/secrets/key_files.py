"""Keys as files, written: made, rotated and listed by `prism-proxy keys`. Serving processes only read them.

A file is replaced whole: written beside it, synced, renamed. Rotation adds a version and deletes nothing. Where a key
service wraps the files, its calls are made here, one at a time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from prism_proxy.crypto import keys
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.secrets import key_document, wrapped
from prism_proxy.secrets.providers.file import FileProvider

PUBLIC = ".pub"


class KeyFiles:
    """The keys of one file provider, under the name that references give it."""

    def __init__(self, name: str, provider: FileProvider, wrapper: wrapped.KeyWrapper | None = None) -> None:
        self._name = name
        self._provider = provider
        self._wrapper = wrapper

    def generate(self, path: str, key_type: str, now: float) -> list[Path]:
        """A new key, and the public part of a key pair; the files written. FileExistsError, InvalidKeyError."""
        target = self._provider.place(path)
        if target.exists():
            raise FileExistsError(f"{target} exists: rotate the key, or choose another name")
        return self._write(path, KeyRing(self._reference(path), [KeyVersion("1", keys.generate(key_type), now)]))

    def rotate(self, path: str, active_from: float) -> KeyVersion:
        """Add a version that encrypts from `active_from` (Unix seconds) on; every other one goes on decrypting."""
        ring = self.read(path)
        newest = ring.versions[-1]
        if active_from <= newest.active_from:
            raise ValueError(f"version {newest.version} is not active yet: rotate after it is")
        name = str(1 + max((int(each.version) for each in ring.versions if each.version.isdigit()), default=0))
        made = KeyVersion(name, keys.generate(newest.key.type), active_from)
        self._write(path, KeyRing(ring.reference, [*ring.versions, made]))
        return made

    def remove(self, path: str, version: str, now: float) -> None:
        """Delete a version for good. ValueError for an unknown one, and for the one that encrypts."""
        ring = self.read(path)
        found = ring.find(version)
        if found is None:
            raise ValueError(f"it has no version {version}: there are {', '.join(v.version for v in ring.versions)}")
        if found is ring.current(now):
            raise ValueError(f"version {version} encrypts now: rotate the key first")
        self._write(path, KeyRing(ring.reference, [each for each in ring.versions if each is not found]))

    def read(self, path: str) -> KeyRing:
        """The private key's versions. SecretError, ValueError."""
        data = self._provider.read(path)
        if self._wrapper is not None:
            data = asyncio.run(self._closing(wrapped.unwrap(data, path, self._wrapper)))
        return key_document.decode_any(data, self._reference(path))

    def names(self) -> list[str]:
        """Paths of all keys, without public parts."""
        root = self._provider.directory
        return sorted(str(found.relative_to(root)) for found in root.rglob("*")
                      if found.is_file() and found.suffix != PUBLIC and not found.name.startswith("."))

    async def _closing(self, work: Coroutine[Any, Any, bytes]) -> bytes:
        """A connection belongs to the loop of its call."""
        assert self._wrapper is not None
        try:
            return await work
        finally:
            await self._wrapper.close()

    def _reference(self, path: str) -> str:
        return f"{self._name}://{path}"

    def _write(self, path: str, ring: KeyRing) -> list[Path]:
        target = self._provider.place(path)
        written = [target]
        document = key_document.encode(ring)
        if self._wrapper is not None:
            document = asyncio.run(self._closing(wrapped.wrap(document, path, self._wrapper)))
        _replace(target, document)
        if not ring.versions[0].key.symmetric:
            public = KeyRing(ring.reference + PUBLIC, [
                KeyVersion(each.version, each.key.public(), each.active_from) for each in ring.versions])
            written.append(target.with_name(target.name + PUBLIC))
            _replace(written[-1], key_document.encode(public))
        return written


def _replace(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = target.with_name(f".{target.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
