"""Makes envelopes for one topic of a namespace. What is constant is encoded once; the payload is written last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prism_proxy._native.envelope.codec import Writer
from prism_proxy.envelope import wire
from prism_proxy.envelope.attributes import PLAIN, Attributes
from prism_proxy.envelope.parts import Observability, Schema, Security

if TYPE_CHECKING:
    from prism_proxy.envelope.signature import Signer

SECURITY, OBSERVABILITY, SCHEMA, EXTENSIONS = 4, 5, 6, 99


class EnvelopeWriter:
    """`schema` is that of the topic; `signer` signs what is written."""

    def __init__(
        self, namespace: str, topic: str, schema: Schema | None = None, signer: Signer | None = None
    ) -> None:
        self._writer = Writer(namespace, topic)
        self._schema = b"" if schema is None else wire.tagged(SCHEMA, schema.encode())
        self._signer = signer

    def write(
        self, payload: bytes, attributes: Attributes = PLAIN, *, message_id: str, published_ms: int,
        security: Security | None = None, observability: Observability | None = None, content_encoding: str = "",
        type_url: str = "", extensions: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """The envelope of one message. `extensions` come on top of those that the attributes need."""
        if security is None and (attributes.contains_pii or attributes.data_classification):
            security = Security()
        tail = attributes.tail(content_encoding)
        parts = self._later_parts(attributes, observability, extensions or {})
        if security is None and self._signer is None:
            return self._writer.encode(payload, message_id, published_ms, tail, parts, type_url.encode())
        fields = security or Security()
        signature, algorithm = fields.signature, fields.signature_algorithm
        if self._signer is not None:
            unsigned = self._writer.encode(payload, message_id, published_ms, tail, parts, type_url.encode())
            signature, algorithm = self._signer.sign(unsigned), self._signer.algorithm
        classification = fields.data_classification or attributes.data_classification
        body = Security(
            fields.publisher_id, fields.publisher_team, signature, algorithm, fields.encryption,
            fields.contains_pii or attributes.contains_pii, classification)
        parts = wire.tagged(SECURITY, body.encode()) + parts
        return self._writer.encode(payload, message_id, published_ms, tail, parts, type_url.encode())

    def _later_parts(
        self, attributes: Attributes, observability: Observability | None, extensions: Mapping[str, bytes]
    ) -> bytes:
        """The fields 5, 6 and 99."""
        parts = self._schema
        if observability is not None:
            parts = wire.tagged(OBSERVABILITY, observability.encode()) + parts
        if attributes is PLAIN and not extensions:
            return parts
        return parts + wire.entries(EXTENSIONS, {**attributes.extensions(), **extensions}.items())
