"""Envelopes as hypothesis makes them: every subset of the optional parts."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from prism.envelope.v1 import envelope_pb2 as pb

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
pairs = st.dictionaries(texts, texts, max_size=3)
octets = st.binary(max_size=20)
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


metadata = st.builds(
    pb.PrismMetadata, message_id=names, topic=names, namespace=names,
    published_at=st.builds(lambda s, n: {"seconds": s, "nanos": n}, st.integers(0, 4_000_000_000),
                           st.integers(0, 999_999_999)),
    content_type=texts, content_encoding=texts, priority=int32, ttl_seconds=int64, correlation_id=texts,
    causality_parent=texts)
encryption = st.builds(
    pb.EncryptionMetadata, key_id=texts, encryption_type=st.integers(0, 4), algorithm=texts,
    public_key_id=optional(texts), iv=optional(octets), aad=optional(octets), encapsulated_key=optional(octets),
    algorithm_params=optional(texts))
security = st.builds(
    pb.SecurityContext, publisher_id=texts, publisher_team=texts, auth_token=texts, signature=octets,
    signature_algorithm=texts, encryption=optional(encryption), contains_pii=st.booleans(), data_classification=texts)
observability = st.builds(
    pb.ObservabilityContext, trace_id=texts, span_id=texts, parent_span_id=texts, trace_flags=int32, baggage=pairs,
    labels=pairs)
schema = st.builds(
    pb.SchemaContext, schema_url=texts, schema_version=texts, schema_format=texts, schema_hash=texts,
    schema_name=texts, compatibility_mode=texts, deprecated_fields_used=st.lists(texts, max_size=2))
envelopes = st.builds(
    pb.PrismEnvelope, envelope_version=st.integers(1, 3), metadata=metadata,
    payload=st.builds(lambda url, value: {"type_url": url, "value": value}, texts, st.binary(max_size=300)),
    security=optional(security), observability=optional(observability), schema=optional(schema),
    extensions=st.dictionaries(texts, octets, max_size=3))
