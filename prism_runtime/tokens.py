"""The shared token of a cluster: read from its file, shown to others and compared in constant time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Metadata = tuple[tuple[str, str], ...]


class TokenError(ValueError):
    """The file cannot be read, or holds no token; the message says so, without the name of the flag."""


def read_token(path: Path) -> str:
    """The token in a file. TokenError."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TokenError(f"{path}: {error}") from error
    if not token:
        raise TokenError(f"{path} is empty: write the token that the other processes have")
    if not (token.isascii() and token.isprintable()):  # it stands in a header; and an error must not show it
        raise TokenError(f"{path} holds more than one line of printable ASCII: write the token alone")
    return token


def bearer(token: str) -> Metadata:
    """Metadata that shows the token; none without one."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def shown(metadata: Mapping[str, str]) -> str:
    """The token that a caller's metadata shows; empty when it shows none."""
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def same(token: str, expected: bytes) -> bool:
    """Whether a token is the expected one; takes as long whatever bytes differ."""
    import hmac  # loads OpenSSL's hashes, 2 MB that a proxy without an admin need not have

    return hmac.compare_digest(token.encode(), expected)
