"""What is wrong with an envelope or its fields, as the caller sees it."""

from __future__ import annotations

from prism_proxy.errors import PrismError, StatusCode

DOMAIN = "prism.envelope.v1"


def field_missing(field: str) -> PrismError:
    return PrismError(StatusCode.INVALID_ARGUMENT, "ENVELOPE_FIELD_MISSING", f"the envelope has no {field}: set it",
                      {"field": field}, field_name=field, domain=DOMAIN)


def malformed(why: str) -> PrismError:
    return PrismError(StatusCode.INVALID_ARGUMENT, "ENVELOPE_MALFORMED",
                      f"the payload is no prism.envelope.v1.PrismEnvelope: {why}", domain=DOMAIN)


def mismatch(field: str, given: str, wanted: str) -> PrismError:
    return PrismError(
        StatusCode.INVALID_ARGUMENT, "ENVELOPE_MISMATCH",
        f"the envelope says {field} {given[:64]!r}, the call says {wanted[:64]!r}: they must be equal",
        field_name=field, invalid_value=given, domain=DOMAIN)


def signature_invalid(why: str) -> PrismError:
    return PrismError(StatusCode.UNAUTHENTICATED, "SIGNATURE_INVALID", f"the message has no valid signature: {why}",
                      domain=DOMAIN)


def encryption_required(classification: str) -> PrismError:
    return PrismError(
        StatusCode.FAILED_PRECONDITION, "ENCRYPTION_REQUIRED",
        f"messages classified {classification} must be encrypted, which this namespace does not do: configure "
        "encryption, or classify the message public or internal", field_name="prism-data-classification", domain=DOMAIN)
