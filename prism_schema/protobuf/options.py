"""Options in a .proto text: those that every compiler knows go into the descriptor, custom ones beside it."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from prism_schema.model import SchemaError
from prism_schema.protobuf.tokens import Tokens

Custom = dict[str, str]  # of one element: the extension's name as written, without parentheses -> value
_MAX_NESTING = 64


def statement(tokens: Tokens, options: Any, custom: Custom) -> None:
    """`option name = value;`, with `option` behind."""
    _one(tokens, options, custom)
    tokens.expect(";")


def bracketed(tokens: Tokens, options: Any, custom: Custom) -> dict[str, Any]:
    """`[name = value, …]`, if it is there. The options that are fields of a field's descriptor are given back."""
    special: dict[str, Any] = {}
    if not tokens.accept("["):
        return special
    while True:
        if tokens.word in ("default", "json_name") and tokens.kind == "name":
            name = tokens.advance()
            tokens.expect("=")
            special[name] = _value(tokens)
        else:
            _one(tokens, options, custom)
        if tokens.accept("]"):
            return special
        tokens.expect(",")


def _one(tokens: Tokens, options: Any, custom: Custom) -> None:
    if tokens.accept("("):
        name = tokens.dotted().lstrip(".")
        tokens.expect(")")
        while tokens.accept("."):
            name += f".{tokens.name()}"
        tokens.expect("=")
        value = _value(tokens)
        custom[name] = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        return
    line = tokens.line
    name = tokens.name()
    field = options.DESCRIPTOR.fields_by_name.get(name)
    nested = tokens.word == "."
    while tokens.accept("."):
        tokens.name()
    tokens.expect("=")
    value = _value(tokens)
    if field is None or name == "uninterpreted_option":
        raise SchemaError(f"there is no option {name!r}", line)
    if not nested and not _set(options, field, value):
        raise SchemaError(f"the option {name!r} has no such value", line)


def _value(tokens: Tokens) -> Any:
    """A string as bytes, a number, a name, or the words of a message between braces."""
    if tokens.kind == "text":
        return tokens.text()
    if tokens.word == "{":
        return _braces(tokens)
    sign = "-" if tokens.accept("-") else ""
    if not sign:
        tokens.accept("+")
    if tokens.kind == "number":
        word = tokens.word
        if "." in word or ("e" in word.lower() and not word.lower().startswith("0x")):
            return float(sign + tokens.advance())
        number = tokens.integer()
        return -number if sign else number
    return sign + tokens.dotted()


def _braces(tokens: Tokens) -> str:
    words: list[str] = []
    depth = 0
    while True:
        if not tokens.word:
            raise tokens.error("a brace is not closed")
        depth += {"{": 1, "<": 1, "}": -1, ">": -1}.get(tokens.word, 0) if tokens.kind == "sign" else 0
        if depth > _MAX_NESTING:
            raise tokens.error(f"an option nests deeper than {_MAX_NESTING}")
        words.append(tokens.advance())
        if depth == 0:
            return " ".join(words)


def _set(options: Any, field: FieldDescriptor, value: Any) -> bool:
    """Put a known option into the descriptor; False when the value is not of its type."""
    if field.is_repeated or field.message_type is not None:
        return True  # edition defaults and the like, which change nothing that is read here
    if field.enum_type is not None:
        found = field.enum_type.values_by_name.get(value) if isinstance(value, str) else None
        if found is None:
            return False
        value = found.number
    elif field.type == FieldDescriptor.TYPE_BOOL:
        if value not in ("true", "false"):
            return False
        value = value == "true"
    elif field.type == FieldDescriptor.TYPE_STRING:
        if not isinstance(value, bytes):
            return False
        value = value.decode(errors="replace")
    setattr(options, field.name, value)
    return True
