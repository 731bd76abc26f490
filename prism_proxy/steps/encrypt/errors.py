"""What a caller is told when something is not encrypted that must be."""

from __future__ import annotations

from collections.abc import Sequence

from prism_proxy.errors import PrismError, StatusCode


def plaintext_refused(message: str) -> PrismError:
    return PrismError(StatusCode.FAILED_PRECONDITION, "ENC_PLAINTEXT_REFUSED", message)


def plaintext_value() -> PrismError:
    return plaintext_refused("the stored value is not encrypted: this namespace requires it. Set encryption.required: "
                             "false while existing values are rewritten")


def plaintext_message() -> PrismError:
    return plaintext_refused("the message is not encrypted: this namespace requires it. Set encryption.required: false "
                             "while messages from before are consumed")


def unknown_dead_letters(name: str, known: Sequence[str]) -> PrismError:
    return PrismError(
        StatusCode.FAILED_PRECONDITION, "ENCRYPTED_NAMESPACE",
        f"encrypted messages would not open in queue {name!r}: encryption.dead_letter_names has {', '.join(known)}. "
        "Add the name to it", field_name="dead_letter_queue")
