"""Whether every instance that one JSON Schema accepts is accepted by another.

An object's undeclared properties do not count as written unless the writer's schema states `additionalProperties`: a
property may be added to an open object. A required property with a default may be added too: the reader fills it. What
cannot be decided by comparing keywords is a finding unless both sides say the same.
"""

from __future__ import annotations

from prism_schema.json.comparison import Comparison
from prism_schema.json.view import Conjunct
from prism_schema.model import Finding, ParsedSchema


def compare(old: ParsedSchema, new: ParsedSchema) -> list[Finding]:
    """Findings of reading with `new` what `old` wrote."""
    writer, reader = old.parsed, new.parsed
    comparison = Comparison(writer, reader)
    found = comparison.compare((Conjunct(writer.root, writer.documents.root),),
                               Conjunct(reader.root, reader.documents.root), "")
    return list(dict.fromkeys(found))
