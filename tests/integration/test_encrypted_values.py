"""Encrypted KeyValue values: every scheme over every store, what lies in the stores, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_rpc
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as batch
from prism.interfaces.keyvalue import keyvalue_batch_pb2_grpc as batch_rpc
from prism_proxy import standard
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.configuration.loader import source
from prism_proxy.crypto.algorithms import ALGORITHMS, RSA_DIRECT, algorithm
from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue.model import KeyValueModel
from prism_proxy.models.messaging_options import EnvelopeOptions
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.secrets import key_document
from prism_proxy.secrets.key_files import KeyFiles
from prism_proxy.secrets.options import GrantOptions, SecretsOptions
from prism_proxy.secrets.providers.file import FileOptions, FileProvider
from prism_proxy.steps.encrypt.options import EncryptionOptions
from prism_proxy.steps.encrypt.values import MAGIC, parse
from prism_proxy.steps.resources import StepResources
from prism_runtime.configuration.problems import ConfigurationError
from tests.services.proxy import ProxyProcess
from tests.services.redis import RedisServer, binary, running

NAME = "customers"
SYMMETRIC = EncryptionOptions(enabled=True, key_ref="disk://aes-256-gcm")
STORES = ("memstore", "sqlite", "redis")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a key of every type that encrypts."""
    directory = tmp_path_factory.mktemp("keys")
    files = KeyFiles("disk", FileProvider(directory))
    for key_type in {found.key_type for found in ALGORITHMS.values()}:
        files.generate(key_type, key_type, 0.0)
    return directory


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any]:
    """Driver and settings of the store that a test is parametrized with."""
    if request.param == "memstore":
        return "memstore", MemstoreConfig()
    if request.param == "sqlite":
        return "sqlite", SqliteConfig(path=str(tmp_path / "values.db"))
    server = request.getfixturevalue("redis")
    return "redis", RedisConfig(url=server.url, prefix=f"{time.time_ns()}:")


def resources(keys: Path, **settings: Any) -> StepResources:
    return StepResources(SecretsOptions(
        {"disk": FileOptions(directory=keys, **settings)}, allow_core_dumps=True), {})


def options_of(name: str, **changes: Any) -> EncryptionOptions:
    found = algorithm(name)
    kind = {1: "symmetric", 2: "asymmetric", 3: "post_quantum", 4: "hybrid"}[found.type]
    references = ({"key_ref": f"disk://{found.key_type}"} if kind == "symmetric" else
                  {"public_key_ref": f"disk://{found.key_type}.pub", "private_key_ref": f"disk://{found.key_type}"})
    return EncryptionOptions(enabled=True, type=kind, algorithm=name, **references, **changes)


@contextlib.asynccontextmanager
async def serving(
    store: tuple[str, Any], keys: Path, options: EncryptionOptions | None, *, assigned: bool = False,
    **settings: Any,
) -> AsyncIterator[tuple[KeyValueModel, Any]]:
    """The model of the namespace and its driver."""
    namespaces = Namespaces()
    activator = Activator(namespaces, standard.make_driver, resources=resources(keys, **settings))
    groups = {} if options is None else {"encryption": options}
    config = NamespaceConfig.of_store(NAME, *store, **groups)
    config = replace(config, assigned=assigned)
    try:
        await activator.apply([config])
        route = namespaces.current.routes[NAME]
        yield route.implementation("keyvalue_basic"), route.drivers[0]
    finally:
        del config
        await activator.apply([])
        await activator.close()


@pytest.mark.parametrize("store", STORES, indirect=True)
@pytest.mark.parametrize("name", ALGORITHMS)
async def test_ENC_1_ENC_4_values_of_every_scheme(store: tuple[str, Any], keys: Path, name: str) -> None:
    value = b"the address of a customer" * 8
    async with serving(store, keys, options_of(name)) as (model, driver):
        await model.set("one", value)
        await model.set("empty", b"")
        assert await model.get("one") == value
        assert await model.get("empty") == b""
        assert await model.get("none") is None
        assert [error for error in await model.batch_set([("two", b"2"), ("three", b"3")]) if error] == []
        assert await model.batch_get(["two", "none", "three"]) == [b"2", None, b"3"]
        stored = await driver.get(b"one")
        assert stored.startswith(MAGIC)
        secret = key_document.decode_any((keys / algorithm(name).key_type).read_bytes(), "x").versions[0].key
        for found in [stored, await driver.get(b"two")]:
            assert b"the address" not in found
            assert not any(part in found for part in secret.parts.values())
        if name != RSA_DIRECT:
            large = bytes(3 * 1024 * 1024)
            await model.set("large", large)
            assert await model.get("large") == large


@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_scans_and_transactions_see_plaintext(store: tuple[str, Any], keys: Path) -> None:
    async with serving(store, keys, SYMMETRIC) as (model, driver):
        await model.set("a", b"1")
        handle, _ = model.transactions.begin(30_000, 0)
        assert await model.get_in_transaction(handle, "a") == b"1"
        model.set_in_transaction(handle, "b", b"2")
        assert await model.get_in_transaction(handle, "b") == b"2"
        assert await model.commit(handle) == 1
        assert (await driver.get(b"b")).startswith(MAGIC)
        found = [(item.key, item.value) async for item in model.scan("", 0, None, values=True)]
        assert sorted(found) == [("a", b"1"), ("b", b"2")]


async def test_a_scan_ends_at_a_value_that_does_not_open_and_goes_on_behind_it(keys: Path) -> None:
    async with serving(("memstore", MemstoreConfig()), keys, SYMMETRIC) as (model, driver):
        for key in "abcd":
            await model.set(key, key.encode())
        await driver.set(b"b", b"injected")
        scan = model.scan("", 0, None, values=True)
        assert (await anext(scan)).value == b"a"
        with pytest.raises(PrismError, match="key 'b'") as caught:
            await anext(scan)
        assert (caught.value.reason, caught.value.metadata["key"]) == ("ENC_PLAINTEXT_REFUSED", "b")
        cursor = b64decode(caught.value.metadata["cursor"])
        assert [item.value async for item in model.scan("", 0, cursor, values=True)] == [b"c", b"d"]


async def reason(call: Any) -> str:
    with pytest.raises(PrismError) as caught:
        await call
    return caught.value.reason


@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_ENC_3_altered_moved_and_injected_values_are_refused(store: tuple[str, Any], keys: Path) -> None:
    async with serving(store, keys, SYMMETRIC) as (model, driver):
        await model.set("one", b"first")
        await model.set("two", b"second")
        stored = await driver.get(b"one")
        await driver.set(b"two", stored)
        assert await reason(model.get("two")) == "ENC_AUTH_FAILED"
        await driver.set(b"one", stored[:-1] + bytes([stored[-1] ^ 1]))
        assert await reason(model.get("one")) == "ENC_AUTH_FAILED"
        for plaintext in (b"injected", b"", MAGIC, MAGIC + b"\xff" * 20, MAGIC + b"\x05abc"):
            await driver.set(b"three", plaintext)
            assert await reason(model.get("three")) == "ENC_PLAINTEXT_REFUSED"
        results = await model.batch_get(["one", "three"])
        assert [result.reason for result in results if isinstance(result, PrismError)] == [
            "ENC_AUTH_FAILED", "ENC_PLAINTEXT_REFUSED"]


async def test_without_required_existing_values_are_served(keys: Path) -> None:
    store = ("memstore", MemstoreConfig())
    async with serving(store, keys, options_of("aes-256-gcm", required=False)) as (model, driver):
        await driver.set(b"old", b"plain")
        assert await model.get("old") == b"plain"
        await model.set("old", b"new")
        parsed = parse(await driver.get(b"old"))
        assert parsed is not None
        assert parsed[0].key_id == "disk://aes-256-gcm#1"


@pytest.mark.parametrize("store", ["sqlite", "redis"], indirect=True)
async def test_activation_says_how_many_values_would_be_refused(
    store: tuple[str, Any], keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(store, keys, None) as (model, _):
        assert await model.batch_set([("a", b"1"), ("b", b"2")]) == [None, None]
    for options, said in ((options_of("aes-256-gcm", required=False), []), (SYMMETRIC, [{
            "namespace": NAME, "plaintext": 2, "seen": 3}])):
        caplog.clear()
        async with serving(store, keys, options) as (model, _):
            await model.set("c", b"3")
            await asyncio.sleep(0.2)
            found = [record.prism_fields for record in caplog.records  # type: ignore[attr-defined]
                     if "are plaintext" in record.getMessage()]
        assert [{**fields, "seen": 3} for fields in found] == said


async def test_comparisons_are_not_served(keys: Path) -> None:
    async with serving(("memstore", MemstoreConfig()), keys, SYMMETRIC) as (model, _):
        assert await reason(model.compare_and_swap("a", None, b"1")) == "ENCRYPTED_NAMESPACE"
        assert await reason(model.compare_and_delete("a", b"1")) == "ENCRYPTED_NAMESPACE"


async def test_a_write_needs_the_public_key_only(keys: Path) -> None:
    options = EncryptionOptions(enabled=True, type="hybrid", public_key_ref="disk://x-wing.pub")
    async with serving(("memstore", MemstoreConfig()), keys, options) as (model, _):
        await model.set("a", b"1")
        assert await reason(model.get("a")) == "ENC_KEY_NOT_FOUND"


@pytest.mark.parametrize(("reference", "expected"), [
    ("disk://nowhere", "KEY_NOT_FOUND"), ("other://a", "ENCRYPTION_REFUSED"), ("disk", "ENCRYPTION_REFUSED"),
    ("disk://x25519", "KEY_NOT_FOUND"), ("disk://../escape", "KEY_NOT_FOUND")])
async def test_a_namespace_whose_key_cannot_be_had_is_refused(keys: Path, reference: str, expected: str) -> None:
    with pytest.raises(PrismError) as caught:
        async with serving(("memstore", MemstoreConfig()), keys, EncryptionOptions(enabled=True, key_ref=reference)):
            pass
    assert caught.value.reason == expected


async def test_an_assigned_namespace_uses_what_it_is_allowed(keys: Path) -> None:
    store = ("memstore", MemstoreConfig())
    with pytest.raises(PrismError, match="add it to `allow`"):
        async with serving(store, keys, SYMMETRIC, assigned=True):
            pass
    with pytest.raises(PrismError, match="add it to `allow`"):
        async with serving(store, keys, SYMMETRIC, assigned=True, allow=(GrantOptions("orders-*", "*"),)):
            pass
    async with serving(store, keys, SYMMETRIC, assigned=True, allow=(GrantOptions("cust*", "aes-*"),)) as (model, _):
        await model.set("a", b"1")


async def test_a_key_rotated_a_year_ago_still_opens_its_values(keys: Path, tmp_path: Path) -> None:
    store = ("sqlite", SqliteConfig(path=str(tmp_path / "values.db")))
    files = KeyFiles("disk", FileProvider(keys))
    files.generate("yearly", "aes-256-gcm", time.time() - 400 * 86400)
    options = EncryptionOptions(enabled=True, key_ref="disk://yearly")
    async with serving(store, keys, options) as (model, _):
        await model.set("old", b"1")
    files.rotate("yearly", time.time() - 365 * 86400)
    async with serving(store, keys, options) as (model, driver):
        assert await model.get("old") == b"1"
        await model.set("new", b"2")
        assert b"disk://yearly#2" in await driver.get(b"new")


async def test_through_a_proxy_with_workers(keys: Path, tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text(f"""
proxy:
  secrets: {{cache_ttl: 24h, grace_period: 0s, providers: {{disk: {{type: file, directory: '{keys}'}}}}}}
namespaces:
  secret:
    backends: {{store: {{driver: sqlite, config: {{path: '{tmp_path}/secret.db'}}}}}}
    encryption: {{enabled: true, type: hybrid, public_key_ref: 'disk://x-wing.pub', private_key_ref: 'disk://x-wing'}}
""")
    proxy = await ProxyProcess("--config", str(file), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                               "--workers", "2").start()
    try:
        async with grpc.aio.insecure_channel(proxy.address) as channel:
            metadata = (("x-namespace", "secret"),)
            stub: Any = basic_rpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
            for number in range(20):
                await stub.Set(basic.SetRequest(key=f"k{number}", value=b"classified"), metadata=metadata)
            reply = await stub.Get(basic.GetRequest(key="k7"), metadata=metadata)
            assert reply == basic.GetResponse(found=True, value=b"classified")
            batches: Any = batch_rpc.KeyValueBatchInterfaceStub(channel)  # type: ignore[no-untyped-call]
            found = await batches.BatchGet(batch.BatchGetRequest(keys=["k1", "none"]), metadata=metadata)
            assert found.found_count == 1
    finally:
        await proxy.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("secret.db*"))
    assert b"classified" not in kept
    assert MAGIC in kept


@pytest.mark.parametrize(("group", "expected"), [
    ("{enabled: true, key_ref: 'disk://a', algorithm: aes-128-gcm}", "use aes-256-gcm"),
    ("{enabled: true, key_ref: 'disk://a', algorithm: chacha20-poly1305, fips_mode: true}", "fips_mode"),
    ("{enabled: true, key_ref: 'disk://a', type: hybrid}", "public_key_ref is missing"),
    ("{enabled: true}", "key_ref is missing"),
    ("{enabled: true, key_ref: 'disk://a', type: symetric}", "symmetric, asymmetric")])
def test_ENC_6_mistakes_are_found_in_the_file(tmp_path: Path, group: str, expected: str) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces:\n  a:\n    backends: {store: {driver: memstore}}\n    encryption: " + group + "\n")
    with pytest.raises(ConfigurationError, match=r"prism\.yaml:4") as caught:
        source(["--config", str(file)]).load()
    assert expected in str(caught.value)


@pytest.mark.parametrize(("others", "expected"), [
    ("envelope: {mode: raw}", "needs envelope.mode always or headers"),
    ("pubsub: {log_max_age: 8d}", "overlap_period is 604800 s and pubsub.log_max_age is 691200 s"),
    ("pubsub: {log_max_age: 0s}", "pubsub.log_max_age has no bound")])
def test_settings_that_encryption_cannot_work_with_are_refused(tmp_path: Path, others: str, expected: str) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces:\n  a:\n    backends: {store: {driver: memstore}}\n    " + others
                    + "\n    encryption: {enabled: true, key_ref: 'disk://a'}\n")
    with pytest.raises(ConfigurationError, match=r"prism\.yaml:5") as caught:
        source(["--config", str(file)]).load()
    assert expected in str(caught.value)


async def test_an_assigned_namespace_is_checked_as_well(keys: Path) -> None:
    namespaces = Namespaces()
    activator = Activator(namespaces, standard.make_driver, resources=resources(keys))
    raw = NamespaceConfig.of_store(NAME, "memstore", MemstoreConfig(), encryption=SYMMETRIC,
                                   envelope=EnvelopeOptions("raw"))
    with pytest.raises(ValueError, match=r"needs envelope\.mode"):
        await activator.apply([raw])
    await activator.close()
