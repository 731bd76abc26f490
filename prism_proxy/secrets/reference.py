"""A key reference: PROVIDER://PATH[#VERSION]."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,62})://([^#\s\x00-\x1f]{1,512})(?:#([A-Za-z0-9._-]{1,64}))?")


@dataclass(frozen=True, slots=True)
class KeyReference:
    """A key reference PROVIDER://PATH or PROVIDER://PATH#VERSION."""

    provider: str
    path: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> KeyReference:
        """ValueError says what the form is."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("a key reference has the form PROVIDER://PATH or PROVIDER://PATH#VERSION")
        return cls(match[1], match[2], match[3] or "")

    @property
    def base(self) -> str:
        """Without the version."""
        return f"{self.provider}://{self.path}"

    def __str__(self) -> str:
        return f"{self.base}#{self.version}" if self.version else self.base
