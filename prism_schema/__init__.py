"""The formats of schemas: parsing, compatibility, validation, and what tags say. A library: it knows no server, no
registry and no storage, opens no file and no connection.

A format's modules, and the packages they stand on, load at the first schema of that format.
"""

from prism_schema.checks import check, compare
from prism_schema.formats import parse, validator
from prism_schema.levels import Level
from prism_schema.model import Field, Finding, ParsedSchema, Resolved, SchemaError, SchemaKind, Violation

__all__ = [
    "Field", "Finding", "Level", "ParsedSchema", "Resolved", "SchemaError", "SchemaKind", "Violation", "check",
    "compare", "parse", "validator",
]
