"""`prismctl schema codegen`: the code runs, reads what stock libraries write, and the other way round."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import fastavro
import grpc
import pytest

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as rpc
from tests.integration.prismctl_commands.conftest import Run
from tests.services.proxy import ProxyProcess

PERSON = {
    "title": "Person", "type": "object", "required": ["name", "tags"], "properties": {
        "name": {"type": "string"}, "mail": {"type": "string", "pii": "email"}, "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}}, "class": {"type": "boolean"},
        "home": {"$ref": "#/$defs/address"}, "others": {"type": "array", "items": {"$ref": "#/$defs/address"}},
        "scores": {"type": "object", "additionalProperties": {"type": "number"}}},
    "$defs": {"address": {"title": "Address", "type": "object", "required": ["city"],
                          "properties": {"city": {"type": "string"}}}}}
ORDER = {"type": "record", "name": "shop.Order", "fields": [
    {"name": "id", "type": "string"}, {"name": "total", "type": "long"},
    {"name": "buyer", "type": {"type": "record", "name": "Buyer", "fields": [
        {"name": "mail", "type": ["null", "string"], "default": None, "pii": "email"}]}},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"}, {"name": "count", "type": "int"}]}}},
    {"name": "labels", "type": {"type": "map", "values": "string"}}, {"name": "raw", "type": "bytes"}]}
PROTO = """syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Order {
  string id = 1;
  optional int64 total = 2;
  Buyer buyer = 3;
  repeated Line lines = 4;
  map<string, Line> by_sku = 5;
  bytes raw = 6;
  google.protobuf.Timestamp at = 7;
  message Line { string sku = 1; int32 count = 2; }
}
message Buyer { optional string mail = 1; }
"""


async def generate(run: Run, folder: Path, text: str, name: str, language: str = "python", topic: str = "things"
                   ) -> Any:
    (folder / name).write_text(text)
    code, _, errors = await run("schema", "register", "--file", str(folder / name), "--topic", topic)
    assert code == 0, errors
    code, output, errors = await run(
        "schema", "codegen", "--topic", topic, "--language", language, "--output", str(folder))
    assert code == 0, errors
    return [Path(line) for line in output.split()]


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"generated_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def test_python_of_a_json_schema(run: Run, tmp_path: Path) -> None:
    made = load((await generate(run, tmp_path, json.dumps(PERSON), "person.json"))[0])
    person = made.Person(name="Ada", tags=["x"], mail="ada@example.org", class_=True, home=made.Address(city="London"),
                         others=[made.Address(city="Paris")], scores={"go": 1.5})
    sent = json.loads(person.encode())
    assert sent == {"name": "Ada", "tags": ["x"], "mail": "ada@example.org", "class": True, "home": {"city": "London"},
                    "others": [{"city": "Paris"}], "scores": {"go": 1.5}}
    assert made.Person.decode(person.encode()) == person
    assert made.Person.decode(b'{"name": "B", "tags": []}').age is None
    assert "ada@example.org" not in repr(person)
    assert (made.TOPIC, made.VERSION, made.SCHEMA_ID) == ("things", "v1", 1)
    for payload in (b"{", b"[]"):
        with pytest.raises(ValueError, match=r".+"):
            made.Person.decode(payload)


async def test_python_of_an_avro_schema_and_fastavro_read_each_other(run: Run, tmp_path: Path) -> None:
    made = load((await generate(run, tmp_path, json.dumps(ORDER), "order.avsc"))[0])
    order = made.Order(id="1", total=2**40, buyer=made.Buyer(mail="a@b"), lines=[made.Line(sku="x", count=3)],
                       labels={"a": "b"}, raw=b"\0\1")
    parsed = fastavro.parse_schema(dict(ORDER))
    value = fastavro.schemaless_reader(io.BytesIO(order.encode()), parsed, None)
    assert value["lines"] == [{"sku": "x", "count": 3}]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed, {**value, "buyer": {"mail": None}})
    assert made.Order.decode(out.getvalue()).buyer == made.Buyer()
    assert made.Order.decode(order.encode()) == order
    assert "a@b" not in repr(order)
    with pytest.raises(ValueError, match="no such message"):
        made.Order.decode(b"\x02")


async def test_python_of_a_protobuf_file_reads_what_protoc_made(run: Run, tmp_path: Path) -> None:
    made = load((await generate(run, tmp_path, PROTO, "order.proto"))[0])
    order = made.Order(id="1", total=2**40, buyer=made.Buyer(mail="a@b"), lines=[made.Line(sku="x", count=3)],
                       by_sku={"x": made.Line(sku="x", count=3)}, raw=b"\0\1", at={"seconds": 5})
    sent = order.encode()
    assert sent.startswith(b"\n\x011\x10\x80\x80\x80\x80\x80 ")  # fields 1 and 2, as the wire has them
    assert made.Order.decode(sent).lines == [made.Line(sku="x", count=3)]
    assert made.Order.decode(sent).by_sku == {"x": made.Line(sku="x", count=3)}
    assert made.Order.decode(sent).total == 2**40
    assert made.Order.decode(b"").total is None
    assert made.Order.decode(b"").buyer is None
    with pytest.raises(ValueError, match="no such message"):
        made.Order.decode(b"\xff")


async def test_a_typed_subscription_skips_what_does_not_decode(run: Run, tmp_path: Path, proxy: ProxyProcess) -> None:
    made = load((await generate(run, tmp_path, json.dumps(PERSON), "p.json", topic=f"people-{tmp_path.name}"))[0])
    with grpc.insecure_channel(proxy.address) as channel:
        invalid: list[Any] = []
        messages = made.subscribe(channel, lambda message, error: invalid.append(message.payload))
        publisher = rpc.PubSubBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]

        def publish() -> None:
            time.sleep(0.5)  # until the subscription is there
            for payload in (b"not JSON", made.Person(name="Ada", tags=[]).encode()):
                publisher.Publish(pb.PublishRequest(topic=made.TOPIC, payload=payload))

        thread = threading.Thread(target=publish)
        thread.start()
        assert next(messages) == made.Person(name="Ada", tags=[])
        thread.join()
        assert invalid == [b"not JSON"]
        messages.close()


async def test_several_languages_at_once_and_what_cannot_be(run: Run, tmp_path: Path) -> None:
    paths = await generate(run, tmp_path, json.dumps(PERSON), "person.json", "go,python,rust")
    assert [path.name for path in paths] == ["things.go", "things.py", "things.rs"]
    decimal = {"type": "record", "name": "Price", "fields": [
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9}}]}
    await generate(run, tmp_path, json.dumps(decimal), "price.avsc", topic="prices")
    code, _, errors = await run("schema", "codegen", "--topic", "prices", "--language", "go", "--output", str(tmp_path))
    assert (code, "the field amount is a union, a decimal or a duration" in errors) == (1, True), errors
    for number, evil in enumerate(({"x": {"type": "string", "pii": '"""\nimport os'}}, {'a"`, b': {"type": "string"}})):
        await generate(run, tmp_path, json.dumps({"type": "object", "properties": {}}), "e.json", topic=f"evil{number}")
        (tmp_path / "e.json").write_text(json.dumps({"type": "object", "properties": evil}))
        await run("schema", "register", "--file", str(tmp_path / "e.json"), "--topic", f"evil{number}")
        code, _, errors = await run(
            "schema", "codegen", "--topic", f"evil{number}", "--language", "python,go", "--output", str(tmp_path))
        assert (code, "cannot stand in code" in errors) == (1, True), errors
    code, _, errors = await run("schema", "codegen", "--topic", "things", "--language", "cobol")
    assert (code, "use python, go, rust" in errors) == (1, True)
