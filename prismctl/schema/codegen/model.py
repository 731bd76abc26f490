"""The records of a schema, whatever its format, as languages declare them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_HARMLESS = re.compile(r"[\w .$@:/,()-]*")


class CodegenError(Exception):
    """The schema has no form in code; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Type:
    """`kind` is string, bytes, int, long, float, double, boolean, any, list, map or record.

    `item` is what a list or a map holds, `name` the record's. `under` is the kind below a logical type of Avro, which
    Python decodes to a value of its own."""

    kind: str
    item: Type | None = None
    name: str = ""
    under: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """How Protobuf writes a field: its number, and the Protobuf type of its value and of the key of a map.

    A message of another file is `bytes`, as the wire has it."""

    number: int
    scalar: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A field. `pii` is its category of personal data; `deprecated` says since when, and why."""

    name: str
    type: Type
    optional: bool
    pii: str = ""
    deprecated: str = ""
    wire: Wire | None = None


@dataclass(slots=True)
class Record:
    name: str
    members: list[Member] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Model:
    """`records` begin with the one that a message is."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the schema is from; `text` is all of it."""

    namespace: str
    topic: str
    version: str
    schema_id: int
    text: str


def plain(kind: Type, member: Member) -> Type:
    """The type with plain kinds in the place of logical ones. CodegenError for what Go and Rust have no form of."""
    if kind.item is not None:
        return Type(kind.kind, plain(kind.item, member))
    if kind.kind == "any":
        if not kind.under:
            raise CodegenError(f"the field {member.name} is a union, a decimal or a duration: only Python has those")
        return Type(kind.under)
    return kind


def recursive(model: Model) -> set[tuple[str, str]]:
    """(record, record of a member) where the second holds the first, not counting lists and maps."""
    holds = {record.name: {member.type.name for member in record.members if member.type.kind == "record"}
             for record in model.records}

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            for name in holds[waiting.pop()] - found:
                found.add(name)
                waiting.append(name)
        return found

    return {(name, inner) for name, inners in holds.items() for inner in inners if name in {inner, *reached(inner)}}


def check(model: Model, origin: Origin) -> None:
    """CodegenError for words that would be more than names in the code that is made: a schema comes from strangers."""
    words = [origin.topic, origin.namespace]
    for record in model.records:
        for member in record.members:
            words += [member.name, member.pii, member.deprecated]
    for word in words:
        if not _HARMLESS.fullmatch(word):
            raise CodegenError(
                f"{word[:40]!r} cannot stand in code: use letters, digits, spaces and . _ - $ @ : / , ( )")


def identifier(name: str) -> str:
    """A class name: the last part of a full name, in camel case."""
    parts = "".join(letter if letter.isalnum() else " " for letter in name.rpartition(".")[2]).split()
    made = "".join(part[:1].upper() + part[1:] for part in parts) or "Message"
    return made if made[0].isalpha() else f"T{made}"
