"""Go of a Protobuf file: structs that write and read the wire themselves, by `google.golang.org/protobuf/encoding/
protowire`. No descriptors, so that the types of several versions stand beside each other in a program. A message of
another file is kept as its bytes; fields that the schema does not know are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from prismctl.schema.codegen.go import codec, heading, name_of, note_of, struct
from prismctl.schema.codegen.model import Member, Model, Origin, Record, Wire

MAX_DEPTH = 100  # of messages in messages, as Protobuf's own libraries have it


class _Form(NamedTuple):
    """`wire` is the kind on the wire, `put` its value of `v`, `got` a value of what was read as `x`."""

    go: str
    wire: str
    put: str
    got: str


def _varint(go: str, put: str = "uint64(v)", got: str = "") -> _Form:
    return _Form(go, "Varint", put, got or f"{go}(x)")


_FORMS = {
    "string": _Form("string", "Bytes", "[]byte(v)", "string(x)"),
    "bytes": _Form("[]byte", "Bytes", "v", "append([]byte{}, x...)"),
    "bool": _varint("bool", "protowire.EncodeBool(v)", "protowire.DecodeBool(x)"),
    "int32": _varint("int32"), "enum": _varint("int32"), "uint32": _varint("uint32"), "int64": _varint("int64"),
    "uint64": _varint("uint64"),
    "sint32": _varint("int32", "protowire.EncodeZigZag(int64(v))", "int32(protowire.DecodeZigZag(x))"),
    "sint64": _varint("int64", "protowire.EncodeZigZag(v)", "protowire.DecodeZigZag(x)"),
    "fixed32": _Form("uint32", "Fixed32", "v", "x"), "sfixed32": _Form("int32", "Fixed32", "uint32(v)", "int32(x)"),
    "float": _Form("float32", "Fixed32", "math.Float32bits(v)", "math.Float32frombits(x)"),
    "fixed64": _Form("uint64", "Fixed64", "v", "x"), "sfixed64": _Form("int64", "Fixed64", "uint64(v)", "int64(x)"),
    "double": _Form("float64", "Fixed64", "math.Float64bits(v)", "math.Float64frombits(x)")}
_ZERO = {"string": '""', "bool": "false"}


def module(model: Model, origin: Origin) -> str:
    """The text of a file, in the package `schemas`."""
    main = model.records[0].name
    body: list[str] = []
    for record in model.records:
        body += ["", *struct(record, [_field(member) for member in record.members])]
        body += ["", *_append(record), "", *_parse(record)]
    body += codec(main, ["\treturn m.appendTo(nil), nil"], "m.parse(payload, 0)")
    text = "\n".join(body) + "\n"
    imports = [name for name in ("errors", "math", "unicode/utf8") if f"{name.rpartition('/')[2]}." in text]
    return "\n".join(heading(main, origin, [*imports, "google.golang.org/protobuf/encoding/protowire"])) + "\n" + text


def _field(member: Member) -> str:
    return f"\t{name_of(member)} {_hint(member)}{note_of(member)}"


def _wire(member: Member) -> Wire:
    assert member.wire is not None
    return member.wire


def _record_name(member: Member) -> str:
    kind = member.type.item or member.type
    return kind.name if _wire(member).scalar == "message" else ""


def _single(member: Member) -> str:
    name = _record_name(member)
    return f"*{name}" if name else _FORMS[_wire(member).scalar].go


def _hint(member: Member) -> str:
    if member.type.kind == "list":
        return f"[]{_single(member)}"
    if member.type.kind == "map":
        return f"map[{_FORMS[_wire(member).key].go}]{_single(member)}"
    pointer = "*" if member.optional and _wire(member).scalar not in ("message", "bytes") else ""
    return pointer + _single(member)


def _append(record: Record) -> Iterator[str]:
    yield f"func (m *{record.name}) appendTo(b []byte) []byte {{"
    for member in record.members:
        yield from _append_member(member)
    yield from ("\treturn b", "}")


def _append_member(member: Member) -> Iterator[str]:
    wire, name = _wire(member), f"m.{name_of(member)}"
    if member.type.kind == "map":
        yield f"\tfor k, v := range {name} {{"
        yield "\t\tentry := []byte{}"
        yield from _put("\t\t", "entry", 1, wire.key, "k")
        yield from _put("\t\t", "entry", 2, wire.scalar, "v")
        yield from (f"\t\tb = protowire.AppendTag(b, {wire.number}, protowire.BytesType)",
                    "\t\tb = protowire.AppendBytes(b, entry)", "\t}")
    elif member.type.kind == "list":
        yield f"\tfor _, v := range {name} {{"
        yield from _put("\t\t", "b", wire.number, wire.scalar, "v")
        yield "\t}"
    else:
        if member.optional:
            yield f"\tif {name} != nil {{"
        elif wire.scalar == "bytes":
            yield f"\tif len({name}) > 0 {{"
        else:
            yield f"\tif {name} != {_ZERO.get(wire.scalar, '0')} {{"
        pointer = "*" if member.optional and wire.scalar not in ("message", "bytes") else ""
        yield from _put("\t\t", "b", wire.number, wire.scalar, pointer + name)
        yield "\t}"


def _put(indent: str, to: str, number: int, scalar: str, value: str) -> Iterator[str]:
    kind = "Bytes" if scalar == "message" else _FORMS[scalar].wire
    put = f"{value}.appendTo(nil)" if scalar == "message" else _FORMS[scalar].put.replace("(v)", f"({value})")
    yield f"{indent}{to} = protowire.AppendTag({to}, {number}, protowire.{kind}Type)"
    yield f"{indent}{to} = protowire.Append{kind}({to}, {value if put == 'v' else put})"


def _parse(record: Record) -> Iterator[str]:
    yield from (f"func (m *{record.name}) parse(b []byte, depth int) error {{", f"\tif depth > {MAX_DEPTH} {{",
                '\t\treturn errors.New("the message is nested too deeply")', "\t}", "\tfor len(b) > 0 {",
                "\t\tnumber, kind, n := protowire.ConsumeTag(b)", *_checked("\t\t"), "\t\tswitch {")
    for member in record.members:
        yield from _parse_member(member)
    yield from ("\t\tdefault:", "\t\t\tn := protowire.ConsumeFieldValue(number, kind, b)", *_checked("\t\t\t"),
                "\t\t}", "\t}", "\treturn nil", "}")


def _checked(indent: str, source: str = "b") -> list[str]:
    return [f"{indent}if n < 0 {{", f"{indent}\treturn protowire.ParseError(n)", f"{indent}}}",
            f"{indent}{source} = {source}[n:]"]


def _parse_member(member: Member) -> Iterator[str]:
    wire, name, inner = _wire(member), f"m.{name_of(member)}", "\t\t\t"
    kind = "Bytes" if wire.scalar == "message" else _FORMS[wire.scalar].wire
    if member.type.kind == "map":
        yield from _parse_map(member)
        return
    yield f"\t\tcase number == {wire.number} && kind == protowire.{kind}Type:"
    yield from (f"{inner}x, n := protowire.Consume{kind}(b)", *_checked(inner))
    yield from _read(inner, member, wire.scalar)
    if member.type.kind == "list":
        yield f"{inner}{name} = append({name}, v)"
    elif member.optional and wire.scalar not in ("message", "bytes"):
        yield f"{inner}{name} = &v"
    else:
        yield f"{inner}{name} = v"
    if member.type.kind == "list" and kind != "Bytes":
        yield f"\t\tcase number == {wire.number} && kind == protowire.BytesType:"
        yield from (f"{inner}packed, n := protowire.ConsumeBytes(b)", *_checked(inner),
                    f"{inner}for len(packed) > 0 {{", f"{inner}\tx, n := protowire.Consume{kind}(packed)",
                    *_checked(f"{inner}\t", "packed"), *_read(f"{inner}\t", member, wire.scalar),
                    f"{inner}\t{name} = append({name}, v)", f"{inner}}}")


def _read(indent: str, member: Member, scalar: str, value: str = "v") -> Iterator[str]:
    """A value from what was read as x."""
    if scalar == "message":
        existing = f"m.{name_of(member)}"
        yield f"{indent}{value} := new({_record_name(member)})"
        if member.type.kind == "record":  # what comes in parts is one message
            yield from (f"{indent}if {existing} != nil {{", f"{indent}\t{value} = {existing}", f"{indent}}}")
        yield from (f"{indent}if err := {value}.parse(x, depth+1); err != nil {{", f"{indent}\treturn err",
                    f"{indent}}}")
        return
    if scalar == "string":
        yield from (f"{indent}if !utf8.Valid(x) {{", f'{indent}\treturn errors.New("{member.name} is not UTF-8")',
                    f"{indent}}}")
    yield f"{indent}{value} := {_FORMS[scalar].got}"


def _parse_map(member: Member) -> Iterator[str]:
    wire, name, inner = _wire(member), f"m.{name_of(member)}", "\t\t\t"
    yield f"\t\tcase number == {wire.number} && kind == protowire.BytesType:"
    yield from (f"{inner}entry, n := protowire.ConsumeBytes(b)", *_checked(inner),
                f"{inner}var key {_FORMS[wire.key].go}")
    yield f"{inner}value := new({_record_name(member)})" if wire.scalar == "message" else \
        f"{inner}var value {_FORMS[wire.scalar].go}"
    yield from (f"{inner}for len(entry) > 0 {{", f"{inner}\tnumber, kind, n := protowire.ConsumeTag(entry)",
                *_checked(f"{inner}\t", "entry"), f"{inner}\tswitch {{")
    for number, scalar, target in ((1, wire.key, "key"), (2, wire.scalar, "value")):
        kind = "Bytes" if scalar == "message" else _FORMS[scalar].wire
        yield f"{inner}\tcase number == {number} && kind == protowire.{kind}Type:"
        yield from (f"{inner}\t\tx, n := protowire.Consume{kind}(entry)", *_checked(f"{inner}\t\t", "entry"),
                    *_read(f"{inner}\t\t", member, scalar), f"{inner}\t\t{target} = v")
    yield from (f"{inner}\tdefault:", f"{inner}\t\tn := protowire.ConsumeFieldValue(number, kind, entry)",
                *_checked(f"{inner}\t\t", "entry"), f"{inner}\t}}", f"{inner}}}",
                f"{inner}if {name} == nil {{", f"{inner}\t{name} = {_hint(member)}{{}}", f"{inner}}}",
                f"{inner}{name}[key] = value")
