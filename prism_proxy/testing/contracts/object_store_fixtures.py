"""What the suites of object stores share. A harness gives the fixture `objects`, an open store, and names what its
product cannot do."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import ClassVar

import pytest

from prism_proxy.object_stores.contract import Chunk, ObjectStore
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError

PART = 5 * 1024 * 1024  # what stores ask of all parts but the last


class ObjectStoreFixtures:
    """What the store under test has; without it, the suite asks for its refusal. `longest_part` is that of a key
    between slashes, `key_order` the order of listings."""

    presigns: ClassVar[bool] = False
    lists_uploads: ClassVar[bool] = True
    key_order: ClassVar[bool] = True
    longest_part: ClassVar[int] = 1024

    @pytest.fixture
    async def bucket(self, objects: ObjectStore) -> AsyncIterator[str]:
        """A new bucket, removed at the end."""
        name = f"test-{uuid.uuid4().hex[:20]}"
        await objects.create_bucket(name)
        yield name
        await objects.delete_bucket(name)


@contextlib.contextmanager
def refused(code: ErrorCode) -> Iterator[None]:
    """What happens here is refused with this code."""
    with pytest.raises(ObjectStoreError) as caught:
        yield
    assert caught.value.code is code
    assert caught.value.message


async def pieces(data: bytes, size: int) -> AsyncIterator[Chunk]:
    """The data in chunks, each in a buffer that is overwritten when the next one is asked for."""
    buffer = bytearray(size)
    for start in range(0, len(data), size):
        piece = data[start:start + size]
        buffer[:len(piece)] = piece
        yield memoryview(buffer)[:len(piece)]
        buffer[:] = bytes(size)


async def failing(data: bytes, size: int) -> AsyncIterator[Chunk]:
    async for piece in pieces(data, size):
        yield piece
    raise RuntimeError("the source ended early")


async def joined(chunks: AsyncIterable[Chunk]) -> bytes:
    return b"".join([chunk async for chunk in chunks])
