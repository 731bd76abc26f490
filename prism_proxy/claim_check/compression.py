"""Compression of payloads, piece by piece. What a piece expands to is handed out in bounded blocks."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

from prism_proxy.claim_check.algorithms import GZIP, NONE
from prism_proxy.object_stores.contract import Chunk

BLOCK = 1024 * 1024  # most bytes that one step of decompression makes
_GZIP_WINDOW = 31  # zlib: 15 bits, with the head and the end of gzip
_MAX_WINDOW_LOG = 27  # 128 MiB: more memory than that nobody makes us take


class Compressor(Protocol):
    def compress(self, data: Chunk, /) -> Chunk: ...

    def flush(self) -> bytes: ...


class Decompressor(Protocol):
    """ValueError for what was not compressed so, or ends early."""

    def blocks(self, data: Chunk) -> Iterator[Chunk]: ...

    def finish(self) -> None: ...


def compressor(name: str) -> Compressor:
    """`name` is one of COMPRESSIONS."""
    if name == NONE:
        return _Nothing()
    if name == GZIP:
        return zlib.compressobj(wbits=_GZIP_WINDOW)
    made: Compressor = _zstd().ZstdCompressor()
    return made


def decompressor(name: str) -> Decompressor:
    if name == NONE:
        return _Nothing()
    return _Gzip() if name == GZIP else _Zstd()


class _Nothing:
    def compress(self, data: Chunk, /) -> Chunk:
        return data

    def flush(self) -> bytes:
        return b""

    def blocks(self, data: Chunk) -> Iterator[Chunk]:
        yield data

    def finish(self) -> None:
        """Nothing is missing that could be known here."""


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=_GZIP_WINDOW)

    def blocks(self, data: Chunk) -> Iterator[Chunk]:
        while data:
            if self._inner.eof:
                raise ValueError("there are bytes behind the end")
            try:
                block = self._inner.decompress(data, BLOCK)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            data = self._inner.unconsumed_tail or self._inner.unused_data
            if block:
                yield block

    def finish(self) -> None:
        if not self._inner.eof:
            raise ValueError("it ends early")


class _Zstd:
    def __init__(self) -> None:
        zstd = _zstd()
        self._error: type[Exception] = zstd.ZstdError
        self._inner: Any = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})

    def blocks(self, data: Chunk) -> Iterator[Chunk]:
        while data or not (self._inner.eof or self._inner.needs_input):
            if self._inner.eof:
                raise ValueError("there are bytes behind the end")
            try:
                block = self._inner.decompress(data, BLOCK)
            except self._error as error:
                raise ValueError(str(error)) from None
            data = self._inner.unused_data if self._inner.eof else b""
            if block:
                yield block

    def finish(self) -> None:
        if not self._inner.eof:
            raise ValueError("it ends early")


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
