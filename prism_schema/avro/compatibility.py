"""Schema resolution of Avro: what the writer wrote, and what the reader makes of it."""

from __future__ import annotations

from prism_schema.avro.types import MISSING, AvroField, AvroType, short
from prism_schema.model import Finding, ParsedSchema

_PROMOTIONS = {
    "int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",), "string": ("bytes",),
    "bytes": ("string",),
}
_TYPE, _NAME, _LOGICAL = "TYPE_MISMATCH", "NAME_MISMATCH", "LOGICAL_TYPE_CHANGED"


def compare(old: ParsedSchema, new: ParsedSchema) -> list[Finding]:
    """Findings of reading with `new` what `old` wrote."""
    return _Resolution().resolve(old.parsed, new.parsed, "")


class _Resolution:
    """Remembers the pairs it has met: types refer to each other in circles, and to the same one from many places."""

    def __init__(self) -> None:
        self._met: dict[tuple[int, int], list[Finding]] = {}

    def resolve(self, writer: AvroType, reader: AvroType, path: str) -> list[Finding]:
        pair = id(writer), id(reader)
        if pair in self._met:
            return self._met[pair]
        self._met[pair] = []
        found = self._met[pair] = self._compare(writer, reader, path)
        return found

    def _compare(self, writer: AvroType, reader: AvroType, path: str) -> list[Finding]:
        if writer.kind == "union":
            return [Finding("MISSING_UNION_BRANCH", path, f"the reader has no type for the writer's {branch.label}")
                    for branch in writer.branches if not self._readable(branch, reader, path)]
        if reader.kind == "union":
            if any(not self.resolve(writer, branch, path) for branch in reader.branches):
                return []
            return [Finding("MISSING_UNION_BRANCH", path, f"the reader's union has no type for {writer.label}")]
        if writer.kind != reader.kind:
            if reader.kind in _PROMOTIONS.get(writer.kind, ()):
                return self._logical(writer, reader, path)
            return [Finding(_TYPE, path, f"the type changed from {writer.label} to {reader.label}")]
        match writer.kind:
            case "array" | "map":
                return self.resolve(writer.element, reader.element, f"{path}[]")
            case "record":
                return self._names(writer, reader, path) or self._record(writer, reader, path)
            case "enum":
                return self._names(writer, reader, path) or self._enum(writer, reader, path)
            case "fixed" if writer.size != reader.size:
                return self._names(writer, reader, path) or [
                    Finding("FIXED_SIZE_MISMATCH", path, f"the size changed from {writer.size} to {reader.size}")]
            case "fixed":
                return self._names(writer, reader, path) or self._logical(writer, reader, path)
        return self._logical(writer, reader, path)

    def _readable(self, branch: AvroType, reader: AvroType, path: str) -> bool:
        return not self.resolve(branch, reader, path)

    def _names(self, writer: AvroType, reader: AvroType, path: str) -> list[Finding]:
        if short(writer.name) == short(reader.name) or writer.name in reader.aliases:
            return []
        return [Finding(_NAME, path, f"the {writer.kind} {writer.name} became {reader.name}, which has no such alias")]

    def _record(self, writer: AvroType, reader: AvroType, path: str) -> list[Finding]:
        written = {field.name: field for field in writer.fields}
        found: list[Finding] = []
        for field in reader.fields:
            where = f"{path}.{field.name}" if path else field.name
            source = _source(written, field)
            if source is not None:
                found += self.resolve(source.type, field.type, where)
            elif field.default is MISSING:
                found.append(Finding("READER_FIELD_MISSING_DEFAULT_VALUE", where,
                                     f"the field {field.name!r} was added without a default"))
        return found

    def _enum(self, writer: AvroType, reader: AvroType, path: str) -> list[Finding]:
        lost = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
        if not lost or reader.default is not MISSING:
            return []
        return [Finding("MISSING_ENUM_SYMBOLS", path, f"the enum lost {', '.join(lost[:10])} and has no default")]

    def _logical(self, writer: AvroType, reader: AvroType, path: str) -> list[Finding]:
        """A unit or scale that changes makes other values of the same bytes; a logical type that comes or goes does
        not."""
        if not writer.logical or not reader.logical:
            return []
        if writer.logical != reader.logical:
            return [Finding(_LOGICAL, path, f"the logical type changed from {writer.logical} to {reader.logical}")]
        if writer.scale != reader.scale:
            return [Finding(_LOGICAL, path, f"the scale changed from {writer.scale} to {reader.scale}")]
        if writer.precision > reader.precision:
            return [Finding(_LOGICAL, path, f"the precision fell from {writer.precision} to {reader.precision}")]
        return []


def _source(written: dict[str, AvroField], field: AvroField) -> AvroField | None:
    """The writer's field for the reader's: of its name, or of one of its aliases."""
    for name in (field.name, *field.aliases):
        if name in written:
            return written[name]
    return None
