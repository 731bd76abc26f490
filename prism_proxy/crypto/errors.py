"""The errors of encryption. None says more of a message than that it does not open."""

from __future__ import annotations

from prism_proxy.errors import PrismError, StatusCode


def auth_failed() -> PrismError:
    """One error for every kind of tampering: an attacker learns nothing from it."""
    return PrismError(StatusCode.INTERNAL, "ENC_AUTH_FAILED", "the payload does not open: it was altered, moved, or "
                      "encrypted under another key")


def key_not_found(key_id: str, problem: str) -> PrismError:
    return PrismError(StatusCode.FAILED_PRECONDITION, "ENC_KEY_NOT_FOUND", f"encryption key {key_id!r} {problem}",
                      {"key_id": key_id})


def public_key(key_id: str) -> PrismError:
    return key_not_found(key_id, "is known here as a public key: decryption needs private_key_ref")


def key_retired(key_id: str) -> PrismError:
    return PrismError(
        StatusCode.FAILED_PRECONDITION, "KEY_RETIRED",
        f"encryption key {key_id!r} was rotated longer ago than overlap_period allows: its messages open no more",
        {"key_id": key_id})


def key_exhausted(key_id: str, limit: int) -> PrismError:
    return PrismError(StatusCode.FAILED_PRECONDITION, "KEY_EXHAUSTED",
                      f"encryption key {key_id!r} encrypted {limit} messages here, the most that random ivs allow: "
                      "rotate it with `prism-proxy keys rotate`", {"key_id": key_id})


def payload_too_large(size: int, limit: int) -> PrismError:
    return PrismError(
        StatusCode.INVALID_ARGUMENT, "ENC_PAYLOAD_TOO_LARGE",
        f"the payload has {size} bytes, and RSA-OAEP alone encrypts {limit}: use rsa-oaep-4096+aes-256-gcm")
