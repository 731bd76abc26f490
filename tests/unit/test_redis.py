"""Parts of the Redis driver that need no server: settings, keys, cursors, versions, what operators are told."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any
from unittest.mock import Mock

import pytest

from prism_proxy.backends.redis import scan, scripts, status
from prism_proxy.backends.redis.config import Address, RedisConfig
from prism_proxy.backends.redis.url import parse_url
from prism_proxy.backends.server_tls import ServerTls
from prism_proxy.backends.shared_pools import SharedPool
from prism_proxy.contracts.driver import Health
from prism_runtime.configuration.shapes import fields_of
from prism_runtime.settings import MASK, shown_value

SECRET = "Pa55word"


@pytest.mark.parametrize(("url", "problem"), [
    (f"redis://:{SECRET}#x@host", "percent-encoded: # as %23"), (f"redis://:{SECRET}/x@host", "percent-encoded"),
    (f"redis://:{SECRET}?x@host", "percent-encoded"), (f"redis://:x@{SECRET}@host", "percent-encoded"),
    (f"redis://user:x:{SECRET}@host", "percent-encoded"), (f"redis://user:{SECRET}%zz@host", "percent-encoded"),
    (f"redis://user:{SECRET}%ff@host", "no UTF-8"), (f"redis://user:{SECRET} x@host", "percent-encoded"),
    (f"redis://user:{SECRET}", "port from 1 to 65535"), (f"redis://:{SECRET}/0", "port from 1 to 65535"),
    (f"{SECRET}", "must begin with"), (f"redis:{SECRET}@host", "must begin with"),
    (f"{SECRET}://host", "must begin with"), (f"redis://u:{SECRET}@host:0", "port from 1 to 65535"),
    (f"redis://user:{SECRET}@host:99999", "port from 1 to 65535"),
    (f"redis://u:{SECRET}@host:port", "port from 1 to 65535"), (f"redis://u:{SECRET}@host/one", "must be a number"),
    (f"redis://u:{SECRET}@host?timeout=3", "take none"), (f"redis://u:{SECRET}@host/0#x", "no URL of Redis has"),
    (f"unix://u:{SECRET}@/path?db=0&x=1", "the only one"), (f"unix://u:{SECRET}@/path?x=1", "the only one"),
    (f"unix://u:{SECRET}@/path?db={SECRET}", "must be a number"), (f"unix://u:{SECRET}@host/path", "three slashes"),
    (f"unix://u:{SECRET}@", "no path"), (f"redis://u:{SECRET}@ho$t", "port from 1 to 65535"),
    (f"redis://u:{SECRET}@[::1", "port from 1 to 65535"),
])
def test_a_url_that_is_none_is_refused_and_never_quoted(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        RedisConfig(url)
    assert str(caught.value).startswith("url ")
    assert SECRET not in str(caught.value)
    assert "u:" not in str(caught.value).replace("unix:", "")
    assert caught.value.__cause__ is None
    with pytest.raises(ValueError, match="number 2") as caught:
        RedisConfig(mode="sentinel", nodes=("host:1", url.partition("//")[2].partition("/")[0] + ":x"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://host", "rediss://u:p%23%2F%3F%40%3A@[::1]:7000/3", "unix:///run/redis.sock",
                                 "unix://u:p@/run/redis.sock?db=2", "redis://"])
def test_urls_are_written_as_they_are_read(url: str) -> None:
    parsed = parse_url(url)
    assert parse_url(parsed.text()) == parsed


@pytest.mark.parametrize(("settings", "problem"), [
    ({"url": "http://host"}, "must begin with redis://, rediss:// or unix://"),
    ({"url": "redis://host/orders"}, "must be a number"),
    ({"mode": "sentinel"}, "needs nodes"),
    ({"mode": "cluster", "nodes": ("host:1",), "url": "redis://host/1"}, "database 0 only"),
    ({"mode": "cluster", "nodes": ("host:port",)}, "write HOST:PORT"),
    ({"mode": "twin"}, "must be one of standalone"),
    ({"url": "redis://u:one@host", "password": "two"}, "given twice"),
    ({"connections": 0}, "connections is 0"),
])
def test_mistakes_in_the_settings(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RedisConfig(**settings)


def test_certificate_and_key_belong_together() -> None:
    with pytest.raises(ValueError, match="belong together"):
        ServerTls(cert_file="x.pem")  # type: ignore[arg-type]


def test_what_a_url_says() -> None:
    config = RedisConfig("rediss://user:p%40ss@redis.example:7000/3")
    assert (config.address, config.database, config.credentials) == (
        Address("redis.example", 7000), 3, ("user", "p@ss"))
    assert RedisConfig("redis://[::1]").address == Address("::1", 6379)
    unix = RedisConfig("unix:///run/redis.sock?db=2")
    assert (unix.address, unix.database) == (Address(path="/run/redis.sock"), 2)
    nodes = RedisConfig(mode="sentinel", nodes=("one:26379", "[::1]:1", "two"))
    assert nodes.addresses == [Address("one", 26379), Address("::1", 1), Address("two", 6379)]


def test_secrets_are_never_shown() -> None:
    config = RedisConfig("redis://user:hidden@host", sentinel_password="hidden")
    assert "hidden" not in repr(config)
    shown = {field.name: shown_value(field.declared, getattr(config, field.name)) for field in fields_of(RedisConfig)}
    assert "hidden" not in str(shown)
    assert shown["sentinel_password"] == MASK


def test_namespaces_have_keys_of_their_own() -> None:
    prefixes = {RedisConfig().within(name).key_prefix for name in ("a", "a:b", "a%3Ab", "{a}", "%7Ba%7D", "é")}
    assert len(prefixes) == 6
    assert RedisConfig().within("a").key_prefix == b"prism:a:"
    assert RedisConfig(prefix="x/").within("a:{b}").key_prefix == b"x/a%3A%7Bb%7D:"
    bound = RedisConfig().within("a")
    assert pickle.loads(pickle.dumps(bound)) == bound != RedisConfig().within("b")


def test_patterns_match_the_prefix_alone() -> None:
    assert scan.pattern(b"a*b?[c]\\d^-") == b"a\\*b\\?\\[c\\]\\\\d\\^\\-*"


@pytest.mark.parametrize("position", [
    scan.Position(0, 256, 0), scan.Position(2, 1000, 2**64 - 1, 2**63, b"key"), scan.Position(1, 300, 7, 0, b"")])
def test_cursors_hold_the_position(position: scan.Position) -> None:
    cursor = position.encode()
    assert scan.Position.decode(cursor, 5) == position
    for wrong in (cursor[:5], b"\x02" + cursor[1:], cursor[:3] + b"\xff\xff\xff\xff" + cursor[7:], b""):
        with pytest.raises(ValueError, match="not made by this namespace"):
            scan.Position.decode(wrong, 5)


class Keyspace:
    """Commands of a scan, over pages that a test lays out: (cursor, keys) by the cursor asked for."""

    sharded = False
    servers = 2

    def __init__(self, pages: list[dict[int, tuple[int, list[bytes]]]]) -> None:
        self.pages = pages

    async def scan(self, server: int, *arguments: bytes) -> Any:
        following, keys = self.pages[server][int(arguments[1])]
        return b"%d" % following, keys


async def test_a_scan_resumes_within_a_page_and_goes_to_the_next_server() -> None:
    space: Any = Keyspace([{0: (9, [b"n:c", b"n:a", b"n:b"]), 9: (0, [])}, {0: (0, [b"n:z"])}])

    async def page(cursor: bytes | None) -> scan.KeyPage:
        return await scan.page(space, b"n:", b"", scan.Position.decode(cursor, 10))

    first = await page(None)
    assert first.keys == [b"a", b"b", b"c"]
    assert (await page(first.after(b"a"))).keys == [b"b", b"c"]
    second = await page(first.cursor)
    third = await page(second.cursor)
    assert (second.keys, third.keys, third.cursor) == ([], [b"z"], None)
    space.pages[0][0] = (13, [b"n:a", b"n:b", b"n:d"])  # the table was resized
    assert (await page(first.after(b"b"))).keys == [b"a", b"b", b"d"]
    space.servers = 1
    with pytest.raises(ValueError, match="server that is gone"):
        await page(third.after(b"z"))


def test_versions_are_salted_digests() -> None:
    assert scripts.version_of(b"s", None) == 0
    assert scripts.version_of(b"s", b"") != 0
    assert scripts.version_of(b"s", b"v") == scripts.version_of(b"s", b"v") != scripts.version_of(b"t", b"v")
    assert scripts.digest_of(0) == b""
    for value in (b"", b"v", bytes(1000)):
        expected = hashlib.sha1(b"s" + value, usedforsecurity=False).hexdigest().encode()
        assert scripts.digest_of(scripts.version_of(b"s", value)) == expected


def told(info: dict[str, str], **more: Any) -> Any:
    figures = {"ready": 3, "size": 3, "idle": 3, "pending": 0, "capacity": 100, "failure": "refused",
               "shared_pool": SharedPool(1, Mock())} | more
    return status.report(info, RedisConfig(), status.Connections(**figures))


def test_health() -> None:
    info = {"redis_version": "7.0", "role": "master"}
    assert told(info).status is Health.HEALTHY
    assert told(info, ready=0).status is Health.UNHEALTHY
    assert "refused" in told(info, ready=0).message
    assert told(info, ready=2).status is Health.DEGRADED
    assert told(info, pending=90).status is Health.DEGRADED
    assert told({**info, "role": "slave"}).status is Health.DEGRADED
    assert "CLIENT KILL" in told({**info, "fence": "refused"}).details["anomaly"]


@pytest.mark.parametrize(("info", "words"), [
    ({}, "asynchronous"), ({"aof_enabled": "0"}, "in memory"), ({"aof_enabled": "1"}, "may not ask"),
    ({"appendonly": "yes", "appendfsync": "everysec"}, "last second"),
    ({"appendonly": "yes", "appendfsync": "always"}, "before they are acknowledged"),
    ({"appendonly": "yes", "appendfsync": "no"}, "had not written"),
])
def test_durability_is_the_servers_own(info: dict[str, str], words: str) -> None:
    assert words in status.durability(info)
