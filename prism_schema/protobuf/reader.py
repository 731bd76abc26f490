"""Reads the text of a .proto file of syntax proto2 or proto3 into its descriptor. Names are not resolved yet.

Not read, and said so: editions, groups, and proto2 `required`, which no version can ever drop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pb2 as pb

from prism_schema.limits import Counter
from prism_schema.model import SchemaError
from prism_schema.protobuf import options
from prism_schema.protobuf.tokens import Tokens

Field = pb.FieldDescriptorProto
SCALARS = {name[5:].lower(): number for name, number in Field.Type.items()
           if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")}
MAX_FIELDS = 4_000
MAX_NUMBER = 2**29 - 1
MAX_INT32 = 2**31 - 1
_KEYS = frozenset(SCALARS) - {"double", "float", "bytes"}
_LABELS = {"optional": Field.LABEL_OPTIONAL, "repeated": Field.LABEL_REPEATED}


class ProtoFile:
    """`custom` are the custom options by the full name of the element that has them; `lines` say where types are
    used: (scope, name as written) -> line."""

    def __init__(self, name: str) -> None:
        self.descriptor = pb.FileDescriptorProto(name=name)
        self.custom: dict[str, options.Custom] = {}
        self.lines: dict[tuple[str, str], int] = {}

    @property
    def proto3(self) -> bool:
        return bool(self.descriptor.syntax == "proto3")


def read(name: str, text: str) -> ProtoFile:
    """SchemaError with the line of what is not understood."""
    return _Reader(name, text).file()


class _Reader:
    def __init__(self, name: str, text: str) -> None:
        self._made = ProtoFile(name)
        self._tokens = Tokens(text)
        self._counter = Counter()
        self._fields = 0

    def file(self) -> ProtoFile:
        tokens, file = self._tokens, self._made.descriptor
        self._syntax()
        while tokens.word:
            if tokens.accept(";"):
                continue
            word = tokens.name()
            if word == "import":
                self._import()
            elif word == "package":
                if file.package:
                    raise tokens.error("the package stands twice")
                file.package = tokens.dotted().lstrip(".")
                tokens.expect(";")
            elif word == "option":
                options.statement(tokens, file.options, self._custom(""))
            elif word == "message":
                self._message(file.message_type.add(), file.package, 1)
            elif word == "enum":
                self._enum(file.enum_type.add(), file.package)
            elif word == "service":
                self._service(file.service.add(), file.package)
            elif word == "extend":
                self._extend(file.extension, file.package)
            else:
                raise tokens.error(f"{word!r} begins nothing that stands in a .proto file")
        self._made.custom = {name: found for name, found in self._made.custom.items() if found}
        return self._made

    def _syntax(self) -> None:
        tokens = self._tokens
        while tokens.accept(";"):
            pass
        if tokens.word == "edition":
            raise tokens.error("editions are not read: write syntax = \"proto3\" or \"proto2\"")
        if not tokens.accept("syntax"):
            return  # proto2
        tokens.expect("=")
        line = tokens.line
        syntax = tokens.text().decode(errors="replace")
        if syntax not in ("proto2", "proto3"):
            raise SchemaError("syntax is \"proto3\" or \"proto2\"", line)
        if syntax == "proto3":
            self._made.descriptor.syntax = syntax
        tokens.expect(";")

    def _import(self) -> None:
        tokens, file = self._tokens, self._made.descriptor
        kind = tokens.advance() if tokens.word in ("public", "weak") and tokens.kind == "name" else ""
        name = tokens.text().decode(errors="replace")
        if name in file.dependency:
            raise tokens.error(f"{name!r} is imported twice")
        self._made.lines["import", name] = tokens.line
        if kind == "public":
            file.public_dependency.append(len(file.dependency))
        file.dependency.append(name)
        tokens.expect(";")

    def _custom(self, full_name: str) -> options.Custom:
        return self._made.custom.setdefault(full_name, {})

    def _message(self, message: Any, scope: str, depth: int) -> None:
        tokens = self._tokens
        self._counter.one_more(depth, scope)
        message.name = tokens.name()
        full = _join(scope, message.name)
        tokens.expect("{")
        self._body(message, full, depth)
        reserved = message.reserved_name
        for field in message.field:  # real oneofs stand before those of optional fields
            if field.name in reserved or any(one.start <= field.number < one.end for one in message.reserved_range):
                raise tokens.error(f"the field {field.name} = {field.number} of {full} is reserved")
            if field.proto3_optional:
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")

    def _body(self, message: Any, full: str, depth: int) -> None:
        tokens = self._tokens
        words: dict[str, Callable[[], None]] = {
            "message": lambda: self._message(message.nested_type.add(), full, depth + 1),
            "enum": lambda: self._enum(message.enum_type.add(), full),
            "extend": lambda: self._extend(message.extension, full),
            "oneof": lambda: self._oneof(message, full),
            "option": lambda: options.statement(tokens, message.options, self._custom(full)),
            "reserved": lambda: self._reserved(message),
            "extensions": lambda: self._extensions(message),
        }
        while not tokens.accept("}"):
            if tokens.accept(";"):
                continue
            word = tokens.word
            if word in words and tokens.kind == "name":
                tokens.advance()
                if tokens.word not in (".", "=") or word == "option":
                    words[word]()
                    continue
                self._field(message, full, None, word)  # a type of that name
            elif word == "map":
                tokens.advance()
                if tokens.word == "<":
                    self._map(message, full)
                else:
                    self._field(message, full, None, word)
            else:
                self._field(message, full, None)

    def _field(self, message: Any, full: str, oneof: int | None, first: str = "") -> None:
        """A field; `first` is the beginning of its type where that was read already."""
        field = message.field.add()
        self._declare(field, full, first, in_oneof=oneof is not None)
        if oneof is not None:
            field.oneof_index = oneof

    def _declare(self, field: Any, full: str, first: str = "", *, in_oneof: bool = False,
                 extension: bool = False) -> None:
        tokens = self._tokens
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise tokens.error(f"the schema has more than {MAX_FIELDS} fields")
        label = "" if first else self._label(in_oneof=in_oneof)
        field.label = _LABELS.get(label, Field.LABEL_OPTIONAL)
        line = tokens.line
        kind = first + "".join(f".{tokens.name()}" for _ in iter(lambda: tokens.accept("."), False)) if first \
            else tokens.dotted()
        if kind == "group":
            raise tokens.error("groups are not read: write a nested message and a field")
        if kind in SCALARS:
            field.type = SCALARS[kind]
        else:
            field.type_name = kind
            self._made.lines[full, kind] = line
        field.name = tokens.name()
        tokens.expect("=")
        field.number = self._number()
        special = options.bracketed(tokens, field.options, self._custom(_join(full, field.name)))
        tokens.expect(";")
        self._special(field, special)
        if label == "optional" and self._made.proto3 and not extension:
            field.proto3_optional = True
        elif not label and not self._made.proto3 and not in_oneof:
            raise tokens.error(f"the field {field.name!r} needs optional or repeated: the syntax is proto2")

    def _label(self, *, in_oneof: bool) -> str:
        tokens = self._tokens
        if tokens.word == "required" and tokens.kind == "name":
            raise tokens.error("`required` is not accepted: no later version could ever drop the field")
        if tokens.word not in _LABELS or tokens.kind != "name":
            return ""
        if in_oneof:
            raise tokens.error("a field of a oneof has no label")
        return tokens.advance()

    def _special(self, field: Any, special: dict[str, Any]) -> None:
        if "json_name" in special and isinstance(special["json_name"], bytes):
            field.json_name = special["json_name"].decode(errors="replace")
        if "default" not in special:
            return
        if self._made.proto3:
            raise self._tokens.error(f"the field {field.name!r} has a default, which proto3 does not have")
        value = special["default"]
        if isinstance(value, bytes) and field.type == Field.TYPE_BYTES:
            field.default_value = "".join(chr(one) if 32 <= one < 127 and one not in b"\"'\\" else f"\\{one:03o}"
                                          for one in value)
        else:
            field.default_value = value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def _number(self) -> int:
        tokens = self._tokens
        line = tokens.line
        number = tokens.integer()
        if not 1 <= number <= MAX_NUMBER or 19000 <= number <= 19999:
            raise SchemaError(f"{number} is no number for a field", line)
        return number

    def _int32(self) -> int:
        line = self._tokens.line
        number = self._tokens.integer()
        if not -MAX_INT32 - 1 <= number <= MAX_INT32:
            raise SchemaError(f"{number} is not a 32-bit integer", line)
        return number

    def _map(self, message: Any, full: str) -> None:
        """`map<key, value> name = number;` is a repeated message of two fields."""
        tokens = self._tokens
        tokens.expect("<")
        key = tokens.name()
        if key not in _KEYS:
            raise tokens.error(f"{key!r} is no type for the keys of a map")
        tokens.expect(",")
        line = tokens.line
        value = tokens.dotted()
        tokens.expect(">")
        field = message.field.add(label=Field.LABEL_REPEATED, name=tokens.name())
        tokens.expect("=")
        field.number = self._number()
        special = options.bracketed(tokens, field.options, self._custom(_join(full, field.name)))
        tokens.expect(";")
        self._special(field, special)
        self._counter.one_more(1, full)
        entry = message.nested_type.add(name="".join(part[:1].upper() + part[1:] for part in field.name.split("_"))
                                        + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=Field.LABEL_OPTIONAL, type=SCALARS[key])
        second = entry.field.add(name="value", number=2, label=Field.LABEL_OPTIONAL)
        if value in SCALARS:
            second.type = SCALARS[value]
        else:
            second.type_name = value
            self._made.lines[_join(full, entry.name), value] = line
        field.type_name = f".{_join(full, entry.name)}"

    def _oneof(self, message: Any, full: str) -> None:
        tokens = self._tokens
        index = len(message.oneof_decl)
        made = message.oneof_decl.add(name=tokens.name())
        tokens.expect("{")
        before = len(message.field)
        while not tokens.accept("}"):
            if tokens.accept(";"):
                continue
            if tokens.word == "option" and tokens.kind == "name":
                tokens.advance()
                options.statement(tokens, made.options, self._custom(_join(full, made.name)))
                continue
            self._field(message, full, index)
        if len(message.field) == before:
            raise tokens.error(f"the oneof {made.name!r} has no fields")

    def _ranges(self, highest: int) -> list[tuple[int, int]]:
        """`1, 3 to 5, 9 to max`, ends included."""
        tokens = self._tokens
        made = []
        while True:
            start = end = self._int32()
            if tokens.accept("to"):
                end = highest if tokens.accept("max") else self._int32()
            if end < start:
                raise tokens.error(f"the range {start} to {end} is empty")
            if end > highest:
                raise tokens.error(f"{end} is larger than {highest}")
            made.append((start, end))
            if not tokens.accept(","):
                return made

    def _reserved(self, message: Any) -> None:
        """Numbers or names of a message or an enum."""
        tokens = self._tokens
        enum = isinstance(message, pb.EnumDescriptorProto)
        if tokens.kind == "text":
            while True:
                message.reserved_name.append(tokens.text().decode(errors="replace"))
                if not tokens.accept(","):
                    break
        else:
            for start, end in self._ranges(MAX_INT32 if enum else MAX_NUMBER):
                message.reserved_range.add(start=start, end=end if enum else end + 1)
        tokens.expect(";")

    def _extensions(self, message: Any) -> None:
        for start, end in self._ranges(MAX_NUMBER):
            message.extension_range.add(start=start, end=end + 1)
        options.bracketed(self._tokens, pb.ExtensionRangeOptions(), {})
        self._tokens.expect(";")

    def _extend(self, extensions: Any, scope: str) -> None:
        tokens = self._tokens
        line = tokens.line
        extendee = tokens.dotted()
        self._made.lines[scope, extendee] = line
        tokens.expect("{")
        while not tokens.accept("}"):
            if not tokens.accept(";"):
                field = extensions.add(extendee=extendee)
                self._declare(field, scope, extension=True)

    def _enum(self, enum: Any, scope: str) -> None:
        tokens = self._tokens
        self._counter.one_more(1, scope)
        enum.name = tokens.name()
        full = _join(scope, enum.name)
        tokens.expect("{")
        while not tokens.accept("}"):
            if tokens.accept(";"):
                continue
            word = tokens.name()
            if word == "option" and tokens.word != "=":
                options.statement(tokens, enum.options, self._custom(full))
            elif word == "reserved" and tokens.word != "=":
                self._reserved(enum)
            else:
                tokens.expect("=")
                value = enum.value.add(name=word, number=self._int32())
                options.bracketed(tokens, value.options, self._custom(_join(full, word)))
                tokens.expect(";")
                self._fields += 1
                if self._fields > MAX_FIELDS:
                    raise tokens.error(f"the schema has more than {MAX_FIELDS} fields and values")
        if not enum.value:
            raise tokens.error(f"the enum {enum.name!r} has no values")
        if self._made.proto3 and enum.value[0].number != 0:
            raise tokens.error(f"the first value of the enum {enum.name!r} has to be 0")

    def _service(self, service: Any, scope: str) -> None:
        tokens = self._tokens
        service.name = tokens.name()
        full = _join(scope, service.name)
        tokens.expect("{")
        while not tokens.accept("}"):
            if tokens.accept(";"):
                continue
            word = tokens.name()
            if word == "option":
                options.statement(tokens, service.options, self._custom(full))
            elif word == "rpc":
                self._method(service.method.add(), full)
            else:
                raise tokens.error(f"{word!r} begins nothing that stands in a service")

    def _method(self, method: Any, scope: str) -> None:
        tokens = self._tokens
        method.name = tokens.name()
        full = _join(scope, method.name)
        for side in ("input", "output"):
            if side == "output":
                tokens.expect("returns")
            tokens.expect("(")
            streaming = tokens.accept("stream")
            if streaming and tokens.word != ")":
                setattr(method, "client_streaming" if side == "input" else "server_streaming", True)
            kind = "stream" if streaming and tokens.word == ")" else tokens.dotted()
            setattr(method, f"{side}_type", kind)
            self._made.lines[scope, kind] = tokens.line
            tokens.expect(")")
        if not tokens.accept("{"):
            tokens.expect(";")
            return
        while not tokens.accept("}"):
            if not tokens.accept(";"):
                tokens.expect("option")
                options.statement(tokens, method.options, self._custom(full))


def _join(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name

