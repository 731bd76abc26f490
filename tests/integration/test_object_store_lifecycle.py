"""Lifecycle rules and batches against an S3 server that keeps documents as they are, and may do less than asked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from prism_proxy.object_stores.contract import LifecycleRule
from prism_proxy.object_stores.errors import ErrorCode
from prism_proxy.object_stores.s3.settings import S3Settings
from prism_proxy.object_stores.s3.store import S3Store
from prism_proxy.testing.contracts.object_store_fixtures import refused
from tests.services.seaweedfs import S3Server

OURS = LifecycleRule("expire-claims-shop", "shop/", 2)
THEIRS = (b"<Rule><ID>theirs</ID><Filter><Tag><Key>a</Key><Value>b &amp; c</Value></Tag></Filter>"
          b"<Status>Enabled</Status><Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>"
          b"<OfTomorrow unit='x'/></Rule>")
DOCUMENT = (b'<?xml version="1.0" encoding="UTF-8"?>\n'
            b'<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' + THEIRS
            + b"</LifecycleConfiguration>")


class Server:
    """`lost` writes are answered and forgotten, as when somebody else writes right behind."""

    def __init__(self, document: bytes | None, lost: int = 0) -> None:
        self.document, self.lost, self.writes = document, lost, 0

    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response()
        if "delete" in request.query:
            return web.Response(text=(
                "<DeleteResult><Error><Key>kept</Key><Code>AccessDenied</Code></Error><Error><Key>gone</Key>"
                "<Code>NoSuchKey</Code></Error><Error><Key>busy</Key><Code>InternalError</Code></Error>"
                "</DeleteResult>"))
        if "lifecycle" not in request.query:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        if request.method == "GET":
            if self.document is None:
                return web.Response(status=404, text="<Error><Code>NoSuchLifecycleConfiguration</Code></Error>")
            return web.Response(body=self.document)
        self.writes += 1
        if self.writes > self.lost:
            self.document = await request.read() if request.method == "PUT" else None
        return web.Response(status=204 if request.method == "DELETE" else 200)


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[S3Store]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    store = S3Store(S3Settings(endpoint=f"http://127.0.0.1:{runner.addresses[0][1]}", access_key="a", secret_key="b",
                               max_retries=0))
    try:
        yield store
    finally:
        await store.close()
        await runner.cleanup()


async def test_the_rules_of_others_are_written_back_byte_for_byte() -> None:
    server = Server(DOCUMENT)
    async with serving(server) as store:
        assert await store.lifecycle_rules("claims") == []
        await store.put_lifecycle_rule("claims", OURS)
        assert server.document is not None
        assert server.document.startswith(DOCUMENT.removesuffix(b"</LifecycleConfiguration>"))
        assert await store.lifecycle_rules("claims") == [OURS]
        await store.put_lifecycle_rule("claims", OURS)
        assert server.writes == 1  # it was there
        await store.remove_lifecycle_rule("claims", OURS.rule_id)
        assert server.document == DOCUMENT
        await store.remove_lifecycle_rule("claims", "nobody's")
        assert server.writes == 2


async def test_a_bucket_without_rules_is_left_without() -> None:
    server = Server(None)
    async with serving(server) as store:
        await store.put_lifecycle_rule("claims", OURS)
        assert await store.lifecycle_rules("claims") == [OURS]
        await store.remove_lifecycle_rule("claims", OURS.rule_id)
        assert server.document is None


async def test_a_write_that_is_lost_is_done_again() -> None:
    server = Server(DOCUMENT, lost=2)
    async with serving(server) as store:
        await store.put_lifecycle_rule("claims", OURS)
        assert await store.lifecycle_rules("claims") == [OURS]
        assert server.writes == 3


async def test_a_server_that_keeps_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prism_proxy.object_stores.s3.store.LIFECYCLE_ATTEMPTS", 2)
    async with serving(Server(DOCUMENT, lost=100)) as store:
        with refused(ErrorCode.CHANGED):
            await store.put_lifecycle_rule("claims", OURS)


async def test_what_is_no_document_stays_as_it_is() -> None:
    server = Server(b"<html>a proxy's error page")
    async with serving(server) as store:
        with refused(ErrorCode.FAILED):
            await store.put_lifecycle_rule("claims", OURS)
        assert server.writes == 0


async def test_a_batch_that_is_deleted_in_part_names_the_rest() -> None:
    async with serving(Server(None)) as store:
        failed = await store.delete_many("claims", ["done", "kept", "gone", "busy"])
        assert {key: error.code for key, error in failed.items()} == {
            "kept": ErrorCode.ACCESS_DENIED, "busy": ErrorCode.UNAVAILABLE}


async def test_a_rule_of_others_at_a_real_server_stays(s3: S3Server) -> None:
    import boto3

    client: Any = boto3.client("s3", endpoint_url=s3.endpoint, region_name="us-east-1",
                               aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key)
    store = S3Store(S3Settings(endpoint=s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key))
    await store.create_bucket("test-lifecycle")
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 90}}
    client.put_bucket_lifecycle_configuration(Bucket="test-lifecycle", LifecycleConfiguration={"Rules": [theirs]})
    before = client.get_bucket_lifecycle_configuration(Bucket="test-lifecycle")["Rules"]
    await store.put_lifecycle_rule("test-lifecycle", OURS)
    found = client.get_bucket_lifecycle_configuration(Bucket="test-lifecycle")["Rules"]
    assert [rule for rule in found if rule["ID"] == "theirs"] == before
    await store.remove_lifecycle_rule("test-lifecycle", OURS.rule_id)
    assert client.get_bucket_lifecycle_configuration(Bucket="test-lifecycle")["Rules"] == before
    await store.delete_bucket("test-lifecycle")
    await store.close()
