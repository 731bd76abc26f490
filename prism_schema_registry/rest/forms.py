"""The text of a schema in the form that a client asks for.

`format=serialized` is for clients of Protobuf that read descriptors: base64 of a FileDescriptorProto. Such a client
registers that form as well; it is stored as the `.proto` file that it describes, which all other clients read.
"""

from __future__ import annotations

import base64

from prism_schema import ParsedSchema, SchemaKind
from prism_schema_registry.model import Schema
from prism_schema_registry.rest.call import Call

SERIALIZED = "serialized"


async def text_of(call: Call, schema: Schema) -> str:
    """As it was registered, unless `format` says otherwise."""
    if schema.kind is SchemaKind.PROTOBUF and call.text("format") == SERIALIZED:
        return _serialized(await call.registry.parser.schema(schema))
    return schema.text


def _serialized(parsed: ParsedSchema) -> str:
    return base64.b64encode(parsed.parsed.root.descriptor.SerializeToString()).decode()
