"""How large a payload a subscriber takes as it is; a larger one that an object store has arrives as its reference."""

from __future__ import annotations

from collections.abc import Mapping

from prism_proxy.errors import invalid
from prism_runtime.configuration import units

REFERENCE_ONLY, MAX_INLINE_BYTES = "reference_only", "max_inline_bytes"
KEYS = (REFERENCE_ONLY, MAX_INLINE_BYTES)
MOST = 64 * 1024 * 1024


def inline_bytes(given: Mapping[str, str]) -> int:
    """From the options of a subscription: -1 leaves it to the namespace, 0 takes references only. PrismError
    INVALID_ARGUMENT."""
    only = given.get(REFERENCE_ONLY, "false")
    if only not in ("true", "false"):
        raise invalid("options", f"option {REFERENCE_ONLY} is true or false", value=only)
    text = given.get(MAX_INLINE_BYTES)
    found = -1
    if text is not None:
        size = float(text) if text.isascii() and text.isdigit() and len(text) < 20 else units.with_suffix(text, "bytes")
        if size is None or not 0 <= size <= MOST:
            raise invalid("options", f"option {MAX_INLINE_BYTES} is a size up to {MOST} bytes, such as "
                          f"{units.examples('bytes')}", value=text)
        found = int(size)
    return 0 if only == "true" else found
