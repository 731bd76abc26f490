"""`prism-proxy keys rewrite` and `keys retire` over real stores: killed in the middle, resumed, and refused."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from prism_proxy import standard
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.configuration import key_commands
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, Route
from prism_proxy.steps.encrypt.options import EncryptionOptions
from prism_proxy.steps.encrypt.values import parse
from tests.services.redis import RedisServer, binary, running
from tests.support.encrypted import files_in, resources

NAME = "customers"
MONTH = 30 * 86_400.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


class Setting:
    """A store, a directory of keys with `disk://k`, and the file that names both."""

    def __init__(self, folder: Path, driver: str, text: str, config: Any) -> None:
        self.keys = folder / "keys"
        self.keys.mkdir()
        self.files = files_in(self.keys)
        self.files.generate("k", "aes-256-gcm", time.time() - 12 * MONTH)
        self._text, self._file = f"{{driver: {driver}, config: {text}}}", folder / "prism.yaml"
        self._store = (driver, config)

    def run(self, *arguments: str, required: bool = True) -> int:
        return key_commands.main([*arguments, "--config", str(self.file(required=required))], {})

    def file(self, *, required: bool = True) -> Path:
        self._file.write_text(f"""
proxy: {{secrets: {{allow_core_dumps: true, providers: {{disk: {{type: file, directory: '{self.keys}'}}}}}}}}
namespaces:
  {NAME}:
    backends: {{store: {self._text}}}
    encryption: {{enabled: true, key_ref: "disk://k", required: {str(required).lower()}}}
""")
        return self._file

    @contextlib.asynccontextmanager
    async def opened(self, *, encrypted: bool = True) -> AsyncIterator[Route]:
        namespaces = Namespaces()
        activator = Activator(namespaces, standard.make_driver, resources=resources(self.keys))
        options = {"encryption": EncryptionOptions(enabled=True, key_ref="disk://k")} if encrypted else {}
        await activator.apply([NamespaceConfig.of_store(NAME, *self._store, **options)])
        try:
            yield namespaces.current.routes[NAME]
        finally:
            await activator.apply([])
            await activator.close()


@pytest.fixture(params=["sqlite", "redis"])
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Setting:
    if request.param == "sqlite":
        path = str(tmp_path / "values.db")
        return Setting(tmp_path, "sqlite", f"{{path: '{path}'}}", SqliteConfig(path=path))
    server, prefix = request.getfixturevalue("redis"), f"{time.time_ns()}:"
    return Setting(tmp_path, "redis", f"{{url: '{server.url}', prefix: '{prefix}'}}",
                   RedisConfig(url=server.url, prefix=prefix))


async def versions(driver: Any) -> dict[str, int]:
    """How many values there are by key id."""
    found: dict[str, int] = {}
    cursor = None
    while True:
        page = await driver.scan(b"", cursor, 1000, values=True)
        for _, stored in page.items:
            parsed = parse(stored)
            name = parsed[0].key_id if parsed is not None else "plaintext"
            found[name] = found.get(name, 0) + 1
        cursor = page.cursor
        if cursor is None:
            return found


def test_a_rewrite_that_is_killed_is_resumed(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    count = 20_000

    async def fill() -> None:
        async with setting.opened() as route:
            model = route.implementation("keyvalue_basic")
            for start in range(0, count, 1000):
                await model.batch_set([(f"k{number}", b"value %d" % number) for number in range(start, start + 1000)])
            await model.expire("k7", 3600)

    async def look() -> tuple[dict[str, int], float]:
        async with setting.opened(encrypted=False) as route:
            driver: Any = route.slots["store"].driver
            return await versions(driver), await driver.ttl(b"k7")

    asyncio.run(fill())
    setting.files.rotate("k", time.time() - 11 * MONTH)
    process = subprocess.Popen([sys.executable, "-m", "prism_proxy", "keys", "rewrite", NAME, "--config",
                                str(setting.file())], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(400):
        time.sleep(0.025)
        if rewritten_so_far(setting) > 300:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    halfway, _ = asyncio.run(look())
    assert 0 < halfway["disk://k#1"] < count
    assert 0 < halfway["disk://k#2"] < count
    assert setting.run("rewrite", NAME) == 0
    assert f"{halfway['disk://k#2']} are current, {halfway['disk://k#1']} rewritten" in capsys.readouterr().out
    after, expiry = asyncio.run(look())
    assert after == {"disk://k#2": count}
    assert 3000 < expiry <= 3600

    async def read() -> None:
        async with setting.opened() as route:
            model = route.implementation("keyvalue_basic")
            found = await model.batch_get([f"k{number}" for number in range(0, count, 100)])
            assert found == [b"value %d" % number for number in range(0, count, 100)]

    asyncio.run(read())


def rewritten_so_far(setting: Setting) -> int:
    """Past the command, which has the store open."""
    driver, config = setting._store
    if driver == "sqlite":
        import sqlite3

        with contextlib.closing(sqlite3.connect(f"file:{config.path}?mode=ro", uri=True)) as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM kv WHERE instr(value, CAST('k#2' AS BLOB)) > 0")
            return int(count)
    import redis as client

    with client.Redis.from_url(config.url) as connection:
        keys = list(connection.scan_iter(f"{config.prefix}*", count=1000, _type="string"))[:2000]
        return sum(b"disk://k#2" in (value or b"") for value in connection.mget(keys)) if keys else 0


def test_plaintext_is_encrypted_where_it_is_not_refused(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    async def fill() -> None:
        async with setting.opened(encrypted=False) as route:
            await route.implementation("keyvalue_basic").batch_set([("a", b"1"), ("b", b"2"), ("c", b"PRE1 is mine")])
            await route.implementation("keyvalue_basic").expire("b", 3600)

    async def look() -> None:
        async with setting.opened() as route:
            model: Any = route.implementation("keyvalue_basic")
            assert await model.batch_get(["a", "b", "c"]) == [b"1", b"2", b"PRE1 is mine"]
            assert await model.get_ttl("a") == -1
            assert 3000 < await model.get_ttl("b") <= 3600

    asyncio.run(fill())
    assert setting.run("rewrite", NAME) == 1
    captured = capsys.readouterr()
    assert "3 are plaintext, which encryption.required refuses" in captured.err
    assert setting.run("rewrite", NAME, "--dry-run", required=False) == 0
    assert "0 are current, 0 would be rewritten, 3 would be encrypted" in capsys.readouterr().out
    assert setting.run("rewrite", NAME, required=False) == 0
    assert setting.run("rewrite", NAME) == 0
    assert "3 are current, 0 rewritten, 0 encrypted" in capsys.readouterr().out
    asyncio.run(look())


def test_what_others_write_meanwhile_is_kept(setting: Setting) -> None:
    """Writers change values while they are rewritten: no write of theirs is lost."""
    from prism_proxy.steps.encrypt.rewriter import Rewriter

    async def together() -> None:
        async with setting.opened() as route:
            model, driver = route.implementation("keyvalue_basic"), route.slots["store"].driver
            await model.batch_set([(f"k{number}", b"0") for number in range(200)])
            setting.files.rotate("k", time.time() - 11 * MONTH)
            await route.chain.steps["encryption"]._cipher._keys.renew("disk://k", "aes-256-gcm")

            async def write() -> None:
                for number in range(200):
                    await model.set(f"k{number}", b"%d" % number)

            result, _ = await asyncio.gather(Rewriter(driver, route.chain.steps["encryption"].values).run(), write())
            assert result.left == 0
            assert await model.batch_get([f"k{number}" for number in range(200)]) == [
                b"%d" % number for number in range(200)]
            assert await versions(driver) == {"disk://k#2": 200}

    asyncio.run(together())


def test_a_version_is_retired_when_nothing_needs_it(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    async def fill() -> None:
        async with setting.opened() as route:
            await route.implementation("keyvalue_basic").set("a", b"1")
            from prism_proxy.models.stream.model import WantedRecord

            await route.implementation("stream_basic").append("s", [WantedRecord(b"", b"old", {})])

    async def trim() -> None:
        async with setting.opened() as route:
            await route.implementation("stream_retention").set_retention("s", 0, 0, 1)
            from prism_proxy.models.stream.model import WantedRecord

            await route.implementation("stream_basic").append("s", [WantedRecord(b"", b"new", {})])
            for _ in range(100):
                left = [each async for each in route.slots["store"].driver.kept_messages()]
                if len(left) == 1:
                    return
                await asyncio.sleep(0.1)
            raise AssertionError("the record stays")

    asyncio.run(fill())
    assert setting.run("retire", "disk://k") == 1
    assert setting.run("retire", "disk://k#1") == 1  # it encrypts
    setting.files.rotate("k", time.time() - 60)
    capsys.readouterr()
    assert setting.run("retire", "disk://k#1") == 1
    said = capsys.readouterr().err
    assert "messages of namespace 'customers' may be on their way for 168.0 h more" in said
    assert "holds 1 values under it" in said
    assert "holds 1 messages and records under it" in said
    rotated_long_ago(setting)
    assert setting.run("rewrite", NAME) == 0
    assert setting.run("retire", "disk://k#1") == 1
    assert "values" not in capsys.readouterr().err
    asyncio.run(trim())
    assert setting.run("retire", "disk://k#1") == 0
    assert [each.version for each in setting.files.read("k").versions] == ["2"]

    async def read() -> None:
        async with setting.opened() as route:
            assert await route.implementation("keyvalue_basic").get("a") == b"1"

    asyncio.run(read())


def rotated_long_ago(setting: Setting) -> None:
    """As if version 2 was a month old."""
    path = setting.keys / "k"
    import json

    found = json.loads(path.read_text())
    found["versions"][1]["active_from"] = time.time() - MONTH
    path.write_text(json.dumps(found))
    assert not math.isnan(found["versions"][1]["active_from"])


def test_data_is_given_up_when_that_is_said(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    async def fill() -> None:
        async with setting.opened() as route:
            await route.implementation("keyvalue_basic").set("a", b"1")

    asyncio.run(fill())
    setting.files.rotate("k", time.time() - 60)
    assert setting.run("retire", "disk://k#1", "--accept-data-loss") == 0
    assert setting.run("rewrite", NAME) == 1
    assert "1 values are left as they are: 1 ENC_KEY_NOT_FOUND" in capsys.readouterr().err


def test_memory_cannot_be_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setting = Setting(tmp_path, "memstore", "{}", None)
    setting.files.rotate("k", time.time() - MONTH)
    assert setting.run("rewrite", NAME) == 1
    assert "in the memory of the proxy" in capsys.readouterr().err
    assert setting.run("retire", "disk://k#1") == 1
    assert "in the memory of the proxy" in capsys.readouterr().err
    assert setting.run("rewrite", "nobody") == 1


def test_a_store_that_cannot_be_searched_keeps_a_version(
    setting: Setting, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for driver in (SqliteDriver, RedisDriver):
        monkeypatch.delattr(driver, "kept_messages")
    setting.files.rotate("k", time.time() - MONTH)
    assert setting.run("retire", "disk://k#1") == 1
    assert "cannot see what messages" in capsys.readouterr().err


def test_grants_of_an_admin_keep_a_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setting = Setting(tmp_path, "memstore", "{}", None)
    setting.files.rotate("k", time.time() - MONTH)
    file = tmp_path / "other.yaml"
    file.write_text(f"proxy: {{secrets: {{providers: {{disk: {{type: file, directory: '{setting.keys}', "
                    "allow: [{namespaces: 'a-*', paths: '*'}]}}}}\n")
    assert key_commands.main(["retire", "disk://k#1", "--config", str(file)], {}) == 1
    assert "namespaces 'a-*' that an admin assigns may use it" in capsys.readouterr().err
