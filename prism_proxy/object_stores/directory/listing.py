"""Walks the folders of a bucket in the order of keys. It reads a folder at a time, and none that cannot matter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from prism_proxy.object_stores.directory import paths


def keys(bucket: Path, prefix: str, after: str | None) -> Iterator[tuple[str, Path]]:
    """Keys with a prefix that come behind another key, with the file of each."""
    return _walk(bucket, "", prefix, after.encode() if after is not None else None)


def _walk(folder: Path, above: str, prefix: str, after: bytes | None) -> Iterator[tuple[str, Path]]:
    found: list[tuple[bytes, str, Path]] = []
    for name, path in _entries(folder, ""):
        is_object = name.endswith(paths.META)
        key = above + paths.unescape(name.removesuffix(paths.META)) + ("" if is_object else "/")
        if is_object:
            if key.startswith(prefix) and (after is None or key.encode() > after):
                found.append((key.encode(), key, path))
        elif key.startswith(prefix) or prefix.startswith(key):
            # all keys below begin with it: they can lie behind `after` unless they are all before it
            encoded = key.encode()
            if after is None or encoded > after or after.startswith(encoded):
                found.append((encoded, key, path))
    for _, key, path in sorted(found):
        if key.endswith("/"):
            yield from _walk(path, key, prefix, after)
        else:
            yield key, path


def _entries(folder: Path, begun: str) -> Iterator[tuple[str, Path]]:
    """Escaped names: with META those of objects, without those of folders. Names that were cut are put together."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:  # removed since it was listed
        return
    for entry in entries:
        name = entry.name
        if name.endswith(paths.META):
            yield begun + name, Path(entry.path)
        elif name.endswith(paths.MORE):
            yield from _entries(Path(entry.path), begun + name.removesuffix(paths.MORE))
        elif not name.startswith(_OURS) and not paths.is_data(name):
            yield begun + name, Path(entry.path)


_OURS = (paths.UPLOADS, paths.LOCK, paths.LIFECYCLE, paths.NEW)
