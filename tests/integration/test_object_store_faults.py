"""An S3 store that is away, slow, cut off, lying, denying or full: an error that says so, or a retry, and never other
bytes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from prism_proxy.object_stores.contract import ByteRange, ObjectStore
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError
from prism_proxy.object_stores.s3.settings import S3Settings
from prism_proxy.object_stores.s3.store import S3Store
from prism_proxy.testing.contracts.object_store_fixtures import pieces, refused
from tests.services.certificates import Authority
from tests.services.seaweedfs import S3Server
from tests.services.shim import Fault, Shim

MIB = 1024 * 1024
DATA = os.urandom(6 * MIB + 77)
BUCKET = "test-faults"
AWAY = (ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT)


def store_at(endpoint: str, server: S3Server | None = None, **more: object) -> S3Store:
    given: dict[str, object] = {
        "endpoint": endpoint, "access_key": server.access_key if server else "a",
        "secret_key": server.secret_key if server else "b", "max_retries": 1, "retry_backoff": 0.02,
        "timeout": 0.6, "connect_timeout": 0.5, "part_bytes": 5 * MIB, **more}
    return S3Store(S3Settings(**given))  # type: ignore[arg-type]


@pytest.fixture
async def direct(s3: S3Server) -> AsyncIterator[S3Store]:
    store = store_at(s3.endpoint, s3, timeout=30.0, max_retries=3)
    await store.create_bucket(BUCKET)
    await store.put(BUCKET, "key", DATA)
    yield store
    await store.close()


@pytest.fixture
async def shim(s3: S3Server, direct: S3Store) -> AsyncIterator[Shim]:
    async with Shim(*s3.address) as found:
        yield found


@pytest.fixture
async def store(s3: S3Server, shim: Shim) -> AsyncIterator[S3Store]:
    made = store_at(f"http://127.0.0.1:{shim.port}", s3)
    assert (await made.get(BUCKET, "key"))[1] == DATA
    yield made
    await made.close()


def calls(store: ObjectStore) -> list[Callable[[], object]]:
    return [lambda: store.put(BUCKET, "new", b"x"), lambda: store.get(BUCKET, "key"),
            lambda: store.put_stream(BUCKET, "new", pieces(DATA, MIB)), lambda: store.list(BUCKET),
            lambda: store.get_metadata(BUCKET, "key"), lambda: store.get_tags(BUCKET, "key"),
            lambda: store.delete(BUCKET, "other"), lambda: store.lifecycle_rules(BUCKET)]


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.STALL, Fault.CUT, Fault.GARBAGE])
async def test_a_store_that_is_away_says_so_in_time(
    store: S3Store, direct: S3Store, shim: Shim, fault: Fault
) -> None:
    shim.fault = fault
    shim.end_all()

    async def failed(call: Callable[[], object]) -> ErrorCode:
        began = time.monotonic()
        with pytest.raises(ObjectStoreError) as caught:
            await call()  # type: ignore[misc]
        assert time.monotonic() - began < 8
        return caught.value.code

    codes = await asyncio.gather(*(failed(call) for call in calls(store)))
    assert set(codes) <= set(AWAY)
    shim.fault = Fault.NONE
    shim.end_all()
    assert (await store.get(BUCKET, "key"))[1] == DATA
    for upload in await direct.list_uploads(BUCKET):  # what could not be aborted then is found later
        await direct.abort_upload(BUCKET, upload.key, upload.upload_id)
    assert await direct.list_uploads(BUCKET) == []


@pytest.mark.parametrize("fault", [Fault.SHORTER, Fault.LONGER])
async def test_a_store_that_lies_about_lengths_gives_no_other_bytes(store: S3Store, shim: Shim, fault: Fault) -> None:
    shim.fault = fault
    with pytest.raises(ObjectStoreError) as caught:
        await store.get(BUCKET, "key")
    assert caught.value.code in (*AWAY, ErrorCode.CORRUPT)


async def test_a_slow_store_is_waited_for(store: S3Store, shim: Shim) -> None:
    shim.fault = Fault.SLOW
    assert (await store.get(BUCKET, "key", ByteRange(0, MIB)))[1] == DATA[:MIB]
    await store.put(BUCKET, "slow", b"x" * 100)
    assert (await store.get(BUCKET, "slow"))[1] == b"x" * 100


async def test_a_download_goes_on_where_its_connection_broke(store: S3Store, shim: Shim) -> None:
    for _ in range(3):
        async with await store.get_stream(BUCKET, "key") as download:
            found = b""
            async for chunk in download:
                if not found:
                    shim.end_all()
                found += chunk
        assert found == DATA


async def test_a_download_never_mixes_two_objects(store: S3Store, direct: S3Store, shim: Shim) -> None:
    shim.fault = Fault.SLOW  # most of it is still on its way when the object is replaced
    found = bytearray()

    async def read() -> None:
        async with await store.get_stream(BUCKET, "key") as download:
            async for chunk in download:
                if not found:
                    await direct.put(BUCKET, "key", os.urandom(len(DATA)))
                    shim.end_all()
                found.extend(chunk)

    with pytest.raises(ObjectStoreError) as caught:
        await read()
    assert caught.value.code in (*AWAY, ErrorCode.CHANGED, ErrorCode.CORRUPT)
    assert 0 < len(found) < len(DATA)
    assert DATA.startswith(found)


async def test_an_upload_survives_broken_connections(s3: S3Server, direct: S3Store, shim: Shim) -> None:
    store = store_at(f"http://127.0.0.1:{shim.port}", s3, max_retries=10, timeout=10.0)

    async def breaking() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), MIB):
            yield DATA[start:start + MIB]
            shim.end_all()

    await store.put_stream(BUCKET, "broken", breaking())
    assert (await direct.get(BUCKET, "broken"))[1] == DATA
    assert await direct.list_uploads(BUCKET) == []
    await store.close()


async def test_credentials_that_may_not_do_it(s3: S3Server, direct: S3Store) -> None:
    if not s3.reader:
        pytest.skip("the server is not ours: it has no credentials that only read")
    reader = store_at(s3.endpoint, S3Server(s3.endpoint, s3.reader, s3.reader_secret), timeout=10.0)
    assert (await reader.get(BUCKET, "key"))[1] == DATA
    for call in (reader.put(BUCKET, "new", b"x"), reader.put_stream(BUCKET, "new", pieces(DATA, MIB)),
                 reader.delete(BUCKET, "key"), reader.set_tags(BUCKET, "key", {"a": "b"}),
                 reader.create_bucket("test-denied"), reader.put(BUCKET, "new", b"x", sha256=bytes(32))):
        with refused(ErrorCode.ACCESS_DENIED):
            await call
    with contextlib.suppress(ObjectStoreError):  # refused as a whole, or key by key
        assert (await reader.delete_many(BUCKET, ["key"]))["key"].code is ErrorCode.ACCESS_DENIED
    assert await direct.exists(BUCKET, "key")
    await reader.close()
    stranger = store_at(s3.endpoint, S3Server(s3.endpoint, s3.access_key, "wrong"), timeout=10.0)
    for call in (stranger.get(BUCKET, "key"), stranger.list(BUCKET), stranger.put(BUCKET, "new", b"x")):
        with refused(ErrorCode.ACCESS_DENIED):
            await call
    await stranger.close()


@contextlib.asynccontextmanager
async def answering(
    *answers: tuple[int, str], tls: ssl.SSLContext | None = None, **more: object
) -> AsyncIterator[tuple[S3Store, list[str]]]:
    """A store whose server answers so, the last one for ever."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        status, code = answers[min(len(asked), len(answers) - 1)]
        asked.append(request.method)
        body = f"<Error><Code>{code}</Code><Message>of the key secret-key</Message></Error>" if code else ""
        return web.Response(status=status, text=body, content_type="application/xml", headers={"ETag": '"tag"'})

    app = web.Application(client_max_size=64 * MIB)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    store = store_at(f"{'http' if tls is None else 'https'}://127.0.0.1:{port}", timeout=5.0, **more)
    try:
        yield store, asked
    finally:
        await store.close()
        await runner.cleanup()


@pytest.mark.parametrize(("status", "code", "expected"), [
    (507, "", ErrorCode.QUOTA_EXCEEDED), (507, "XMinioStorageFull", ErrorCode.QUOTA_EXCEEDED),
    (403, "QuotaExceeded", ErrorCode.QUOTA_EXCEEDED), (403, "AccessDenied", ErrorCode.ACCESS_DENIED),
    (404, "NoSuchBucket", ErrorCode.BUCKET_NOT_FOUND), (503, "SlowDown", ErrorCode.UNAVAILABLE),
    (500, "InternalError", ErrorCode.UNAVAILABLE), (400, "BadDigest", ErrorCode.CORRUPT),
    (400, "EntityTooLarge", ErrorCode.TOO_LARGE), (418, "Teapot", ErrorCode.FAILED)])
async def test_what_a_store_refuses_has_one_meaning(status: int, code: str, expected: ErrorCode) -> None:
    async with answering((status, code)) as (store, _):
        for call in (store.put(BUCKET, "secret-key", b"x"), store.put_stream(BUCKET, "secret-key", pieces(DATA, MIB)),
                     store.set_tags(BUCKET, "secret-key", {})):
            with pytest.raises(ObjectStoreError) as caught:
                await call
            assert caught.value.code is expected
            assert "secret-key" not in caught.value.message


async def test_a_store_that_asks_to_slow_down_is_asked_again() -> None:
    async with answering((503, "SlowDown"), (200, "")) as (store, asked):
        await store.put(BUCKET, "key", b"x")
        assert asked == ["PUT", "PUT"]


async def test_a_server_is_trusted_by_its_authority_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    certificate, key = authority.issue("server", "localhost")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with answering((200, ""), tls=tls, ca_cert=authority.ca_file) as (store, _):
        await store.put(BUCKET, "key", b"x")
        await store.put(BUCKET, "key", b"x", sha256=hashlib.sha256(b"x").digest())
    async with answering((200, ""), tls=tls) as (store, asked):
        for call in (store.put(BUCKET, "key", b"x"), store.delete(BUCKET, "key"), store.lifecycle_rules(BUCKET)):
            with refused(ErrorCode.UNAVAILABLE):
                await call
        assert asked == []
