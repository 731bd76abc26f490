"""What every object store driver does.

Names arrive checked (see `names`). All errors are `ObjectStoreError`s. Any call may be cancelled, such as by a
deadline: nothing is left behind by it that `list_uploads` does not show.

Buffers. A chunk that is handed over is borrowed: the driver has taken what it needs when the call returns. A chunk that
is handed out belongs to the receiver. A stream holds a few parts in memory however long it is, and a writer waits while
the store is slower than it: all uploads of one store stay within its `buffer_bytes` together.

Visibility. An object is there whole or not at all: readers see the one before until `complete` or `put` has returned.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol, TypeAlias

from prism_proxy.object_stores.errors import ObjectStoreError

Chunk: TypeAlias = bytes | bytearray | memoryview
Method: TypeAlias = Literal["GET", "PUT"]

PENDING_TAG = "prism-pending"  # of an object whose message is not acknowledged yet
TTL_TAG = "prism-ttl"  # RFC 3339
TTL_SECONDS_TAG = "prism-ttl-seconds"
EXPIRES_AT_TAG = "expires-at"  # epoch seconds


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """`size` is that of the whole object. `etag` changes with the content. A listing leaves out what its store does not
    list: `content_type`, `content_encoding`, `metadata`. `expires_at` (epoch seconds) is only filled by `get_metadata`.
    """

    key: str
    size: int
    etag: str
    last_modified: float
    content_type: str = ""
    content_encoding: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class PutOptions:
    """What an object has beside its bytes. Keys of `metadata` are lower case ASCII, as HTTP headers are."""

    content_type: str = ""
    content_encoding: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


NO_OPTIONS = PutOptions()


@dataclass(frozen=True, slots=True)
class PutResult:
    """`size` is what was stored."""

    etag: str
    size: int
    version_id: str = ""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `offset`, or all from there. It may reach beyond the end, but not begin there."""

    offset: int = 0
    length: int | None = None


ALL = ByteRange()


@dataclass(frozen=True, slots=True)
class Page:
    """`objects` in the order of their keys as UTF-8, unless the server has another one. `token` is opaque and continues
    after them; None at the end."""

    objects: Sequence[ObjectInfo]
    token: str | None = None


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """An upload that was begun and neither completed nor aborted, here or elsewhere."""

    key: str
    upload_id: str
    initiated: float


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """Objects whose keys begin with `prefix` expire after `days`."""

    rule_id: str
    prefix: str
    days: int
    enabled: bool = True


class Upload(Protocol):
    """An object that is being written. Exactly one of `complete` and `abort` ends it; `abort` may follow a failed or
    cancelled `write` or `complete`, and repeats itself without harm."""

    @property
    def upload_id(self) -> str: ...

    async def write(self, chunk: Chunk) -> None:
        """Returns when the chunk may be reused; waits while too much is under way."""
        ...

    async def complete(self) -> PutResult:
        """The object is there, and durable as the store promises."""
        ...

    async def abort(self) -> None:
        """Nothing of it stays, as far as the store can be reached; but after a cancelled `complete` it may be whole."""
        ...


class Download(Protocol):
    """The bytes from `start` to `end` of an object, in chunks; an error instead of a byte that is not the object's, and
    instead of an early end. It holds a connection until it is closed: use it as a context manager."""

    @property
    def info(self) -> ObjectInfo: ...

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int:
        """The first position behind it."""
        ...

    def __aiter__(self) -> AsyncIterator[Chunk]: ...

    async def aclose(self) -> None: ...

    async def __aenter__(self) -> Download: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ObjectStore(Protocol):
    """One store with its buckets. `open` does not need the store to be there; `close` frees everything."""

    @property
    def name(self) -> str:
        """The product, as operators see it."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    # --- objects ----------------------------------------------------------------------------------------------------

    async def put(self, bucket: str, key: str, data: Chunk, options: PutOptions = NO_OPTIONS, *,
                  sha256: bytes | None = None) -> PutResult:
        """Replaces what is there. With `sha256`, bytes that arrive otherwise are refused as CORRUPT."""
        ...

    async def put_stream(self, bucket: str, key: str, chunks: AsyncIterable[Chunk],
                         options: PutOptions = NO_OPTIONS) -> PutResult:
        """An upload that completes when `chunks` end, and is aborted when they or the store fail."""
        ...

    async def begin_upload(self, bucket: str, key: str, options: PutOptions = NO_OPTIONS) -> Upload:
        """What the store refuses may show as late as in `complete`."""
        ...

    async def get(self, bucket: str, key: str, byte_range: ByteRange = ALL) -> tuple[ObjectInfo, bytes]: ...

    async def get_stream(self, bucket: str, key: str, byte_range: ByteRange = ALL, *,
                         etag: str | None = None) -> Download:
        """With `etag`, CHANGED where the object is another one by now. A connection that breaks is resumed at the byte
        where it broke, of the same object."""
        ...

    async def delete(self, bucket: str, key: str) -> None:
        """No error when it is not there."""
        ...

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, ObjectStoreError]:
        """Those that could not be deleted, and why; the others are gone."""
        ...

    async def exists(self, bucket: str, key: str) -> bool: ...

    async def get_metadata(self, bucket: str, key: str) -> ObjectInfo: ...

    async def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> PutResult:
        """Bytes, metadata and content type; tags too where the store copies them."""
        ...

    async def list(self, bucket: str, prefix: str = "", *, limit: int = 1000, token: str | None = None,
                   after: str | None = None) -> Page:
        """At most `limit` (1..1000) objects whose keys begin with `prefix`. Fewer do not mean the end. `after` begins
        behind a key, `token` behind an earlier page."""
        ...

    # --- tags and life ----------------------------------------------------------------------------------------------

    async def get_tags(self, bucket: str, key: str) -> Mapping[str, str]: ...

    async def set_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        """Replaces all tags."""
        ...

    async def set_ttl(self, bucket: str, key: str, seconds: float) -> None:
        """Leaves in the tags when the object may be removed; who sweeps honours it. Other tags stay."""
        ...

    # --- buckets ----------------------------------------------------------------------------------------------------

    async def create_bucket(self, bucket: str) -> bool:
        """False when it was ours already."""
        ...

    async def delete_bucket(self, bucket: str) -> None:
        """With all that is in it, unfinished uploads too. No error when it is not there."""
        ...

    async def bucket_exists(self, bucket: str) -> bool: ...

    async def list_uploads(self, bucket: str, prefix: str = "") -> Sequence[UploadInfo]: ...

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """No error when it is over."""
        ...

    async def lifecycle_rules(self, bucket: str) -> Sequence[LifecycleRule]:
        """Those that expire objects by age and prefix; rules of other kinds are not shown."""
        ...

    async def put_lifecycle_rule(self, bucket: str, rule: LifecycleRule) -> None:
        """Adds the rule, or replaces the one with its id. All other rules stay byte for byte; CHANGED when the result,
        read back, is not what was written."""
        ...

    async def remove_lifecycle_rule(self, bucket: str, rule_id: str) -> None: ...

    # --- presigned URLs ---------------------------------------------------------------------------------------------

    async def presign(self, method: Method, bucket: str, key: str, seconds: int) -> str:
        """UNSUPPORTED where objects have no URL."""
        ...
