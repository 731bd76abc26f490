"""Google and Azure without a server of theirs: that their settings are taken, URLs are signed, and answers understood.

What a real server does with it no test here has seen.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from prism_proxy.object_stores.azure.settings import AzureSettings
from prism_proxy.object_stores.azure.store import AzureStore
from prism_proxy.object_stores.contract import LifecycleRule, PutOptions
from prism_proxy.object_stores.errors import ErrorCode
from prism_proxy.object_stores.gcs.settings import GcsSettings
from prism_proxy.object_stores.gcs.store import GcsStore
from prism_proxy.testing.contracts.object_store_fixtures import refused

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture(scope="module")
def account() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return json.dumps({"type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": key,
                       "client_email": "prism@p.iam.gserviceaccount.com", "client_id": "1",
                       "token_uri": "https://oauth2.googleapis.com/token"})


async def test_google_signs_urls_with_a_service_account(account: str, tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_text(account)
    for settings in (GcsSettings(service_account_key=account), GcsSettings(service_account_file=file)):
        store = GcsStore(settings)
        await store.open()
        url = urlsplit(await store.presign("GET", "bucket", "a b/ü", 60))
        assert url.hostname == "storage.googleapis.com"
        assert url.path == "/bucket/a%20b/%C3%BC"
        assert parse_qs(url.query)["X-Goog-Expires"] == ["60"]
        assert account not in repr(settings)
        await store.close()


async def test_what_obstore_cannot_do_is_refused_by_name(account: str) -> None:
    store = GcsStore(GcsSettings(service_account_key=account))
    for call in (store.get_tags("bucket", "key"), store.set_ttl("bucket", "key", 1), store.list_uploads("bucket"),
                 store.put_lifecycle_rule("bucket", LifecycleRule("id", "a/", 1)), store.delete_bucket("bucket")):
        with refused(ErrorCode.UNSUPPORTED):
            await call


async def test_azure_is_asked_in_its_own_way_and_understood() -> None:
    asked: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        asked.append((request.method, request.path))
        assert request.headers["Authorization"].startswith("SharedKey shop:")
        name = request.path.rpartition("/")[2]
        if name == "full":
            return web.Response(status=507, text="<Error><Code>InsufficientStorage</Code></Error>")
        if name == "denied":
            return web.Response(status=403, text="<Error><Code>AuthorizationFailure</Code></Error>")
        if name == "missing":
            return web.Response(status=404, text="<Error><Code>BlobNotFound</Code></Error>")
        if request.match_info["bucket"] == "nowhere":
            return web.Response(status=404, text="<Error><Code>ContainerNotFound</Code></Error>")
        assert request.headers["x-ms-meta-owner"] == "shop"
        return web.Response(status=201, headers={"ETag": '"tag"', "Last-Modified": "Tue, 01 Dec 2026 04:00:00 GMT"})

    app = web.Application()
    app.router.add_route("*", "/{account}/{bucket}/{path:.*}", answer)
    app.router.add_route("*", "/{bucket}/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    store = AzureStore(AzureSettings(account="shop", access_key=KEY, max_retries=0,
                                     endpoint=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    try:
        result = await store.put("images", "cat", b"x", PutOptions(metadata={"owner": "shop"}))
        assert result.etag == "tag"
        for key, code in (("full", ErrorCode.QUOTA_EXCEEDED), ("denied", ErrorCode.ACCESS_DENIED)):
            with refused(code):
                await store.put("images", key, b"x")
        with refused(ErrorCode.OBJECT_NOT_FOUND):
            await store.get("images", "missing")
        with refused(ErrorCode.BUCKET_NOT_FOUND):
            await store.get("nowhere", "cat")
        assert "sig" in parse_qs(urlsplit(await store.presign("PUT", "images", "cat", 60)).query)
    finally:
        await store.close()
        await runner.cleanup()
    assert asked[0][0] == "PUT"
