"""Rust of a schema: a struct for each record, for serde. For JSON; Protobuf and Avro have generators of their own for
Rust."""

from __future__ import annotations

from collections.abc import Iterator

from prismctl.schema.codegen.model import Member, Model, Origin, Record, Type

_TYPES = {"string": "String", "bytes": "Vec<u8>", "int": "i32", "long": "i64", "float": "f32", "double": "f64",
          "boolean": "bool", "any": "serde_json::Value"}
_KEYWORDS = frozenset({
    "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "false", "fn", "for", "if",
    "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "static", "struct", "trait",
    "true", "type", "unsafe", "use", "where", "while"})


def module(model: Model, origin: Origin) -> str:
    """The text of a module; it needs `serde` with `derive`, and `serde_json`."""
    main = model.records[0].name
    lines = [
        f"//! {main}: {origin.version} of the topic {origin.topic}.",
        "//! Made by `prismctl schema codegen`: change the schema, not this file.", "",
        "use serde::{Deserialize, Serialize};", "",
        f'pub const TOPIC: &str = "{origin.topic}";', f'pub const VERSION: &str = "{origin.version}";',
        f"pub const SCHEMA_ID: u32 = {origin.schema_id};"]
    for record in model.records:
        lines += ["", *_record(record)]
    lines += ["", f"impl {main} {{", "    /// The payload of a message.",
              "    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {", "        serde_json::to_vec(self)",
              "    }", "",
              "    pub fn decode(payload: &[u8]) -> serde_json::Result<Self> {",
              "        serde_json::from_slice(payload)", "    }", "}"]
    return "\n".join(lines) + "\n"


def _record(record: Record) -> Iterator[str]:
    pii = [member.name for member in record.members if member.pii]
    if pii:
        yield f"/// Personal data: {', '.join(pii)}."
    yield "#[derive(Clone, PartialEq, Serialize, Deserialize)]" if pii else \
        "#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]"
    yield f"pub struct {record.name} {{"
    for member in record.members:
        yield from _member(member)
    yield "}"


def _member(member: Member) -> Iterator[str]:
    name = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in member.name)
    name = f"r#{name}" if name in _KEYWORDS else name if not name[:1].isdigit() else f"f_{name}"
    if member.deprecated:
        yield f"    /// Deprecated: {' '.join(member.deprecated.split())}"
    if name.removeprefix("r#") != member.name:
        yield f'    #[serde(rename = "{member.name}")]'
    if member.optional:
        yield '    #[serde(default, skip_serializing_if = "Option::is_none")]'
    hint = _hint(member.type)
    yield f"    pub {name}: {f'Option<{hint}>' if member.optional else hint},"


def _hint(kind: Type) -> str:
    if kind.kind == "list" and kind.item is not None:
        return f"Vec<{_hint(kind.item)}>"
    if kind.kind == "map" and kind.item is not None:
        return f"std::collections::BTreeMap<String, {_hint(kind.item)}>"
    return kind.name or _TYPES[kind.kind]
