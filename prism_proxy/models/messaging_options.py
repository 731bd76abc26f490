"""The options of a namespace that concern all its messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prism_runtime.settings import check, setting

ALWAYS, HEADERS, RAW = "always", "headers", "raw"


DEFAULT_MAX_BYTES = 4 * 1024 * 1024 - 64 * 1024  # what a stock client receives, less the metadata


@dataclass(frozen=True, slots=True)
class MessagingOptions:
    """All messages of a namespace."""

    max_bytes: int = setting("Payload of a message at most; the broker may allow less.", DEFAULT_MAX_BYTES,
                             minimum=1024, maximum=16 * 1024 * 1024, unit="bytes")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class EnvelopeOptions:
    """How messages stand at the broker. Memory and SQLite keep payload and metadata as they are."""

    mode: str = setting("`always` wraps each message in an envelope, `headers` puts the metadata in the headers of the "
                        "broker and leaves the payload as it is, `raw` adds nothing.", ALWAYS,
                        choices=(ALWAYS, HEADERS, RAW))
    signature: str = setting("Sign published messages, and verify delivered ones, with this algorithm.", "",
                             choices=("", "hmac-sha256", "ed25519"))
    signature_key: Path | None = setting(
        "File with the key: at least 32 bytes for hmac-sha256, PEM for ed25519.", None)
    signature_required: bool = setting("Do not deliver messages without a signature.", False)

    def __post_init__(self) -> None:
        check(self)
        if bool(self.signature) != (self.signature_key is not None):
            raise ValueError("signature and signature_key go together: set both, or none")
        if self.signature and self.mode != ALWAYS:
            raise ValueError(f"mode is {self.mode}, and signatures need the mode always")
