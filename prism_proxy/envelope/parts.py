"""The optional parts of an envelope as typed values. Encoding is deterministic: fields by number, maps by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prism_proxy.envelope import wire

_IV, _AAD = b"\x2a", b"\x32"  # tags of the fields 5 and 6


@dataclass(slots=True)  # not frozen: one is made for each payload, and freezing makes that three times as slow
class Encryption:
    """`kind` is a value of EncryptionType; `key_id` is a reference. Nobody changes one. `around` is what a sender may
    set: the encoded fields before the iv and behind the aad, which many payloads have in common."""

    key_id: str
    kind: int
    algorithm: str
    public_key_id: str | None = None
    iv: bytes | None = None
    aad: bytes | None = None
    encapsulated_key: bytes | None = None
    algorithm_params: str | None = None
    around: tuple[bytes, bytes] | None = field(default=None, init=False, compare=False, repr=False)

    def encode(self) -> bytes:
        if self.around is not None and self.iv is not None and self.aad is not None:
            return b"".join((self.around[0], _IV, bytes((len(self.iv),)), self.iv, _AAD, wire.varint(len(self.aad)),
                             self.aad, self.around[1]))
        out = wire.text(1, self.key_id) + wire.number(2, self.kind) + wire.text(3, self.algorithm)
        for number, value in ((4, self.public_key_id), (5, self.iv), (6, self.aad), (7, self.encapsulated_key),
                              (8, self.algorithm_params)):
            if value is not None:
                out += wire.tagged(number, value.encode() if isinstance(value, str) else value)
        return out

    @classmethod
    def decode(cls, data: bytes) -> Encryption:
        """ValueError for bytes that are none."""
        found = wire.read(data)

        def octets(number: int) -> bytes | None:
            value = found.get(number)
            if isinstance(value, int):
                raise wire.MalformedError(f"field {number} must be length-delimited")
            return value

        def text(number: int) -> str | None:
            value = octets(number)
            return None if value is None else value.decode()

        kind = found.get(2, 0)
        if not isinstance(kind, int):
            raise wire.MalformedError("field 2 must be a number")
        return cls(text(1) or "", kind, text(3) or "", text(4), octets(5), octets(6), octets(7), text(8))


@dataclass(frozen=True, slots=True)
class Security:
    """There is no token: what a client sends is checked and dropped by the proxy."""

    publisher_id: str = ""
    publisher_team: str = ""
    signature: bytes = b""
    signature_algorithm: str = ""
    encryption: Encryption | None = None
    contains_pii: bool = False
    data_classification: str = ""

    def encode(self) -> bytes:
        out = wire.text(1, self.publisher_id) + wire.text(2, self.publisher_team)
        out += wire.octets(4, self.signature) + wire.text(5, self.signature_algorithm)
        if self.encryption is not None:
            out += wire.tagged(6, self.encryption.encode())
        return out + wire.number(7, int(self.contains_pii)) + wire.text(8, self.data_classification)


@dataclass(frozen=True, slots=True)
class Observability:
    """`trace_id` 32 and the span ids 16 hexadecimal digits."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    trace_flags: int = 0
    baggage: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        return (wire.text(1, self.trace_id) + wire.text(2, self.span_id) + wire.text(3, self.parent_span_id)
                + wire.number(4, self.trace_flags)
                + wire.entries(5, ((key, value.encode()) for key, value in self.baggage.items()))
                + wire.entries(6, ((key, value.encode()) for key, value in self.labels.items())))


@dataclass(frozen=True, slots=True)
class Schema:
    """`hash` is `sha256:` and hexadecimal digits; `format` protobuf, json-schema or avro."""

    url: str = ""
    version: str = ""
    format: str = ""
    hash: str = ""
    name: str = ""
    compatibility_mode: str = ""
    deprecated_fields_used: tuple[str, ...] = ()

    def entries(self) -> dict[str, str]:
        """What objects and streams of a backend say of the schema of what they hold, in ASCII."""
        found = {"schema_url": self.url, "schema_version": self.version, "schema_format": self.format,
                 "schema_hash": self.hash}
        return {key: value.encode("unicode_escape").decode("ascii") for key, value in found.items() if value}

    def encode(self) -> bytes:
        texts = (self.url, self.version, self.format, self.hash, self.name, self.compatibility_mode)
        out = b"".join(wire.text(number, value) for number, value in enumerate(texts, 1))
        return out + b"".join(wire.tagged(7, name.encode()) for name in self.deprecated_fields_used)


def observability_of(traceparent: str, baggage: Mapping[str, str] | None = None) -> Observability | None:
    """What a W3C traceparent says; None when it is malformed, as it continues no trace then."""
    parts = traceparent.strip(" \t").split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    if not all(char in "0123456789abcdef" for part in parts[:4] for char in part) or parts[0] == "ff":
        return None
    if parts[0] == "00" and len(parts) > 4:
        return None  # later versions may say more
    if not parts[1].strip("0") or not parts[2].strip("0"):
        return None
    return Observability(parts[1], parts[2], trace_flags=int(parts[3], 16) & 3, baggage=baggage or {})
