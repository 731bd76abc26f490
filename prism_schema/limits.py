"""The bounds of what is parsed. A schema comes from strangers: what is over a bound is refused before it costs."""

from __future__ import annotations

from prism_schema.model import SchemaError

MAX_TEXT_BYTES = 512 * 1024  # of a schema with all that it refers to
MAX_DEPTH = 64  # of types within types
MAX_TYPES = 2_000  # that a schema defines or expands to
MAX_REFERENCES = 200


def check_size(*texts: str) -> None:
    """SchemaError when the texts together are over the bound."""
    if len(texts) > MAX_REFERENCES + 1:
        raise SchemaError(f"the schema has {len(texts) - 1} references; at most {MAX_REFERENCES} are read")
    total = sum(map(len, texts))
    if total > MAX_TEXT_BYTES:
        raise SchemaError(f"the schema has {total} characters with its references; at most {MAX_TEXT_BYTES} are read")


class Counter:
    """Counts what a schema defines; SchemaError over the bound."""

    def __init__(self) -> None:
        self._count = 0

    def one_more(self, depth: int, path: str) -> None:
        """A type at `depth`."""
        self._count += 1
        if self._count > MAX_TYPES:
            raise SchemaError(f"the schema defines more than {MAX_TYPES} types", path=path)
        if depth > MAX_DEPTH:
            raise SchemaError(f"types nest deeper than {MAX_DEPTH}", path=path)
