"""Puts a file and what it imports together: finds imports, resolves the names of types, and builds the descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2 as pb
from google.protobuf import descriptor_pool

from prism_schema.limits import MAX_REFERENCES
from prism_schema.model import Resolved, SchemaError
from prism_schema.protobuf.known import known
from prism_schema.protobuf.reader import Field, ProtoFile, read

ROOT = "schema.proto"
_KINDS = {"message": Field.TYPE_MESSAGE, "enum": Field.TYPE_ENUM}


class Linked:
    """A schema with its imports. `files` are in the order in which they depend on each other, the schema last;
    `custom` are the custom options of all of them."""

    def __init__(self, root: ProtoFile, files: list[ProtoFile], pool: descriptor_pool.DescriptorPool) -> None:
        self.root = root
        self.files = files
        self.pool = pool
        self.custom = {name: found for file in files for name, found in file.custom.items()}


def link(text: str, references: tuple[Resolved, ...]) -> Linked:
    """SchemaError when an import is missing, imports go in a circle, or a name means nothing."""
    root = read(ROOT, text)
    files = _Imports(references).of(root)
    symbols: dict[str, dict[str, str]] = {}
    for file in files:
        symbols[file.descriptor.name] = dict(_symbols(file.descriptor))
    by_name = {file.descriptor.name: file for file in files}
    for file in files:
        if file.lines or file is root:
            _resolve(file, by_name, symbols)
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        try:
            pool.AddSerializedFile(file.descriptor.SerializeToString())
        except TypeError as error:
            name = "" if file is root else f"reference {file.descriptor.name!r}: "
            raise SchemaError(f"{name}{_first(error)}") from None
    return Linked(root, files, pool)


class _Imports:
    def __init__(self, references: tuple[Resolved, ...]) -> None:
        self._references = {one.name: one.text for one in references}
        self._read: dict[str, ProtoFile] = {}
        self._open: list[str] = []
        self._ordered: list[ProtoFile] = []

    def of(self, file: ProtoFile) -> list[ProtoFile]:
        """The file behind all that it imports."""
        self._visit(file)
        return self._ordered

    def _visit(self, file: ProtoFile) -> None:
        name = file.descriptor.name
        if len(self._open) > MAX_REFERENCES:
            raise SchemaError(f"imports nest deeper than {MAX_REFERENCES}")
        self._open.append(name)
        for wanted in file.descriptor.dependency:
            if wanted in self._open:
                raise SchemaError(f"imports go in a circle: {' -> '.join([*self._open, wanted][:10])}",
                                  file.lines.get(("import", wanted)))
            if wanted not in self._read:
                self._read[wanted] = self._load(wanted, file)
                self._visit(self._read[wanted])
        self._open.pop()
        self._ordered.append(file)

    def _load(self, name: str, importer: ProtoFile) -> ProtoFile:
        if name in self._references:
            try:
                return read(name, self._references[name])
            except SchemaError as error:
                raise SchemaError(f"reference {name!r}: {error.message}", error.line) from None
        descriptor = known(name)
        if descriptor is None:
            raise SchemaError(f"the import {name!r} is not among the references", importer.lines.get(("import", name)))
        file = ProtoFile(name)
        file.descriptor.CopyFrom(descriptor)
        return file


def _symbols(file: pb.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """(full name, message or enum) of the types, and the scopes, that a file defines."""
    package = file.package
    while package:
        yield package, "package"
        package = package.rpartition(".")[0]
    for enum in file.enum_type:
        yield join(file.package, enum.name), "enum"
    for message in file.message_type:
        yield from _inside(message, file.package)


def _inside(message: Any, scope: str) -> Iterator[tuple[str, str]]:
    full = join(scope, message.name)
    yield full, "message"
    for enum in message.enum_type:
        yield join(full, enum.name), "enum"
    for nested in message.nested_type:
        yield from _inside(nested, full)


def _resolve(file: ProtoFile, by_name: dict[str, ProtoFile], symbols: dict[str, dict[str, str]]) -> None:
    seen: dict[str, str] = {}
    for name in _visible(file, by_name):
        seen.update(symbols[name])
    seen.update(symbols[file.descriptor.name])

    def find(written: str, scope: str) -> str:
        full = _lookup(written, scope, seen)
        if full is None:
            raise SchemaError(f"the type {written!r} is not defined", file.lines.get((scope, written)))
        return full

    def fields(found: Any, scope: str) -> None:
        for field in found:
            if field.type_name:
                field.type_name = f".{find(field.type_name, scope)}"
                field.type = _KINDS[seen[field.type_name[1:]]]
            if field.extendee:
                field.extendee = f".{find(field.extendee, scope)}"

    def message(one: Any, scope: str) -> None:
        full = join(scope, one.name)
        fields(one.field, full)
        fields(one.extension, full)
        for nested in one.nested_type:
            message(nested, full)

    descriptor = file.descriptor
    fields(descriptor.extension, descriptor.package)
    for one in descriptor.message_type:
        message(one, descriptor.package)
    for service in descriptor.service:
        for method in service.method:
            scope = join(descriptor.package, service.name)
            method.input_type = f".{find(method.input_type, scope)}"
            method.output_type = f".{find(method.output_type, scope)}"


def _visible(file: ProtoFile, by_name: dict[str, ProtoFile]) -> set[str]:
    """The files whose names a file may use: its imports, and what those import publicly."""
    made: set[str] = set()
    waiting = list(file.descriptor.dependency)
    while waiting:
        name = waiting.pop()
        if name not in made:
            made.add(name)
            imported = by_name[name].descriptor
            waiting += [imported.dependency[index] for index in imported.public_dependency]
    return made


def _lookup(written: str, scope: str, seen: dict[str, str]) -> str | None:
    """The type that a name means inside a scope: the innermost scope that knows its first part decides."""
    if written.startswith("."):
        return written[1:] if seen.get(written[1:]) in _KINDS else None
    first = written.partition(".")[0]
    while True:
        if join(scope, first) in seen:
            full = join(scope, written)
            if seen.get(full) in _KINDS:
                return full
            if first != written:
                return None
        if not scope:
            return None
        scope = scope.rpartition(".")[0]


def join(scope: str, name: str) -> str:
    """A name inside a scope."""
    return f"{scope}.{name}" if scope else name


def _first(error: TypeError) -> str:
    return str(error).removeprefix("Couldn't build proto file into descriptor pool: ").splitlines()[0][:300]
