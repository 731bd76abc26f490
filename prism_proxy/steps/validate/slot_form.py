"""The older form of a schema, which stands at a slot: `backends.SLOT.message_schema`. It is read as the group `schema`,
which wins where both say something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prism_proxy.steps.validate.options import REJECT, WARN, SchemaOptions, TrustOptions, ValidationOptions
from prism_runtime.settings import check, setting

OPAQUE = ("plaintext", "binary")
GIT = ("github.com/", "https://github.com/")


@dataclass(frozen=True, slots=True)
class MessageSchemaOptions:
    """What the messages of a slot are. The group `schema` of the namespace says more, and wins."""

    format: str = setting("Format of the payloads; plaintext and binary have no schema.",
                          choices=("protobuf", "json-schema", "avro", *OPAQUE))
    schema_ref: str = setting("Full name of the type of a payload.", "")
    schema_url: str = setting("Address of the schema's file.", "")
    validation: str = setting("`strict` refuses what does not follow the schema, `advisory` logs it.", "none",
                              choices=("strict", "advisory", "none"))
    description: str = setting("For people.", "")

    def __post_init__(self) -> None:
        check(self)
        if self.format in OPAQUE:
            if self.schema_url or self.schema_ref:
                raise ValueError(f"format {self.format} has no schema: leave schema_url and schema_ref out")
        elif not self.schema_url:
            raise ValueError("schema_url is missing")
        self.as_schema()

    def as_schema(self) -> SchemaOptions | None:
        """The same as the group; None for payloads without a schema."""
        if self.format in OPAQUE:
            return None
        place: dict[str, Any] = {"registry_type": "github" if self.schema_url.startswith(GIT) else "https",
                                 "url": self.schema_url}
        return SchemaOptions(**place, format=self.format, trust=TrustOptions(schema_name=self.schema_ref),
                             validation=self.as_validation())

    def as_validation(self) -> ValidationOptions:
        if self.validation == "none":
            return ValidationOptions()
        failure = REJECT if self.validation == "strict" else WARN
        return ValidationOptions(publish_time=True, on_validation_failure=failure)
