"""The versions of one key reference: which one encrypts now, and until when the others decrypt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prism_proxy.crypto.keys import Key


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """`active_from` (Unix seconds) is when it begins to encrypt; it decrypts as soon as it is known."""

    version: str
    key: Key
    active_from: float = 0.0


class KeyRing:
    """`reference` is PROVIDER://PATH without a version. Immutable. ValueError without any version."""

    def __init__(self, reference: str, versions: Sequence[KeyVersion]) -> None:
        if not versions:
            raise ValueError(f"{reference} has no key version")
        self.reference = reference
        self.versions = tuple(sorted(versions, key=lambda each: each.active_from))
        self._by_name = {each.version: each for each in versions}

    def current(self, now: float) -> KeyVersion:
        """The version that encrypts: the youngest active one, or the oldest when none is active yet."""
        active = [each for each in self.versions if each.active_from <= now]
        return active[-1] if active else self.versions[0]

    def find(self, version: str) -> KeyVersion | None:
        return self._by_name.get(version)

    def superseded_at(self, version: KeyVersion) -> float | None:
        """When the next version began to encrypt; None for the youngest."""
        at = self.versions.index(version) + 1
        return self.versions[at].active_from if at < len(self.versions) else None

    def key_id(self, version: KeyVersion) -> str:
        return f"{self.reference}#{version.version}"


def split_key_id(key_id: str) -> tuple[str, str]:
    """(reference, version) of a key id."""
    reference, _, version = key_id.rpartition("#")
    return reference, version
