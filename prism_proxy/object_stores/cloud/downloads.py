"""Downloads by obstore. It asks for a range even of a whole object, so that the store says its length twice, and goes
on by itself where a connection broke; what arrives is counted here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import obstore

from prism_proxy.object_stores import transfer
from prism_proxy.object_stores.cloud.errors import ERRORS, meaning
from prism_proxy.object_stores.contract import ByteRange, Chunk, ObjectInfo
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError

CHUNK_BYTES = 1024 * 1024


async def open_download(store: Any, key: str, byte_range: ByteRange, etag: str | None) -> transfer.CountedDownload:
    options: Any = {"range": _asked(byte_range)}
    if etag is not None:
        options["if_match"] = f'"{etag}"'
    try:
        result = await obstore.get_async(store, key, options=options)
    except ERRORS as error:
        found = meaning(error)
        if found is None:
            raise
        if found.code is ErrorCode.INVALID_RANGE and byte_range.offset == 0:
            return await _empty(store, key, etag)
        raise found from error
    found_info = info(result.meta, dict(result.attributes))
    start, end = transfer.bounds(byte_range, found_info.size)
    if tuple(result.range) != (start, end):
        raise ObjectStoreError("the store answered with another range than it was asked for", ErrorCode.CORRUPT)
    return transfer.CountedDownload(found_info, start, end, _chunks(result))


async def _empty(store: Any, key: str, etag: str | None) -> transfer.CountedDownload:
    """An object without bytes has no range. One that has become longer meanwhile is another one."""
    try:
        result = await obstore.get_async(store, key, options={"if_match": f'"{etag}"'} if etag is not None else {})
    except ERRORS as error:
        raise meaning(error) or error from error
    found = info(result.meta, dict(result.attributes))
    if found.size:
        raise ObjectStoreError("the object was replaced while it was read", ErrorCode.CHANGED)
    return transfer.CountedDownload(found, 0, 0, _chunks(result))


def _asked(byte_range: ByteRange) -> Any:
    if byte_range.offset < 0 or (byte_range.length is not None and byte_range.length < 1):
        transfer.bounds(byte_range, 0)
    if byte_range.length is None:
        return {"offset": byte_range.offset}
    return byte_range.offset, byte_range.offset + byte_range.length


async def _chunks(result: Any) -> AsyncIterator[Chunk]:
    try:
        async for chunk in result.stream(CHUNK_BYTES):
            yield memoryview(chunk)
    except ERRORS as error:
        raise meaning(error) or error from error


def info(meta: Any, attributes: dict[str, str], expires_at: float | None = None) -> ObjectInfo:
    """As obstore tells it; all attributes that are no header of its own are the user's."""
    content_type = attributes.pop("Content-Type", "")
    content_encoding = attributes.pop("Content-Encoding", "")
    metadata = {key: value for key, value in attributes.items() if key.lower() == key}
    return ObjectInfo(meta["path"], meta["size"], (meta["e_tag"] or "").strip('"'), meta["last_modified"].timestamp(),
                      content_type, content_encoding, metadata, expires_at)
