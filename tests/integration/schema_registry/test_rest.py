"""The HTTP face, as stock clients and their own tests expect it: bodies, codes, and what each deletion leaves."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.services.schema_registry import Rest, record

ONE = record("Order", "id")
TWO = record("Order", "id", note="")
BREAKING = record("Order", "id", "total")


async def test_registered_looked_up_and_read_by_every_path(rest: Rest) -> None:
    status, made = await rest.register("orders-value", ONE)
    assert (status, made["id"], made["version"]) == (200, 1, 1)
    text = json.dumps(ONE)
    assert await rest.get("/subjects") == (200, ["orders-value"])
    assert await rest.get("/subjects/orders-value/versions") == (200, [1])
    for version in ("1", "latest", "-1"):
        status, found = await rest.get(f"/subjects/orders-value/versions/{version}")
        assert status == 200
        assert found == {"subject": "orders-value", "version": 1, "id": 1, "guid": made["guid"], "schema": text}
    assert await rest.get("/subjects/orders-value/versions/1/schema") == (200, ONE)
    assert await rest.get("/schemas/ids/1") == (200, {"schema": text})
    assert await rest.get("/schemas/ids/1?subject=orders-value&fetchMaxId=true") == (200, {"schema": text, "maxId": 1})
    assert await rest.get("/schemas/ids/1/schema") == (200, ONE)
    assert await rest.get("/schemas/ids/1/subjects") == (200, ["orders-value"])
    assert await rest.get("/schemas/ids/1/versions") == (200, [{"subject": "orders-value", "version": 1}])
    assert await rest.get(f"/schemas/guids/{made['guid']}") == (200, {"schema": text, "guid": made["guid"]})
    status, found = await rest.post("/subjects/orders-value", {"schema": text})
    assert (status, found["id"], found["version"], found["subject"]) == (200, 1, 1, "orders-value")
    assert await rest.get("/schemas/types") == (200, ["JSON", "PROTOBUF", "AVRO"])
    assert (await rest.get("/schemas"))[1][0]["id"] == 1
    assert await rest.get("/") == (200, {})


async def test_the_same_schema_has_the_same_id(rest: Rest) -> None:
    first = (await rest.register("a-value", ONE))[1]
    assert (await rest.register("a-value", ONE))[1] == first
    assert (await rest.register("a-value", json.dumps(ONE, indent=4)))[1] == first  # white space is no difference
    other = (await rest.register("b-value", ONE))[1]
    assert (other["id"], other["version"]) == (first["id"], 1)
    assert (await rest.register("a-value", TWO))[1]["id"] == first["id"] + 1


async def test_soft_and_permanent_deletion(rest: Rest) -> None:
    await rest.register("a", ONE)
    await rest.register("a", TWO)
    assert (await rest.delete("/subjects/a/versions/1?permanent=true"))[1]["error_code"] == 40407
    assert await rest.delete("/subjects/a/versions/1") == (200, 1)
    assert (await rest.delete("/subjects/a/versions/1"))[1]["error_code"] == 40406
    assert await rest.get("/subjects/a/versions") == (200, [2])
    assert await rest.get("/subjects/a/versions?deleted=true") == (200, [1, 2])
    assert await rest.get("/subjects/a/versions?deletedOnly=true") == (200, [1])
    assert (await rest.get("/subjects/a/versions/1"))[1]["error_code"] == 40402
    assert (await rest.get("/subjects/a/versions/1?deleted=true"))[1]["id"] == 1
    assert (await rest.get("/schemas/ids/1"))[0] == 200  # data that were written with it are still read
    assert (await rest.post("/subjects/a", {"schema": json.dumps(ONE)}))[1]["error_code"] == 40403
    assert (await rest.post("/subjects/a?deleted=true", {"schema": json.dumps(ONE)}))[1]["version"] == 1
    assert (await rest.delete("/subjects/a?permanent=true"))[1]["error_code"] == 40405
    assert await rest.delete("/subjects/a") == (200, [2])
    assert (await rest.delete("/subjects/a"))[1]["error_code"] == 40404
    assert await rest.get("/subjects") == (200, [])
    assert await rest.get("/subjects?deleted=true") == (200, ["a"])
    assert (await rest.get("/subjects/a/versions"))[1]["error_code"] == 40401
    assert await rest.delete("/subjects/a?permanent=true") == (200, [1, 2])
    assert (await rest.get("/schemas/ids/1"))[1]["error_code"] == 40403
    assert (await rest.delete("/subjects/a?permanent=true"))[1]["error_code"] == 40401


async def test_an_id_and_a_number_are_never_given_twice(rest: Rest) -> None:
    await rest.register("a", ONE)
    await rest.register("a", TWO)
    await rest.delete("/subjects/a/versions/2")
    again = (await rest.register("a", TWO))[1]
    assert (again["id"], again["version"]) == (2, 3)  # the same schema; a number is one state of the subject
    await rest.delete("/subjects/a")
    await rest.delete("/subjects/a?permanent=true")
    assert (await rest.register("a", ONE))[1]["id"] == 3


@pytest.mark.parametrize(("level", "allowed"), [
    ("BACKWARD", False), ("BACKWARD_TRANSITIVE", False), ("FORWARD", True), ("FULL", False), ("NONE", True)])
async def test_registration_at_each_level(rest: Rest, level: str, allowed: bool) -> None:
    assert await rest.put("/config/a", {"compatibility": level.lower()}) == (200, {"compatibility": level})
    await rest.register("a", ONE)
    status, body = await rest.register("a", BREAKING)
    if allowed:
        assert (status, body["version"]) == (200, 2)
        return
    assert (status, body["error_code"]) == (409, 409)
    assert 'Schema being registered is incompatible with an earlier schema for subject "a"' in body["message"]
    assert "'total'" in body["message"]
    assert await rest.get("/subjects/a/versions") == (200, [1])


async def test_a_transitive_level_holds_against_all_versions(rest: Rest) -> None:
    """Backward: the third reads what the second wrote, and not what the first wrote."""
    chain = [record("A", "x"), record("A"), {"type": "record", "name": "A", "fields": [{"name": "x", "type": "int",
                                                                                        "default": 0}]}]
    for subject, level, last in (("plain", "BACKWARD", 200), ("all", "BACKWARD_TRANSITIVE", 409)):
        await rest.put(f"/config/{subject}", {"compatibility": level})
        assert [(await rest.register(subject, schema))[0] for schema in chain] == [200, 200, last]


async def test_compatibility_is_checked_without_registering(rest: Rest) -> None:
    await rest.register("a", ONE)
    good, bad = {"schema": json.dumps(TWO)}, {"schema": json.dumps(BREAKING)}
    for version in ("latest", "1"):
        path = f"/compatibility/subjects/a/versions/{version}"
        assert await rest.post(path, good) == (200, {"is_compatible": True})
        assert await rest.post(path, bad) == (200, {"is_compatible": False})
        status, verdict = await rest.post(path + "?verbose=true", bad)
        assert (status, verdict["is_compatible"]) == (200, False)
        assert any("READER_FIELD_MISSING_DEFAULT_VALUE" in message for message in verdict["messages"])
    assert await rest.post("/compatibility/subjects/a/versions", bad) == (200, {"is_compatible": False})
    assert await rest.post("/compatibility/subjects/new/versions", bad) == (200, {"is_compatible": True})
    assert (await rest.post("/compatibility/subjects/a/versions/9", good))[1]["error_code"] == 40402
    assert (await rest.post("/compatibility/subjects/new/versions/1", good))[1]["error_code"] == 40401
    assert await rest.get("/subjects/a/versions") == (200, [1])


async def test_config_of_everything_of_a_context_and_of_a_subject(rest: Rest) -> None:
    assert await rest.get("/config") == (200, {"compatibilityLevel": "BACKWARD"})
    assert (await rest.get("/config/a"))[1]["error_code"] == 40408
    assert await rest.get("/config/a?defaultToGlobal=true") == (200, {"compatibilityLevel": "BACKWARD"})
    assert await rest.put("/config", {"compatibility": "FULL"}) == (200, {"compatibility": "FULL"})
    assert await rest.get("/config/a?defaultToGlobal=true") == (200, {"compatibilityLevel": "FULL"})
    assert await rest.put("/config/:.team:", {"compatibility": "NONE"}) == (200, {"compatibility": "NONE"})
    assert await rest.get("/config/:.team:a?defaultToGlobal=true") == (200, {"compatibilityLevel": "NONE"})
    assert await rest.put("/config/a", {"compatibility": "FORWARD"}) == (200, {"compatibility": "FORWARD"})
    assert await rest.get("/config/a") == (200, {"compatibilityLevel": "FORWARD"})
    assert await rest.delete("/config/a") == (200, {"compatibilityLevel": "FORWARD"})
    assert (await rest.delete("/config/a"))[1]["error_code"] == 40401
    assert await rest.delete("/config") == (200, {"compatibilityLevel": "FULL"})
    assert await rest.get("/config") == (200, {"compatibilityLevel": "BACKWARD"})
    status, refused = await rest.put("/config", {"compatibility": "SIDEWARD"})
    assert (status, refused["error_code"]) == (422, 42203)


async def test_modes(rest: Rest) -> None:
    await rest.register("a", ONE)
    assert await rest.get("/mode") == (200, {"mode": "READWRITE"})
    assert (await rest.get("/mode/a"))[1]["error_code"] == 40409
    assert await rest.get("/mode/a?defaultToGlobal=true") == (200, {"mode": "READWRITE"})
    assert await rest.put("/mode/a", {"mode": "READONLY"}) == (200, {"mode": "READONLY"})
    for refused in (await rest.register("a", TWO), await rest.delete("/subjects/a"),
                    await rest.delete("/subjects/a/versions/1"),
                    await rest.put("/config/a", {"compatibility": "NONE"})):
        assert (refused[0], refused[1]["error_code"]) == (422, 42205)
    assert await rest.delete("/mode/a") == (200, {"mode": "READONLY"})
    assert (await rest.register("a", TWO))[0] == 200
    await rest.put("/mode/a", {"mode": "READWRITE"})
    await rest.put("/mode", {"mode": "READONLY_OVERRIDE"})
    assert (await rest.register("a", record("Order", "id", other="")))[1]["error_code"] == 42205
    assert (await rest.put("/mode", {"mode": "SOMETIMES"}))[1]["error_code"] == 42204


async def test_import_keeps_ids_and_numbers(rest: Rest) -> None:
    refused = (await rest.register("a", ONE, id=42, version=7))[1]
    assert refused["error_code"] == 42205
    assert "is not in import mode" in refused["message"]
    assert await rest.put("/mode/a", {"mode": "IMPORT"}) == (200, {"mode": "IMPORT"})
    made = (await rest.register("a", ONE, id=42, version=7))[1]
    assert (made["id"], made["version"]) == (42, 7)
    assert (await rest.register("a", BREAKING, id=43, version=8))[0] == 200  # nothing is checked
    assert (await rest.register("a", TWO, id=42, version=9))[1]["error_code"] == 42205
    assert (await rest.register("a", TWO))[1]["error_code"] == 42205
    await rest.delete("/subjects/a/versions/8")
    assert (await rest.register("a", TWO, id=50, version=8))[0] == 200  # a deleted number, with another schema
    assert await rest.get("/schemas/ids/43/versions?deleted=true") == (200, [])
    assert (await rest.register("b", TWO))[1]["id"] == 50
    assert (await rest.put("/mode/b", {"mode": "IMPORT"}))[1]["error_code"] == 42205
    assert await rest.put("/mode/b?force=true", {"mode": "IMPORT"}) == (200, {"mode": "IMPORT"})


async def test_references(rest: Rest) -> None:
    customer = record("Customer", "name")
    order = {"type": "record", "name": "Order", "fields": [{"name": "buyer", "type": "Customer"}]}
    reference = {"name": "Customer", "subject": "customer", "version": 1}
    missing = (await rest.register("order", order, references=[reference]))[1]
    assert missing["error_code"] == 42201
    assert 'No schema reference found for subject "customer" and version 1' in missing["message"]
    await rest.register("customer", customer)
    status, made = await rest.register("order", order, references=[reference])
    assert (status, made["id"]) == (200, 2)
    assert (await rest.get("/schemas/ids/2"))[1]["references"] == [reference]
    assert (await rest.get("/subjects/order/versions/1"))[1]["references"] == [reference]
    assert (await rest.register("order", order, references=[{**reference, "version": -1}]))[1]["id"] == 2
    assert await rest.get("/subjects/customer/versions/1/referencedby") == (200, [2])
    for path in ("/subjects/customer", "/subjects/customer/versions/1"):
        status, refused = await rest.delete(path)
        assert (status, refused["error_code"]) == (422, 42206)
    await rest.delete("/subjects/order")
    assert await rest.get("/subjects/customer/versions/1/referencedby") == (200, [])
    assert await rest.delete("/subjects/customer") == (200, [1])
    assert (await rest.get("/schemas/ids/2"))[0] == 200
    assert (await rest.delete("/subjects/customer?permanent=true"))[1]["error_code"] == 42206  # 2 can still be read
    assert await rest.delete("/subjects/order?permanent=true") == (200, [1])
    assert await rest.delete("/subjects/customer?permanent=true") == (200, [1])


async def test_contexts(rest: Rest) -> None:
    plain = (await rest.register("a", ONE))[1]
    team = (await rest.register(":.team:a", BREAKING))[1]  # another subject: nothing to be compatible with
    assert team["version"] == 1
    assert team["id"] != plain["id"]
    assert await rest.get("/contexts") == (200, [".", ".team"])
    assert await rest.get("/subjects") == (200, ["a", ":.team:a"])
    assert await rest.get("/subjects?subjectPrefix=:.team:") == (200, [":.team:a"])
    assert await rest.get("/subjects?subjectPrefix=a") == (200, ["a"])
    assert (await rest.get("/subjects/:.team:a/versions/1"))[1]["subject"] == ":.team:a"
    assert (await rest.get(f"/schemas/ids/{team['id']}?subject=:.team:a"))[1] == {"schema": json.dumps(BREAKING)}
    assert await rest.get(f"/schemas/ids/{team['id']}/subjects?subject=:.team:") == (200, [":.team:a"])
    assert (await rest.get("/subjects/:.:a/versions/1"))[1]["subject"] == "a"


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), [
    ("GET", "/subjects/none/versions", None, 404, 40401),
    ("GET", "/subjects/none/versions/1", None, 404, 40401),
    ("GET", "/subjects/a/versions/9", None, 404, 40402),
    ("GET", "/subjects/a/versions/0", None, 422, 42202),
    ("GET", "/subjects/a/versions/newest", None, 422, 42202),
    ("GET", "/subjects/a/versions/99999999999999999999", None, 422, 42202),
    ("GET", "/schemas/ids/77", None, 404, 40403),
    ("GET", "/schemas/ids/77/schema", None, 404, 40403),
    ("GET", "/schemas/ids/none", None, 404, 40403),
    ("GET", "/schemas/guids/none", None, 404, 40403),
    ("POST", "/subjects/none", {"schema": '"string"'}, 404, 40401),
    ("POST", "/subjects/a", {"schema": '"string"'}, 404, 40403),
    ("POST", "/subjects/a/versions", {"schema": '{"type":"record"}'}, 422, 42201),
    ("POST", "/subjects/a/versions", {"schema": ""}, 422, 42201),
    ("POST", "/subjects/a/versions", {}, 422, 42201),
    ("POST", "/subjects/a/versions", {"schema": 5}, 422, 422),
    ("POST", "/subjects/a/versions", {"schema": '"string"', "schemaType": "XML"}, 422, 42201),
    ("POST", "/subjects/a/versions", {"schema": '"string"', "references": [5]}, 422, 422),
    ("POST", "/subjects/a/versions", b"{", 422, 422),
    ("POST", "/subjects/a/versions", b"[" * 100_000, 422, 422),
    ("POST", "/subjects/a/versions", {"schema": '"string"', "metadata": {"owner": "\0"}}, 422, 422),
    ("POST", "/subjects/a/versions", b'{"schema":"true","schemaType":"JSON","metadata":{"owner":"\\ud800"}}', 422, 422),
    ("POST", "/subjects/a/versions", b'{"schema":"true","schemaType":"JSON","metadata":{"rate":NaN}}', 422, 422),
    ("POST", "/subjects/a/versions", b'{"schema":"true","schemaType":"JSON","metadata":{"rate":[1e400]}}', 422, 422),
    ("POST", "/subjects/a/versions", {"schema": '{"type":"fixed","name":"F","size":1,"doc":"\\ud800"}'}, 422, 42201),
    ("POST", "/subjects/__GLOBAL/versions", {"schema": '"string"'}, 422, 42208),
    ("POST", "/subjects/a%00b/versions", {"schema": '"string"'}, 422, 42208),
    ("DELETE", "/subjects/none", None, 404, 40401),
    ("DELETE", "/subjects/a/versions/9", None, 404, 40402),
    ("GET", "/nowhere", None, 404, 404),
    ("PUT", "/subjects", {}, 405, 405),
])
async def test_what_is_refused_has_the_code_that_clients_know(
    rest: Rest, method: str, path: str, body: Any, status: int, code: int
) -> None:
    await rest.register("a", ONE)
    found, reply = await rest.call(method, path, body)
    assert (found, reply["error_code"]) == (status, code), reply
    assert reply["message"]


async def test_a_subject_may_have_any_printable_name(rest: Rest) -> None:
    for name in ("a/b", "a b", "ü€", "%25", "a:b", "com.example.Order-value"):
        assert (await rest.register(name, ONE))[0] == 200
        assert (await rest.get(f"/subjects/{quote(name, safe='')}/versions/1"))[1]["subject"] == name


async def test_normalize_and_metadata(rest: Rest) -> None:
    spaced = json.dumps(ONE, indent=8)
    await rest.register("plain", spaced)
    assert (await rest.get("/subjects/plain/versions/1"))[1]["schema"] == spaced
    await rest.put("/config/normal", {"normalize": True})
    await rest.register("normal", json.dumps(record("Other", "id"), indent=8))
    text = (await rest.get("/subjects/normal/versions/1"))[1]["schema"]
    assert "\n" not in text
    for version, owner in ((1, "shop"), (2, "bank")):
        made = (await rest.register("kept", TWO, metadata={"properties": {"owner": owner}}))[1]
        assert made["version"] == version  # metadata are part of what a schema is
    found = (await rest.get("/subjects/kept/metadata?key=owner&value=shop"))[1]
    assert (found["version"], found["metadata"]) == (1, {"properties": {"owner": "shop"}})
    assert (await rest.get("/subjects/kept/metadata?key=owner&value=none"))[1]["error_code"] == 40403


async def test_lists_in_pages(rest: Rest) -> None:
    for number in range(5):
        await rest.register(f"s{number}", ONE)
    assert await rest.get("/subjects?offset=1&limit=2") == (200, ["s1", "s2"])
    assert [one["subject"] for one in (await rest.get("/schemas?latestOnly=true&limit=2"))[1]] == ["s0", "s1"]
