"""Resolution: the places that schemas come from, what is trusted, and what is kept."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.schema.errors import SchemaUnresolved
from prism_proxy.schema.options import SchemasOptions
from prism_proxy.schema.reference import Place, Reference
from prism_proxy.schema.resolver import Resolver
from tests.services.schemas import SchemaServer, schema_server

V1 = 'syntax = "proto3"; package shop; message Order { string order_id = 1; string user_id = 2; double total = 3; }'
FILE = "/shop/schemas/main/orders/order.v1.proto"
LOCAL = ("127.0.0.0/8",)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[SchemaServer]:
    async with schema_server() as made:
        made.files[FILE] = V1.encode()
        made.register("orders-value", "PROTOBUF", V1)
        yield made


def resolver(server: SchemaServer, clock: Clock | None = None, **options: Any) -> Resolver:
    settings = SchemasOptions(github_url=server.url, **{"allow_networks": LOCAL, **options})
    return Resolver(settings, now=clock or Clock())


def github(**changes: Any) -> Reference:
    return reference(Place("github", "github.com/shop/schemas/blob/main/orders/order.v1.proto"), **changes)


def reference(*places: Place, **changes: Any) -> Reference:
    return Reference(places, **{"schema_name": "shop.Order", **changes})


def registry(server: SchemaServer, kind: str = "confluent", version: str = "latest") -> Place:
    return Place(kind, server.url, "orders-value", version, private=True)


async def refused(found: Any) -> SchemaUnresolved:
    with pytest.raises(SchemaUnresolved) as caught:
        await found
    return caught.value


async def test_the_same_schema_from_three_kinds_of_places_is_the_same(server: SchemaServer) -> None:
    used = resolver(server)
    found = [await used.resolve(one) for one in (
        github(), reference(registry(server)), reference(registry(server, "prism", "v1")),
        reference(Place("https", server.url + FILE)))]
    assert {one.fetched.content for one in found} == {V1.encode()}
    assert {one.sha256 for one in found} == {hashlib.sha256(V1.encode()).hexdigest()}
    assert [one.version for one in found] == ["v1"] * 4
    assert {one.type_name for one in found} == {"shop.Order"}


async def test_a_second_resolve_asks_nothing_and_one_after_the_time_asks_once(server: SchemaServer) -> None:
    clock = Clock()
    used = resolver(server, clock)
    await used.resolve(github())
    await used.resolve(github())
    assert len(server.requests) == 1
    clock.now += 3601
    await used.resolve(github())
    await used.resolve(github())
    assert len(server.requests) == 2


async def test_a_numbered_version_is_asked_for_once(server: SchemaServer) -> None:
    clock = Clock()
    used = resolver(server, clock)
    for _ in range(3):
        await used.resolve(reference(registry(server, version="v1")))
        clock.now += 100_000
    assert len(server.requests) == 1


async def test_a_known_schema_serves_while_its_place_is_away(server: SchemaServer) -> None:
    clock = Clock()
    used = resolver(server, clock)
    await used.resolve(github())
    clock.now += 4000
    server.status = 429
    assert (await used.resolve(github())).version == "v1"
    assert used.stale == 1
    server.status = 404  # it is gone, not away
    clock.now += 4000
    assert (await refused(used.resolve(github()))).reason == "SCHEMA_NOT_FOUND"


async def test_the_next_registry_is_asked_when_the_first_is_down(server: SchemaServer) -> None:
    down = Place("prism", "http://127.0.0.1:1", "orders-value", private=True)
    assert (await resolver(server).resolve(reference(down, registry(server)))).version == "v1"
    error = await refused(resolver(server).resolve(reference(down)))
    assert (error.reason, error.temporary) == ("SCHEMA_UNREACHABLE", True)
    assert "127.0.0.1:1" in error.place


@pytest.mark.parametrize(("changes", "reason"), [
    ({"sha256": "0" * 64}, "HASH_MISMATCH"),
    ({"schema_name": "shop.Nothing"}, "SCHEMA_NAME_NOT_FOUND"),
    ({"format": "avro"}, "PARSE_ERROR"),
])
async def test_what_is_not_trusted_is_refused(server: SchemaServer, changes: dict[str, Any], reason: str) -> None:
    error = await refused(resolver(server).resolve(github(**changes)))
    assert error.reason == reason
    assert "github.com/shop/schemas" in error.place


async def test_the_right_hash_is_trusted_and_one_byte_more_is_not(server: SchemaServer) -> None:
    digest = hashlib.sha256(V1.encode()).hexdigest()
    await resolver(server).resolve(github(sha256=f"sha256:{digest.upper()}"))
    server.files[FILE] += b"\n"
    error = await refused(resolver(server).resolve(github(sha256=digest)))
    assert digest in error.why
    assert hashlib.sha256(server.files[FILE]).hexdigest() in error.why


async def test_a_source_that_is_not_allowed_is_not_fetched(server: SchemaServer) -> None:
    used = resolver(server)
    assert (await refused(used.resolve(github(sources=("github.com/other/*",))))).reason == "SOURCE_NOT_ALLOWED"
    assert server.requests == []
    await used.resolve(github(sources=("github.com/shop/*",)))
    assert (await refused(used.resolve(github(sources=("github.com/other/*",))))).reason == "SOURCE_NOT_ALLOWED"


@pytest.mark.parametrize("path", ["github.com/shop/../x/y.proto", "github.com/shop/schemas", "nothing"])
async def test_paths_that_lead_elsewhere_are_refused(server: SchemaServer, path: str) -> None:
    assert (await refused(resolver(server).resolve(reference(Place("github", path))))).reason == "SOURCE_NOT_ALLOWED"
    assert server.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "0.0.0.0",
                                  "[::ffff:127.0.0.1]", "[fe80::1]", "192.168.1.1"])
async def test_private_addresses_are_refused(server: SchemaServer, host: str) -> None:
    used = resolver(server, allow_networks=(), timeout=2.0)
    port = server.url.rpartition(":")[2]
    error = await refused(used.resolve(reference(Place("https", f"http://{host}:{port}{FILE}"))))
    assert error.reason == "ADDRESS_NOT_ALLOWED"
    assert server.requests == []


async def test_redirects_are_followed_as_far_as_they_are_allowed(server: SchemaServer) -> None:
    server.redirects["/old.proto"] = FILE
    server.redirects["/away.proto"] = "http://169.254.169.254/latest/meta-data"
    server.redirects["/round.proto"] = "/round.proto"
    used = resolver(server)
    assert (await used.resolve(reference(Place("https", f"{server.url}/old.proto")))).version == "latest"
    host = server.url.removeprefix("http://")
    assert (await refused(used.resolve(reference(Place("https", f"{server.url}/old.proto"),
                                                 sources=(f"{host}/old*",))))).reason == "SOURCE_NOT_ALLOWED"
    assert (await refused(used.resolve(reference(Place("https", f"{server.url}/away.proto"))))
            ).reason == "ADDRESS_NOT_ALLOWED"
    assert (await refused(used.resolve(reference(Place("https", f"{server.url}/round.proto"))))
            ).reason == "REGISTRY_REFUSED"


async def test_a_text_without_end_is_cut(server: SchemaServer) -> None:
    server.files[FILE] = b" " * (2 * 1024 * 1024)
    assert (await refused(resolver(server).resolve(github()))).reason == "SCHEMA_TOO_LARGE"


async def test_a_version_that_changes_is_refused(server: SchemaServer) -> None:
    clock = Clock()
    used = resolver(server, clock)
    await used.resolve(reference(registry(server)))
    server.subjects["orders-value"][0]["schema"] = V1.replace("total", "sum")
    clock.now += 61
    assert (await refused(used.resolve(reference(registry(server))))).reason == "SCHEMA_CHANGED"


async def test_references_of_a_registry_come_along(server: SchemaServer) -> None:
    server.register("unit", "PROTOBUF", 'syntax = "proto3"; package shop; message Unit { string name = 1; }')
    item = 'syntax = "proto3"; package shop; import "unit.proto"; message Item { Unit u = 1; }'
    server.register("item", "PROTOBUF", item,
                    references=[{"name": "unit.proto", "subject": "unit", "version": 1}])
    place = Place("prism", server.url, "item", private=True)
    found = await resolver(server).resolve(reference(place, schema_name="shop.Item"))
    assert [one.name for one in found.fetched.references] == ["unit.proto"]


async def test_what_is_no_registry_is_refused(server: SchemaServer) -> None:
    server.files["/subjects/orders-value/versions/latest"] = b"[[["
    assert (await refused(resolver(server).resolve(reference(registry(server))))).reason == "REGISTRY_REFUSED"
    server.status = 404
    assert (await refused(resolver(server).resolve(reference(registry(server))))).reason == "SCHEMA_NOT_FOUND"


# --- a registry that is away at the start -----------------------------------------------------------------------------

async def test_a_later_process_has_what_an_earlier_one_fetched(server: SchemaServer, tmp_path: Path) -> None:
    wanted = [reference(registry(server)), reference(registry(server, "prism", "v1")), github()]
    first = [await resolver(server, cache_dir=str(tmp_path / "kept")).resolve(one) for one in wanted]
    later = resolver(server, cache_dir=str(tmp_path / "kept"))
    server.status = 503
    assert [(await later.resolve(one)).fetched for one in wanted] == [one.fetched for one in first]
    assert (later.stale, later.failed) == (3, 0)
    changed = await refused(later.resolve(github(sha256="0" * 64)))
    assert changed.reason == "HASH_MISMATCH", "what was kept is held against what is demanded"
    other = await refused(later.resolve(reference(registry(server, version="v2"))))
    assert other.temporary, "another version was never fetched"


async def test_files_that_are_damaged_or_cannot_be_written_cost_a_warning(server: SchemaServer, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    await resolver(server, cache_dir=str(kept)).resolve(github())
    [file] = kept.iterdir()
    whole = file.read_text()
    for damage in ("", "{", "[]", '{"format": 1}', whole[:-20], whole.replace('"format": 1', '"format": 9')):
        file.write_text(damage)
        server.status = 503
        assert (await refused(resolver(server, cache_dir=str(kept)).resolve(github()))).temporary
        server.status = 200
    blocked = tmp_path / "a file"
    blocked.write_text("")
    assert (await resolver(server, cache_dir=str(blocked / "below")).resolve(github())).version == "v1"
