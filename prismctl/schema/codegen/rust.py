"""Rust of a schema: a struct for each record. JSON needs the crates `serde` (with `derive`) and `serde_json`, Avro
`serde` and `apache-avro`, Protobuf `prost`. A Protobuf message of another file is kept as its bytes."""

from __future__ import annotations

from collections.abc import Iterator

from prism_schema import SchemaKind
from prismctl.schema.codegen.model import Member, Model, Origin, Record, Type, plain, recursive

_TYPES = {"string": "String", "bytes": "Vec<u8>", "int": "i32", "long": "i64", "float": "f32", "double": "f64",
          "boolean": "bool", "any": "serde_json::Value"}
_SCALARS = {"string": "String", "bytes": "Vec<u8>", "bool": "bool", "enum": "i32", "int32": "i32", "sint32": "i32",
            "sfixed32": "i32", "uint32": "u32", "fixed32": "u32", "int64": "i64", "sint64": "i64", "sfixed64": "i64",
            "uint64": "u64", "fixed64": "u64", "float": "f32", "double": "f64"}
_KEYWORDS = frozenset({
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move",
    "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield"})
_NO_RAW = frozenset({"self", "super", "crate", "Self"})
_CODECS = {
    SchemaKind.JSON: ("serde_json::Result", "serde_json::to_vec(self)", "serde_json::from_slice(payload)"),
    SchemaKind.PROTOBUF: ("Result", "Ok(prost::Message::encode_to_vec(self))", "prost::Message::decode(payload)"),
    SchemaKind.AVRO: ("apache_avro::AvroResult",
                      "apache_avro::to_avro_datum(schema(), apache_avro::to_value(self)?.resolve(schema())?)",
                      "apache_avro::from_value(&apache_avro::from_avro_datum(schema(), &mut &payload[..], None)?)")}
_AVRO_SCHEMA = """
fn schema() -> &'static apache_avro::Schema {
    static PARSED: std::sync::OnceLock<apache_avro::Schema> = std::sync::OnceLock::new();
    PARSED.get_or_init(|| apache_avro::Schema::parse_str(SCHEMA).expect("the registry took this schema"))
}"""


def module(model: Model, kind: SchemaKind, origin: Origin) -> str:
    """The text of a module."""
    main = model.records[0].name
    lines = [
        f"//! {main}: {origin.version} of the topic {origin.topic}.",
        "//! Made by `prismctl schema codegen`: change the schema, not this file.", ""]
    if kind is not SchemaKind.PROTOBUF:
        lines += ["use serde::{Deserialize, Serialize};", ""]
    lines += [f'pub const TOPIC: &str = "{origin.topic}";', f'pub const VERSION: &str = "{origin.version}";',
              f"pub const SCHEMA_ID: u32 = {origin.schema_id};", f"pub const SCHEMA: &str = {_quoted(origin.text)};"]
    boxed = recursive(model)
    for record in model.records:
        lines += ["", *_record(record, kind, boxed)]
    result, encode, decode = _CODECS[kind]
    failing = ", prost::DecodeError" if kind is SchemaKind.PROTOBUF else ""
    lines += ["", f"impl {main} {{", "    /// The payload of a message.",
              f"    pub fn encode(&self) -> {result}<Vec<u8>{failing}> {{", f"        {encode}",
              "    }", "", f"    pub fn decode(payload: &[u8]) -> {result}<Self{failing}> {{", f"        {decode}",
              "    }", "}"]
    return "\n".join(lines) + "\n" + (_AVRO_SCHEMA + "\n" if kind is SchemaKind.AVRO else "")


def _quoted(text: str) -> str:
    fence = "#"
    while f'"{fence}' in text:
        fence += "#"
    return f'r{fence}"{text}"{fence}'


def _record(record: Record, kind: SchemaKind, boxed: set[tuple[str, str]]) -> Iterator[str]:
    pii = [member.name for member in record.members if member.pii]
    if pii:
        yield f"/// Personal data: {', '.join(pii)}. `Debug` does not show it."
    if kind is SchemaKind.PROTOBUF:
        yield "#[derive(Clone, PartialEq, prost::Message)]"
        if pii:
            yield "#[prost(skip_debug)]"
    else:
        yield f"#[derive(Clone, {'' if pii else 'Debug, '}PartialEq, Serialize, Deserialize)]"
    yield f"pub struct {record.name} {{"
    for member in record.members:
        yield from _member(member, kind, (record.name, member.type.name) in boxed)
    yield "}"
    if pii:
        yield from _debug(record)


def _debug(record: Record) -> Iterator[str]:
    yield from ("", f"impl std::fmt::Debug for {record.name} {{",
                "    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {",
                f'        f.debug_struct("{record.name}")')
    for member in record.members:
        if not member.pii:
            yield f'            .field("{member.name}", &self.{_name(member)})'
    yield from ("            .finish_non_exhaustive()", "    }", "}")


def _member(member: Member, kind: SchemaKind, boxed: bool) -> Iterator[str]:
    name = _name(member)
    if member.deprecated:
        yield f"    /// Deprecated: {' '.join(member.deprecated.split())}"
    if kind is SchemaKind.PROTOBUF:
        yield f"    #[prost({_prost(member, boxed)})]"
    else:
        if name.removeprefix("r#") != member.name:
            yield f'    #[serde(rename = "{member.name}")]'
        if kind is SchemaKind.JSON and member.optional:
            yield '    #[serde(default, skip_serializing_if = "Option::is_none")]'
        if kind is SchemaKind.AVRO and member.type.kind == "bytes":
            yield f'    #[serde(with = "apache_avro::serde_avro_bytes{"_opt" if member.optional else ""}")]'
    hint = _hint(plain(member.type, member) if kind is SchemaKind.AVRO else member.type, member)
    hint = f"Box<{hint}>" if boxed else hint
    yield f"    pub {name}: {f'Option<{hint}>' if member.optional else hint},"


def _prost(member: Member, boxed: bool) -> str:
    """The attribute that says how a field is written."""
    wire = member.wire
    assert wire is not None
    scalar = "int32" if wire.scalar == "enum" else wire.scalar
    if member.type.kind == "map":
        return f'map = "{wire.key}, {scalar}", tag = "{wire.number}"'
    scalar = 'bytes = "vec"' if scalar == "bytes" else scalar
    label = "repeated" if member.type.kind == "list" else "optional" if member.optional else ""
    return ", ".join(part for part in (scalar, label, "boxed" if boxed else "", f'tag = "{wire.number}"') if part)


def _name(member: Member) -> str:
    name = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in member.name)
    if name in _NO_RAW:
        return f"{name}_"
    return f"r#{name}" if name in _KEYWORDS else name if not name[:1].isdigit() else f"f_{name}"


def _hint(kind: Type, member: Member) -> str:
    if kind.kind == "list" and kind.item is not None:
        return f"Vec<{_hint(kind.item, member)}>"
    if kind.kind == "map" and kind.item is not None:
        if member.wire is not None:
            return f"std::collections::HashMap<{_SCALARS[member.wire.key]}, {_hint(kind.item, member)}>"
        return f"std::collections::BTreeMap<String, {_hint(kind.item, member)}>"
    if member.wire is not None and not kind.name:
        return _SCALARS[member.wire.scalar]
    return kind.name or _TYPES[kind.kind]
