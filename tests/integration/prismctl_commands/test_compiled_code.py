"""`prismctl schema codegen` for Go and Rust, of all three formats: what is made compiles, round-trips, and reads what
Python's libraries write."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pool, message_factory

from prism_schema import SchemaKind, parse
from tests.integration.prismctl_commands.conftest import Run
from tests.integration.prismctl_commands.test_codegen import ORDER, PERSON, generate

FORMS = """syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Parcel {
  string id = 1;
  optional int64 total = 2;
  Sender sender = 3;
  repeated Item items = 4;
  map<string, Item> by_sku = 5;
  bytes raw = 6;
  google.protobuf.Timestamp at = 7;
  repeated sint32 steps = 8;
  map<int32, double> rates = 9;
  oneof reach { string phone = 10; uint64 box = 11; }
  Size size = 12;
  fixed32 a = 13; sfixed64 b = 14; float c = 15; bool type = 16;
  Parcel within = 17;
  repeated string notes = 18;
  enum Size { SMALL = 0; LARGE = 1; }
  message Item { string sku = 1; int32 count = 2; }
}
message Sender {
  message Item { bool own = 1; }
  optional string mail = 1;
  Item first = 2;
}
"""
EVENT = {**ORDER, "name": "shop.Event", "fields": [
    *ORDER["fields"],
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["NEW", "OLD"]}},
    {"name": "note", "type": ["null", "string"], "default": None}]}
EVENT_VALUE = {"id": "1", "total": 2**40, "buyer": {"mail": "a@b"}, "lines": [{"sku": "x", "count": 3}],
               "labels": {"k": "v"}, "raw": b"\0\1", "at": 1_700_000_000_000, "kind": "OLD", "note": None}
NAMES = {"people": ("Person", json.dumps(PERSON), "p.json"), "events": ("Event", json.dumps(EVENT), "e.avsc"),
         "parcels": ("Parcel", FORMS, "p.proto")}
ROUND_TRIP_GO = """package main

import (
\t"encoding/hex"
\t"example.org/typed/schemas"
\t"fmt"
\t"os"
)

type message interface{ Encode() ([]byte, error) }

func main() {
\tin, _ := hex.DecodeString(os.Args[2])
\tvar m message
\tvar err error
\tswitch os.Args[1] {
\tcase "people":
\t\tm, err = schemas.DecodePerson(in)
\tcase "events":
\t\tm, err = schemas.DecodeEvent(in)
\tcase "parcels":
\t\tm, err = schemas.DecodeParcel(in)
\t}
\tif err != nil {
\t\tfmt.Print("refused: ", err)
\t\treturn
\t}
\tout, _ := m.Encode()
\tfmt.Print(hex.EncodeToString(out))
}
"""
ROUND_TRIP_RUST = """mod events; mod parcels; mod people;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let read: Vec<u8> = (0..args[2].len()).step_by(2)
        .map(|at| u8::from_str_radix(&args[2][at..at + 2], 16).unwrap()).collect();
    let made = match args[1].as_str() {
        "people" => people::Person::decode(&read).map(|m| m.encode().unwrap()).map_err(|e| e.to_string()),
        "events" => events::Event::decode(&read).map(|m| m.encode().unwrap()).map_err(|e| e.to_string()),
        _ => parcels::Parcel::decode(&read[..]).map(|m| { let _ = format!("{m:?}"); m.encode().unwrap() })
            .map_err(|e| e.to_string()),
    };
    match made {
        Ok(out) => print!("{}", out.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        Err(error) => print!("refused: {error}"),
    }
}
"""
CARGO = """[package]
name = "typed"
version = "0.1.0"
edition = "2021"
[dependencies]
serde = { version = "1", features = ["derive"] }
serde_json = "1"
prost = "0.14"
apache-avro = "0.21"
"""


@functools.cache
def parcel() -> Any:
    """The class that Python's library makes of the same text."""
    parsed = parse(SchemaKind.PROTOBUF, FORMS)
    pool = descriptor_pool.DescriptorPool()
    for file in parsed.parsed.files:
        pool.Add(file.descriptor)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Parcel"))


def filled() -> Any:
    made = parcel()(
        id="ü", total=0, sender={"mail": "a@b", "first": {"own": True}}, items=[{"sku": "x", "count": -3}, {}],
        by_sku={"y": {"count": 2}}, raw=b"\0\1", steps=[-1, 2, 300], rates={-5: 0.5}, box=2**63, size=1, a=7, b=-8,
        c=1.5, type=True, within={"id": "inner"}, notes=["a", ""])
    made.at.FromMilliseconds(1500)
    return made


def datum(value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(EVENT)), value)
    return out.getvalue()


def value_of(data: str) -> Any:
    """Writers may cut arrays and maps into blocks as they like."""
    return fastavro.schemaless_reader(io.BytesIO(bytes.fromhex(data)), fastavro.parse_schema(dict(EVENT)), None)


async def check(call: Any) -> None:
    """`call(topic, payload)` decodes and encodes: its output."""
    person = {"name": "Ada", "tags": ["x"], "class": True, "home": {"city": "London"}, "scores": {"go": 1.5}}
    assert json.loads(bytes.fromhex(await call("people", json.dumps(person).encode()))) == person
    assert (await call("people", b"[")).startswith("refused")
    assert value_of(await call("events", datum(EVENT_VALUE))) == value_of(datum(EVENT_VALUE).hex())
    nothing = {**EVENT_VALUE, "buyer": {"mail": None}, "note": "n", "labels": {}, "lines": []}
    assert value_of(await call("events", datum(nothing))) == value_of(datum(nothing).hex())
    assert (await call("events", b"\x02")).startswith("refused")
    sent = filled()
    assert parcel().FromString(bytes.fromhex(await call("parcels", sent.SerializeToString()))) == sent
    assert await call("parcels", b"") == ""
    mixed = await call("parcels", b"\x40\x01\x42\x02\x04\x02\xf8\x06\x01")  # one, two packed, and an unknown field
    assert list(parcel().FromString(bytes.fromhex(mixed)).steps) == [-1, 2, 1]
    for bad in (b"\xff", b"\n\x01\xff", b"\x0a\x05a"):
        assert (await call("parcels", bad)).startswith("refused"), bad


async def make(run: Run, tmp_path: Path, language: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    for topic, (_, text, name) in NAMES.items():
        [path] = await generate(run, tmp_path, text, name, language, topic)
        shutil.copy(path, folder / path.name)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def caller(program: Path) -> Any:
    async def call(topic: str, payload: bytes) -> str:
        done = await asyncio.to_thread(command, program.parent, str(program), topic, payload.hex())
        assert done.returncode == 0, done.stderr
        return done.stdout
    return call


@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go")
async def test_go_compiles_and_reads_what_python_writes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "module"
    await make(run, tmp_path, "go", folder / "schemas")
    (folder / "go.mod").write_text("module example.org/typed\n\ngo 1.21\n")
    (folder / "main.go").write_text(ROUND_TRIP_GO)
    got = command(folder, "go", "get", "github.com/hamba/avro/v2@v2.31.0", "google.golang.org/protobuf@v1.36.11")
    if got.returncode != 0:
        pytest.skip(f"the Go modules of Avro and Protobuf are not at hand: {got.stderr[-200:]}")
    made = await asyncio.to_thread(command, folder, "go", "build", "-o", "typed", ".")
    assert made.returncode == 0, made.stderr
    vetted = await asyncio.to_thread(command, folder, "gofmt", "-e", "schemas")
    assert vetted.returncode == 0, vetted.stderr
    await check(caller(folder / "typed"))


@pytest.mark.skipif(shutil.which("rustfmt") is None, reason="there is no Rust")
async def test_rust_is_rust_by_its_syntax(run: Run, tmp_path: Path) -> None:
    """Whether it compiles is the next test's, which takes minutes for the crates."""
    await make(run, tmp_path, "rust", tmp_path / "src")
    for topic in NAMES:
        done = await asyncio.to_thread(
            command, tmp_path / "src", "rustfmt", "--edition", "2021", "--emit", "stdout", f"{topic}.rs")
        assert done.returncode == 0, done.stderr
    text = (tmp_path / "src" / "people.rs").read_text()
    for line in ("pub mail: Option<String>,", "pub class: Option<bool>,", "pub others: Option<Vec<Address>>,"):
        assert line in text
    assert "within: Option<Box<Parcel>>" in (tmp_path / "src" / "parcels.rs").read_text()


@pytest.mark.skipif(os.environ.get("PRISM_SOAK") != "1" or shutil.which("cargo") is None,
                    reason="crates take minutes to compile: PRISM_SOAK=1, with cargo")
@pytest.mark.timeout(600)
async def test_rust_compiles_and_reads_what_python_writes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "crate"
    await make(run, tmp_path, "rust", folder / "src")
    (folder / "Cargo.toml").write_text(CARGO)
    (folder / "src" / "main.rs").write_text("#![allow(dead_code)]\n" + ROUND_TRIP_RUST)
    made = await asyncio.to_thread(command, folder, "cargo", "build", "--quiet", "--target-dir", str(folder / "target"))
    assert made.returncode == 0, made.stderr
    await check(caller(folder / "target" / "debug" / "typed"))
